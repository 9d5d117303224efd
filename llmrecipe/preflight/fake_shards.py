"""FSDP over fake tensors: one process of many, whose collectives move nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from llmrecipe.estimate.setting import Setting
from llmrecipe.strategies import FSDP


@contextmanager
def mesh(setting: Setting) -> Iterator[DeviceMesh]:
    """Be the first of the processes of a run, arranged as its weights are spread. Make it before any fake tensor."""
    hybrid = isinstance(setting.strategy, FSDP) and setting.strategy.sharding == "hybrid"
    each, count = setting.processes_per_node, setting.processes
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=count)
    try:
        if hybrid:
            yield init_device_mesh("cpu", (count // each, each), mesh_dim_names=("replicate", "shard"))
        else:
            yield init_device_mesh("cpu", (count,))
    finally:
        distributed.destroy_process_group()


def shard(model: Any, setting: Setting, over: DeviceMesh) -> None:
    """Spread every layer by itself and the rest together, as Accelerate does with what the training stage tells it."""
    strategy = setting.strategy
    assert isinstance(strategy, FSDP)
    policy = MixedPrecisionPolicy(getattr(torch, setting.compute), reduce_dtype=torch.float32)
    options: dict[str, Any] = {
        "mesh": over, "mp_policy": policy, "reshard_after_forward": strategy.sharding != "grad",
    }  # fmt: skip
    layers = set(strategy.wrap or model._no_split_modules)
    for module in model.modules():
        if type(module).__name__ in layers:
            fully_shard(module, **options)
    fully_shard(model, **options)
