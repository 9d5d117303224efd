"""How one training spreads over processes: strategies, in the words of a recipe and of a plan."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from llmrecipe.schema import Section

ClassName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Single(Section):
    """One process."""

    kind: Literal["single"]


class DDP(Section):
    """One process per device, each with the whole model. Source: https://arxiv.org/abs/2006.15704"""

    kind: Literal["ddp"]


class FSDP(Section):
    """Each device holds a share of weights, gradients and optimizer state (FSDP2).

    Sources: https://arxiv.org/abs/2304.11277, https://arxiv.org/abs/2411.00284
    """

    kind: Literal["fsdp"]
    sharding: Literal["full", "grad", "hybrid"] = "full"
    """`full`: weights, too, are gathered layer by layer; `grad`: weights stay whole between forward and backward pass;
    `hybrid`: shares within a node, copies across nodes."""
    wrap: list[ClassName] = []
    """Classes of the modules that are sharded one by one. Left empty: the layers that the model names itself."""
    cpu_offload: bool = False
    """Keep shares in host memory, and step there."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass, layer by layer; instead of `training.gradient_checkpointing`."""
    cpu_ram_efficient_loading: bool = False
    """Only one process of each node reads the weights; the others get their shares from the first."""
    sync_each_batch: bool = True
    """Spread gradients after every batch of an accumulation. `false` holds them whole, in float32, until the step:
    that saves traffic between devices, and takes 4 bytes of every trained number on each."""
    state_dict_type: Literal["sharded", "full"] = "sharded"
    """Checkpoints: each process writes its share, or the first one writes all. The trained model is always written
    whole."""
    tensor_parallel_size: PositiveInt = 1
    """Devices of a node that compute each layer together, for the same rows: heads, feed-forward blocks and the
    vocabulary are split, and FSDP spreads what each holds. `pretrain` and `sft`, all weights or LoRA.
    Source: https://arxiv.org/abs/1909.08053"""
    context_parallel_size: PositiveInt = 1
    """Devices that share out each sequence, and pass keys and values around. `pretrain` and `sft` without packing.
    Source: https://arxiv.org/abs/2310.01889"""


class DeepSpeed(Section):
    """ZeRO, by DeepSpeed. Source: https://arxiv.org/abs/1910.02054

    Its configuration is made from this section and from `training`; there is no other.
    """

    kind: Literal["deepspeed"]
    zero_stage: Literal[1, 2, 3] = 2
    """What is spread: `1` the optimizer state, `2` gradients as well, `3` weights as well."""
    offload_optimizer: Literal["none", "cpu", "nvme"] = "none"
    """Where optimizer state is kept, and stepped: on the device, in host memory, or on a disk. `nvme` takes stage 3."""
    offload_parameters: Literal["none", "cpu", "nvme"] = "none"
    """Where weights wait that are not in use. Stage 3 alone."""
    nvme_path: Annotated[str, Field(pattern=r"^/.*$")] | None = None
    """Folder of each node on a fast disk, for `nvme`."""


Distributed = Annotated[Single | DDP | FSDP | DeepSpeed, Field(discriminator="kind")]


def together(strategy: Distributed) -> int:
    """Processes that see the same rows."""
    if not isinstance(strategy, FSDP):
        return 1
    return strategy.tensor_parallel_size * strategy.context_parallel_size
