"""FSDP and DeepSpeed configurations, in the file or beside it -> `distributed`."""

import json
import re
from pathlib import Path as FilePath
from typing import Any

from llmrecipe.importing.case import Case, Key, dotted
from llmrecipe.importing.values import boolean
from llmrecipe.source import Path

SPREAD_KEYS = ("deepspeed", "fsdp", "fsdp_config", "fsdp_version")
MAX_BYTES = 2**20

_ZERO_HELP = "write `distributed: {kind: deepspeed, zero_stage: ...}`"


def spread(case: Case, extra: dict[str, Any] | None = None) -> None:
    """One of the two, or neither; with several devices and neither, DDP."""
    if case.has("deepspeed"):
        _deepspeed(case)
        stepped_in_host_memory(case)
        for key in ("fsdp", "fsdp_config", "fsdp_version"):
            case.drop(key, "`deepspeed` is written, which goes before it")
    elif case.has("fsdp") or case.has("fsdp_config") or extra:
        _fsdp(case, extra or {})
    elif (case.recipe.get("hardware", {}).get("num_accelerators") or 1) > 1:
        case.imply("distributed", {"kind": "ddp"}, "several devices, without FSDP or DeepSpeed")
    for key in SPREAD_KEYS:
        case.drop(key, "it spreads nothing by itself")
    if case.written("distributed.kind") and case.written("hardware.num_accelerators") is None:
        message = "the file does not say over how many devices it is spread; the recipe is for one"
        help_ = "import it with --num-accelerators, or write `hardware.num_accelerators`"
        case.differ(next(key for key in ("deepspeed", "fsdp_config", "fsdp") if case.has(key)), message, help_)


def _deepspeed(case: Case) -> None:
    value = case.get("deepspeed")
    if isinstance(value, dict):
        found = zero(value)
        case.map("deepspeed", "distributed", found, "the other settings follow from `training`")
        return
    if not isinstance(value, str):
        case.block("deepspeed", "`deepspeed` must be a file or a mapping", _ZERO_HELP, "unfit-imported-value")
        return
    loaded = beside(case, value)
    if loaded is not None:
        how = f"read from {value}; the other settings follow from `training`"
        case.map("deepspeed", "distributed", zero(loaded), how)
        return
    named = re.search(r"z(?:ero)?[-_]?([0-3])", FilePath(value).name.lower())
    if named is None:
        message = f"`{value}` is not here, and its name does not say its stage"
        case.block("deepspeed", message, _ZERO_HELP, "missing-for-import")
        return
    found = _of_stage(int(named[1]))
    lowered = FilePath(value).name.lower().replace("_", "")
    if "offload" in lowered and found["kind"] == "deepspeed":
        found["offload_optimizer"] = "cpu"
        if found["zero_stage"] == 3 and ("all" in lowered or "params" in lowered or "z3offload" in lowered):
            found["offload_parameters"] = "cpu"
    case.map("deepspeed", "distributed", found, "by the name of the file, which is not here")
    case.differ(
        "deepspeed", f"`{value}` is not here: its stage is taken from its name", "compare it with `distributed`"
    )


def stepped_in_host_memory(case: Case) -> None:
    """DeepSpeed steps an offloaded AdamW itself, in 32 bits."""
    optimizer = case.written("training.optimizer") or {}
    if case.written("distributed.offload_optimizer") is None or not optimizer.keys() & {"bits", "paged"}:
        return
    for key in ("bits", "paged"):
        optimizer.pop(key, None)
    help_ = "nothing: host memory holds it"
    case.differ("deepspeed", "the optimizer is stepped in host memory, in 32 bits", help_)


def zero(configuration: dict[str, Any]) -> dict[str, Any]:
    """What of a DeepSpeed configuration is not derived from the recipe anyway."""
    section = configuration.get("zero_optimization")
    options = section if isinstance(section, dict) else {}
    stage = options.get("stage", 0)
    found = _of_stage(stage if stage in (0, 1, 2, 3) else 0)
    if found["kind"] == "ddp":
        return found
    for key, field in (("offload_optimizer", "offload_optimizer"), ("offload_param", "offload_parameters")):
        where = options.get(key)
        device = where.get("device", "none") if isinstance(where, dict) else "none"
        if device in ("cpu", "nvme") and (field == "offload_optimizer" or stage == 3):
            found[field] = device
            if device == "nvme" and isinstance(where, dict) and str(where.get("nvme_path", "")).startswith("/"):
                found["nvme_path"] = where["nvme_path"]
    return found


def _of_stage(stage: int) -> dict[str, Any]:
    return {"kind": "deepspeed", "zero_stage": stage} if stage else {"kind": "ddp"}


def beside(case: Case, file: str) -> dict[str, Any] | None:
    """A JSON file of this machine; nothing when it is not there or holds no mapping."""
    here = FilePath(case.configuration.source.file).parent / file
    for path in (FilePath(file), here):
        try:
            if path.is_file() and path.stat().st_size <= MAX_BYTES:
                found = json.loads(path.read_text("utf-8"))
                return found if isinstance(found, dict) else None
        except (OSError, ValueError, RecursionError):
            return None
    return None


