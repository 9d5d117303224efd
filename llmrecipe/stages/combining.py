"""How one tensor is made of those of several models: means, arcs, and sums of differences. All in float32."""

import hashlib
from collections.abc import Sequence

import torch

PARALLEL = 0.9995
"""Cosine above which an arc is a straight line, and sines are too small to divide by."""


def linear(tensors: Sequence[torch.Tensor], weights: Sequence[float], normalize: bool) -> torch.Tensor:
    """The weighted sum of tensors of one shape; with `normalize` their mean."""
    total = torch.zeros_like(tensors[0])
    for tensor, weight in zip(tensors, weights, strict=True):
        total += weight * tensor
    return total / sum(weights) if normalize else total


def slerp(first: torch.Tensor, second: torch.Tensor, t: float) -> torch.Tensor:
    """The point at `t` (0 to 1) of the arc from one tensor to another of its shape.

    Both are taken as vectors; where they are nearly parallel, or one is zero, the arc is the line between them.
    Source: https://doi.org/10.1145/325334.325242
    """
    lengths = first.norm() * second.norm()
    cosine = (first * second).sum() / lengths if lengths > 0 else torch.ones(())
    if cosine.abs() > PARALLEL:
        return (1 - t) * first + t * second
    angle = torch.arccos(cosine)
    return (torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * second) / torch.sin(angle)


def largest(difference: torch.Tensor, density: float) -> torch.Tensor:
    """The difference with all but its largest numbers set to zero; `density` is the share that stays.

    Source: https://arxiv.org/abs/2306.01708, "trim"
    """
    if density >= 1:
        return difference
    kept = max(1, int(density * difference.numel()))
    chosen = difference.abs().flatten().topk(kept).indices
    mask = torch.zeros(difference.numel(), dtype=torch.bool)
    mask[chosen] = True
    return difference * mask.view_as(difference)


def dropped(difference: torch.Tensor, density: float, key: str) -> torch.Tensor:
    """The difference with random numbers set to zero and the others divided by `density`, the share that stays.

    `key` seeds what is dropped. Source: https://arxiv.org/abs/2311.03099
    """
    if density >= 1:
        return difference
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
    drawn = torch.rand(difference.shape, generator=torch.Generator().manual_seed(seed))
    return difference * (drawn < density) / density


def agreeing(differences: Sequence[torch.Tensor], weights: Sequence[float], normalize: bool) -> torch.Tensor:
    """The sum of weighted differences, each number only of those models whose sign is that of the sum over all.

    With `normalize` each number is divided by the weights of the models that it is from.
    Source: https://arxiv.org/abs/2306.01708, "elect" and "merge"
    """
    stacked = torch.stack([weight * tensor for tensor, weight in zip(differences, weights, strict=True)])
    sign = torch.where(stacked.sum(dim=0) >= 0, 1.0, -1.0)
    agree = stacked.sign() == sign
    merged = (stacked * agree).sum(dim=0)
    if not normalize:
        return merged
    shape = (len(weights), *[1] * differences[0].dim())
    share = (torch.tensor(weights, dtype=torch.float32).view(shape) * agree).sum(dim=0)
    return merged / torch.where(share.abs() < 1e-8, torch.ones_like(share), share)
