"""TRL: which of its trainers a file is for, and what it optimises."""

import difflib
from typing import Any

from llmrecipe import facts
from llmrecipe.importing.case import Case, UnfitError
from llmrecipe.importing.extra import method_named
from llmrecipe.importing.places import python_file
from llmrecipe.importing.values import boolean, decimal, numbers, positive, text, texts, whole, word

KINDS = ("sft", "reward", "dpo", "kto", "grpo", "rloo", "orpo", "cpo", "distillation")

_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("distillation", ("teacher_model_name_or_path", "teacher_model_init_kwargs", "lmbda")),
    ("kto", ("desirable_weight", "undesirable_weight")),
    ("cpo", ("cpo_alpha", "simpo_gamma")),
    ("rloo", ("normalize_advantages",)),
    (
        "grpo",
        (
            "reward_funcs",
            "num_generations",
            "scale_rewards",
            "epsilon_high",
            "reward_weights",
            "num_iterations",
            "reward_model_name_or_path",
            "max_completion_length",
        ),
    ),
    ("reward", ("center_rewards_coefficient",)),
    ("dpo", ("beta", "f_divergence_type", "precompute_ref_log_probs", "ld_alpha", "loss_weights", "label_smoothing")),
    ("sft", ("packing", "assistant_only_loss", "completion_only_loss", "dataset_text_field")),
)
"""Method -> fields of its configuration that others do not have; the first that matches is taken."""

METHOD_KEYS = (
    "loss_type",
    "loss_weights",
    "reward_model_name_or_path",
    "reward_funcs",
    "reward_weights",
    "sync_ref_model",
    "ref_model_mixup_alpha",
    "ref_model_sync_steps",
    "teacher_model_name_or_path",
    "vllm_server_host",
    "vllm_server_port",
    "num_generations",
    "beta",
    "epsilon",
    "epsilon_high",
    "scale_rewards",
    "num_iterations",
    "max_completion_length",
    "temperature",
    "top_p",
    "top_k",
    "use_vllm",
    "vllm_mode",
    "vllm_server_base_url",
    "vllm_gpu_memory_utilization",
    "vllm_max_model_length",
    "vllm_tensor_parallel_size",
    "vllm_enable_sleep_mode",
    "mask_truncated_completions",
    "importance_sampling_level",
    "steps_per_generation",
    "normalize_advantages",
    "desirable_weight",
    "undesirable_weight",
    "center_rewards_coefficient",
    "label_smoothing",
    "f_divergence_type",
    "f_alpha_divergence_coef",
    "discopop_tau",
    "ld_alpha",
    "use_weighting",
    "precompute_ref_log_probs",
    "cpo_alpha",
    "simpo_gamma",
    "lmbda",
)

_SPECIAL = (
    "kind",
    "loss_type",
    "reward_model",
    "reward_functions",
    "sync_ref_model",
    "teacher_model",
    "scale_rewards",
    "ref_model",
    "reward_model_weight",
    "vllm_server_base_url",
    "assistant_only_loss",
    "completion_only_loss",
)


def method(case: Case) -> None:
    """`method`, by what the command line says, else by the fields that only one trainer has."""
    kind = case.options.method
    if kind is None:
        kind, sign = next(
            ((name, sign) for name, signs in _SIGNS for sign in signs if case.has(sign)), ("sft", "nothing else")
        )
        case.imply("method.kind", kind, f"by `{sign}`; --method says otherwise")
    else:
        case.put("method.kind", kind)
    _fields(case, kind)
    _losses(case, kind)
    if kind in ("grpo", "rloo"):
        _rewards(case)
        _server(case)
    _reference(case)
    teacher = case.read("teacher_model_name_or_path", text)
    if teacher is not None and kind == "distillation":
        case.map("teacher_model_name_or_path", "method.teacher_model", teacher)
    _supervised(case, kind)
    for key in METHOD_KEYS:
        case.drop(key, f"the trainer of `{kind}` does not have it, or it says nothing new")


