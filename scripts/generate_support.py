"""Every combination of method, adapter, quantization, strategy and precision -> docs/reference/support.md.

The verdicts are those of the rules: what `llmrecipe validate` says of a recipe with this combination and nothing else.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import yaml

from llmrecipe.lint import lint
from llmrecipe.methods import METHODS, BaseMethod
from llmrecipe.source import parse
from llmrecipe.validate import validate

ADAPTERS = ("full", "lora", "dora")
QUANTIZATIONS = ("none", "int8", "nf4")
STRATEGIES: dict[str, dict[str, Any]] = {
    "single": {"kind": "single"},
    "ddp": {"kind": "ddp"},
    "fsdp": {"kind": "fsdp"},
    "zero-1": {"kind": "deepspeed", "zero_stage": 1},
    "zero-2": {"kind": "deepspeed", "zero_stage": 2},
    "zero-3": {"kind": "deepspeed", "zero_stage": 3},
}
DEGREES: dict[str, dict[str, Any]] = {
    "tensor_parallel_size: 2": {"kind": "fsdp", "tensor_parallel_size": 2},
    "context_parallel_size: 2": {"kind": "fsdp", "context_parallel_size": 2},
}
"""What `fsdp` can split besides: layers, and sequences."""
PRECISIONS = ("float32", "bfloat16", "float16")
ACCELERATORS = ("h100-80gb", "cpu")

KINDS: dict[str, type[BaseMethod]] = {get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in METHODS}
"""Methods by the name that a recipe writes."""

REQUIRED: dict[str, dict[str, Any]] = {
    "distillation": {"teacher_model": "Qwen/Qwen3-1.7B", "max_completion_length": 8},
    "grpo": {"reward_functions": [{"kind": "length", "max": 8}], "max_completion_length": 8, "num_generations": 2},
    "rloo": {"reward_functions": [{"kind": "length", "max": 8}], "max_completion_length": 8, "num_generations": 2},
    "ppo": {"reward_functions": [{"kind": "length", "max": 8}], "max_completion_length": 8},
}
"""Options that a method cannot do without, or that keep its answers short where a combination is tried."""

BASES = {"mlm": "answerdotai/ModernBERT-base"}
BASE = "Qwen/Qwen3-0.6B"


@dataclass(frozen=True)
class Combination:
    """One way of training."""

    method: str
    adapter: str
    quantization: str
    strategy: str
    precision: str

    def __str__(self) -> str:
        return "-".join((self.method, self.adapter, self.quantization, self.strategy, self.precision))

    def recipe(self, accelerator: str) -> dict[str, Any]:
        """The recipe that has it, and nothing else that could be refused."""
        rows = KINDS[self.method].rows[0]  # Every kind of rows is a format as well.
        return {
            "version": 1,
            "name": "combination",
            "model": {
                "base": BASES.get(self.method, BASE),
                "adapter": {"kind": self.adapter},
                "quantization": {"kind": self.quantization},
            },
            "data": {"train": [{"kind": "hub", "dataset": "owner/rows", "format": rows}]} | self.packing(),
            "method": {"kind": self.method, **REQUIRED.get(self.method, {})},
            "training": {"precision": self.precision, "max_length": 64, "max_steps": 2, "logging_steps": 1},
            "hardware": {"accelerator": accelerator, "num_accelerators": self.devices()},
            "distributed": (STRATEGIES | DEGREES)[self.strategy],
        }

    def devices(self) -> int:
        """As few as the strategy takes."""
        return 1 if self.strategy == "single" else 4 if self.strategy in DEGREES else 2

    def packing(self) -> dict[str, str]:
        """Sequences that are split hold one document each."""
        return {"packing": "none"} if self.strategy in DEGREES and self.method in ("pretrain", "sft") else {}

    def refusals(self, accelerator: str) -> list[str]:
        """Codes of the errors that `llmrecipe validate` finds; none when it runs."""
        sources = parse(yaml.safe_dump(self.recipe(accelerator)), "combination.yaml")
        found = lint(validate(sources))
        return sorted({finding.code for finding in found if finding.severity == "error"})


def combinations() -> Iterator[Combination]:
    """All of them, method by method."""
    for values in itertools.product(KINDS, ADAPTERS, QUANTIZATIONS, STRATEGIES, PRECISIONS):
        yield Combination(*values)


def support_page() -> str:
    """The matrix: one table for each accelerator and method."""
    lines = [
        "# What runs with what",
        "",
        "Every combination of method, adapter, quantization, strategy and precision, as `llmrecipe validate` judges",
        "it: `yes`, or the code of the rule that refuses it; `llmrecipe explain CODE` tells more. A single verdict is",
        "that of `float32`, `bfloat16` and `float16` alike.",
        "",
        "What is not refused for `cpu`, and `fsdp` in `float32`, is trained for real on a tiny model in the slow",
        "tests. `float16` needs an accelerator, which these tests do not have.",
    ]
    for accelerator in ACCELERATORS:
        lines += ["", f"## `{accelerator}`"]
        found = {combination: combination.refusals(accelerator) for combination in combinations()}
        for method in KINDS:
            lines += ["", f"### `{method}`", "", f"| adapter, quantization | {' | '.join(STRATEGIES)} |"]
            lines.append("|---" * (1 + len(STRATEGIES)) + "|")
            for adapter, quantization in itertools.product(ADAPTERS, QUANTIZATIONS):
                cells = [_cell(found, method, adapter, quantization, strategy) for strategy in STRATEGIES]
                lines.append(f"| {adapter}, {quantization} | {' | '.join(cells)} |")
    return "\n".join([*lines, *_degrees()]) + "\n"


def _degrees() -> list[str]:
    """One table of what `fsdp` can split besides."""
    lines = [
        "",
        "## Layers and sequences that are split",
        "",
        "`distributed: {kind: fsdp, ...}` over four devices, without packing. What is not refused is trained for real",
        "in the slow tests, in `float32`, and its losses are those of one process.",
        "",
        f"| method, adapter, quantization | {' | '.join(f'`{degree}`' for degree in DEGREES)} |",
        "|---" * (1 + len(DEGREES)) + "|",
    ]
    for what in itertools.product(KINDS, ADAPTERS, QUANTIZATIONS):
        verdicts = [Combination(*what, degree, "bfloat16").refusals(ACCELERATORS[0]) for degree in DEGREES]
        lines.append(f"| {', '.join(what)} | {' | '.join(', '.join(codes) or 'yes' for codes in verdicts)} |")
    return lines


def _cell(found: dict[Combination, list[str]], method: str, adapter: str, quantization: str, strategy: str) -> str:
    verdicts = {
        precision: ", ".join(found[Combination(method, adapter, quantization, strategy, precision)]) or "yes"
        for precision in PRECISIONS
    }
    if len(set(verdicts.values())) == 1:
        return verdicts["float32"]
    return "; ".join(f"{precision} {verdict}" for precision, verdict in verdicts.items())


__all__ = ["ACCELERATORS", "DEGREES", "Combination", "combinations", "support_page"]
