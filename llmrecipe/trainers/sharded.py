"""Parameters of which a process may hold a share: how large they are, and what is here of them."""

import torch
from torch.distributed.tensor import DTensor


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
