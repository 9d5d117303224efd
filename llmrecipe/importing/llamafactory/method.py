"""LLaMA-Factory: what is optimised, and which weights are trained for it."""

from typing import Any

from llmrecipe.importing.case import Case
from llmrecipe.importing.values import boolean, decimal, names, number, positive, text, whole

METHOD_KEYS = (
    "stage",
    "pref_beta",
    "pref_loss",
    "pref_ftx",
    "dpo_label_smoothing",
    "kto_chosen_weight",
    "kto_rejected_weight",
    "simpo_gamma",
    "ref_model",
    "ref_model_adapters",
    "ref_model_quantization_bit",
    "ld_alpha",
    "reward_model",
    "reward_model_adapters",
    "reward_model_quantization_bit",
    "reward_model_type",
    "ppo_buffer_size",
    "ppo_epochs",
    "ppo_score_norm",
    "ppo_target",
    "ppo_whiten_rewards",
    "train_on_prompt",
    "mask_history",
    "use_dft_loss",
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
)

ADAPTER_KEYS = (
    "finetuning_type",
    "lora_rank",
    "lora_alpha",
    "lora_dropout",
    "lora_target",
    "additional_target",
    "use_rslora",
    "use_dora",
    "pissa_init",
    "pissa_iter",
    "pissa_convert",
    "loraplus_lr_ratio",
    "loraplus_lr_embedding",
    "quantization_bit",
    "quantization_method",
    "quantization_type",
    "double_quantization",
)

_STAGES = {"pt": "pretrain", "sft": "sft", "rm": "reward", "dpo": "dpo", "kto": "kto", "ppo": "ppo"}
_NOT_OF_IT = "it belongs to another stage, and is passed over"


def method(case: Case) -> None:
    """`stage` with the options of each -> `method`."""
    stage = case.get("stage", "sft")
    loss = case.get("pref_loss", "sigmoid")
    kind = _STAGES.get(stage, "sft") if isinstance(stage, str) else "sft"
    if kind == "dpo" and loss in ("orpo", "simpo"):
        kind = "orpo" if loss == "orpo" else "cpo"
    case.put("method.kind", kind)
    if not isinstance(stage, str) or stage not in _STAGES:
        case.block("stage", f"the stage `{stage}` has no equal here", f"write one of {', '.join(_STAGES)}")
    elif case.has("stage"):
        case.map("stage", "method.kind", None, "" if stage == kind else f"from `{stage}`")
    else:
        case.imply("method.kind", "sft", "without being told")
    if kind in _OPTIONS:
        _OPTIONS[kind](case)
    for key in METHOD_KEYS:
        case.drop(key, _NOT_OF_IT)


def _sft(case: Case) -> None:
    if case.read("train_on_prompt", boolean):
        case.map("train_on_prompt", "method.assistant_only_loss", False)
    elif case.has("train_on_prompt"):
        case.map("train_on_prompt", "method.assistant_only_loss", True)
    else:
        case.imply("method.assistant_only_loss", True, "only answers are learned without being told")
    if case.read("mask_history", boolean):
        case.block(
            "mask_history",
            "to learn from the last turn alone has no equal here",
            "prepare rows of prompt and completion",
        )
    if case.read("use_dft_loss", boolean):
        case.map("use_dft_loss", "method.loss_type", "dft")


def _beta(case: Case) -> None:
    beta = case.read("pref_beta", decimal)
    if beta is None:
        case.imply("method.beta", 0.1, "0.1 without being told")
    else:
        case.map("pref_beta", "method.beta", beta)
    case.map("pref_loss", "method.kind")


