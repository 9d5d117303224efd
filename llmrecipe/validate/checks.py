"""What no single section can check: what belongs together, `extra`, and numbers that are none."""

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from llmrecipe import facts
from llmrecipe.diagnostics import Diagnostic, Fix
from llmrecipe.document_errors import document_error
from llmrecipe.mending import Drop, Put, Rename, fix, nearest
from llmrecipe.methods import METHODS
from llmrecipe.recipe.serving import VLLM
from llmrecipe.recipe.training import Checkpoints, Training
from llmrecipe.source import Path, Source
from llmrecipe.validate.language import dotted, kind_of
from llmrecipe.validate.words import described, listed

_OWNED: dict[str, str] = {
    **dict.fromkeys(("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio"), "training.schedule"),
    **dict.fromkeys(("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon"), "training.optimizer"),
    "gradient_accumulation_steps": "training.global_batch_size",
    **dict.fromkeys(("bf16", "fp16"), "training.precision"),
    "eval_strategy": "training.eval_steps",
    "save_strategy": "training.checkpoints",
    **dict.fromkeys(
        ("activation_checkpointing", "activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"),
        "training.gradient_checkpointing",
    ),
    **dict.fromkeys(
        ("load_best_model_at_end", "metric_for_best_model", "greater_is_better"), "training.checkpoints.best"
    ),
    **dict.fromkeys(("use_liger_kernel", "liger_kernel_config"), "training.kernels"),
    "label_smoothing_factor": "training.label_smoothing",
    "train_sampling_strategy": "training.group_by_length",
    "logging_strategy": "training.logging_steps",
    **dict.fromkeys(("packing", "packing_strategy", "padding_free", "eval_packing"), "data.packing"),
    **dict.fromkeys(("dataset_text_field", "dataset_kwargs", "dataset_num_proc"), "data"),
    **dict.fromkeys(("completion_only_loss", "assistant_only_loss"), "method"),
    **dict.fromkeys(("chat_template_path", "eos_token", "pad_token"), "tokenizer"),
    **dict.fromkeys(("model_init_kwargs", "trust_remote_code"), "model"),
    **dict.fromkeys(("deepspeed", "fsdp", "fsdp_config", "parallelism_config", "accelerator_config"), "distributed"),
    **dict.fromkeys(("use_cpu", "dataloader_pin_memory"), "hardware.accelerator"),
    **dict.fromkeys(("run_name", "project"), "tracking"),
    **dict.fromkeys(("trackio_bucket_id", "trackio_space_id", "trackio_static_space_id"), "tracking"),
    **dict.fromkeys(("push_to_hub", "hub_model_id", "hub_token"), "export"),
}
"""Field of a trainer -> the key of the recipe that says it."""

_MOVING = dict.fromkeys(("ref_model_sync_steps", "ref_model_mixup_alpha"), "method.sync_ref_model")
_OWNED_BY: dict[str, dict[str, str]] = {
    "dpo": {"loss_weights": "method.loss_type", **_MOVING},
    "kto": _MOVING,
    "ppo": dict.fromkeys(("target_kl", "horizon"), "method.kl_control"),
    "grpo": {"generation_batch_size": "method.steps_per_generation"},
    "rloo": {"generation_batch_size": "method.steps_per_generation"},
    "distillation": dict.fromkeys(
        ("teacher_model_name_or_path", "teacher_model_revision", "teacher_model_init_kwargs"), "method.teacher_model"
    ),
}
"""The same, by the method that has the key."""

_RUNNERS = (
    "output_dir",
    "overwrite_output_dir",
    "logging_dir",
    "resume_from_checkpoint",
    "remove_unused_columns",
    "ddp_find_unused_parameters",
    "prediction_loss_only",
    "logging_nan_inf_filter",
    "disable_tqdm",
    "report_to",
    "reward_weights",
    "local_rank",
    "do_train",
    "do_eval",
    "do_predict",
    "auto_find_batch_size",
    "enable_jit_checkpoint",
    "generate_during_eval",
    "ignore_data_skip",
    "label_names",
    "restore_callback_states_from_checkpoint",
    "save_on_each_node",
    "save_only_model",
)
"""Fields of a trainer that the training stage sets itself, or that break what it promises: a run that goes on as if it
had never been interrupted, with the batch that the recipe says."""

_SERVERS = {
    **dict.fromkeys(("model", "model_tag", "tokenizer"), "model"),
    "config": "serving",
    "revision": "model.revision",
    "chat_template": "tokenizer.chat_template",
    "lora_modules": "serving.adapters",
}
"""Options of `vllm serve` that follow from the recipe."""

_TYPES: dict[str, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "`true` or `false`",
    "str": "a string",
    "list": "a list",
    "dict": "a mapping",
    "json": "a mapping, a list or a string of JSON",
}


def checks(source: Source) -> Iterator[Diagnostic]:
    """What the types of the sections do not say; for any data."""
    if not isinstance(source.data, dict):
        return
    yield from _version(source)
    yield from _pair(source)
    yield from _not_finite(source, (), source.data)
    yield from _training_extra(source)
    yield from _serving_extra(source)


