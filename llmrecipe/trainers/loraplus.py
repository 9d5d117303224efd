"""LoRA+: the second matrix of every update learns faster than the first. Source: https://arxiv.org/abs/2402.12354"""

from typing import Any

import torch

_FASTER = (".lora_B.", ".lora_embedding_B.")


def split_groups(optimizer: torch.optim.Optimizer, model: torch.nn.Module, ratio: float) -> None:
    """Give the matrices B of an optimizer that has not stepped yet groups of their own, with `ratio` times the rate.

    The first group stays one with the plain rate, which is the one that is logged.
    """
    faster = {id(p) for name, p in model.named_parameters() if any(part in name for part in _FASTER)}
    plain: list[dict[str, Any]] = []
    quick: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        parts: tuple[list[Any], list[Any]] = ([], [])
        for parameter in group["params"]:
            parts[id(parameter) in faster].append(parameter)
        plain += [{**group, "params": parts[0]}] if parts[0] else []
        quick += [{**group, "params": parts[1], "lr": group["lr"] * ratio}] if parts[1] else []
    optimizer.param_groups[:] = plain + quick