def _dpo(case: Case) -> None:
    loss, share = case.get("pref_loss", "sigmoid"), case.read("pref_ftx", decimal)
    if loss not in ("sigmoid", "hinge", "ipo"):
        case.block(
            "pref_loss", f"the loss `{loss}` has no equal here", "write one of `llmrecipe explain method.loss_type`"
        )
        loss = "sigmoid"
    smoothing = case.read("dpo_label_smoothing", decimal)
    if smoothing and loss == "sigmoid":
        case.block("dpo_label_smoothing", "smoothed labels of `sigmoid` have no equal here", "use `loss_type: robust`")
    if share:
        case.put("method.loss_type", [{"loss": loss}, {"loss": "sft", "weight": share}])
        case.map("pref_ftx", "method.loss_type")
    else:
        case.put("method.loss_type", loss)
    case.map("pref_loss", "method.loss_type")
    _beta(case)
    _reference(case)
    alpha = case.read("ld_alpha", decimal)
    if alpha is not None:
        case.map("ld_alpha", "method.ld_alpha", alpha)


def _simpo(case: Case) -> None:
    case.put("method.loss_type", "simpo")
    gamma = case.read("simpo_gamma", decimal)
    if gamma is None:
        case.imply("method.simpo_gamma", 0.5, "0.5 without being told")
    else:
        case.map("simpo_gamma", "method.simpo_gamma", gamma)
    _beta(case)


def _kto(case: Case) -> None:
    _beta(case)
    _reference(case)
    for key, field in (("kto_chosen_weight", "desirable_weight"), ("kto_rejected_weight", "undesirable_weight")):
        weight = case.read(key, decimal)
        if weight is not None:
            case.map(key, f"method.{field}", weight)


def _reference(case: Case) -> None:
    model = case.read("ref_model", text)
    if model is not None:
        case.map("ref_model", "method.ref_model", model)
    for key in ("ref_model_adapters", "ref_model_quantization_bit"):
        if case.has(key):
            case.block(key, "the reference is a whole model here, or the base without its adapter", "merge the adapter")


def _ppo(case: Case) -> None:
    model = case.read("reward_model", text)
    if model is None:
        case.lack("there is no `reward_model`", "write `method.reward_model`")
    else:
        case.map("reward_model", "method.reward_model", model)
    if case.get("reward_model_type", "lora") != "full":
        message = "the reward model is an adapter there, and a whole model here"
        case.differ("reward_model", message, "merge it into its base before")
    case.drop("reward_model_type", "the reward model is a whole model")
    for key in ("reward_model_adapters", "reward_model_quantization_bit"):
        if case.has(key):
            case.block(key, "the reward model is a whole model here", "merge the adapter, and leave it in 16 bits")
    for key, field, convert, default in (
        ("ppo_epochs", "num_ppo_epochs", positive, 4),
        ("ppo_buffer_size", "num_mini_batches", positive, 1),
        ("ppo_whiten_rewards", "whiten_rewards", boolean, False),
        ("max_new_tokens", "max_completion_length", positive, 1024),
        ("temperature", "temperature", decimal, 0.95),
        ("top_p", "top_p", decimal, 0.7),
        ("top_k", "top_k", whole, 50),
    ):
        value: Any = case.read(key, convert)
        if value is None:
            case.imply(f"method.{field}", default, f"{default} without being told")
        else:
            case.map(key, f"method.{field}", value)
    target = case.read("ppo_target", number)
    case.put("method.kl_control", {"kind": "adaptive", "target_kl": float(target or 6.0)})
    if target is not None:
        case.map("ppo_target", "method.kl_control")
    else:
        case.implied_section("method.kl_control", {}, "6.0 without being told")
    if case.read("ppo_score_norm", boolean):
        case.block("ppo_score_norm", "scores that are normalized have no equal here", "use `whiten_advantages`")


_OPTIONS = {"sft": _sft, "dpo": _dpo, "orpo": _beta, "cpo": _simpo, "kto": _kto, "ppo": _ppo}


# -- which weights --


