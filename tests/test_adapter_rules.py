"""What rules of adapters, quantization and merges find beside their own examples, and what they leave alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llmrecipe.document import Document
from llmrecipe.lint import lint
from llmrecipe.lock import pin
from llmrecipe.lower import lower

RECIPE = """\
version: 1
name: style
model: {base: Qwen/Qwen3-8B, MODEL}
data: {train: [{kind: files, paths: [rows.jsonl], format: FORMAT}]}
method: {METHOD}
TRAINING
hardware: {accelerator: ACCELERATOR, num_accelerators: 2}
distributed: {DISTRIBUTED}
"""

Found = Callable[..., dict[str, str]]


@pytest.fixture
def found(read: Callable[..., list[Document]], tmp_path: Path) -> Found:
    """Codes and messages of the rules LR220 to LR269."""
    (tmp_path / "rows.jsonl").write_text("{}\n")

    def found(
        model: str,
        method: str = "kind: sft",
        training: str = "",
        distributed: str = "kind: ddp",
        form: str = "messages",
        accelerator: str = "h100-80gb",
    ) -> dict[str, str]:
        words = {"MODEL": model, "METHOD": method, "TRAINING": training, "DISTRIBUTED": distributed, "FORMAT": form,
                 "ACCELERATOR": accelerator}  # fmt: skip
        text = RECIPE
        for word, by in words.items():
            text = text.replace(word, by)
        return {d.code: f"{d.message}; {d.help}" for d in lint(read(text)) if "LR220" <= d.code <= "LR269"}

    return found


def test_patterns_and_exclusions_are_read_to_their_last_word(found: Found) -> None:
    fine = r"adapter: {kind: lora, exclude_modules: [lm_head], rank_pattern: {'layers\.[0-9]+\.mlp\.down_proj': 4}}"
    assert found(fine) == {}
    assert "did you mean `down_proj`" in found("adapter: {kind: lora, alpha_pattern: {'.*donw_proj': 4}}")["LR235"]
    assert "no layer `c_attn`" in found("adapter: {kind: lora, exclude_modules: [c_attn]}")["LR235"]


def test_a_distillation_reads_the_head_as_the_trainers_of_trl_do(found: Found) -> None:
    adapted, method = (
        "adapter: {kind: lora, target_modules: [q_proj, lm_head]}",
        "kind: distillation, teacher_model: a/b",
    )
    assert found(adapted, method).keys() == {"LR223"}


def test_experts_are_known_by_their_family(found: Found) -> None:
    assert "LR238" in found("adapter: {kind: lora, target_modules: [], target_parameters: [mlp.experts.gate_up_proj]}")


@pytest.mark.parametrize(
    ("method", "form", "wrong"),
    [
        ("kind: dpo", "preference", True),
        ("kind: dpo, ref_model: Qwen/Qwen3-8B-Base", "preference", False),
        ("kind: orpo", "preference", False),
        ("kind: sft", "messages", False),
        ("kind: grpo, reward_functions: [{kind: length, target: 5}]", "prompt", False),
        ("kind: grpo, beta: 0.1, reward_functions: [{kind: length, target: 5}]", "prompt", True),
        ("kind: rloo, reward_functions: [{kind: length, target: 5}]", "prompt", True),
    ],
)
def test_a_part_of_the_weights_is_missed_only_by_a_reference_that_is_the_base(
    method: str, form: str, wrong: bool, found: Found
) -> None:
    for start in ("pissa", "olora"):
        codes = found(f"adapter: {{kind: lora, init_lora_weights: {start}}}", method, form=form)
        assert ("LR239" in codes) == wrong


@pytest.mark.parametrize(
    ("quantization", "distributed", "wrong"),
    [
        ("kind: nf4", "kind: ddp", False),
        ("kind: int8", "kind: ddp", False),
        ("kind: nf4", "kind: deepspeed, zero_stage: 2", False),
        ("kind: nf4", "kind: deepspeed, zero_stage: 3", True),
        ("kind: int8", "kind: fsdp", True),
        ("kind: nf4, quant_storage: bfloat16", "kind: fsdp", False),
        ("kind: nf4, quant_storage: float32", "kind: fsdp", True),
    ],
)
def test_what_splits_weights_takes_those_of_one_type(
    quantization: str, distributed: str, wrong: bool, found: Found
) -> None:
    codes = found(f"adapter: {{kind: lora}}, quantization: {{{quantization}}}", distributed=distributed)
    assert ("LR249" in codes) == wrong


def test_what_is_not_quantized_may_be_trained_whole(found: Found) -> None:
    adapter = "adapter: {kind: lora, target_modules: [q_proj], modules_to_save: [MODULE]}, quantization: {kind: nf4}"
    assert found(adapter.replace("MODULE", "lm_head")) == {}
    assert "LR248" in found(adapter.replace("MODULE", "mlp.down_proj"))


def test_random_weights_cannot_be_held_in_4_bits(read: Callable[..., list[Document]], tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("words\n")
    text = """\