# -- FSDP --

_SHARDING: dict[str, str] = {
    **dict.fromkeys(("full_shard", "FULL_SHARD", "1"), "full"),
    **dict.fromkeys(("shard_grad_op", "SHARD_GRAD_OP", "2"), "grad"),
    **dict.fromkeys(("hybrid_shard", "HYBRID_SHARD", "4"), "hybrid"),
}
_ALWAYS = {
    "version": "FSDP2 is what runs here",
    "limit_all_gathers": "FSDP2 always limits them",
    "sync_module_states": "the weights of the first process are given to all where one reads them",
    "use_orig_params": "FSDP2 always keeps the parameters as they are",
    "backward_prefetch": "FSDP2 orders its gathers itself",
    "forward_prefetch": "FSDP2 orders its gathers itself",
    "auto_wrap_policy": "layers are sharded one by one",
    "min_num_params": "layers are sharded one by one",
    "cpu_offload_pin_memory": "pinned, as without it",
    "final_state_dict_type": "the trained model is always written whole",
}
"""Key of an FSDP configuration, without `fsdp_` -> why it is not needed."""


def _fsdp(case: Case, extra: dict[str, Any]) -> None:
    found: dict[str, Any] = {"kind": "fsdp", **extra}
    words = case.get("fsdp", [])
    for number, word in enumerate(words if isinstance(words, list) else str(words).split()):
        at: Key = ("fsdp", number) if isinstance(words, list) else "fsdp"
        if str(word) in _SHARDING:
            _put(found, "sharding", _SHARDING[str(word)], "full")
            case.map(at, "distributed.sharding", None, f"from `{word}`")
        elif word == "offload":
            found["cpu_offload"] = True
            case.map(at, "distributed.cpu_offload")
        elif word != "auto_wrap":
            case.block(at, f"`{word}` is no sharding of FSDP here", "write `distributed: {kind: fsdp}`")
    case.drop("fsdp", "layers are sharded one by one")
    configuration = case.get("fsdp_config", {})
    if isinstance(configuration, str):
        configuration = _from_file(case, configuration)
    for key, value in configuration.items() if isinstance(configuration, dict) else ():
        _fsdp_option(case, found, ("fsdp_config", key), value)
    case.drop("fsdp_version", _ALWAYS["version"])
    case.put("distributed", found)


def _from_file(case: Case, file: str) -> dict[str, Any]:
    loaded = beside(case, file)
    if loaded is None:
        help_ = "write its settings into `distributed: {kind: fsdp}`"
        case.block("fsdp_config", f"`{file}` is not here", help_, "missing-for-import")
    else:
        case.block("fsdp_config", f"`{file}` is read only in the file itself", "copy its keys below `fsdp_config`")
    return {}


def _put(found: dict[str, Any], key: str, value: Any, default: Any) -> None:
    if value != default:
        found[key] = value


def _fsdp_option(case: Case, found: dict[str, Any], path: Path, value: Any) -> None:
    name = str(path[-1]).removeprefix("fsdp_")
    if value is None:
        return
    if name in _ALWAYS:
        case.drop(path, _ALWAYS[name])
    elif name == "transformer_layer_cls_to_wrap":
        classes = value if isinstance(value, list) else str(value).split(",")
        found["wrap"] = [str(each).strip() for each in classes]
        case.map(path, "distributed.wrap")
    elif name == "sharding_strategy" and str(value) in _SHARDING:
        _put(found, "sharding", _SHARDING[str(value)], "full")
        case.map(path, "distributed.sharding", None, f"from `{value}`")
    elif name == "state_dict_type":
        full = "FULL" in str(value).upper()
        _put(found, "state_dict_type", "full" if full else "sharded", "sharded")
        case.map(path, "distributed.state_dict_type", None, f"from `{value}`; the trained model is written whole")
    elif name in _SWITCHES or name == "reshard_after_forward":
        _switch(case, found, path, name)
    else:
        case.block(path, f"`{dotted(path)}` has no equal in `distributed`", "remove it")


_SWITCHES = {
    "offload_params": "cpu_offload",
    "activation_checkpointing": "activation_checkpointing",
    "cpu_ram_efficient_loading": "cpu_ram_efficient_loading",
}


def _switch(case: Case, found: dict[str, Any], path: Path, name: str) -> None:
    value = case.get(path)
    if isinstance(value, str) and value in _SHARDING:  # FSDP2 took over the words of FSDP1 for a while
        _put(found, "sharding", _SHARDING[value], "full")
        case.map(path, "distributed.sharding", None, f"from `{value}`")
        return
    switch = case.read(path, boolean)
    if switch is None:
        return
    if name == "reshard_after_forward":
        if not switch:
            found["sharding"] = "grad"
        case.map(
            path, "distributed.sharding", None, "`full` gathers weights anew for the backward pass, `grad` does not"
        )
        return
    _put(found, _SWITCHES[name], switch, False)
    case.map(path, f"distributed.{_SWITCHES[name]}")
