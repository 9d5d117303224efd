"""Axolotl: the base model, its adapter, its quantization and its tokenizer."""

from typing import Any

from llmrecipe.importing.case import Case
from llmrecipe.importing.surroundings import attention, attention_untold, base
from llmrecipe.importing.templates import HELP, TEMPLATE, chat_template
from llmrecipe.importing.values import boolean, decimal, positive, texts, whole
from llmrecipe.source import Path

# -- base --

ATTENTION_KEYS = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "flex_attention": "flex_attention",
    "eager_attention": "eager",
    "xformers_attention": "xformers",
    "sage_attention": "sage",
    "s2_attention": "s2",
}
"""Switches of old files -> the attention that they switch on."""

MODEL_KEYS = ("base_model", "attn_implementation", *ATTENTION_KEYS)


def model(case: Case) -> None:
    """The base and its attention; that of Transformers where the file says none."""
    base(case, "base_model")
    if case.has("attn_implementation"):
        attention(case, "attn_implementation", case.get("attn_implementation"))
    for key, name in ATTENTION_KEYS.items():
        if case.has(key) and case.read(key, boolean):
            attention(case, key, name)
        case.drop(key, "it is off, as without it here")
    attention_untold(case)


# -- adapter --

ADAPTER_KEYS = (
    "adapter",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "lora_target_linear",
    "lora_target_parameters",
    "lora_modules_to_save",
    "lora_fan_in_fan_out",
    "peft_use_dora",
    "peft_use_rslora",
    "peft_layers_to_transform",
    "peft_init_lora_weights",
    "peft_trainable_token_indices",
    "loraplus_lr_ratio",
    "loraplus_lr_embedding",
    "load_in_8bit",
    "load_in_4bit",
    "bnb_config_kwargs",
)

_INITIALIZATIONS = ("gaussian", "orthogonal", "olora", "pissa", "pissa_niter_4", "pissa_niter_16")
_NO_ADAPTER = "there is no adapter, and it is passed over"


def adapter(case: Case) -> None:
    """`adapter: lora | qlora` with its options -> `model.adapter` and `model.quantization`."""
    kind = case.get("adapter")
    if kind in (None, "", "full"):
        case.drop("adapter", "without an adapter every weight is trained")
        for key in ADAPTER_KEYS:
            case.drop(key, _NO_ADAPTER)
        return
    if kind not in ("lora", "qlora"):
        case.block("adapter", f"the adapter `{kind}` has no equal here", "write `model.adapter: {kind: lora}`")
    dora = case.read("peft_use_dora", boolean)
    found: dict[str, Any] = {"kind": "dora" if dora else "lora"}
    case.put("model.adapter", found)
    case.map("adapter", "model.adapter.kind", None, "with 4 bits" if kind == "qlora" else "")
    case.map("peft_use_dora", "model.adapter.kind")
    _numbers(case)
    _targets(case)
    for key, convert, field in (
        ("lora_modules_to_save", texts, "modules_to_save"),
        ("peft_layers_to_transform", _whole_numbers, "layers_to_transform"),
        ("peft_trainable_token_indices", _whole_numbers, "trainable_token_indices"),
        ("peft_use_rslora", boolean, "use_rslora"),
        ("loraplus_lr_ratio", decimal, "loraplus_lr_ratio"),
    ):
        value = case.read(key, convert)
        if value is not None:
            case.map(key, f"model.adapter.{field}", value)
    _initialization(case)
    case.drop("loraplus_lr_embedding", "it is about embeddings with an adapter of their own, which there are none of")
    case.drop("lora_fan_in_fan_out", "PEFT finds it out by the kind of the layer")
    quantization(case)


def _whole_numbers(value: Any) -> list[int]:
    return [whole(each) for each in (value if isinstance(value, list) else [value])]


def _numbers(case: Case) -> None:
    for key, field, convert, default in (
        ("lora_r", "r", positive, 8),
        ("lora_alpha", "lora_alpha", positive, 8),
        ("lora_dropout", "lora_dropout", decimal, 0.0),
    ):
        value = case.read(key, convert)
        if value is None:
            case.imply(f"model.adapter.{field}", default, f"{default} without being told")
        else:
            case.map(key, f"model.adapter.{field}", value)


def _targets(case: Case) -> None:
    linear = case.read("lora_target_linear", boolean)
    modules = case.get("lora_target_modules")
    parameters = case.read("lora_target_parameters", texts)
    if linear:
        case.map("lora_target_linear", "model.adapter.target_modules", "all-linear")
        case.drop("lora_target_modules", "`lora_target_linear` has all of them already")
    elif isinstance(modules, str) and modules != "all-linear":
        message = "a regular expression of layers has no equal here"
        case.block("lora_target_modules", message, "write the names of the layers into `target_modules`")
    elif modules == "all-linear":
        case.map("lora_target_modules", "model.adapter.target_modules", "all-linear")
    elif case.has("lora_target_modules"):
        case.map("lora_target_modules", "model.adapter.target_modules", case.read("lora_target_modules", texts))
    elif parameters:
        case.imply("model.adapter.target_modules", [], "only `lora_target_parameters` are named")
    else:
        because = "PEFT's own choice for most families, which is taken when nothing is named"
        case.imply("model.adapter.target_modules", ["q_proj", "v_proj"], because)
    case.drop("lora_target_linear", "it is off")
    if parameters:
        case.map("lora_target_parameters", "model.adapter.target_parameters", parameters)


