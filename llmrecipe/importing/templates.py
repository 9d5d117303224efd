"""Named chat templates of other tools -> what this recipe can say of them."""

import re
from typing import Any

from llmrecipe.importing.case import Case, Key

FAMILIES: dict[str, str] = {
    "alpaca": r"alpaca",
    "aya": r"aya",
    "baichuan2": r"baichuan",
    "chatglm3": r"chatglm",
    "cohere": r"command|aya|c4ai",
    "command_a": r"command-a",
    "deepseek": r"deepseek",
    "exaone": r"exaone",
    "falcon": r"falcon",
    "gemma": r"gemma",
    "glm": r"glm",
    "gpt": r"gpt-oss",
    "granite": r"granite",
    "hunyuan": r"hunyuan",
    "inst": r"mistral|mixtral",
    "intern": r"intern",
    "jamba": r"jamba",
    "kimi": r"kimi|moonlight",
    "llama2": r"llama-?2",
    "llama3": r"llama-?3",
    "llama4": r"llama-?4",
    "magistral": r"magistral",
    "mimo": r"mimo",
    "minicpm": r"minicpm",
    "ministral": r"ministral",
    "mistral": r"mistral|mixtral|ministral",
    "olmo": r"olmo",
    "orpheus": r"orpheus",
    "phi": r"phi",
    "qwen": r"qwen|qwq",
    "seed": r"seed",
    "smollm": r"smollm",
    "vicuna": r"vicuna",
    "yi": r"yi-",
    "zephyr": r"zephyr|stablelm",
}
"""Beginning of a template's name -> models that bring such a template themselves."""

HELP = "save the template as a Jinja file and name it in `tokenizer: {kind: reuse, chat_template: FILE.jinja}`"
TEMPLATE = "tokenizer.chat_template"


def chat_template(case: Case, key: Key, name: Any) -> None:
    """A template by its name: ChatML, the model's own, or none that is known here."""
    base = str(case.recipe.get("model", {}).get("base", ""))
    if name in ("tokenizer_default", "tokenizer", "default") or str(name).startswith("tokenizer_default_fallback_"):
        case.map(key, "tokenizer", {"kind": "reuse"}, "the template that the tokenizer brings")
    elif name == "chatml":
        case.put("tokenizer", {"kind": "reuse", "chat_template": "chatml"})
        case.map(key, TEMPLATE)
    elif (family := of_family(str(name))) and re.search(family, base.lower()):
        own_template(case, key, name)
    else:
        case.block(key, f"the template `{name}` of {case.tool} is not known here", HELP)


def own_template(case: Case, key: Key, name: Any) -> None:
    """Take the template of the tokenizer for one of the same family."""
    case.map(key, "tokenizer", {"kind": "reuse"}, "the tokenizer's own template, of the same family")
    message = f"the template of the tokenizer is used, not the `{name}` of {case.tool}; a base model may bring none"
    case.differ(key, message, f"compare the two; or {HELP}")


def of_family(name: str) -> str | None:
    """Models that bring a template of this name, as a pattern."""
    matching = [start for start in FAMILIES if name.lower().startswith(start)]
    return FAMILIES[max(matching, key=len)] if matching else None
