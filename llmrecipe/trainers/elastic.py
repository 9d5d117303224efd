"""Elastic weight consolidation: a penalty on leaving the weights that an old task needs."""

from collections.abc import Mapping
from typing import Any

import torch


class ElasticWeights:
    """A mixin before the trainer's class that adds the penalty to the loss of every optimizer step.

    0.5 * lambda * sum_i F_i (theta_i - theta*_i)^2, where F is the diagonal of the Fisher information over the old task
    and theta* the weights at the beginning. Source: https://arxiv.org/abs/1612.00796, equation 3.
    """

    args: Any
    state: Any
    model: Any
    accelerator: Any
    current_gradient_accumulation_steps: int
    loss_is_scaled_for_ga: bool | None
    model_accepts_loss_kwargs: bool

    ewc_lambda: float = 0.0
    _held: tuple[list[torch.nn.Parameter], list[torch.Tensor], list[torch.Tensor]] | None = None
    """Parameters, their Fisher information, and their beginning."""
    _penalties: list[torch.Tensor]

    def hold(self, ewc_lambda: float, fisher: Mapping[str, torch.Tensor]) -> None:
        """Hold the weights where they are now; `fisher` is by the names of the parameters."""
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        self.ewc_lambda, self._penalties = ewc_lambda, []
        self._held = (
            [p for _, p in named],
            [fisher[name].to(p.device, torch.float32) for name, p in named],
            [p.detach().float().clone() for _, p in named],
        )

    def penalty(self) -> torch.Tensor:
        """0.5 * lambda * sum F (theta - theta*)^2 of the weights as they are."""
        assert self._held is not None
        terms = [(f * (p.float() - start).square()).sum() for p, f, start in zip(*self._held, strict=True)]
        return 0.5 * self.ewc_lambda * torch.stack(terms).sum()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The trainer's own loss; the last micro-batch of a training step carries the penalty of the whole step."""
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        if self._held is None or not self.model.training or not self.accelerator.sync_gradients:
            return found
        penalty = self.penalty()
        self._penalties.append(penalty.detach())
        scaled = self.loss_is_scaled_for_ga
        if scaled is None:
            scaled = self.model_accepts_loss_kwargs and num_items_in_batch is not None
        if not scaled:  # The trainer will divide it.
            penalty = penalty * self.current_gradient_accumulation_steps
        return (found[0] + penalty, found[1]) if return_outputs else found + penalty

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add `ewc_penalty`, the mean over the steps since the last log; `loss` contains it."""
        if self._held is not None and "loss" in logs and self._penalties:
            logs["ewc_penalty"] = torch.stack(self._penalties).mean().item()
            self._penalties = []
        super().log(logs, *args, **kwargs)  # type: ignore[misc]
