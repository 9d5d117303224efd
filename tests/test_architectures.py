"""The table of architectures: made of the installed Transformers, and what PEFT and the models do is what it says."""

import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from llmrecipe import facts

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import generate_architectures

AUTO = {"causal": transformers.AutoModelForCausalLM, "masked": transformers.AutoModelForMaskedLM}
KNOWN = facts.architectures()


def model_of(family: str) -> Any:
    """Two layers on the meta device, with the first of the settings that the table is made with."""
    settings, *_ = (generate_architectures.CAUSAL | generate_architectures.MASKED)[family]
    return generate_architectures.built(family, AUTO[KNOWN[family].head], settings)


def test_the_table_is_that_of_the_installed_transformers() -> None:
    written = (Path(facts.__file__).parent / "architectures.json").read_text("utf-8")
    assert written == generate_architectures.architectures()


def test_it_holds_every_family_that_is_trained_or_published_here() -> None:
    assert set(facts.families()) <= set(KNOWN)
    assert {model.family for model in facts.models().values()} <= set(KNOWN)
    assert len(KNOWN) >= 50


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys", "ignore:fan_in_fan_out is set")
@pytest.mark.parametrize("family", sorted(KNOWN))
def test_an_adapter_on_all_layers_reaches_what_the_table_says(family: str) -> None:
    known = KNOWN[family]
    config = peft.LoraConfig(r=1, target_modules="all-linear")
    adapted = peft.get_peft_model(model_of(family), config, low_cpu_mem_usage=True)
    reached = {
        name.partition(".lora_A")[0].removesuffix(".base_layer").rpartition(".")[2]
        for name, _ in adapted.named_parameters()
        if ".lora_A" in name
    }
    # Layers of a dense block have the names that PEFT takes for experts, and get nothing.
    layers = {*known.linear, *known.outside} - {*known.renamed, *VARIANTS.get(family, ())}
    experts = {name.rpartition(".")[0].rpartition(".")[2] for name in known.experts} if known.renamed else set()
    routers = {"gate"} if known.renamed else set()
    assert reached == layers | experts | routers


VARIANTS = {
    "deepseek_v2": ["q_proj"],
    "deepseek_v3": ["q_proj"],
    "opt": ["project_in", "project_out"],
}
"""Layers of other settings than those by default."""


@pytest.mark.parametrize("attention", ["sdpa", "flex_attention"])
@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gpt_oss", "gpt2", "bloom", "bert"])
def test_a_model_is_made_with_the_attention_that_the_table_gives_it(family: str, attention: str) -> None:
    auto, config = AUTO[KNOWN[family].head], model_of(family).config
    with torch.device("meta"):
        if attention.removesuffix("_attention") in KNOWN[family].attention:
            assert auto.from_config(config, attn_implementation=attention).config._attn_implementation == attention
        else:
            with pytest.raises(ValueError, match="does not support an attention implementation"):
                auto.from_config(config, attn_implementation=attention)


def test_modules_are_all_that_have_a_name() -> None:
    assert {"q_proj", "embed_tokens", "lm_head", "input_layernorm", "self_attn", "layers"} <= KNOWN["qwen3"].modules
    assert {"mlp", "experts", "router"} <= KNOWN["gpt_oss"].modules
    assert "conv1d" in KNOWN["qwen3_next"].modules


@pytest.mark.parametrize(
    ("family", "positions", "sliding"),
    [
        ("llama", "rotary", None),
        ("gpt2", "table", None),
        ("opt", "table", None),
        ("bloom", "alibi", None),
        ("deberta-v2", None, None),
        ("gemma2", "rotary", "some"),
        ("mistral", "rotary", "all"),
        ("gpt_oss", "rotary", "some"),
    ],
)
def test_positions_and_windows_of_families(family: str, positions: str | None, sliding: str | None) -> None:
    assert (KNOWN[family].positions, KNOWN[family].sliding) == (positions, sliding)
