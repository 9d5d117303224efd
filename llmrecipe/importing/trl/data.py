"""TRL: datasets, whose files do not say how their rows are written."""

import difflib
import json
from pathlib import Path as FilePath
from typing import Any

from llmrecipe.importing.case import Case, Key
from llmrecipe.importing.places import place
from llmrecipe.importing.surroundings import cut_to
from llmrecipe.importing.values import boolean, decimal, text, texts
from llmrecipe.source import Path

DATA_KEYS = (
    "dataset_name",
    "dataset_config",
    "dataset_train_split",
    "dataset_test_split",
    "dataset_streaming",
    "datasets",
    "streaming",
    "test_split_size",
    "dataset_text_field",
    "packing",
    "packing_strategy",
    "eval_packing",
    "padding_free",
    "completion_only_loss",
    "assistant_only_loss",
)

_FORMATS = {
    "dpo": "preference",
    "reward": "preference",
    "orpo": "preference",
    "cpo": "preference",
    "kto": "unpaired_preference",
    "grpo": "prompt",
    "rloo": "prompt",
}
_ITEM = ("path", "name", "data_dir", "data_files", "split", "columns", "fraction")
_ROW_BYTES = 2**20


def data(case: Case) -> None:
    """Everything that is said of data."""
    sources = _mixture(case) if case.has("datasets") else _single(case)
    if not sources:
        case.lack("there is no dataset", "write the data into `data.train`")
        sources = [{"kind": "files", "paths": ["data/train.jsonl"]}]
    key = "datasets" if case.has("datasets") else "dataset_name"
    for source in sources:
        source |= _format(case, key, source)
    case.put("data.train", sources)
    for each in ("dataset_name", "dataset_config"):
        case.drop(each, "`datasets` goes before it")
    _validation(case, sources)
    for each in ("dataset_train_split", "dataset_test_split"):
        case.drop(each, "the split that is taken without being told, or none is needed")
    for each in ("dataset_streaming", "streaming"):
        case.drop(each, "rows are prepared once, on disk, before the training")
    case.map("dataset_text_field", "data.train.columns", None, "of rows of plain text")
    _packing(case)


def _single(case: Case) -> list[dict[str, Any]]:
    name = case.read("dataset_name", text)
    if name is None:
        return []
    found = place(case, name, [])
    case.map("dataset_name", f"data.train.0.{'dataset' if found['kind'] == 'hub' else 'paths'}")
    split = case.get("dataset_train_split", "train")
    _hub(case, found, case.get("dataset_config"), split)
    case.map("dataset_config", "data.train.0.config")
    if found["kind"] == "hub" and split != "train":
        case.map("dataset_train_split", "data.train.0.split")
    return [found]


def _hub(case: Case, found: dict[str, Any], config: Any, split: Any) -> None:
    if found["kind"] != "hub":
        return
    if config is not None:
        found["config"] = str(config)
    name, most = cut_to(split)
    if name != "train":
        found["split"] = name
    if most is not None:
        found["max_samples"] = most


def _mixture(case: Case) -> list[dict[str, Any]]:
    found = []
    items = case.get("datasets")
    for index, item in enumerate(items if isinstance(items, list) else []):
        at: Path = ("datasets", index)
        name = case.read((*at, "path"), text)
        if name is None or not isinstance(item, dict):
            case.block(at, "a dataset needs a `path`", "write it", "unfit-imported-value")
            continue
        source = place(case, name, case.read((*at, "data_files"), texts) or [])
        _hub(case, source, item.get("name"), item.get("split", "train"))
        share = case.read((*at, "fraction"), decimal)
        if share is not None:
            source["weight"] = share
        place_ = "dataset" if source["kind"] == "hub" else "paths"
        for key, field in (
            ("path", place_),
            ("data_files", place_),
            ("name", "config"),
            ("split", "split"),
            ("fraction", "weight"),
        ):
            case.map((*at, key), f"data.train.{index}.{field}")
        case.drop((*at, "columns"), "columns that the format does not need are left out")
        for key in item:
            near = difflib.get_close_matches(str(key), _ITEM, 1)
            if key not in _ITEM:
                help_ = f"did you mean `{near[0]}`?" if near else "remove it"
                case.block((*at, key), f"`{key}` is no key of a dataset", help_, "unknown-imported-key")
        if item.get("data_dir") is not None:
            case.block((*at, "data_dir"), "a folder of a dataset has no equal here", "name its files in `paths`")
        found.append(source)
    return found


