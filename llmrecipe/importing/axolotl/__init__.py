"""Axolotl: what of a configuration means something together, in the order in which it is read."""

from typing import Any

from llmrecipe.importing.axolotl.data import DATA_KEYS, data
from llmrecipe.importing.axolotl.keys import RULES
from llmrecipe.importing.axolotl.method import METHOD_KEYS, method
from llmrecipe.importing.axolotl.model import (
    ADAPTER_KEYS,
    MODEL_KEYS,
    TOKENIZER_KEYS,
    adapter,
    model,
    tokenizer,
)
from llmrecipe.importing.case import Case, Step, Tool
from llmrecipe.importing.spreading import SPREAD_KEYS, spread
from llmrecipe.importing.surroundings import hardware, name, weights
from llmrecipe.importing.training import (
    ADAM_KEYS,
    EVALUATION_KEYS,
    SAVING_KEYS,
    SCHEDULE_KEYS,
    Names,
    amount,
    batch,
    checkpoints,
    evaluation,
    length,
    optimizer,
    precision,
    rate,
    schedule,
)
from llmrecipe.importing.values import boolean, decimal, positive, whole

NAMES = Names(
    micro="micro_batch_size",
    evaluation="eval_batch_size",
    schedule="lr_scheduler",
    optimizer="optimizer",
    micro_default=1,
    schedule_default="cosine",
)

PARALLEL_KEYS = (
    "dp_shard_size",
    "dp_replicate_size",
    "tensor_parallel_size",
    "context_parallel_size",
    "expert_parallel_size",
    "sequence_parallel_degree",
    "heads_k_stride",
    "ring_attn_func",
)
_PARALLEL_HELP = "use `distributed: {kind: fsdp}`, whose shares need no such degree"


def _devices(case: Case) -> None:
    """Degrees of parallelism -> how many devices there are."""
    shards = case.read("dp_shard_size", positive)
    copies = case.read("dp_replicate_size", positive)
    hardware(case, (shards or 1) * (copies or 1), newest=case.get("attn_implementation") == "flash_attention_3")
    for key in ("dp_shard_size", "dp_replicate_size"):
        case.map(key, "hardware.num_accelerators", None, f"{shards or 1} x {copies or 1} devices")
    for key in PARALLEL_KEYS[2:]:
        if case.get(key) in (1, None):
            case.drop(key, "1 splits nothing")
        else:
            case.block(key, f"`{key}` has no equal here", _PARALLEL_HELP)


def _spread(case: Case) -> None:
    shards, copies = case.get("dp_shard_size", 1), case.get("dp_replicate_size", 1)
    extra: dict[str, Any] = {"sharding": "hybrid"} if copies != 1 and shards != 1 else {}
    spread(case, extra if case.has("fsdp_config") or case.has("fsdp") else {})


