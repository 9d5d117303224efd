"""Fields of Transformers' TrainingArguments that mean something alone, for the tools that take them by name."""

from typing import Any

from llmrecipe.importing.case import Case, Rule
from llmrecipe.importing.training import MOVES_NOTHING, trackers
from llmrecipe.importing.values import boolean, decimal, drop, names, never, number, off, to, whole
from llmrecipe.source import Path

_UPLOAD = "run `hf upload` with the exported folder"
_SET = "the run sets it itself"


def _logging(case: Case, path: Path, value: Any) -> None:
    steps = case.read(path, number)
    if steps is not None and steps >= 1:
        case.map(path, "training.logging_steps", int(steps))
    elif steps is not None:
        case.drop(path, "a share of all steps; a line is logged every 10 steps")


def _report(case: Case, path: Path, value: Any) -> None:
    found = trackers(case, case.read(path, names) or [] if value else [], "report_to")
    told: list[dict[str, Any]] = [{"kind": name} for name in found]
    for one in told:
        if one["kind"] == "wandb":
            one["mode"] = "online"
        if one["kind"] == "trackio" and case.has("project"):
            one["project"] = case.get("project")
            case.map("project", "tracking.trackers")
    if told:
        case.put("tracking.trackers", told)


def _switch(target: str, value_on: Any) -> Rule:
    def rule(case: Case, path: Path, value: Any) -> None:
        if case.read(path, boolean):
            case.map(path, target, value_on)
        else:
            case.drop(path, "it is off, as without it here")

    return rule


def _sampling(case: Case, path: Path, value: Any) -> None:
    if value == "group_by_length":
        case.map(path, "training.group_by_length", True)
    elif value == "random":
        case.drop(path, "rows are always mixed")
    else:
        case.block(path, f"the order `{value}` has no equal here", "use `data.curriculum`")


def _each(keys: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(keys.split(), rule)


RULES: dict[str, Rule] = {
    "seed": to("training.seed", whole),
    "weight_decay": to("training.weight_decay", decimal),
    "max_grad_norm": to("training.max_grad_norm", decimal),
    "label_smoothing_factor": to("training.label_smoothing", decimal),
    "neftune_noise_alpha": to("training.neftune_noise_alpha", decimal),
    "dataloader_num_workers": to("training.dataloader_num_workers", whole),
    "logging_steps": _logging,
    "report_to": _report,
    "tf32": to("training.tf32", boolean),
    "torch_compile": to("training.torch_compile", boolean),
    **_each("use_liger_kernel enable_liger_kernel", _switch("training.kernels", "liger")),
    "group_by_length": to("training.group_by_length", boolean),
    "train_sampling_strategy": _sampling,
    "activation_offloading": to("training.activation_offloading", boolean),
    **_each(
        "output_dir overwrite_output_dir logging_dir do_train do_eval disable_tqdm logging_nan_inf_filter "
        "prediction_loss_only local_rank remove_unused_columns label_names",
        drop(_SET),
    ),
    **_each("resume_from_checkpoint", drop("`llmrecipe run` resumes by itself")),
    **_each(
        "ddp_timeout ddp_backend ddp_bucket_cap_mb ddp_broadcast_buffers ddp_find_unused_parameters "
        "ddp_static_graph dataloader_pin_memory dataloader_prefetch_factor dataloader_persistent_workers "
        "log_level log_level_replica log_on_each_node logging_first_step logging_strategy save_on_each_node "
        "skip_memory_metrics include_num_input_tokens_seen include_tokens_per_second eval_accumulation_steps "
        "torch_empty_cache_steps torch_compile_backend torch_compile_mode eval_do_concat_batches "
        "dataset_num_proc dataloader_multiprocessing_context average_tokens_across_devices",
        drop(MOVES_NOTHING),
    ),
    **_each(
        "gradient_checkpointing_kwargs activation_checkpointing_kwargs",
        drop("recomputation is never reentrant here, and gives the same numbers"),
    ),
    **_each(
        "save_only_model save_safetensors",
        drop("checkpoints hold everything a run resumes from; the trained model is always written as safetensors"),
    ),
    **_each("run_name project trackio_space_id", drop("the run is called as the recipe is")),
    "push_to_hub": off("a run uploads nothing", _UPLOAD),
    "hub_token": never("a secret in a file", "take it out; `HF_TOKEN` is read"),
    **_each(
        "hub_model_id hub_strategy hub_private_repo hub_always_push hub_revision",
        drop("it is about the upload, which `push_to_hub` switches on"),
    ),
    **_each("do_predict predict_with_generate", off("answers are judged by suites here", "write `evaluation.suites`")),
    "auto_find_batch_size": off("a batch that is found by trying has no equal here", "`llmrecipe plan` says what fits"),
    "eval_on_start": drop("it measures before the first step, and changes nothing"),
    **_each("accelerator_config parallelism_config", drop("the run's own, which follows from `distributed`")),
    "optim_args": off("options of an optimizer are keys of `training.optimizer`", "write them there"),
    "eval_delay": drop("validations begin with the first `training.eval_steps`"),
}


def default_logging(case: Case, steps: int) -> None:
    """Lines of the log when nothing is said."""
    if not case.has("logging_steps"):
        case.imply("training.logging_steps", steps, f"{case.tool} takes {steps} without being told")


def gradient_checkpointing(case: Case, keys: tuple[str, ...], default: bool) -> None:
    """Whether activations are recomputed, by the first key that says so."""
    for key in keys:
        if case.has(key):
            value = case.read(key, boolean)
            case.map(key, "training.gradient_checkpointing", bool(value))
            return
    case.imply("training.gradient_checkpointing", default, f"{case.tool} does without being told")
