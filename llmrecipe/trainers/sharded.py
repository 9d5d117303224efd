"""Parameters of which a process may hold a share: how large they are, and what is here of them."""

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate.utils import broadcast_object_list
from torch.distributed.tensor import DTensor

Found = TypeVar("Found")


def of_first(find: Callable[[], Found]) -> Found:
    """What the first process finds. The others may have no weights yet to try anything with."""
    first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    found: list[Found | None] = [find() if first else None]
    broadcast_object_list(found)
    return found[0]  # type: ignore[return-value]


def size(parameter: torch.Tensor) -> int:
    """Numbers in the whole parameter. ZeRO-3 leaves an empty tensor in its place."""
    whole: int = getattr(parameter, "ds_numel", None) or parameter.numel()
    return whole


def here(parameter: torch.Tensor) -> torch.Tensor:
    """What this process holds of it: a share under FSDP and ZeRO-3, else all."""
    if isinstance(parameter, DTensor):
        return parameter.to_local()
    share: torch.Tensor = getattr(parameter, "ds_tensor", parameter)
    return share
