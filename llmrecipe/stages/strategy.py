"""The strategy of a training stage: Accelerate is told the one of the plan, and what it has made of it is checked."""

import dataclasses
import fcntl
import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from torch.utils.cpp_extension import get_default_build_root
from transformers import TrainerCallback
from transformers.integrations import unset_hf_deepspeed_config

from llmrecipe import accelerating
from llmrecipe.accelerating import LauncherError
from llmrecipe.plan import Train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.strategies import DDP, FSDP, DeepSpeed, Distributed, Single, together
from llmrecipe.trainers import context_parallel, tensor_parallel

LITERALS = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "gradient_accumulation_steps",
    "ACCELERATE_GRADIENT_CLIPPING": "max_grad_norm",
}
"""What a launcher may say of training with DeepSpeed -> what the plan calls it."""
LAYERS = "FSDP_TRANSFORMER_CLS_TO_WRAP"
"""The variable in which Accelerate looks for the layers that FSDP shards."""
CHANGE = "change one of the two: `distributed` in the recipe, or the configuration of the launcher"


def declare(spec: Train, place: Place) -> None:
    """Set the variables by which Accelerate learns the strategy. Call it before the trainer is configured.

    Raises:
        StageError: a launcher around this process says something else, or DeepSpeed is not installed.
    """
    per_node = int(os.environ.get("LOCAL_WORLD_SIZE", str(place.world_size)))
    wanted = accelerating.variables(spec.distributed, place.world_size // per_node, per_node)
    _check_launcher(spec, wanted)
    if isinstance(spec.distributed, DeepSpeed):
        if find_spec("deepspeed") is None:
            raise StageError("the package `deepspeed` is not installed", "pip install 'llmrecipe[deepspeed]'")
        # DeepSpeed builds its operators with the `ninja` of this environment, which need not be activated.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with building(Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())):
            _build_operators(spec.distributed)
    os.environ.update(wanted)


@contextmanager
def building(root: Path) -> Iterator[None]:
    """Build operators of DeepSpeed as the only process of ours, without what killed ones left.

    PyTorch marks a build by a file, for which all others wait, even when the one who made it was killed.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / "llmrecipe.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for lock in root.glob("**/deepspeed_*/lock"):
            lock.unlink(missing_ok=True)
        yield


def _build_operators(strategy: DeepSpeed) -> None:
    """What DeepSpeed would build by itself, later: between processors, and to step in host memory."""
    if not torch.accelerator.is_available():
        importlib.import_module("deepspeed.comm.torch").build_shm_op()
    if strategy.offload_optimizer != "none":
        accelerator = importlib.import_module("deepspeed.accelerator").get_accelerator()
        accelerator.create_op_builder("CPUAdamBuilder").load()


def _check_launcher(spec: Train, wanted: Mapping[str, str]) -> None:
    try:
        found = accelerating.declared(os.environ)
    except LauncherError as error:
        raise StageError(error.message, error.help) from None
    if found is not None:
        field = accelerating.difference(spec.distributed, found)
        if field is not None:
            ours, theirs = (_said(strategy, field) for strategy in (spec.distributed, found))
            raise StageError(f"the plan says `{field}: {ours}`, and the launcher says `{field}: {theirs}`", CHANGE)
    for name, value in wanted.items():
        there = os.environ.get(name)
        if there is None or there.lower() == value.lower() or name.startswith("ACCELERATE_DEEPSPEED_ZERO3_"):
            continue
        if name in LITERALS and (there == "auto" or float(there) == spec.arguments[LITERALS[name]]):
            continue
        ours = f"{LITERALS[name]}: {spec.arguments[LITERALS[name]]}" if name in LITERALS else f"{name}={value}"
        raise StageError(f"the plan says `{ours}`, and the launcher says `{name}={there}`", CHANGE)
    _check_precision(spec)


def _check_precision(spec: Train) -> None:
    theirs = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    ours = next((name for name in ("bf16", "fp16") if spec.arguments.get(name)), "no")
    if theirs not in ("no", ours):
        names = {"bf16": "bfloat16", "fp16": "float16", "no": "float32"}
        raise StageError(
            f"the plan trains in {names[ours]}, and the launcher says `mixed_precision: {theirs}`",
            "write `training.precision` in the recipe, or `mixed_precision: 'no'` in the launcher's configuration",
        )


def _said(strategy: Distributed, field: str) -> object:
    return getattr(strategy, field)


def on_processor(strategy: Distributed) -> bool:
    """Whether the trainer is to be told that it works on processors. FSDP is not told, so that it does not give way."""
    return not isinstance(strategy, FSDP) and not torch.accelerator.is_available()


def check_processes(spec: Train) -> None:
    """See what Accelerate has made of the processes. Call it as soon as the configuration of the trainer is made.

    Raises:
        StageError: FSDP without accelerators, which Accelerate turns into one process each, or another number.
    """
    state = PartialState()
    if isinstance(spec.distributed, FSDP) and state.distributed_type in (DistributedType.NO, DistributedType.MULTI_CPU):
        raise StageError(
            "`fsdp` takes accelerators, and there is none: on processors Accelerate gives each process the whole model",
            "use `distributed: {kind: ddp}` or `{kind: deepspeed}` here",
        )
    if state.num_processes != spec.world_size:
        raise StageError(
            f"Accelerate has joined {state.num_processes} processes, and the plan is for {spec.world_size}",
            "start them with `llmrecipe run`, `accelerate launch` or `torchrun`",
        )


def read_whole() -> None:
    """Let the next model be read whole by each process, to be spread when the trainer takes it.

    Under ZeRO-3 Transformers would spread it while it is read, and what a model does could not be tried before.
    """
    unset_hf_deepspeed_config()


@contextmanager
def layers_named(strategy: Distributed, model: Any) -> Iterator[None]:
    """Let FSDP shard the layers that the model names, unless they hold a weight that is tied to one elsewhere.

    Such a weight is sharded with what holds them all: sharded twice it cannot be. Make the trainer within it; the
    next training of this process names its own layers.

    Raises:
        StageError: the head has a bias that is tied as well, which Accelerate does not keep together.
    """
    if not isinstance(strategy, FSDP) or strategy.wrap:
        yield
        return
    places = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    tied = {place for place, count in places.items() if count > 1}
    holders = {
        type(module).__name__ for module in model.modules() if any(id(weight) in tied for weight in module.parameters())
    }
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if id(bias) in tied:
        raise StageError(
            f"the head of {type(model).__name__} has a bias that the model holds twice, which FSDP cannot shard",
            "use `distributed: {kind: ddp}` or `{kind: deepspeed}`, or a model such as ModernBERT",
        )
    layers = sorted(name for name in model._no_split_modules or () if name not in holders)
    if layers:
        os.environ[LAYERS] = ",".join(layers)
    try:
        yield
    finally:
        os.environ.pop(LAYERS, None)


def sum_exactly(trainer: Any) -> None:
    """Let FSDP add up gradients in float32, and leave the loss as it is, as `ddp` does.

    In half precision Accelerate has it round both: a loss of 5.836 would be 5.84, and so would what is learned from it.
    """
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    policy = getattr(plugin, "mixed_precision_policy", None)
    if plugin is not None and isinstance(policy, MixedPrecisionPolicy):
        plugin.mixed_precision_policy = dataclasses.replace(policy, reduce_dtype=torch.float32, output_dtype=None)


def options(spec: Train) -> dict[str, Any]:
    """What the trainer has to be told of the strategy; the rest goes by the environment and its plugins.

    By itself it lets FSDP hold the gradients of an accumulation whole, on every device.
    """
    if not isinstance(spec.distributed, FSDP) or not spec.distributed.sync_each_batch:
        return {}
    written: Any = spec.arguments.get("accelerator_config") or {}
    accumulation = {"sync_each_batch": True} | (written.get("gradient_accumulation_kwargs") or {})
    return {"accelerator_config": written | {"gradient_accumulation_kwargs": accumulation}}


def multiple(strategy: Distributed) -> int:
    """What the length of a padded sequence has to be a multiple of."""
    return context_parallel.multiple(strategy.context_parallel_size) if isinstance(strategy, FSDP) else 1


def split(trainer: Any, strategy: Distributed) -> None:
    """Let layers be split over processes when Accelerate takes the model; see that sequences can be shared out.

    Raises:
        StageError: this model cannot be trained so.
    """
    if not isinstance(strategy, FSDP) or together(strategy) == 1:
        return
    if not getattr(trainer, "ours", False):
        raise StageError(
            f"the loss of {type(trainer.model).__name__} is not one that is understood, and it is split over processes",
            "leave out `distributed.tensor_parallel_size` and `distributed.context_parallel_size`",
        )
    if strategy.context_parallel_size > 1:
        context_parallel.check(trainer.model)
    if strategy.tensor_parallel_size > 1:
        tensor_parallel.split_when_prepared(trainer)


class InForce(TrainerCallback):  # type: ignore[misc]
    """Sees, when training begins, that the strategy in force is the one of the plan."""

    def __init__(self, spec: Train) -> None:
        self.spec = spec
        self.trainer: Any = None
        """Set when it is made."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compare what was declared with what Accelerate has made.

        Raises:
            StageError: they differ.
        """
        accelerator = self.trainer.accelerator
        _check_dropout(self.trainer.model, self.spec.distributed)
        problem = _processes(accelerator, self.spec) or _made(self.trainer, accelerator, self.spec.distributed)
        if problem is not None:
            raise StageError(
                f"the plan says `{self.spec.distributed.kind}`, and Accelerate has made something else: {problem}",
                "report this with the versions of accelerate and transformers; `ddp` is the simplest strategy",
            )


def _check_dropout(model: Any, strategy: Distributed) -> None:
    """See that no layer drops anything that it would not drop again when it is recomputed.

    Raises:
        StageError: one does.
    """
    if not isinstance(strategy, FSDP) or not strategy.activation_checkpointing:
        return
    config = getattr(model, "config", None)
    by_function = getattr(config, "attention_dropout", 0) or 0
    modules = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout) and module.p > 0]
    if modules or by_function:
        where = modules[0] if modules else "attention"
        raise StageError(
            f"`activation_checkpointing` of FSDP does not repeat the dropout of {where}",
            "use `training.gradient_checkpointing` instead of `distributed.activation_checkpointing`",
        )


def _processes(accelerator: Any, spec: Train) -> str | None:
    if accelerator.num_processes != spec.world_size:
        return f"{accelerator.num_processes} processes instead of {spec.world_size}"
    return None


def _made(trainer: Any, accelerator: Any, strategy: Distributed) -> str | None:
    """What is not as the strategy says; None when all is."""
    kind, wrapped = accelerator.distributed_type, type(trainer.model_wrapped).__name__
    match strategy:
        case Single():
            return None if kind == DistributedType.NO else f"its type is {kind.value}"
        case DDP():
            if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
                return f"its type is {kind.value}"
            alone = accelerator.num_processes == 1
            return None if alone or wrapped == "DistributedDataParallel" else f"the model is a {wrapped}"
        case FSDP():
            return _fsdp(trainer, accelerator, strategy)
        case DeepSpeed():
            return _deepspeed(accelerator, wrapped, strategy)


def _fsdp(trainer: Any, accelerator: Any, strategy: FSDP) -> str | None:
    if accelerator.distributed_type != DistributedType.FSDP:
        return f"its type is {accelerator.distributed_type.value}"
    plugin = accelerator.state.fsdp_plugin
    synced = accelerator.gradient_state.plugin_kwargs.get("sync_each_batch", False)
    found = {
        "sync_each_batch": (synced, strategy.sync_each_batch),
        "fsdp_version": (plugin.fsdp_version, 2),
        "reshard_after_forward": (plugin.reshard_after_forward, strategy.sharding != "grad"),
        "cpu_offload": (isinstance(plugin.cpu_offload, CPUOffloadPolicy), strategy.cpu_offload),
        "activation_checkpointing": (plugin.activation_checkpointing, strategy.activation_checkpointing),
        "cpu_ram_efficient_loading": (plugin.cpu_ram_efficient_loading, strategy.cpu_ram_efficient_loading),
    }
    for name, (there, wanted) in found.items():
        if there != wanted:
            return f"`{name}` is {there}"
    if not isinstance(trainer.model_wrapped, FSDPModule):
        return f"the model is a {type(trainer.model_wrapped).__name__}"
    modules = [module for module in trainer.model_wrapped.modules() if isinstance(module, FSDPModule)]
    if len(modules) < 2:
        return "no layer is sharded by itself"
    if trainer.get_cp_size() != strategy.context_parallel_size:
        return f"sequences are shared out over {trainer.get_cp_size()} processes"
    return _meshes(trainer.model_wrapped, strategy)


def _meshes(model: Any, strategy: FSDP) -> str | None:
    """What is wrong with the meshes over which the weights are spread and split; None when nothing is."""
    meshes = [weight.device_mesh for weight in model.parameters() if isinstance(weight, DTensor)]
    sides = {name: mesh.size(i) for mesh in meshes for i, name in enumerate(mesh.mesh_dim_names or ("",))}
    split = sides.pop("tp", 1)
    if split != strategy.tensor_parallel_size:
        return f"layers are split over {split} processes"
    if (len(sides) == 2) != (strategy.sharding == "hybrid"):
        return f"weights are spread over a mesh of {tuple(sides.values())}"
    return None


def _deepspeed(accelerator: Any, wrapped: str, strategy: DeepSpeed) -> str | None:
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        return f"its type is {accelerator.distributed_type.value}"
    if wrapped != "DeepSpeedEngine":
        return f"the model is a {wrapped}"
    config = accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"]
    found = {
        "stage": (config["stage"], strategy.zero_stage),
        "offload_optimizer": (config["offload_optimizer"]["device"], strategy.offload_optimizer),
        "offload_param": (config["offload_param"]["device"], strategy.offload_parameters),
    }
    return next((f"`{name}` is {there}" for name, (there, wanted) in found.items() if there != wanted), None)


@contextmanager
def whole(trainer: Any) -> Iterator[None]:
    """Let the trainer write all weights of the model into one folder, whatever its checkpoints hold."""
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        yield
        return
    before = plugin.state_dict_type
    plugin.set_state_dict_type("FULL_STATE_DICT")
    try:
        yield
    finally:
        plugin.set_state_dict_type(before)
