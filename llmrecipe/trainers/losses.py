"""The loss of a causal language model over its supervised tokens alone, without all logits in memory at once."""

import types
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint
from trl.trainer.utils import maybe_gather_lm_head_ctx

IGNORED = -100
"""Label of a token that the loss is not over."""
TILE_BYTES = {"cpu": 4 * 2**20}
"""Largest tile of logits in float32 by device: what stays in the cache of a processor."""
ACCELERATOR_TILE_BYTES = 2**30
"""The same on any other device, which many rows keep busy."""
FEWEST_ROWS = 128
"""Rows of a tile at least, however large the vocabulary is."""
MODULE_VOCABULARY = 2**17
"""Vocabulary for which tiles are measured where the head does not say its own."""


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
class Scoring:
    """What is computed of hidden states and the tokens that follow them."""

    head: Head = Head()
    objective: Objective = Objective()
    measure: bool = False
    """Whether entropy and right guesses are wanted as well."""


@dataclass(frozen=True)
class Sums:
    """Sums over the supervised tokens of a batch."""

    loss: torch.Tensor
    tokens: torch.Tensor
    entropy: torch.Tensor
    """Nats; zero when it was not asked for."""
    correct: torch.Tensor
    """Tokens that were the likeliest; zero when it was not asked for."""


def supervised(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor, scoring: Scoring) -> Sums:
    """The loss over the positions of `hidden` [rows, length, width] whose `targets` [rows, length] are not ignored.

    Only these positions are projected into the vocabulary, tile by tile. The gradient of a tile is computed with its
    loss, so that no logits are kept and none are computed twice. Source of the method:
    https://arxiv.org/abs/2410.10989, section 3.2. A head that is more than a linear layer (quantized, adapted) is
    called as the module that it is, and computes large tiles a second time in the backward pass.
    """
    flat = targets.flatten()
    chosen = (flat != IGNORED).nonzero()[:, 0]
    states, labels = hidden.flatten(0, 1)[chosen], flat[chosen]
    if _linear(head):
        with maybe_gather_lm_head_ctx(head.weight, head.bias):  # ZeRO-3
            weight, bias = (
                whole.full_tensor() if isinstance(whole, DTensor) else whole for whole in (head.weight, head.bias)
            )
            sums = _Tiles.apply(states, weight, bias, labels, scoring, torch.is_grad_enabled())
    else:
        sums = _by_module(head, states, labels, scoring)
    loss, entropy, correct = sums
    return Sums(loss, torch.tensor(len(labels), device=hidden.device), entropy, correct)


def next_tokens(labels: torch.Tensor) -> torch.Tensor:
    """What each position of `labels` [rows, length] predicts; the last predicts nothing."""
    return torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def _linear(head: torch.nn.Module) -> bool:
    """Whether a head is its weight and bias and no more, sharded or not."""
    return isinstance(head, torch.nn.Linear) and head.forward == types.MethodType(torch.nn.Linear.forward, head)


def tile_rows(vocabulary: int, device: str) -> int:
    """Positions that are projected at a time."""
    return max(FEWEST_ROWS, TILE_BYTES.get(device, ACCELERATOR_TILE_BYTES) // (4 * vocabulary))


def _gradient(scoring: Scoring, log_probs: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of the summed losses by what the head projected [n, vocabulary], in the memory of `log_probs`."""
    rows, smoothing = torch.arange(len(labels), device=labels.device), scoring.objective.label_smoothing
    weight = log_probs[rows, labels].exp() if scoring.objective.dft else None
    found = log_probs.exp_()
    if smoothing:
        found.sub_(smoothing / found.shape[-1])
    found[rows, labels] -= 1 - smoothing
    if weight is not None:
        found.mul_(weight[:, None])
    if scoring.head.softcap is not None:
        found.mul_(1 - (logits.float() / scoring.head.softcap) ** 2)
    return found if scoring.head.scale == 1.0 else found.mul_(scoring.head.scale)


class _Tiles(torch.autograd.Function):  # type: ignore[misc]
    """Loss and gradients of a linear head, one tile after the other."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *rest: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        labels, scoring, differentiate = rest
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        wanted = [differentiate and needed for needed in ctx.needs_input_grad[:3]]
        by_hidden = torch.empty_like(hidden) if wanted[0] else None
        by_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
        by_bias = torch.zeros_like(bias, dtype=torch.float32) if wanted[2] else None
        sums = torch.zeros(3, device=hidden.device)
        rows = tile_rows(weight.shape[0], device)
        with torch.autocast(device, enabled=False):
            used, added = weight.to(dtype), None if bias is None else bias.to(dtype)
            for start in range(0, len(labels), rows):
                states, targets = hidden[start : start + rows].to(dtype), labels[start : start + rows]
                logits = scoring.head.logits(torch.nn.functional.linear(states, used, added))
                log_probs = torch.log_softmax(logits, -1, dtype=torch.float32)
                sums += _sums(scoring, log_probs, targets)
                if any(wanted):
                    gradient = _gradient(scoring, log_probs, logits, targets).to(dtype)
                del logits, log_probs  # Before the next tile: the largest tensors of a training step.
                if not any(wanted):
                    continue
                if by_hidden is not None:
                    by_hidden[start : start + rows] = gradient @ used
                if by_weight is not None:
                    _add_product(by_weight, gradient.t(), states)
                if by_bias is not None:
                    by_bias += gradient.sum(0, dtype=torch.float32)
                del gradient
        # No saved tensors in the sense of autograd: offloading them would help nobody.
        ctx.gradients = [by_hidden, None if by_weight is None else by_weight.to(weight.dtype), by_bias]
        loss, entropy, correct = sums.unbind()
        ctx.mark_non_differentiable(entropy, correct)
        return loss, entropy, correct

    @staticmethod
    def backward(ctx: Any, by_loss: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        return (*(None if found is None else found.mul_(by_loss) for found in gradients), None, None, None)


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total.add_(left @ right)


def _sums(scoring: Scoring, log_probs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Loss, entropy, and how many labels were the likeliest tokens [3]."""
    loss = scoring.objective.losses(log_probs, labels).sum()
    if not scoring.measure:
        return torch.nn.functional.pad(loss[None], (0, 2))
    with torch.no_grad():
        entropy = -log_probs.exp().mul_(log_probs).sum()
        correct = (log_probs.argmax(-1) == labels).sum()
    return torch.stack([loss, entropy, correct])


def _by_module(
    head: torch.nn.Module, states: torch.Tensor, labels: torch.Tensor, scoring: Scoring
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same through the module itself."""

    def tile(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = scoring.head.logits(head(states))
        return _sums(scoring, torch.log_softmax(logits, -1, dtype=torch.float32), targets)

    rows = tile_rows(MODULE_VOCABULARY, states.device.type)
    sharded = any(hasattr(parameter, "ds_id") for parameter in head.parameters())
    if sharded or len(states) <= rows:  # ZeRO-3 gathers with every call: all processes have to call equally often.
        sums = tile(states, labels)
    else:
        parts = zip(states.split(rows), labels.split(rows), strict=True)
        sums = torch.stack([checkpoint(tile, *part, use_reentrant=False) for part in parts]).sum(0)
    loss, entropy, correct = sums.unbind()
    return loss, entropy, correct
