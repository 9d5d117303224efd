"""Axolotl: what is optimised, by `rl`, `reward_model`, or the rows."""

from typing import Any

from llmrecipe.importing.axolotl.data import kinds
from llmrecipe.importing.case import Case
from llmrecipe.importing.places import python_file
from llmrecipe.importing.values import Convert, boolean, decimal, number, numbers, positive, texts, whole, word
from llmrecipe.source import Path

METHOD_KEYS = (
    "rl",
    "trl",
    "vllm",
    "reward_model",
    "num_labels",
    "center_rewards_coefficient",
    "rl_beta",
    "dpo_beta",
    "orpo_alpha",
    "kto_desirable_weight",
    "kto_undesirable_weight",
    "simpo_gamma",
    "cpo_alpha",
    "dpo_label_smoothing",
    "dpo_use_weighting",
    "dpo_loss_type",
    "dpo_loss_weights",
    "rpo_alpha",
    "train_on_inputs",
    "use_dft",
    "precompute_ref_log_probs",
)

_KIND = {"dpo": "dpo", "ipo": "dpo", "kto": "kto", "orpo": "orpo", "simpo": "cpo", "grpo": "grpo", "gdpo": "grpo"}
_BETA = {"dpo": 0.1, "kto": 0.1, "orpo": 0.1, "cpo": 0.1, "grpo": 0.0}


def method(case: Case) -> None:
    """`method` with its options."""
    rl = word(case.get("rl", ""))
    if case.read("reward_model", boolean):
        _reward(case)
    elif rl in _KIND:
        _from_answers(case, rl)
    else:
        if rl:
            help_ = "write one of the methods of `llmrecipe explain method`"
            case.block("rl", f"the method `{rl}` has no equal here", help_)
        _supervised(case)
    for key in ("trl", "vllm"):
        for leaf in case.open(key):
            if case.get(leaf) is not None and case.recipe["method"]["kind"] != "grpo":
                case.drop(leaf, "it is about answers that are generated, and none are")
    case.drop("reward_model", "it is off")
    for key in METHOD_KEYS:
        if case.has(key) and key not in ("trl", "vllm", "rl"):
            case.drop(key, f"the method `{case.recipe['method']['kind']}` does not have it, and passes it over")


def _supervised(case: Case) -> None:
    formats = kinds(case)
    if formats == {"text"}:
        case.imply("method.kind", "pretrain", "all rows are plain text")
        case.drop("train_on_inputs", "plain text has no prompt")
        return
    case.imply("method.kind", "sft", "there is no `rl`")
    whole_row = bool(case.read("train_on_inputs", boolean)) and formats == {"instruction"}
    if whole_row:
        case.map("train_on_inputs", "method.assistant_only_loss", False)
    elif case.has("train_on_inputs") and not case.get("train_on_inputs"):
        case.map("train_on_inputs", "method.assistant_only_loss", True)
    else:
        case.imply("method.assistant_only_loss", True, "only answers are learned without being told")
        case.drop("train_on_inputs", "rows of `chat_template` pass it over: the assistant's turns are learned")
    if case.read("use_dft", boolean):
        case.map("use_dft", "method.loss_type", "dft")


def _reward(case: Case) -> None:
    case.map("reward_model", "method.kind", "reward")
    coefficient = case.read("center_rewards_coefficient", decimal)
    if coefficient:
        case.map("center_rewards_coefficient", "method.center_rewards_coefficient", coefficient)
    labels = case.read("num_labels", whole)
    if labels == 1:
        case.drop("num_labels", "a reward model gives one number")
    elif labels is not None:
        case.block("num_labels", f"{labels} labels have no equal here", "write `method: {kind: reward}`, which has one")


def _from_answers(case: Case, rl: str) -> None:
    kind = _KIND[rl]
    case.put("method.kind", kind)
    case.map("rl", "method.kind", None, "" if rl == kind else f"from `{rl}`")
    if rl == "simpo":
        case.put("method.loss_type", "simpo")
        case.map("rl", "method.loss_type")
    _beta(case, kind)
    if kind == "dpo":
        _dpo(case, rl)
    for key, field, kinds_ in (
        ("kto_desirable_weight", "desirable_weight", ("kto",)),
        ("kto_undesirable_weight", "undesirable_weight", ("kto",)),
        ("simpo_gamma", "simpo_gamma", ("cpo",)),
        ("cpo_alpha", "cpo_alpha", ("cpo",)),
    ):
        value = case.read(key, decimal)
        if value is not None and kind in kinds_:
            case.map(key, f"method.{field}", value)
    if kind == "grpo":
        _generated(case, rl)


def _beta(case: Case, kind: str) -> None:
    keys = ("orpo_alpha",) if kind == "orpo" else ("rl_beta", "dpo_beta")
    value = None
    for key in keys:
        found = case.read(key, decimal)
        if found is not None:
            value = found
            case.map(key, "method.beta", found)
    nested = case.get(("trl", "beta"))
    if value is None and nested is None:
        case.imply("method.beta", _BETA[kind], f"{_BETA[kind]} without being told")