def _initialization(case: Case) -> None:
    value = case.get("peft_init_lora_weights")
    if value in _INITIALIZATIONS:
        case.map("peft_init_lora_weights", "model.adapter.init_lora_weights", value)
    elif value in (True, "true", "default"):
        case.drop("peft_init_lora_weights", "the default, here too")
    elif value is not None:
        help_ = f"write one of {', '.join(_INITIALIZATIONS)}"
        case.block("peft_init_lora_weights", f"the beginning `{value}` has no equal here", help_)


def quantization(case: Case) -> None:
    """8 or 4 bits of the base -> `model.quantization`."""
    four, eight = case.read("load_in_4bit", boolean), case.read("load_in_8bit", boolean)
    if four:
        case.map("load_in_4bit", "model.quantization", {"kind": "nf4"})
    elif eight:
        case.map("load_in_8bit", "model.quantization", {"kind": "int8"})
    for key in ("load_in_4bit", "load_in_8bit"):
        case.drop(key, "it is off")
    options = case.get("bnb_config_kwargs", {})
    for option, value in options.items() if isinstance(options, dict) else ():
        _bits(case, ("bnb_config_kwargs", option), value)


def _bits(case: Case, path: Path, value: Any) -> None:
    match path[-1], value:
        case "bnb_4bit_use_double_quant", bool():
            case.map(path, "model.quantization.double_quantization", value)
        case "bnb_4bit_quant_type", "nf4":
            case.drop(path, "`nf4` is the only 4-bit type here")
        case "bnb_4bit_compute_dtype", _:
            case.drop(path, "layers compute in `training.precision`")
        case "load_in_4bit" | "load_in_8bit", _:
            case.drop(path, "it is said once more")
        case _:
            case.block(path, f"`{path[-1]}: {value}` has no equal in `model.quantization`", "remove it")


# -- tokenizer --

TOKENIZER_KEYS = ("chat_template", "chat_template_jinja", "special_tokens", "tokens", "eot_tokens")

USUAL = {
    "bos_token": ("<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>"),
    "eos_token": (
        "</s>",
        "<|end_of_text|>",
        "<|eot_id|>",
        "<eos>",
        "<|endoftext|>",
        "<|im_end|>",
        "<end_of_turn>",
        "<|return|>",
        "<|end|>",
        "<turn|>",
    ),
    "unk_token": ("<unk>", "<|endoftext|>", "[UNK]"),
}
_NO_TOKENS = "give the model folder a tokenizer with this token, since a recipe changes none"


def tokenizer(case: Case) -> None:
    """The chat template and the special tokens."""
    jinja = case.get("chat_template_jinja")
    if case.has("chat_template") and case.get("chat_template") != "jinja":
        chat_template(case, "chat_template", case.get("chat_template"))
        case.drop("chat_template_jinja", "`chat_template` names another one")
    elif jinja is not None:
        _jinja(case, str(jinja))
    elif case.has("chat_template"):
        case.block("chat_template", "`jinja` without `chat_template_jinja`", HELP, "unfit-imported-value")
    case.drop("eot_tokens", "the end of a turn that the template writes is learned, and stops answers")
    for key in ("special_tokens", "tokens"):
        value = case.get(key, {})
        if isinstance(value, dict):
            for name, token in value.items():
                special_token(case, (key, name), str(name), token)
        for number_, token in enumerate(value) if isinstance(value, list) else ():
            _added(case, (key, number_), token)


def _jinja(case: Case, value: str) -> None:
    local = case.local(value) if len(value) < 200 and "{" not in value else None
    if local is None:
        message = "a template in the file itself" if "{" in value else f"the template `{value}` is not here"
        case.block("chat_template_jinja", message, HELP)
    else:
        case.put("tokenizer", {"kind": "reuse", "chat_template": local})
        case.map("chat_template_jinja", TEMPLATE)
    case.map("chat_template", TEMPLATE, None, "the Jinja file")


def special_token(case: Case, path: Path, name: str, token: Any) -> None:
    """One special token; those of the model stay what they are."""
    if token is None:
        return
    if name == "pad_token":
        case.drop(path, "padding is never learned from, and never seen; any token will do")
    elif token in USUAL.get(name, ()):
        case.drop(path, "the special tokens of the model stay what they are; this is a usual one")
    else:
        case.block(path, f"the {name.replace('_', ' ')} `{token}` cannot be set", _NO_TOKENS)


def _added(case: Case, path: Path, token: Any) -> None:
    if token in ("<|im_start|>", "<|im_end|>") and case.get("chat_template") == "chatml":
        case.drop(path, "ChatML brings its own")
    else:
        case.block(path, f"the token `{token}` cannot be added", _NO_TOKENS)
