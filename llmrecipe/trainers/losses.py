"""The loss of a causal language model over its supervised tokens alone, without all logits in memory at once."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

IGNORED = -100
"""Label of a token that the loss is not over."""
TILE_BYTES = {"cpu": 4 * 2**20, "cuda": 2**30}
"""Largest tile of logits in float32: what stays in the cache of a processor, and what keeps a GPU busy."""
FEWEST_ROWS = 128
"""Rows of a tile at least, however large the vocabulary is."""


@dataclass(frozen=True)
class Head:
    """How a model turns its last hidden states into logits: linear, scaled, and bent by a soft cap."""

    scale: float = 1.0
    softcap: float | None = None

    def logits(self, projected: torch.Tensor) -> torch.Tensor:
        """What the model does with the output of its last layer."""
        scaled = projected if self.scale == 1.0 else projected * self.scale
        return scaled if self.softcap is None else torch.tanh(scaled / self.softcap) * self.softcap


@dataclass(frozen=True)
class Objective:
    """What is summed over the supervised tokens."""

    dft: bool = False
    """Weigh each token by its own probability. Source: https://arxiv.org/abs/2508.05629"""
    label_smoothing: float = 0.0
    """Share of the target that is spread over the vocabulary. Source: https://arxiv.org/abs/1512.00567, section 7"""

    def losses(self, log_probs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of each token [n] from the log-probabilities of the vocabulary [n, vocabulary]."""
        chosen = log_probs.gather(-1, labels[:, None])[:, 0]
        smoothed = -chosen
        if self.label_smoothing:
            smoothed = smoothed * (1 - self.label_smoothing) - log_probs.mean(-1) * self.label_smoothing
        return smoothed * chosen.detach().exp() if self.dft else smoothed


@dataclass(frozen=True)
class Sums:
    """Sums over the supervised tokens of a batch."""

    loss: torch.Tensor
    tokens: torch.Tensor
    entropy: torch.Tensor
    """Nats; zero when it was not asked for."""
    correct: torch.Tensor
    """Tokens that were the likeliest; zero when it was not asked for."""


def supervised(
    head: torch.nn.Module, shape: Head, hidden: torch.Tensor, targets: torch.Tensor, objective: Objective, measure: bool
) -> Sums:
    """The loss over the positions of `hidden` [rows, length, width] whose `targets` [rows, length] are not ignored.

    Only these positions are projected into the vocabulary, tile by tile. Where the head is a plain layer, the gradient
    of a tile is computed with its loss, so that no logits are kept and none are computed twice. Source of the method:
    https://arxiv.org/abs/2410.10989, section 3.2. Any other head (sharded, quantized, adapted) is called as the module
    that it is, and computes large tiles a second time in the backward pass.
    """
    flat = targets.flatten()
    chosen = (flat != IGNORED).nonzero()[:, 0]
    states, labels = hidden.flatten(0, 1)[chosen], flat[chosen]
    if _plain(head):
        sums = _Tiles.apply(
            states, head.weight, head.bias, labels, _Work(shape, objective, measure, torch.is_grad_enabled())
        )
    else:
        sums = _by_module(head, shape, states, labels, objective, measure)
    loss, entropy, correct = sums
    return Sums(loss, torch.tensor(len(labels), device=hidden.device), entropy, correct)


def next_tokens(labels: torch.Tensor) -> torch.Tensor:
    """What each position of `labels` [rows, length] predicts; the last predicts nothing."""
    return torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def _plain(head: torch.nn.Module) -> bool:
    """Whether a head is nothing but its weight and bias, both of them whole."""
    hooks = head._forward_hooks or head._forward_pre_hooks
    return type(head) is torch.nn.Linear and type(head.weight) is torch.nn.Parameter and not hooks


def tile_rows(vocabulary: int, device: str) -> int:
    """Positions that are projected at a time."""
    return max(FEWEST_ROWS, TILE_BYTES.get(device, TILE_BYTES["cuda"]) // (4 * vocabulary))


@dataclass(frozen=True)
class _Work:
    head: Head
    objective: Objective
    measure: bool
    differentiate: bool

    def gradient(self, log_probs: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Of the summed losses by what the head projected [n, vocabulary], in the memory of `log_probs`."""
        rows, smoothing = torch.arange(len(labels), device=labels.device), self.objective.label_smoothing
        weight = log_probs[rows, labels].exp() if self.objective.dft else None
        found = log_probs.exp_()
        if smoothing:
            found.sub_(smoothing / found.shape[-1])
        found[rows, labels] -= 1 - smoothing
        if weight is not None:
            found.mul_(weight[:, None])
        if self.head.softcap is not None:
            found.mul_(1 - (logits.float() / self.head.softcap) ** 2)
        return found if self.head.scale == 1.0 else found.mul_(self.head.scale)


class _Tiles(torch.autograd.Function):  # type: ignore[misc]
    """Loss and gradients of a linear head, one tile after the other."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        work: _Work,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        wanted = [work.differentiate and needed for needed in ctx.needs_input_grad[:3]]
        by_hidden = torch.empty_like(hidden) if wanted[0] else None
        by_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
        by_bias = torch.zeros_like(bias, dtype=torch.float32) if wanted[2] else None
        sums = torch.zeros(3, device=hidden.device)
        rows = tile_rows(weight.shape[0], device)
        with torch.autocast(device, enabled=False):
            used = weight.to(dtype)
            for start in range(0, len(labels), rows):
                states, targets = hidden[start : start + rows].to(dtype), labels[start : start + rows]
                projected = torch.nn.functional.linear(states, used, None if bias is None else bias.to(dtype))
                logits = work.head.logits(projected)
                log_probs = torch.log_softmax(logits, -1, dtype=torch.float32)
                sums += torch.stack(
                    [work.objective.losses(log_probs, targets).sum(), *_measured(log_probs, targets, work.measure)]
                )
                if not any(wanted):
                    continue
                gradient = work.gradient(log_probs, logits, targets).to(dtype)
                if by_hidden is not None:
                    by_hidden[start : start + rows] = gradient @ used
                if by_weight is not None:
                    _add_product(by_weight, gradient.t(), states)
                if by_bias is not None:
                    by_bias += gradient.sum(0, dtype=torch.float32)
        ctx.save_for_backward(by_hidden, None if by_weight is None else by_weight.to(weight.dtype), by_bias)
        loss, entropy, correct = sums.unbind()
        ctx.mark_non_differentiable(entropy, correct)
        return loss, entropy, correct

    @staticmethod
    def backward(ctx: Any, by_loss: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        return (
            *(None if found is None else found * by_loss.to(found.dtype) for found in ctx.saved_tensors),
            None,
            None,
        )


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)


def _measured(log_probs: torch.Tensor, labels: torch.Tensor, measure: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed entropy, and how many labels were the likeliest tokens."""
    if not measure:
        return log_probs.new_zeros(()), log_probs.new_zeros(())
    with torch.no_grad():
        return -(log_probs.exp() * log_probs).sum(), (log_probs.argmax(-1) == labels).sum().float()


def _by_module(
    head: Callable[..., Any],
    shape: Head,
    hidden: torch.Tensor,
    labels: torch.Tensor,
    objective: Objective,
    measure: bool,
) -> tuple[torch.Tensor, ...]:
    """The same through the module itself."""

    def tile(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        log_probs = torch.log_softmax(shape.logits(head(states)), -1, dtype=torch.float32)
        return torch.stack([objective.losses(log_probs, targets).sum(), *_measured(log_probs, targets, measure)])
