"""A strategy as Accelerate is told of it: its configuration file, its environment variables, and back from these."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from llmrecipe.strategies import DDP, FSDP, DeepSpeed, Distributed, Single, together

Values = dict[str, JsonValue]

PREFIXES = ("ACCELERATE_", "FSDP_", "PARALLELISM_CONFIG_")
"""Of the variables by which `accelerate launch` hands on its configuration."""


class LauncherError(ValueError):
    """The variables of a launcher say what no recipe can: what is so, and what to do."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


def configuration(strategy: Distributed, nodes: int, processes: int) -> Values:
    """What a configuration file of `accelerate launch` says of a strategy over so many nodes and processes of each.

    Several processes on processors are `MULTI_GPU`, too: with `MULTI_CPU` accelerate starts a single one.
    """
    match strategy:
        case Single() | DDP():
            return {"distributed_type": "MULTI_GPU" if nodes * processes > 1 else "NO"}
        case FSDP():
            found: Values = {"distributed_type": "FSDP", "fsdp_config": _fsdp(strategy)}
            if sizes := _sizes(strategy, nodes, processes):
                found["parallelism_config"] = {f"parallelism_config_{name}": size for name, size in sizes.items()}
            return found
        case DeepSpeed():
            return {"distributed_type": "DEEPSPEED", "deepspeed_config": _deepspeed(strategy)}


def _sizes(strategy: FSDP, nodes: int, processes: int) -> dict[str, int]:
    """Sides of the mesh of processes; none where FSDP spreads over all of them by itself."""
    size = together(strategy)
    if strategy.sharding == "hybrid":
        copies, shares = nodes, processes // size
    elif size > 1:
        copies, shares = 1, nodes * processes // size
    else:
        return {}
    degrees = {"tp_size": strategy.tensor_parallel_size, "cp_size": strategy.context_parallel_size}
    return {"dp_replicate_size": copies, "dp_shard_size": shares} | degrees


def _fsdp(strategy: FSDP) -> Values:
    wrapped: Values = {"fsdp_transformer_layer_cls_to_wrap": ",".join(strategy.wrap)} if strategy.wrap else {}
    return wrapped | {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_reshard_after_forward": strategy.sharding != "grad",
        "fsdp_offload_params": strategy.cpu_offload,
        "fsdp_activation_checkpointing": strategy.activation_checkpointing,
        "fsdp_cpu_ram_efficient_loading": strategy.cpu_ram_efficient_loading,
        "fsdp_state_dict_type": f"{strategy.state_dict_type.upper()}_STATE_DICT",
    }


def _deepspeed(strategy: DeepSpeed) -> Values:
    """`auto` is what `training` says: the trainer fills it in."""
    found: Values = {
        "zero_stage": strategy.zero_stage,
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "offload_optimizer_device": strategy.offload_optimizer,
        "offload_param_device": strategy.offload_parameters,
        "zero3_init_flag": False,
        "zero3_save_16bit_model": strategy.zero_stage == 3,
        "deepspeed_multinode_launcher": "standard",
    }
    if strategy.offload_optimizer == "nvme":
        found["offload_optimizer_nvme_path"] = strategy.nvme_path
    if strategy.offload_parameters == "nvme":
        found["offload_param_nvme_path"] = strategy.nvme_path
    return found


def variables(strategy: Distributed, nodes: int, processes: int) -> dict[str, str]:
    """What `accelerate launch` with that configuration tells its processes of the strategy.

    The folders of `nvme` are in addition: the launcher of Accelerate 1.15 takes them and hands them on to nobody.
    """
    match strategy:
        case Single() | DDP():
            return {}
        case FSDP():
            config = _fsdp(strategy)
            names = {name: name.upper() for name in config}
            names["fsdp_transformer_layer_cls_to_wrap"] = "FSDP_TRANSFORMER_CLS_TO_WRAP"
            found = {"ACCELERATE_USE_FSDP": "true"} | {names[name]: _written(value) for name, value in config.items()}
            if sizes := _sizes(strategy, nodes, processes):
                found["ACCELERATE_USE_PARALLELISM_CONFIG"] = "true"
            return found | {f"PARALLELISM_CONFIG_{name.upper()}": str(size) for name, size in sizes.items()}
        case DeepSpeed():
            config = _deepspeed(strategy)
            return {"ACCELERATE_USE_DEEPSPEED": "true"} | {
                _DEEPSPEED[name]: _written(value) for name, value in config.items() if name in _DEEPSPEED
            }


