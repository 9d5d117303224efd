"""Whether what is to be trained is trained: tensors without a gradient, and tensors that stay as they were."""

import math
from collections.abc import Iterator
from typing import Any

import torch

from llmrecipe.trainers.alarms import Alarm

STEPS = 5
"""Steps after which every tensor must have had its chance: the first matrix of a low-rank pair has it in the second,
and behind a head that begins at zero in the third."""
NAMED = 3
"""Tensors that a message names."""

Prints = dict[str, tuple[float, float]]
"""Name -> sum and sum of squares of a tensor."""


class TrainedTensors:
    """Follows the first steps of a training, until the learning rate has been high for a while."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.done = False
        self._before: Prints | None = None
        self._steps = 0
        self._looked_at_gradients = False
        self._signal = True
        """Whether the last step had a gradient that is not zero: where all answers are equally good, none has."""

    def begin_step(self, model: Any) -> None:
        """Before the first step: note what the tensors are."""
        if self._before is None and not self.done:
            self._before = fingerprints(model)

    def gradients(self, model: Any, optimizer: Any) -> Alarm | None:
        """Before the optimizer has taken the gradients. DeepSpeed keeps them elsewhere."""
        if self.done:
            return None
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        self._signal = not gradients or any(bool(_here(gradient).any()) for gradient in gradients)
        if self._looked_at_gradients or "DeepSpeed" in type(optimizer).__name__:
            return None
        self._looked_at_gradients = True
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        return self._verdict(
            [name for name, parameter in trained.items() if parameter.grad is None], len(trained),
            "have no gradient in the first step",
            "see that the layers which `model.adapter` names are used, and that nothing detaches the loss from them",
        )  # fmt: skip

    def end_step(self, model: Any, optimizer: Any) -> Alarm | None:
        """After a step: compare, once the learning rate has been at half of its peak and some steps were taken."""
        if self.done or self._before is None or getattr(optimizer, "step_was_skipped", False) or not self._signal:
            return None
        groups = getattr(optimizer, "param_groups", None) or []
        if not any(group.get("lr", 0) > 0 for group in groups):
            return None
        self._steps += 1
        reached = max(group["lr"] / (group.get("initial_lr") or group["lr"] or 1.0) for group in groups)
        if self._steps < STEPS or reached < 0.5:
            return None
        self.done = True
        if "DeepSpeed" in type(optimizer).__name__ and any(p.dtype != torch.float32 for p in _trained(model)):
            return None  # What the model has are rounded copies of weights that DeepSpeed steps in float32.
        after, before = fingerprints(model), self._before
        self._before = None
        same = [name for name, found in after.items() if before.get(name) == found]
        return self._verdict(
            same, len(after), f"have not changed in {self._steps} steps",
            "raise `training.learning_rate`, or set `model.dtype: float32`: in bfloat16 small steps round to nothing",
        )  # fmt: skip

    def _verdict(self, names: list[str], total: int, what: str, help_: str) -> Alarm | None:
        if not total or len(names) <= math.floor((1 - self.share) * total + 1e-9):
            return None
        shown = ", ".join(f"`{name}`" for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        return Alarm(f"{len(names)} of {total} tensors that are to be trained {what}: {shown}", help_)


def fingerprints(model: Any) -> Prints:
    """Of every tensor that is trained, as far as this process holds it."""
    found: Prints = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and (here := _here(parameter)).numel():
                flat = here.detach()
                sums = torch.stack([flat.sum(dtype=torch.float64), flat.norm(dtype=torch.float32).double()])
                total, norm = sums.tolist()
                found[name] = (total, norm)
    return found


def _here(parameter: Any) -> torch.Tensor:
    """The part of a tensor that this process holds."""
    local = getattr(parameter, "ds_tensor", parameter)
    return local.to_local() if hasattr(local, "to_local") else local


def _trained(model: Any) -> Iterator[torch.Tensor]:
    return (parameter for parameter in model.parameters() if parameter.requires_grad)
