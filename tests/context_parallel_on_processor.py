"""Context parallelism on processors, for tests alone: ring attention over the kernel of processors.

PyTorch passes keys and values around for the attention kernels of CUDA alone. Its own code that does so takes any
kernel: here it gets the one of processors. `install` changes this process, in which torch is loaded.
"""

from typing import Any

import torch
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.experimental._context_parallel import _attention

SEQUENCE = 2
"""Dimension of queries, keys and values [rows, heads, length, width]."""
FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def install() -> None:
    """Let attention over shares of a sequence be computed by the kernel of processors."""
    _attention.custom_ops[FORWARD] = _forward
    _attention.custom_ops[BACKWARD] = _backward


def _wrapped(found: Any, like: DTensor) -> tuple[DTensor, ...]:
    return tuple(DTensor.from_local(part, like.device_mesh, [Shard(SEQUENCE)], run_check=False) for part in found)


def _forward(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[DTensor, ...]:
    query, key, value, dropout, causal = (*args, *(0.0, False)[len(args) - 3 :])
    assert dropout == 0.0
    assert kwargs.get("attn_mask") is None
    found = _attention._templated_ring_attention(
        query.device_mesh.get_group(), SEQUENCE, op,
        query=query.to_local(), key=key.to_local(), value=value.to_local(), is_causal=causal, scale=kwargs.get("scale"),
    )  # fmt: skip
    return _wrapped(found, query)


def _backward(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[DTensor, ...]:
    gradient, query, key, value, out, logsumexp, dropout, causal = args

    def kernel(**named: Any) -> Any:
        order = ("grad_out", "query", "key", "value", "out", "logsumexp")
        return op(*(named[name] for name in order), dropout, named["is_causal"], scale=kwargs.get("scale"))

    found = _attention._templated_ring_attention_backward(
        query.device_mesh.get_group(), SEQUENCE, kernel, grad_out=gradient.to_local(), grad_out_name="grad_out",
        query=query.to_local(), key=key.to_local(), value=value.to_local(), out=out.to_local(),
        logsumexp=logsumexp.to_local(), is_causal=causal,
    )  # fmt: skip
    return _wrapped(found, query)