_DEEPSPEED = {
    "zero_stage": "ACCELERATE_DEEPSPEED_ZERO_STAGE",
    "gradient_accumulation_steps": "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    "gradient_clipping": "ACCELERATE_GRADIENT_CLIPPING",
    "offload_optimizer_device": "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
    "offload_optimizer_nvme_path": "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_NVME_PATH",
    "offload_param_device": "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE",
    "offload_param_nvme_path": "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_NVME_PATH",
    "zero3_init_flag": "ACCELERATE_DEEPSPEED_ZERO3_INIT",
    "zero3_save_16bit_model": "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL",
}


def _written(value: JsonValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def taken_back(strategy: Distributed) -> dict[str, str]:
    """Variables for the ranks of a launcher where the plan does not follow its strategy: they take it back."""
    if isinstance(strategy, FSDP | DeepSpeed):
        return {}
    return dict.fromkeys(
        ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_PARALLELISM_CONFIG"), "false"
    )


def declared(found: Mapping[str, str]) -> Distributed | None:
    """The strategy that these variables of a launcher say; None when they say none, as those of `torchrun` do.

    Raises:
        LauncherError: it is one that no recipe can say.
    """
    if _true(found, "ACCELERATE_USE_FSDP"):
        return _declared_fsdp(found)
    if _true(found, "ACCELERATE_USE_DEEPSPEED"):
        return _declared_deepspeed(found)
    if _true(found, "ACCELERATE_USE_MEGATRON_LM"):
        raise LauncherError("the launcher says Megatron-LM", "launch with FSDP2, DeepSpeed, or neither")
    return None


def _declared_fsdp(found: Mapping[str, str]) -> FSDP:
    if found.get("FSDP_VERSION", "1") != "2":
        raise LauncherError("the launcher says FSDP version 1", "set `fsdp_version: 2` in its configuration")
    policy = found.get("FSDP_AUTO_WRAP_POLICY", "NO_WRAP")
    if policy != "TRANSFORMER_BASED_WRAP":
        raise LauncherError(
            f"the launcher says `fsdp_auto_wrap_policy: {policy}`",
            "set `fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP` in its configuration",
        )
    if found.get("FSDP_IGNORED_MODULES") or _true(found, "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD"):
        raise LauncherError(
            "the launcher says `fsdp_ignored_modules` or `fsdp_activation_checkpointing_offload`",
            "leave these out of its configuration",
        )
    tensor, context = _degrees(found)
    replicas = int(found.get("PARALLELISM_CONFIG_DP_REPLICATE_SIZE", "1"))
    whole = not _true(found, "FSDP_RESHARD_AFTER_FORWARD", "true")
    return FSDP(
        kind="fsdp",
        sharding="hybrid" if replicas > 1 else "grad" if whole else "full",
        wrap=[name for name in found.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "").split(",") if name],
        cpu_offload=_true(found, "FSDP_OFFLOAD_PARAMS"),
        activation_checkpointing=_true(found, "FSDP_ACTIVATION_CHECKPOINTING"),
        cpu_ram_efficient_loading=_true(found, "FSDP_CPU_RAM_EFFICIENT_LOADING"),
        state_dict_type="full" if found.get("FSDP_STATE_DICT_TYPE") == "FULL_STATE_DICT" else "sharded",
        tensor_parallel_size=tensor,
        context_parallel_size=context,
    )