version: 1
name: tiny
model:
  base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
  quantization: {kind: nf4}
tokenizer: {kind: train, vocab_size: 1000}
data: {train: [{kind: files, paths: [rows.txt], format: text}]}
method: {kind: pretrain}
"""
    assert {d.code for d in lint(read(text))} == {"LR245"}


def test_the_version_of_bitsandbytes_is_part_of_a_quantized_training_alone(
    read: Callable[..., list[Document]], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    for quantization, moves in (("nf4", {"style/train", "style/merge", "style/export"}), ("none", set())):
        text = RECIPE.replace("ACCELERATOR", "h100-80gb").replace(
            "MODEL", f"adapter: {{kind: lora}}, quantization: {{kind: {quantization}}}"
        )
        for word, by in (
            ("METHOD", "kind: sft"),
            ("FORMAT", "messages"),
            ("TRAINING\n", ""),
            ("DISTRIBUTED", "kind: ddp"),
        ):
            text = text.replace(word, by)
        documents = read(text)
        lock = pin(documents, tmp_path)
        plans = [
            lower(
                [d.recipe for d in documents], lock.model_copy(update={"packages": lock.packages | {"bitsandbytes": v}})
            )
            for v in ("0.50.2", "0.51.0")
        ]
        first, second = (plan.addresses() for plan in plans)
        assert {name for name in first if first[name] != second[name]} == moves


@pytest.mark.parametrize(
    ("model", "precision", "accelerator", "wrong"),
    [
        ("adapter: {kind: lora}, quantization: {kind: nf4}, dtype: float16", "bfloat16", "cpu", True),
        ("adapter: {kind: lora}, quantization: {kind: nf4}", "float16", "cpu", True),
        ("adapter: {kind: lora}, quantization: {kind: nf4}", "bfloat16", "cpu", False),
        ("adapter: {kind: lora}, quantization: {kind: nf4}", "float32", "cpu", False),
        ("adapter: {kind: lora}, quantization: {kind: nf4}, dtype: float32", "float16", "cpu", False),
        ("adapter: {kind: lora}, dtype: float16", "bfloat16", "cpu", True),
        ("adapter: {kind: lora}", "float16", "cpu", True),
        ("dtype: float16", "bfloat16", "cpu", True),
        ("adapter: {kind: full}", "float16", "cpu", False),
        ("adapter: {kind: lora}, quantization: {kind: nf4}, dtype: float16", "bfloat16", "h100-80gb", False),
    ],
)
def test_a_processor_does_not_put_two_half_precisions_together(
    model: str, precision: str, accelerator: str, wrong: bool, found: Found
) -> None:
    codes = found(model, training=f"training: {{precision: {precision}}}", accelerator=accelerator)
    assert ("LR263" in codes) == wrong


@pytest.mark.parametrize(
    ("quantization", "wrong"),
    [("kind: nf4", True), ("kind: int8", True), ("kind: nf4, quant_storage: bfloat16", False), ("kind: none", False)],
)
def test_an_orthogonal_adapter_needs_weights_that_are_no_whole_numbers(
    quantization: str, wrong: bool, found: Found
) -> None:
    codes = found(f"adapter: {{kind: lora, init_lora_weights: orthogonal}}, quantization: {{{quantization}}}")
    assert ("LR262" in codes) == wrong