def _version(source: Source) -> Iterator[Diagnostic]:
    value = source.data.get("version")
    if isinstance(value, bool | float) and value == 1:
        message = f"`version` must be a whole number, not {described(value)}"
        mended = fix(source, Put("version", 1))
        yield document_error("wrong-type", message, source.at(("version",)), "write `version: 1`", mended)


def _pair(source: Source) -> Iterator[Diagnostic]:
    for key, other, hint in (
        ("method", "data", "add `data: {train: [...]}`, or remove `method` from a recipe that trains nothing"),
        ("data", "method", "add `method: {kind: ...}`, or remove `data` from a recipe that trains nothing"),
    ):
        if source.data.get(key) is not None and source.data.get(other) is None:
            yield document_error("missing-key", f"`{key}` needs `{other}` beside it", source.key_at((key,)), hint)


def _not_finite(source: Source, path: Path, value: Any) -> Iterator[Diagnostic]:
    if isinstance(value, float) and not math.isfinite(value):
        message = f"`{dotted(path)}` is {value}; it must be a finite number"
        yield document_error("out-of-range", message, source.at(path), "write a number, or remove the key")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, float | dict | list):
            yield from _not_finite(source, (*path, key), item)


def _mapping(source: Source, *path: str) -> dict[str, Any]:
    value = source.data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _training_extra(source: Source) -> Iterator[Diagnostic]:
    extra = _mapping(source, "training", "extra")
    method = next((found for found in METHODS if kind_of(found) == _mapping(source, "method").get("kind")), None)
    if not extra or method is None:
        return
    own = {
        **_OWNED,
        **{name: f"training.{name}" for name in Training.model_fields},
        **{name: f"training.checkpoints.{name}" for name in Checkpoints.model_fields},
        **{name: f"method.{name}" for name in method.model_fields},
        **_OWNED_BY.get(str(kind_of(method)), {}),
    }
    fields = facts.trainer_fields(method.config)
    for name, value in extra.items():
        path: Path = ("training", "extra", name)
        if name in own:
            yield _own_key(source, path, own[name])
        elif name in _RUNNERS:
            message, hint = f"`{name}` cannot be set: the run decides it", "remove it"
            mended = fix(source, Drop(path))
            yield document_error("own-key-in-extra", message, source.key_at(path), hint, mended)
        elif name not in fields:
            yield _no_option(source, path, f"`{method.config.partition(':')[2]}`", fields)
        elif not fields[name].accepts(value):
            must = list(fields[name].choices) or [kind for kind in fields[name].type.split(" | ") if kind != "None"]
            yield _wrong_option(source, path, value, must)


def _serving_extra(source: Source) -> Iterator[Diagnostic]:
    extra = _mapping(source, "serving", "extra")
    if not extra or _mapping(source, "serving").get("kind") != "vllm":
        return
    own = {**_SERVERS, **{name: f"serving.{name}" for name in VLLM.model_fields}}
    options = facts.vllm_options()
    for name, value in extra.items():
        path: Path = ("serving", "extra", name)
        if name in own:
            yield _own_key(source, path, own[name])
        elif name not in options:
            yield _no_option(source, path, f"`vllm serve` {facts.vllm_version()}", options)
        elif not options[name].accepts(value):
            yield _wrong_option(source, path, value, list(options[name].choices) or [options[name].kind])


def _own_key(source: Source, path: Path, own: str) -> Diagnostic:
    message = f"the recipe has a key of its own for `{path[-1]}`"
    return document_error(
        "own-key-in-extra", message, source.key_at(path), f"write `{own}` instead", _moved(source, path, own)
    )


def _moved(source: Source, path: Path, own: str) -> Fix | None:
    """The entry under the name of our own, where that is the same."""
    at: Path = tuple(own.split("."))
    if at[-1] != path[-1] or at in source.values:
        return None
    return fix(source, Drop(path), Put(at, _mapping(source, *map(str, path[:-1]))[str(path[-1])]))


def _no_option(source: Source, path: Path, of: str, known: Mapping[str, object]) -> Diagnostic:
    name = str(path[-1])
    near, sure = nearest(name.lstrip("-").replace("-", "_"), known, 0.6)
    message = f"`{name}` is not an option of {of}"
    hint = f"did you mean `{near}`?" if near else "remove it"
    mended = fix(source, Rename(path, near), safe=sure) if near else None
    return document_error("unknown-key", message, source.key_at(path), hint, mended)


def _wrong_option(source: Source, path: Path, value: object, must: list[str]) -> Diagnostic:
    words = list(dict.fromkeys(_TYPES.get(kind, "") for kind in must))
    allowed = " or ".join(words) if all(words) else listed(must)
    name = "wrong-type" if all(words) else "unknown-choice"
    message = f"`{dotted(path)}` must be {allowed}, not {described(value)}"
    near = difflib.get_close_matches(str(value), must, 1) if not all(words) else []
    hint = f"did you mean `{near[0]}`?" if near else f"write {allowed}"
    return document_error(name, message, source.at(path), hint)
