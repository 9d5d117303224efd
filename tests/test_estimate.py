"""Parameter counts against the models that Transformers really builds."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from transformers.pytorch_utils import Conv1D

from llmrecipe.estimate import parameters, weight_bytes
from llmrecipe.estimate.counting import linears, total
from llmrecipe.estimate.shape import of_facts
from llmrecipe.facts import architectures, families, models
from llmrecipe.vocabulary import Architecture

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import generate_model_facts

SHAPES = [
    {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128},
    {
        "hidden_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 160,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
    },
    {
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 24,
        "max_position_embeddings": 256,
    },
]


def build(architecture: Architecture, vocab_size: int) -> torch.nn.Module:
    """The model on the meta device: shapes without memory."""
    family = families()[architecture.family]
    heads = architecture.num_attention_heads
    filled = {
        "head_dim": architecture.hidden_size // heads,
        "num_key_value_heads": heads,
        "intermediate_size": 4 * architecture.hidden_size,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 2 * architecture.hidden_size,
        **architecture.model_dump(exclude={"family"}, exclude_none=True),
    }
    fields = {family.fields[name]: value for name, value in filled.items() if name in family.fields}
    classes = architectures()[architecture.family]
    config = getattr(transformers, classes.config)(vocab_size=vocab_size, pad_token_id=0, **fields, **family.constants)
    with torch.device("meta"):
        return getattr(transformers, classes.model)(config)


@pytest.mark.parametrize("shape", SHAPES, ids=["derived", "grouped", "head_dim"])
@pytest.mark.parametrize("family", sorted(families()))
def test_the_count_is_that_of_the_built_model(family: str, shape: dict[str, int]) -> None:
    known = families()[family].fields
    architecture = Architecture.model_validate(
        {"family": family, **{name: value for name, value in shape.items() if name in known}}
    )
    model = build(architecture, vocab_size=301)
    assert type(model).__name__ == architectures()[family].model
    assert parameters(architecture, 301) == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("repo", sorted(models()))
def test_the_figures_of_a_published_model_add_up_to_its_published_size(repo: str) -> None:
    facts = models()[repo]
    assert total(of_facts(facts)) == facts.parameters


@pytest.mark.parametrize("family", sorted({facts.family for facts in models().values()}))
def test_the_linear_layers_that_are_counted_are_those_of_the_built_model(family: str) -> None:
    published = next(facts for facts in models().values() if facts.family == family)
    facts = replace(published, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=16, vocab_size=99,
                    num_key_value_heads=4 if published.num_key_value_heads == published.num_attention_heads else 2,
                    intermediate_size=published.intermediate_size and 96)  # fmt: skip
    model = generate_model_facts.built(generate_model_facts.config_of(facts))
    found = []
    for name, module in model.named_modules():
        if ".1." in name and isinstance(module, torch.nn.Linear):
            found.append((name.rpartition(".")[2], module.in_features, module.out_features))
        elif ".1." in name and isinstance(module, Conv1D):
            found.append((name.rpartition(".")[2], *module.weight.shape))
    counted = [(layer.name, layer.inputs, layer.outputs) for layer in linears(of_facts(facts))]
    assert sorted(counted) == sorted(found)
    assert {name for name, *_ in found} == set(architectures()[family].linear)


def test_gpt2_without_positions_cannot_be_counted() -> None:
    architecture = Architecture(family="gpt2", hidden_size=64, num_hidden_layers=1, num_attention_heads=4)
    with pytest.raises(ValueError, match="max_position_embeddings"):
        parameters(architecture, 300)


def test_weights_are_two_bytes_in_bfloat16_and_unknown_models_have_no_size() -> None:
    assert weight_bytes("Qwen/Qwen3-0.6B") == 2 * 596_049_920
    assert weight_bytes("Qwen/Qwen3-0.6B", "float32") == 4 * 596_049_920
    assert weight_bytes("someone/else") is None