def adapter(case: Case) -> None:
    """`finetuning_type` with its options -> `model.adapter` and `model.quantization`."""
    kind = case.get("finetuning_type", "lora")
    if kind == "full":
        case.drop("finetuning_type", "every weight is trained, as without `model.adapter`")
        for key in ADAPTER_KEYS:
            case.drop(key, "there is no adapter, and it is passed over")
        return
    if kind != "lora":
        case.block("finetuning_type", f"`{kind}` has no equal here", "write `model.adapter: {kind: lora}`")
    dora = case.read("use_dora", boolean)
    name = "dora" if dora else "lora"
    case.put("model.adapter", {"kind": name})
    if case.has("finetuning_type"):
        case.map("finetuning_type", "model.adapter.kind")
    else:
        case.imply("model.adapter.kind", name, "without being told")
    case.map("use_dora", "model.adapter.kind")
    _lora(case)
    _quantization(case)


def _lora(case: Case) -> None:
    rank = case.read("lora_rank", positive)
    for key, field, convert, default in (
        ("lora_rank", "r", positive, 8),
        ("lora_alpha", "lora_alpha", positive, 2 * (rank or 8)),
        ("lora_dropout", "lora_dropout", decimal, 0.0),
    ):
        value = case.read(key, convert)
        if value is None:
            because = "twice the rank" if key == "lora_alpha" else f"{default}"
            case.imply(f"model.adapter.{field}", default, f"{because} without being told")
        else:
            case.map(key, f"model.adapter.{field}", value)
    target = case.read("lora_target", names) or ["all"]
    layers: Any = "all-linear" if target == ["all"] else target
    if case.has("lora_target"):
        case.map(
            "lora_target",
            "model.adapter.target_modules",
            layers,
            "`all` is called `all-linear` here" if target == ["all"] else "",
        )
    else:
        case.imply("model.adapter.target_modules", layers, "all linear layers without being told")
    for key, field, convert_ in (
        ("additional_target", "modules_to_save", names),
        ("use_rslora", "use_rslora", boolean),
        ("loraplus_lr_ratio", "loraplus_lr_ratio", decimal),
    ):
        found: Any = case.read(key, convert_)
        if found is not None:
            case.map(key, f"model.adapter.{field}", found)
    if case.read("pissa_init", boolean):
        steps = case.read("pissa_iter", whole) if case.has("pissa_iter") else 16
        began = "pissa" if steps == -1 else "pissa_niter_4" if (steps or 16) <= 4 else "pissa_niter_16"
        case.map("pissa_init", "model.adapter.init_lora_weights", began)
        case.map("pissa_iter", "model.adapter.init_lora_weights")
    case.drop("pissa_convert", "what is exported is the difference to the base, in any case")
    for key in ("pissa_init", "pissa_iter"):
        case.drop(key, "it is off")
    case.drop("loraplus_lr_embedding", "it is about embeddings with an adapter of their own, which there are none of")


def _quantization(case: Case) -> None:
    bits = case.read("quantization_bit", whole)
    way = case.get("quantization_method", "bnb")
    if bits in (4, 8) and way in ("bnb", "bitsandbytes"):
        case.map("quantization_bit", "model.quantization", {"kind": "nf4" if bits == 4 else "int8"})
        case.drop("quantization_method", "bitsandbytes, here too")
    elif bits is not None:
        case.block("quantization_bit", f"{bits} bits of `{way}` have no equal here", "use 4 or 8 bits of bitsandbytes")
        case.block("quantization_method", f"`{way}` has no equal here", "use 4 or 8 bits of bitsandbytes")
    if bits == 4:
        double = case.read("double_quantization", boolean)
        if double is not None:
            case.map("double_quantization", "model.quantization.double_quantization", double)
        kind = case.get("quantization_type", "nf4")
        if kind != "nf4":
            case.block("quantization_type", f"4 bits as `{kind}` have no equal here", "use `nf4`")
    for key in ("double_quantization", "quantization_type", "quantization_method"):
        case.drop(key, "it says what is taken anyway" if bits == 4 else "without 4 bits it is passed over")