def _format(case: Case, key: Key, source: dict[str, Any]) -> dict[str, Any]:
    """How rows are written: by the method, by options that only some rows have, or by the first row itself."""
    kind = case.recipe["method"]["kind"]
    if kind in _FORMATS:
        return {"format": _FORMATS[kind]}
    field = case.get("dataset_text_field", "text")
    row = _first_row(case, source)
    for sign, format in (
        ("messages", "messages"),
        ("conversations", "conversations"),
        ("completion", "prompt_completion"),
    ):
        if sign in row:
            return {"format": format}
    if field in row or case.has("dataset_text_field"):
        return {"format": "text", **({} if field == "text" else {"columns": {"text": str(field)}})}
    if case.get("completion_only_loss") is True:
        return {"format": "prompt_completion"}
    if not case.get("assistant_only_loss"):
        message = "TRL finds out by the columns how rows are written; rows of `messages` are assumed"
        case.differ(key, message, "correct `format` if the rows are `text` or `prompt_completion`")
    return {"format": "messages"}


def _first_row(case: Case, source: dict[str, Any]) -> dict[str, Any]:
    """The first row of a file of JSON lines that is here."""
    folder = FilePath(case.options.output or "recipe.yaml").parent
    path = folder / source["paths"][0] if source["kind"] == "files" else folder / "none"
    if path.suffix not in (".jsonl", ".json") or not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8") as handle:
            found = json.loads(handle.readline(_ROW_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _validation(case: Case, sources: list[dict[str, Any]]) -> None:
    share = case.read("test_split_size", decimal)
    if share and share < 1:
        case.map("test_split_size", "data.validation.fraction", share, "rows are chosen by a hash of their content")
        return
    if share:
        message = f"a number of rows ({share:g}) cannot be held out, only a share of them"
        case.block("test_split_size", message, "write `data: {validation: {fraction: 0.05}}`")
    if case.get("eval_strategy", "no") in ("no", False):
        return
    hubs = [source for source in sources if source["kind"] == "hub"]
    split = str(case.get("dataset_test_split", "test"))
    if not hubs:
        case.lack(
            "files have no split to validate with", "write `data: {validation: {fraction: 0.05}}`", "eval_strategy"
        )
        return
    held = [{key: value for key, value in hub.items() if key not in ("weight", "max_samples")} for hub in hubs]
    for source in held:
        source["split"] = split
    if case.has("dataset_test_split"):
        case.put("data.validation", {"sources": held})
        case.map("dataset_test_split", "data.validation.sources")
    else:
        case.imply("data.validation", {"sources": held}, "the split `test` without being told")


def _packing(case: Case) -> None:
    strategy = case.get("packing_strategy", "bfd")
    packed = case.read("packing", boolean)
    if case.recipe["method"]["kind"] not in ("sft", "distillation"):
        case.drop("packing", "rows of this method are not packed")
    elif packed and strategy in ("bfd", "bfd_split", "wrapped"):
        case.map("packing", "data.packing", strategy)
        case.map("packing_strategy", "data.packing")
        if strategy == "wrapped":
            case.differ(
                "packing_strategy", "packed rows see each other there, and never here", "nothing: they should not"
            )
    elif packed:
        case.block("packing_strategy", f"`{strategy}` is no way of packing", "write `bfd`", "unfit-imported-value")
        case.map("packing", "data.packing", "bfd")
    elif case.has("packing"):
        case.map("packing", "data.packing", "none")
    else:
        case.imply("data.packing", "none", "rows are not packed without being told")
    case.drop("packing_strategy", "without `packing` it is passed over")
    case.drop("eval_packing", "the validation is packed as the training is, and its loss is over the same tokens")
    case.drop("padding_free", "it changes how fast a batch is, not what it is")
