"""Bytes on disk and in host memory: checkpoints, the exported model, weights while they are read."""

from dataclasses import dataclass

from llmrecipe.estimate import counting, states
from llmrecipe.estimate.counting import BYTES
from llmrecipe.estimate.setting import Setting
from llmrecipe.recipe import Recipe
from llmrecipe.strategies import FSDP
from llmrecipe.vocabulary import Unquantized

PROCESS = 3 * 2**30
"""Bytes of a process with PyTorch, its libraries and a batch in flight. Our judgement."""


@dataclass(frozen=True)
class Storage:
    """Bytes of one training."""

    checkpoint: float
    """One: trained weights, and the state of the optimizer."""
    checkpoints: int
    """That may lie side by side: those that are kept, the best, and the one that is being written."""
    exported: float
    host: float
    """Host memory of one node at its fullest: while weights are read, or by what waits there while training."""

    @property
    def disk(self) -> float:
        """All checkpoints and the exported model."""
        return self.checkpoint * self.checkpoints + self.exported


def storage(recipe: Recipe, setting: Setting, waiting: float = 0) -> Storage:
    """What a recipe writes.

    Args:
        waiting: bytes that one device keeps in host memory while training.
    """
    training, count = recipe.training, states.trained(setting)
    size = 4 if setting.adapted else BYTES[setting.weights]
    steps = states.optimizer_bytes(setting.optimizer, setting.shape, count, size)
    average = 4 * count if setting.averaged else 0
    best = training.checkpoints.best is not None or training.early_stopping is not None
    merged = recipe.export.merge or not setting.adapted
    written = recipe.export.formats[0].dtype or setting.weights
    exported = BYTES[written] * counting.total(setting.shape) if merged else size * count
    return Storage(
        checkpoint=size * count + steps + average,
        checkpoints=training.checkpoints.save_total_limit + 1 + best,
        exported=exported,
        host=_host(setting, waiting),
    )


def _host(setting: Setting, waiting: float) -> float:
    """Each process reads the model whole before it is spread, unless one reads for its node; quantized, by layers."""
    processes = setting.processes_per_node
    whole = BYTES[setting.weights] * states.numbers(setting)
    quantized = not isinstance(setting.quantization, Unquantized)
    readers = 1 if isinstance(setting.strategy, FSDP) and setting.strategy.cpu_ram_efficient_loading else processes
    read = readers * (states.base_bytes(setting) if quantized else whole)
    others = sum(
        readers * BYTES[shape.dtype] * counting.total(shape) for _, shape in setting.others if shape is not None
    )
    return processes * PROCESS + max(read + others, processes * waiting)