def _degrees(found: Mapping[str, str]) -> tuple[int, int]:
    """Of all ways to be parallel that the launcher says, those that a recipe can say.

    Raises:
        LauncherError: it says another one.
    """
    sizes = {name: int(found.get(f"PARALLELISM_CONFIG_{name}_SIZE", "1")) for name in ("TP", "CP", "SP")}
    if sizes["SP"] > 1:
        key = "parallelism_config_sp_size"
        raise LauncherError(
            f"the launcher says `{key}: {sizes['SP']}`, and no recipe says that",
            f"leave `{key}` out, or share out sequences by `parallelism_config_cp_size` of FSDP2",
        )
    return sizes["TP"], sizes["CP"]


def _declared_deepspeed(found: Mapping[str, str]) -> DeepSpeed:
    if found.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none") != "none":
        raise LauncherError(
            "the launcher says `deepspeed_config_file`, which is a second source of what the recipe says",
            "write `zero_stage` and the offloads in `deepspeed_config` itself, or in the recipe's `distributed`",
        )
    stage = int(found.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
    if stage not in (1, 2, 3):
        raise LauncherError(f"the launcher says `zero_stage: {stage}`", "use stage 1, 2 or 3, or no DeepSpeed")
    devices = {
        name: found.get(f"ACCELERATE_DEEPSPEED_OFFLOAD_{name}_DEVICE", "none") for name in ("OPTIMIZER", "PARAM")
    }
    return DeepSpeed.model_validate(
        {
            "kind": "deepspeed",
            "zero_stage": stage,
            "offload_optimizer": devices["OPTIMIZER"],
            "offload_parameters": devices["PARAM"],
        }
    )


def _true(found: Mapping[str, str], name: str, default: str = "false") -> bool:
    return found.get(name, default).lower() in ("true", "1", "yes")


UNSAID = ("nvme_path", "sync_each_batch")
"""Fields of a strategy that no launcher says: the recipe alone does."""


@dataclass(frozen=True)
class Launched:
    """The processes of a launcher that runs already."""

    nodes: int
    processes: int
    """Of each node."""
    strategy: Distributed | None = None
    """What the launcher says; None when it only starts processes, as `torchrun` does."""


def settled(recipe: Distributed, launched: Launched, written: bool) -> Distributed:
    """The strategy of a training under a launcher: what the recipe writes holds, what it leaves out the launcher says.

    `written` is whether the recipe has a strategy of its own; if not, `recipe` is the default.

    Raises:
        LauncherError: both say it, and not the same.
    """
    several = launched.nodes * launched.processes
    theirs = launched.strategy
    if not written:
        return theirs or DDP(kind="ddp")
    if isinstance(recipe, Single) and several > 1 and theirs is None:
        raise LauncherError(
            f"the recipe says `single`, and the launcher started {several} processes",
            "leave `distributed` out to take what the launcher says, or start the recipe without it",
        )
    if theirs is None:
        return recipe
    fields = type(recipe).model_fields
    for name in fields if recipe.kind == theirs.kind else ("kind",):
        if name in recipe.model_fields_set and name not in UNSAID and getattr(recipe, name) != getattr(theirs, name):
            raise LauncherError(
                f"the recipe says `{name}: {_shown(recipe, name)}`, and the launcher says `{_shown(theirs, name)}`",
                "leave it out of one of the two, or write the same in both",
            )
    return theirs.model_copy(update={name: getattr(recipe, name) for name in recipe.model_fields_set})


def _shown(strategy: Distributed, field: str) -> str:
    return json.dumps(getattr(strategy, field)).strip('"')


def difference(one: Distributed, other: Distributed) -> str | None:
    """The first field in which two strategies differ, of those that a launcher says; None when they are the same."""
    if one.kind != other.kind:
        return "kind"
    said = (name for name in type(one).model_fields if name not in UNSAID)
    return next((name for name in said if getattr(one, name) != getattr(other, name)), None)