def _fields(case: Case, kind: str) -> None:
    """Fields that the method has by the same name; where defaults differ, TRL's is written out."""
    cls = method_named(kind)
    trainer = facts.trainer_fields(cls.config)
    for name, field in cls.model_fields.items():
        if name in _SPECIAL:
            continue
        value = case.get(name)
        if value is not None and name in trainer:
            found = case.read(name, lambda given, name=name: _fitting(given, trainer[name].type))  # type: ignore[misc]
            if found is not None:
                case.map(name, f"method.{name}", found)
        elif name in trainer and trainer[name].default is not None and trainer[name].default != field.default:
            if field.default is None:  # Left out, it is what the library does.
                continue
            case.imply(f"method.{name}", trainer[name].default, f"{trainer[name].default} without being told")
    scale = case.get("scale_rewards")
    if scale is not None and kind == "grpo":
        found = {"True": "group", "False": "none"}.get(word(scale), word(scale))
        case.map("scale_rewards", "method.scale_rewards", found)


def _fitting(value: Any, kind: str) -> Any:
    if "bool" in kind:
        return boolean(value)
    if "float" in kind:
        return decimal(value)
    return whole(value) if "int" in kind else text(value)


def _losses(case: Case, kind: str) -> None:
    losses = case.read("loss_type", texts)
    if losses is None or "loss_type" not in method_named(kind).model_fields:
        return
    if kind == "sft" and losses == ["chunked_nll"]:
        case.drop("loss_type", "the loss is always computed in tiles here")
    elif len(losses) == 1:
        case.map("loss_type", "method.loss_type", losses[0])
    else:
        weights = case.read("loss_weights", numbers) or [1.0] * len(losses)
        pairs = [{"loss": loss, "weight": weight} for loss, weight in zip(losses, weights, strict=False)]
        case.map("loss_type", "method.loss_type", pairs)
        case.map("loss_weights", "method.loss_type")


def _rewards(case: Case) -> None:
    model = case.read("reward_model_name_or_path", text)
    weights = case.read("reward_weights", numbers) or []
    if model is not None:
        case.map("reward_model_name_or_path", "method.reward_model", model)
        if weights:
            case.put("method.reward_model_weight", weights.pop(0))
    found = []
    for index, name in enumerate(case.read("reward_funcs", texts) or []):
        key = ("reward_funcs", index) if isinstance(case.get("reward_funcs"), list) else "reward_funcs"
        module, _, function = name.rpartition(".")
        if not module:
            help_ = "write one of the rewards of `llmrecipe explain method.reward_functions`, or Python code"
            case.block(key, f"the reward `{name}` of TRL has no equal here", help_)
            continue
        reward: dict[str, Any] = {"kind": "python", "path": python_file(case, module), "function": function}
        found.append(reward | ({"weight": weights[index]} if index < len(weights) else {}))
        case.map(key, "method.reward_functions", None, "needs `llmrecipe run --allow-code`")
    if found:
        case.put("method.reward_functions", found)
    elif model is None:
        case.lack("there are no rewards to learn from", "write `method.reward_functions` or `method.reward_model`")
    case.map("reward_weights", "method.reward_functions")


def _server(case: Case) -> None:
    host, port = case.get("vllm_server_host"), case.get("vllm_server_port", 8000)
    url = case.read("vllm_server_base_url", text)
    if url is not None:
        case.map("vllm_server_base_url", "method.vllm_server_base_url", url)
    elif host is not None:
        case.put("method.vllm_server_base_url", f"http://{host}:{port}")
        case.map("vllm_server_host", "method.vllm_server_base_url")
        case.map("vllm_server_port", "method.vllm_server_base_url")


def _reference(case: Case) -> None:
    if not case.read("sync_ref_model", boolean) or case.recipe["method"]["kind"] not in ("dpo", "kto"):
        return
    steps = case.read("ref_model_sync_steps", positive) or 512
    share = case.read("ref_model_mixup_alpha", decimal) or 0.6
    case.map("sync_ref_model", "method.sync_ref_model", {"every_steps": steps, "alpha": share})
    for key in ("ref_model_sync_steps", "ref_model_mixup_alpha"):
        case.map(key, "method.sync_ref_model")


def _supervised(case: Case, kind: str) -> None:
    """Which tokens are learned from."""
    for key in ("assistant_only_loss", "completion_only_loss"):
        value = case.read(key, boolean)
        if value is not None and kind == "sft":
            case.map(key, f"method.{key}", value)
        else:
            case.drop(key, f"the method `{kind}` does not have it")


def a_method(value: str) -> str:
    """A method that TRL has a command for.

    Raises:
        UnfitError: it has none; says what is near.
    """
    if value in KINDS:
        return value
    near = difflib.get_close_matches(value, KINDS, 1)
    raise UnfitError(f"must be one of {', '.join(KINDS)}" + (f"; did you mean `{near[0]}`?" if near else ""))
