"""Parameter counts against the models that Transformers really builds."""

import pytest
import torch
import transformers

from llmrecipe.estimate import parameters, weight_bytes
from llmrecipe.estimate.counting import total
from llmrecipe.estimate.shape import of_facts
from llmrecipe.facts import families, models
from llmrecipe.vocabulary import Architecture

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
    config = getattr(transformers, family.config)(vocab_size=vocab_size, pad_token_id=0, **fields, **family.constants)
    with torch.device("meta"):
        return getattr(transformers, family.model)(config)


@pytest.mark.parametrize("shape", SHAPES, ids=["derived", "grouped", "head_dim"])
@pytest.mark.parametrize("family", sorted(families()))
def test_the_count_is_that_of_the_built_model(family: str, shape: dict[str, int]) -> None:
    known = families()[family].fields
    architecture = Architecture.model_validate(
        {"family": family, **{name: value for name, value in shape.items() if name in known}}
    )
    model = build(architecture, vocab_size=301)
    assert type(model).__name__ == families()[family].model
    assert parameters(architecture, 301) == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("repo", sorted(models()))
def test_the_figures_of_a_published_model_add_up_to_its_published_size(repo: str) -> None:
    facts = models()[repo]
    assert total(of_facts(facts)) == facts.parameters


def test_gpt2_without_positions_cannot_be_counted() -> None:
    architecture = Architecture(family="gpt2", hidden_size=64, num_hidden_layers=1, num_attention_heads=4)
    with pytest.raises(ValueError, match="max_position_embeddings"):
        parameters(architecture, 300)


def test_weights_are_two_bytes_in_bfloat16_and_unknown_models_have_no_size() -> None:
    assert weight_bytes("Qwen/Qwen3-0.6B") == 2 * 596_049_920
    assert weight_bytes("Qwen/Qwen3-0.6B", "float32") == 4 * 596_049_920
    assert weight_bytes("someone/else") is None
