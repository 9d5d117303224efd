"""An average of the weights over training, which is validated, saved and given instead of the last ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import TrainerCallback

from llmrecipe.optimization import EMA, SWA, Averaging

FILE = "average.safetensors"
_COUNT = "count"
"""Key of the number of weights that entered a mean."""


class Averaged:
    """A mixin before the trainer's class: holds the average, and validates it instead of the weights."""

    args: Any
    state: Any
    model: Any

    averaging: Averaging | None = None
    _average: dict[str, torch.Tensor] | None = None
    """By the names of the trainable parameters, in float32."""
    _count: int = 0

    def average_over(self, averaging: Averaging) -> None:
        """Begin with the weights as they are."""
        self.averaging = averaging
        self._average = {name: p.detach().float().clone() for name, p in self._trained()}
        self.add_callback(_AfterEachStep(self))  # type: ignore[attr-defined]

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]

    def take_step(self) -> None:
        """Let the weights of this step enter the average."""
        share = self._share()
        if share is None or self._average is None:
            return
        with torch.no_grad():
            for name, p in self._trained():
                self._average[name].lerp_(p.detach().float(), share)

    def _share(self) -> float | None:
        """What the weights of this step count in the average; None when they do not enter."""
        step, steps = int(self.state.global_step), int(self.state.max_steps)
        match self.averaging:
            case EMA(decay=decay):
                return 1 - min(decay, (1 + step) / (10 + step))
            case SWA(start_ratio=start, every_steps=every):
                if step <= start * steps or (step % every and step < steps):
                    return None
                self._count += 1
                return 1 / self._count
        return None

    @property
    def _begun(self) -> bool:
        return isinstance(self.averaging, EMA) or self._count > 0

    def use_average(self) -> None:
        """Put the average in the place of the weights, once one has begun."""
        if self._average is not None and self._begun:
            with torch.no_grad():
                for name, p in self._trained():
                    p.copy_(self._average[name])

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self._average is None:
            yield
            return
        before = [p.detach().clone() for _, p in self._trained()]
        self.use_average()
        try:
            yield
        finally:
            with torch.no_grad():
                for (_, p), value in zip(self._trained(), before, strict=True):
                    p.copy_(value)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """The trainer's own evaluation, of the average."""
        with self._averaged():
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        if self._average is not None and self.args.should_save:
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            tensors = {name: tensor.contiguous() for name, tensor in self._average.items()}
            save_file(tensors, folder / FILE, metadata={_COUNT: str(self._count)})

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None:
            self.load_average(Path(checkpoint))

    def load_average(self, checkpoint: Path) -> None:
        """Take over the average of a checkpoint."""
        if self._average is None:
            return
        with safe_open(checkpoint / FILE, "pt") as file:
            self._count = int(file.metadata()[_COUNT])
            for name, tensor in self._average.items():
                tensor.copy_(file.get_tensor(name))


class _AfterEachStep(TrainerCallback):  # type: ignore[misc]
    def __init__(self, trainer: Averaged) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.take_step()
