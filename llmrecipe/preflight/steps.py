"""Rows, batch and epochs -> optimizer steps."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from llmrecipe.plan import Tokenize, Train
from llmrecipe.strategies import FSDP


@dataclass(frozen=True)
class Steps:
    """How long a training is."""

    sequences: int
    """Rows of the dataset: packed ones hold several."""
    batch: int
    """Sequences of one optimizer step."""
    total: int
    """Optimizer steps."""
    told: str
    """What says how many: `3 epochs`."""


def steps_of(spec: Train, tokenize: Tokenize, report: Any) -> Steps:
    """The steps that the Trainer of Transformers takes for the rows of a report.

    Args:
        spec: the training.
        tokenize: what made its rows.
        report: what the tokenization says of the training rows.
    """
    packed = tokenize.objective in ("causal", "masked")
    sequences = report["sequences"] if packed else report["kept"]
    accumulated = _whole(spec, "gradient_accumulation_steps", 1)
    parallel = spec.distributed.tensor_parallel_size if isinstance(spec.distributed, FSDP) else 1
    devices = max(1, spec.world_size // parallel)
    each = _whole(spec, "per_device_train_batch_size", 8)
    per_epoch = max(1, ceil(ceil(sequences / devices / each) / accumulated))
    limit = _whole(spec, "max_steps", -1)
    epochs = spec.arguments.get("num_train_epochs", 3.0)
    assert isinstance(epochs, int | float)
    total = limit if limit > 0 else ceil(per_epoch * epochs)
    told = f"`max_steps: {limit}`" if limit > 0 else f"{epochs:g} epochs"
    return Steps(sequences, each * devices * accumulated, total, told)


def _whole(spec: Train, name: str, default: int) -> int:
    value = spec.arguments.get(name, default)
    return value if isinstance(value, int) else default
