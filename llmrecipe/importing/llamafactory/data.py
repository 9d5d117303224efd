"""LLaMA-Factory: datasets by their names in dataset_info.json, how they are mixed, and the template."""

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from llmrecipe.importing.case import Case
from llmrecipe.importing.places import place
from llmrecipe.importing.spreading import beside
from llmrecipe.importing.templates import HELP, TEMPLATE, of_family, own_template
from llmrecipe.importing.values import boolean, names, number, numbers, positive

DATA_KEYS = (
    "dataset",
    "eval_dataset",
    "dataset_dir",
    "max_samples",
    "val_size",
    "mix_strategy",
    "interleave_probs",
    "packing",
    "neat_packing",
    "template",
)

_INFO = "dataset_info.json"
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
"""Role of a column -> its role in the format `instruction`, which is also the column's default name."""


def data(case: Case) -> None:
    """Everything that is said of data."""
    folder = str(case.get("dataset_dir", "data"))
    info = beside(case, f"{folder}/{_INFO}") if not folder.startswith(("REMOTE:", "ONLINE")) else None
    sources = [_source(case, "dataset", name, folder, info) for name in (case.read("dataset", names) or [])]
    if not sources:
        case.lack("there is no dataset", "write the data into `data.train`")
        sources = [{"kind": "files", "paths": ["data/train.jsonl"], "format": "messages"}]
    _told(case, "dataset", "data.train", info)
    _amounts(case, sources)
    case.put("data.train", sources)
    _mixture(case, sources)
    _validation(case, folder, info)
    _packing(case)
    case.map("dataset_dir", "data.train", None, "folder of the files")


def _told(case: Case, key: str, to: str, info: Mapping[str, Any] | None) -> None:
    unknown = [name for name in (case.read(key, names) or []) if info is None or not isinstance(info.get(name), dict)]
    if not unknown:
        case.map(key, to, None, f"by {_INFO}")
    elif info is not None:
        case.block(key, f"`{unknown[0]}` has no entry in {_INFO}", "correct the name", "missing-for-import")
    else:
        message = f"what `{', '.join(unknown)}` is stands in {_INFO}, which is not here; Alpaca rows are written"
        help_ = "import the file where `dataset_dir` is; or correct `paths` and `format` of the sources"
        case.block(key, message, help_, "missing-for-import")


def _source(case: Case, key: str, name: str, folder: str, info: Mapping[str, Any] | None) -> dict[str, Any]:
    entry = (info or {}).get(name)
    if not isinstance(entry, dict):
        guessed = _format(case, key, name, {"columns": {"prompt": "text"}} if case.get("stage") == "pt" else {})
        return {"kind": "files", "paths": [f"{folder}/{name}.json"], **guessed}
    if entry.get("hf_hub_url"):
        found: dict[str, Any] = {"kind": "hub", "dataset": str(entry["hf_hub_url"])}
        found |= {"config": str(entry["subset"])} if entry.get("subset") else {}
        found |= {"split": str(entry["split"])} if entry.get("split", "train") != "train" else {}
    elif entry.get("file_name"):
        path = f"{folder}/{entry['file_name']}"
        here = str(FilePath(case.configuration.source.file).parent / path)
        found = place(case, path if case.local(path) else here if case.local(here) else path, [])
    else:
        case.lack(f"`{name}` is neither a file nor a dataset of the Hub", "download it, and name the files", key)
        found = {"kind": "files", "paths": [f"{folder}/{name}.json"]}
    found |= {"max_samples": entry["num_samples"]} if isinstance(entry.get("num_samples"), int) else {}
    return found | _format(case, key, name, entry)