def _dpo(case: Case, rl: str) -> None:
    losses = case.read("dpo_loss_type", texts)
    weights = case.read("dpo_loss_weights", numbers)
    if losses and len(losses) > 1:
        pairs = [
            {"loss": loss, "weight": weight} for loss, weight in zip(losses, weights or [1] * len(losses), strict=False)
        ]
        case.map("dpo_loss_type", "method.loss_type", pairs)
        case.map("dpo_loss_weights", "method.loss_type")
    elif losses:
        case.map("dpo_loss_type", "method.loss_type", losses[0])
        case.drop("dpo_loss_weights", "one loss needs no weight")
    elif rl == "ipo":
        case.put("method.loss_type", "ipo")
    smoothing = case.read("dpo_label_smoothing", decimal)
    if smoothing:
        case.map("dpo_label_smoothing", "method.label_smoothing", smoothing)
    if case.read("dpo_use_weighting", boolean):
        case.map("dpo_use_weighting", "method.use_weighting", True)
    if case.read("precompute_ref_log_probs", boolean):
        case.map("precompute_ref_log_probs", "method.precompute_ref_log_probs", True)
    if case.read("rpo_alpha", number):
        case.block("rpo_alpha", "`rpo_alpha` is gone", "write `loss_type: [{loss: sigmoid}, {loss: sft, weight: ...}]`")


# -- answers that the model gives while it is trained --

_GENERATION: dict[str, Convert] = {
    "num_generations": positive,
    "max_completion_length": positive,
    "temperature": decimal,
    "top_p": decimal,
    "top_k": whole,
    "epsilon": decimal,
    "epsilon_high": decimal,
    "num_iterations": positive,
    "beta": decimal,
    "use_vllm": boolean,
    "loss_type": str,
    "vllm_mode": str,
    "mask_truncated_completions": boolean,
    "importance_sampling_level": str,
    "steps_per_generation": positive,
    "vllm_gpu_memory_utilization": decimal,
    "vllm_server_base_url": str,
}
"""Keys of `trl` that the method has by the same name."""
_LOGS = ("log_completions", "num_completions_to_print", "log_unique_prompts", "vllm_server_timeout", "async_prefetch")
_SERVED = {
    "gpu_memory_utilization": "vllm_gpu_memory_utilization",
    "max_model_len": "vllm_max_model_length",
    "tensor_parallel_size": "vllm_tensor_parallel_size",
}
_SERVER_ONLY = (
    "serve_module",
    "enforce_eager",
    "host",
    "port",
    "dtype",
    "enable_prefix_caching",
    "data_parallel_size",
    "enable_reasoning",
    "reasoning_parser",
)


def _generated(case: Case, rl: str) -> None:
    if rl == "gdpo":
        because = "`gdpo` compares each reward by itself, and sums what comes of it"
        case.imply("training.extra.multi_objective_aggregation", "normalize_then_sum", because)
    section = case.get("trl", {})
    for key, value in section.items() if isinstance(section, dict) else ():
        if value is not None:
            _generation(case, ("trl", key), value)
    host, port = case.get(("trl", "vllm_server_host")), case.get(("trl", "vllm_server_port"), 8000)
    if host is not None:
        case.put("method.vllm_mode", "server")
        case.put("method.vllm_server_base_url", f"http://{host}:{port}")
        case.map(("trl", "vllm_server_host"), "method.vllm_server_base_url")
        case.map(("trl", "vllm_server_port"), "method.vllm_server_base_url")
    _rewards(case)
    served = case.get("vllm", {})
    for key in served if isinstance(served, dict) else ():
        if key in _SERVED:
            case.map(("vllm", key), f"method.{_SERVED[key]}", case.get(("vllm", key)))
        elif key in _SERVER_ONLY:
            case.drop(("vllm", key), "it is about how the server is started, which is done beside the training")
        else:
            case.block(("vllm", key), f"`{key}` has no equal in `method`", "start the server with it")


def _generation(case: Case, path: Path, value: Any) -> None:
    name = str(path[-1])
    if name in _GENERATION:
        found = case.read(path, _GENERATION[name])
        if found is not None:
            case.map(path, f"method.{name}", found)
    elif name == "scale_rewards":
        case.map(
            path, "method.scale_rewards", {True: "group", False: "none"}.get(value, value), f"from `{value}`".lower()
        )
    elif name == "vllm_max_model_len":
        case.map(path, "method.vllm_max_model_length", case.read(path, positive))
    elif name in _LOGS:
        case.drop(path, "it changes what is printed or fetched when, and not what is learned")
    elif name == "sync_ref_model" and value is False:
        case.drop(path, "it is off")
    elif name in ("generation_kwargs", "chat_template_kwargs", "min_p", "repetition_penalty"):
        case.map(path, f"training.extra.{name}", value)
    elif name == "multi_objective_aggregation":
        case.map(path, "training.extra.multi_objective_aggregation", value)
    elif name not in ("vllm_server_host", "vllm_server_port", "reward_funcs", "reward_weights"):
        case.block(path, f"`{name}` has no equal in `method`", "remove it")


def _rewards(case: Case) -> None:
    functions = case.read(("trl", "reward_funcs"), texts) or []
    weights = case.read(("trl", "reward_weights"), numbers) or []
    if not functions:
        case.lack("there are no rewards to learn from", "write `method.reward_functions`")
        return
    found = []
    for index, dotted_name in enumerate(functions):
        module, _, function = dotted_name.rpartition(".")
        reward: dict[str, Any] = {"kind": "python", "path": python_file(case, module), "function": function}
        if index < len(weights):
            reward["weight"] = weights[index]
        found.append(reward)
    case.put("method.reward_functions", found)
    case.map(("trl", "reward_funcs"), "method.reward_functions", None, "needs `llmrecipe run --allow-code`")
    case.map(("trl", "reward_weights"), "method.reward_functions")
