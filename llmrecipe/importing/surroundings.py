"""What surrounds a training: the name of the recipe, the devices, the base model, the attention."""

import re
from typing import Any

from llmrecipe.facts import architectures, models
from llmrecipe.importing.case import Case, Key
from llmrecipe.importing.values import text

MAX_NAME = 40
LEAST_RATE = 1e-5
"""Below it, updates of weights in bfloat16 are mostly rounded away."""

ATTENTIONS = ("sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3")
ATTENTION_HELP = "write one of sdpa, eager, flex_attention, flash_attention_2 and flash_attention_3"


def name(case: Case, folder: str = "output_dir") -> None:
    """The folder of the run, else the base model -> `name`."""
    given = case.get(folder)
    last = [part for part in str(given or "").split("/") if part not in ("", ".", "..")]
    told = [part for part in last if part not in ("out", "outputs", "output", "saves", "model-out", "results")]
    slug = slugged("-".join(told[-3:])) if told else ""
    base = case.get("base_model", case.get("model_name_or_path", ""))
    found = slug or slugged(f"{str(base).rstrip('/').rpartition('/')[2]}-tuned") or "imported"
    case.put("name", found)
    if given is not None and slug:
        case.map(folder, "name", None, "the folder of a run is runs/NAME")
    else:
        case.drop(folder, "the folder of a run is runs/NAME")
        case.imply("name", found, "from the base model")


def slugged(value: str) -> str:
    """Lower-case letters, digits and hyphens, at most 40."""
    return re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:MAX_NAME].strip("-")


def hardware(case: Case, devices: int | None = None, processor: bool = False, newest: bool = False) -> None:
    """The accelerator, assumed where nobody says it, and how many there are."""
    count = case.options.num_accelerators or devices
    if case.options.accelerator is not None:
        case.put("hardware.accelerator", case.options.accelerator)
    elif processor:
        case.put("hardware.accelerator", "cpu")
    else:
        assumed = "h100-80gb" if newest else "a100-80gb"
        case.imply("hardware.accelerator", assumed, "assumed: the file does not say; --accelerator does")
    if count is not None and count > 1:
        case.put("hardware.num_accelerators", count)


def base(case: Case, key: str) -> None:
    """The base model, a Hub id or a folder."""
    found = case.read(key, text)
    if found is None:
        if not case.has(key):
            case.lack(f"there is no `{key}`", "write the model into `model.base`")
        found = "./model"
    local = case.local(found) if found.startswith(("./", "../", "/", "~")) or found.count("/") != 1 else None
    path = found if local is None or local.startswith(("../", "/", "~")) else f"./{local}"
    case.put("model.base", path)
    case.map(key, "model.base", None, "" if path == found else "from the folder of the recipe")


def weights(case: Case, key: str, adapted: bool) -> None:
    """The weights are held in the type of the arithmetic; with `adapted`, only those that are frozen.

    At a small rate, weights in bfloat16 that are trained lose most updates, and are left in float32.
    """
    if case.written("training.precision") not in ("auto", "bfloat16") or case.written("model.dtype") is not None:
        return
    frozen = case.written("model.adapter") is not None
    rate = case.written("training.learning_rate")
    if not frozen and not adapted and rate is not None and rate < LEAST_RATE:
        message = f"weights are held in bfloat16 there, which loses most updates at {rate:g}, and in float32 here"
        case.differ(key, message, "nothing, where memory lasts: `llmrecipe plan` says so")
    elif frozen or not adapted:
        case.imply("model.dtype", "bfloat16", "weights are held in the type of the arithmetic")


def attention(case: Case, key: Key, value: Any) -> None:
    """How attention is computed -> `model.attention`."""
    names = {
        "fa2": "flash_attention_2",
        "fa3": "flash_attention_3",
        "disabled": "eager",
        "auto": _own_attention(case),
        "flash": "flash_attention_2",
        "flex": "flex_attention",
        "sdp": "sdpa",
    }
    found = names.get(str(value), str(value))
    if found in ATTENTIONS:
        case.map(key, "model.attention", found, "" if found == value else f"from `{value}`")
    else:
        case.block(key, f"the attention `{value}` has no equal here", ATTENTION_HELP)
        case.put("model.attention", "sdpa")


def attention_untold(case: Case) -> None:
    """What Transformers takes where the file says no attention, if it is not `sdpa`."""
    if case.written("model.attention") is None and (own := _own_attention(case)) != "sdpa":
        case.imply("model.attention", own, "what Transformers takes for a family that has no `sdpa`")


def _own_attention(case: Case) -> str:
    """What Transformers takes for the base when it is left to choose."""
    known = models().get(str(case.written("model.base")))
    return "sdpa" if known is None or "sdpa" in architectures()[known.family].attention else "eager"


def cut_to(split: Any) -> tuple[str, int | None]:
    """`train[:500]` -> the split and how many of its rows; other slices stay in the split."""
    found = re.fullmatch(r"(\w+)\[:(\d+)\]", str(split))
    return (found[1], int(found[2])) if found else (str(split), None)
