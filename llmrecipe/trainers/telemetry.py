"""What a step costs: share of the accelerator's peak, memory, and time spent waiting for data."""

import os
import resource
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from llmrecipe.facts import accelerators

CLOCKED = ("tokens_per_second", "mfu", "memory_gib", "data_loading_share")
"""What the log says of a step that depends on the clock and the machine, and not on the training."""
ROWS = 64
"""Rows of the dataset from which the usual length is taken."""
GIB = 2**30


class Telemetry:
    """A mixin before the trainer's class that adds `mfu`, `memory_gib` and `data_loading_share` to every log.

    It takes two readings of the clock for a step, and no value of a tensor.
    """

    args: Any
    state: Any
    model: Any
    train_dataset: Any

    peak: float | None = None
    """Dense peak of one accelerator, operations per second; None where nothing says it."""
    causal: bool = True
    """Whether attention only looks back, which halves its work."""
    measured_seconds: float = 0.0
    """Time of training that the running log is about."""

    _flops: float | None = None
    _waited: float = 0.0

    def get_batch_samples(self, epoch_iterator: Iterator[Any], *args: Any, **kwargs: Any) -> Any:
        """The trainer's own; notes how long the next batches were waited for."""
        timed = _Timed(epoch_iterator)
        found = super().get_batch_samples(timed, *args, **kwargs)  # type: ignore[misc]
        self._waited += timed.seconds
        return found

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add what the steps since the last log have cost."""
        if "loss" in logs:
            logs |= self._costs(logs.get("tokens_per_second"))
        super().log(logs, *args, **kwargs)  # type: ignore[misc]

    def _costs(self, tokens_per_second: float | None) -> dict[str, float]:
        found = {"memory_gib": memory(self.args.device) / GIB}
        if self.measured_seconds:
            found["data_loading_share"] = min(1.0, self._waited / self.measured_seconds)
        self._waited = 0.0
        if self.peak is not None and tokens_per_second is not None:
            if self._flops is None:
                self._flops = flops_per_token(self.model, span(self.train_dataset), self.causal)
            found["mfu"] = tokens_per_second * self._flops / (self.peak * self.args.world_size)
        return found


class _Timed:
    """An iterator that knows how long it was waited for."""

    def __init__(self, inner: Iterator[Any]) -> None:
        self.inner = inner
        self.seconds = 0.0

    def __iter__(self) -> "_Timed":
        return self

    def __next__(self) -> Any:
        began = time.perf_counter()
        try:
            return next(self.inner)
        finally:
            self.seconds += time.perf_counter() - began


def peak_of(accelerator: str) -> float | None:
    """Operations per second of a preset in bfloat16; None where its figure is not known, as for processors."""
    preset = accelerators().get(accelerator)
    return None if preset is None or preset.bfloat16_tflops is None else preset.bfloat16_tflops * 1e12


def memory(device: torch.device) -> int:
    """Bytes: the peak of what was allocated on a CUDA device, else what the process holds in RAM."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def flops_per_token(model: Any, length: float, causal: bool) -> float:
    """Operations of a forward and a backward pass for one token, without what checkpointing repeats.

    Six for each weight that is trained and four for each that is frozen, tables that are only looked up left out and
    experts counted as often as they are used; and 12 x layers x width x length for the scores of attention, half of
    that where it only looks back. Generated answers and other models of a method are not counted.

    Sources: https://arxiv.org/abs/2001.08361, section 2.1; https://arxiv.org/abs/2204.02311, appendix B

    Args:
        model: in any wrapping that keeps `named_parameters`.
        length: of the sequence in which a token stands.
        causal: whether attention only looks back.
    """
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None else None
    experts = getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None) or 1
    used = getattr(text, "num_experts_per_tok", None) or 1
    looked_up = _looked_up(model)
    total = 0.0
    for name, parameter in model.named_parameters():
        if id(parameter) in looked_up:
            continue
        share = used / experts if ".experts." in name else 1.0
        total += (6 if parameter.requires_grad else 4) * share * _numbers(parameter)
    if text is None:
        return total
    heads = getattr(text, "num_attention_heads", 0)
    width = heads * (getattr(text, "head_dim", None) or (text.hidden_size // heads if heads else 0))
    layers = getattr(text, "num_hidden_layers", 0)
    return total + (6 if causal else 12) * layers * width * length


def _looked_up(model: Any) -> set[int]:
    """Embedding tables that no product reads."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return tables - ({id(output.weight)} if output is not None else set())


def _numbers(parameter: Any) -> int:
    """Weights that a tensor stands for: quantized ones are packed, sharded ones may be elsewhere."""
    state = getattr(parameter, "quant_state", None)
    if state is not None:
        return int(state.shape.numel())
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def span(dataset: Any) -> float:
    """Length of the sequence in which a token of the dataset stands, on average; 0 where rows do not say it."""
    lengths = [length for i in range(min(ROWS, len(dataset))) for length in _lengths(dataset[i])]
    return sum(length * length for length in lengths) / sum(lengths) if any(lengths) else 0.0


def _lengths(row: dict[str, Any]) -> Iterable[int]:
    if "seq_lengths" in row:
        return [int(length) for length in row["seq_lengths"]]
    if "chosen_ids" in row:
        return [len(row.get("prompt_ids", ())) + len(row[name]) for name in ("chosen_ids", "rejected_ids")]
    return [len(row["input_ids"])] if "input_ids" in row else []