def _batch(case: Case) -> None:
    """`batch_size` is the whole batch of one device's steps; it stands for the accumulation."""
    size, micro = case.read("batch_size", positive), case.read("micro_batch_size", positive)
    if size is not None and not case.has("gradient_accumulation_steps"):
        devices = case.recipe["hardware"].get("num_accelerators", 1)
        step = (micro or 1) * devices
        case.put("training.per_device_train_batch_size", micro or 1)
        case.map("micro_batch_size", "training.per_device_train_batch_size")
        case.map("batch_size", "training.global_batch_size", max(step, size // step * step))
        case.map(
            "eval_batch_size",
            "training.per_device_eval_batch_size",
            case.read("eval_batch_size", positive) or micro or 1,
        )
        return
    case.drop("batch_size", "`gradient_accumulation_steps` says it")
    batch(case, NAMES)


def _schedule(case: Case) -> None:
    because = "3 % of all steps without being told, at most 100"
    schedule(case, NAMES, (because, 0.03))
    least = case.read("cosine_min_lr_ratio", decimal)
    kind = case.recipe["training"]["schedule"]["kind"]
    if least and least < 1 and kind == "cosine":
        case.map("cosine_min_lr_ratio", "training.schedule.min_lr_ratio", least)
    elif least and kind == "cosine":
        case.block("cosine_min_lr_ratio", "a cosine that ends at its peak is no schedule", "write `constant`")
    case.drop("cosine_min_lr_ratio", "0 ends at zero, as without it here")
    end = case.read("eta_min", decimal)
    peak = case.recipe["training"].get("learning_rate")
    if end and peak and kind == "cosine":
        case.map("eta_min", "training.schedule.min_lr_ratio", end / peak, f"{end:g} of a peak of {peak:g}")
    elif end is not None:
        case.drop("eta_min", "the schedule ends at zero anyway, or knows no end")


def _precision(case: Case) -> None:
    precision(case, "auto")
    weights(case, "learning_rate", adapted=False)


def _evaluation(case: Case) -> None:
    validated = "validation" in case.recipe["data"]
    per_epoch = case.read("evals_per_epoch", whole)
    if per_epoch == 1 and validated and case.get("num_epochs", 1) == 1 and not case.has("max_steps"):
        case.drop("evals_per_epoch", "once in one epoch is at the end, where it is validated here")
    elif per_epoch and validated:
        because = "the steps of an epoch are known when the data are; `training.eval_steps` says them"
        case.drop("evals_per_epoch", because)
        help_ = "write `training.eval_steps`; `llmrecipe plan` says how many steps there are"
        case.differ("evals_per_epoch", f"validated once, at the end, not {per_epoch} times in each epoch", help_)
    case.drop("evals_per_epoch", "there is nothing to validate with" if per_epoch else "0 is never")
    evaluation(case, validated)


def _saving(case: Case) -> None:
    case.drop(
        "saves_per_epoch", "checkpoints come every `training.checkpoints.save_steps`, 500; the last one is always kept"
    )
    checkpoints(case, 4)


TRACKING_KEYS = (
    "wandb_project",
    "wandb_entity",
    "wandb_name",
    "wandb_run_id",
    "wandb_watch",
    "wandb_log_model",
    "wandb_mode",
    "use_wandb",
    "mlflow_tracking_uri",
    "mlflow_experiment_name",
    "mlflow_run_name",
    "hf_mlflow_log_artifacts",
    "use_mlflow",
    "trackio_project_name",
    "trackio_run_name",
    "trackio_space_id",
    "use_trackio",
    "use_tensorboard",
)


def _tracking(case: Case) -> None:
    """A project that is named switches its tracker on."""
    found: list[dict[str, Any]] = []
    if case.get("wandb_project") and case.get("use_wandb") is not False and case.get("wandb_mode") != "disabled":
        offline = case.get("wandb_mode") == "offline"
        found.append(
            {"kind": "wandb", "mode": "offline" if offline else "online", "project": case.get("wandb_project")}
        )
        found[-1] |= {"entity": case.get("wandb_entity")} if case.get("wandb_entity") else {}
        for key in ("wandb_project", "wandb_entity", "wandb_mode", "use_wandb"):
            case.map(key, "tracking.trackers")
    if case.get("mlflow_experiment_name") or case.get("mlflow_tracking_uri"):
        found.append({"kind": "mlflow"})
        for key, field in (("mlflow_tracking_uri", "tracking_uri"), ("mlflow_experiment_name", "experiment")):
            if case.get(key):
                found[-1][field] = case.get(key)
                case.map(key, "tracking.trackers")
    if case.get("trackio_project_name"):
        found.append({"kind": "trackio", "project": case.get("trackio_project_name")})
        case.map("trackio_project_name", "tracking.trackers")
    if case.read("use_tensorboard", boolean):
        found.append({"kind": "tensorboard"})
        case.map("use_tensorboard", "tracking.trackers")
    if found:
        case.put("tracking.trackers", found)
    for key in ("wandb_log_model", "hf_mlflow_log_artifacts", "trackio_space_id"):
        if case.get(key) not in (None, False, "", "false"):
            case.block(
                key, "trackers are told numbers, and given no files", "remove it; the exported folder can be uploaded"
            )
    for key in TRACKING_KEYS:
        case.drop(key, "the run is called as the recipe is, and its tracker is told what is logged")


AXOLOTL = Tool(
    name="axolotl",
    title="Axolotl",
    signs={
        "base_model": 3,
        "micro_batch_size": 3,
        "sequence_len": 3,
        "sample_packing": 2,
        "adapter": 1,
        "num_epochs": 2,
        "val_set_size": 2,
        "lora_target_linear": 2,
        "lr_scheduler": 2,
        "datasets": 1,
        "dataset_prepared_path": 2,
        "saves_per_epoch": 2,
        "pretraining_dataset": 2,
        "optimizer": 1,
    },
    steps=(
        Step(PARALLEL_KEYS, _devices),
        Step(MODEL_KEYS, model),
        Step(("output_dir",), name),
        Step(ADAPTER_KEYS, adapter),
        Step(TOKENIZER_KEYS, tokenizer),
        Step(DATA_KEYS, data),
        Step(METHOD_KEYS, method),
        Step(("num_epochs", "max_steps"), lambda case: amount(case, "num_epochs", 1.0)),
        Step(("micro_batch_size", "gradient_accumulation_steps", "batch_size", "eval_batch_size"), _batch),
        Step(("sequence_len",), lambda case: length(case, "sequence_len", 512)),
        Step(("learning_rate",), lambda case: rate(case, None)),
        Step(("optimizer", *ADAM_KEYS), lambda case: optimizer(case, NAMES)),
        Step(("lr_scheduler", *SCHEDULE_KEYS, "cosine_min_lr_ratio", "eta_min"), _schedule),
        Step(("bf16", "fp16"), _precision),
        Step((*EVALUATION_KEYS, "evals_per_epoch"), _evaluation),
        Step((*SAVING_KEYS, "saves_per_epoch"), _saving),
        Step(TRACKING_KEYS, _tracking),
        Step(SPREAD_KEYS, _spread),
    ),
    rules=RULES,
)