def _format(case: Case, key: str, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """How the rows of an entry are written."""
    given, tags = entry.get("columns") or {}, entry.get("tags") or {}
    columns: dict[str, str] = {str(role): str(column) for role, column in given.items()}
    for role in ("history", "system", "tools", "images", "videos", "audios"):
        if role in columns:
            message = f"the column `{columns.pop(role)}` ({role}) of `{name}` is not read"
            case.differ(key, message, "prepare rows of messages, in which everything is a turn")
    if case.get("stage") == "pt":
        return _named("text", {"text": columns.get("prompt", "instruction")})
    if entry.get("formatting", "alpaca") == "alpaca":
        return _alpaca(columns, bool(entry.get("ranking")), case.get("stage") == "ppo")
    turns = "messages" if (tags.get("role_tag"), tags.get("content_tag")) == ("role", "content") else "conversations"
    column = columns.get("messages", "conversations")
    if entry.get("ranking"):
        return _named(
            "preference",
            {
                "prompt": column,
                "chosen": columns.get("chosen", "chosen"),
                "rejected": columns.get("rejected", "rejected"),
            },
        )
    if "kto_tag" in columns:
        message = f"the conversations of `{name}` hold prompt and answer in one, which is not taken apart"
        case.differ(key, message, "prepare the columns `prompt`, `completion` and `label`")
        return _named("unpaired_preference", {"label": columns["kto_tag"]})
    return _named(turns, {turns: column})


def _alpaca(columns: Mapping[str, str], ranking: bool, asked: bool) -> dict[str, Any]:
    if asked:
        return _named("question", {"question": columns.get("prompt", "instruction")})
    if ranking:
        return _named(
            "preference",
            {
                "prompt": columns.get("prompt", "instruction"),
                "chosen": columns.get("chosen", "chosen"),
                "rejected": columns.get("rejected", "rejected"),
            },
        )
    if "kto_tag" in columns:
        return _named(
            "unpaired_preference",
            {
                "prompt": columns.get("prompt", "instruction"),
                "completion": columns.get("response", "output"),
                "label": columns["kto_tag"],
            },
        )
    return _named("instruction", {name: columns.get(role, name) for role, name in _ALPACA.items()})


def _named(format: str, columns: Mapping[str, str]) -> dict[str, Any]:
    other = {role: column for role, column in columns.items() if role != column}
    return {"format": format, "columns": other} if other else {"format": format}


def _amounts(case: Case, sources: list[dict[str, Any]]) -> None:
    most = case.read("max_samples", positive)
    if most is not None:
        for source in sources:
            source["max_samples"] = min(most, source.get("max_samples", most))
        case.map("max_samples", "data.train.max_samples", None, "of each source; by the seed, not the first ones")


def _mixture(case: Case, sources: list[dict[str, Any]]) -> None:
    strategy = case.get("mix_strategy", "concat")
    weights = case.read("interleave_probs", numbers) or [1.0] * len(sources)
    if strategy == "concat":
        case.drop("mix_strategy", "all rows of all sources, here too")
        case.drop("interleave_probs", "it belongs to the interleaving strategies")
        return
    if len(weights) == len(sources) > 1:
        for source, weight in zip(sources, weights, strict=True):
            source["weight"] = weight
    case.map("interleave_probs", "data.train.weight")
    stop = "all_exhausted" if strategy == "interleave_over" else "first_exhausted"
    case.map("mix_strategy", "data.stopping_strategy", stop)


def _validation(case: Case, folder: str, info: Mapping[str, Any] | None) -> None:
    held = [_source(case, "eval_dataset", name, folder, info) for name in (case.read("eval_dataset", names) or [])]
    share = case.read("val_size", number)
    if held:
        _told(case, "eval_dataset", "data.validation.sources", info)
        case.put("data.validation", {"sources": held})
        case.drop("val_size", "`eval_dataset` is held out")
    elif share and share < 1:
        case.map("val_size", "data.validation.fraction", float(share), "rows are chosen by a hash of their content")
    elif share:
        message = f"a number of rows ({share:g}) cannot be held out, only a share of them"
        case.block("val_size", message, "write `data: {validation: {fraction: 0.05}}`")
    case.drop("val_size", "0 holds out nothing, as without it here")


def _packing(case: Case) -> None:
    plain = case.get("stage") == "pt"
    neat = case.read("neat_packing", boolean)
    told = case.read("packing", boolean)
    packed = neat or (told if told is not None else plain)
    packing = ("wrapped" if plain else "bfd") if packed else "none"
    key = next((key for key in ("neat_packing", "packing") if case.has(key)), None)
    if key is None:
        because = (
            "plain text is one stream, cut at every `cutoff_len`" if plain else "rows are not packed without being told"
        )
        case.imply("data.packing", packing, because)
    else:
        case.map(key, "data.packing", packing)
        if packed and not neat and not plain:
            message = "packed rows see each other there without `neat_packing`, and never here"
            case.differ(key, message, "nothing: they should not")
    case.drop("packing", "`neat_packing` says it")


# -- the template --


def template(case: Case) -> None:
    """A template by its name: ChatML, the model's own, or none that is known here."""
    name, base = case.get("template"), str(case.recipe["model"]["base"])
    if name is None or case.get("stage") == "pt":
        case.drop("template", "plain text has no template")
        if case.get("stage") != "pt":
            case.imply("tokenizer", {"kind": "reuse"}, "the template that the tokenizer brings")
        return
    family = of_family(str(name))
    if str(name) in ("chatml", "chatml_de"):
        case.put("tokenizer", {"kind": "reuse", "chat_template": "chatml"})
        case.map("template", TEMPLATE)
    elif family is not None and re.search(family, base.lower()):
        own_template(case, "template", name)
    else:
        case.block("template", f"the template `{name}` of LLaMA-Factory is not known here", HELP)
