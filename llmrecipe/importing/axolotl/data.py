"""Axolotl: datasets, how their rows are written, and which rows are held out."""

import difflib
from dataclasses import dataclass, field
from typing import Any

from llmrecipe.importing.case import Case
from llmrecipe.importing.places import place
from llmrecipe.importing.surroundings import cut_to
from llmrecipe.importing.templates import chat_template
from llmrecipe.importing.values import boolean, number, text, texts
from llmrecipe.source import Path

DATA_KEYS = (
    "datasets",
    "test_datasets",
    "pretraining_dataset",
    "val_set_size",
    "sample_packing",
    "train_on_inputs",
    "dataset_exact_deduplication",
    "eval_sample_packing",
    "pretraining_sample_concatenation",
)


@dataclass(frozen=True)
class Written:
    """How the rows of a dataset type are written."""

    format: str
    columns: dict[str, str] = field(default_factory=dict)
    prompt: str | None = None
    """The text that Axolotl puts around the row, when it is not the chat template."""


_INSTRUCTION = Written("instruction", prompt="Alpaca prompt")
_PAIR = Written("preference")
_JUDGED = Written("unpaired_preference")
_LOADED = "llama3 or ChatML"

TYPES: dict[str, Written] = {
    **dict.fromkeys(("alpaca", "alpaca:chat", "alpaca:phi", "alpaca_chat.load_qa"), _INSTRUCTION),
    "chat_template": Written("messages"),
    "completion": Written("text"),
    "pretrain": Written("text"),
}
"""`type` of a dataset to learn from."""

PAIRS: dict[str, Written] = {
    **dict.fromkeys(("chat_template.default", "chat_template.argilla", "chat_template.argilla_chat"), _PAIR),
    **dict.fromkeys(("bradley_terry.chat_template", "chat_template"), _PAIR),
    **dict.fromkeys(
        ("chatml.ultra", "llama3.ultra", "chatml.prompt_pairs", "llama3.prompt_pairs", "zephyr.nectar"), _PAIR
    ),
    **dict.fromkeys(("chatml.intel", "llama3.intel"), Written("preference", {"prompt": "question"})),
    **dict.fromkeys(("chatml.icr", "llama3.icr"), Written("preference", {"prompt": "input"})),
    **dict.fromkeys(
        ("chatml.argilla", "llama3.argilla", "chatml.argilla_chat", "llama3.argilla_chat"),
        Written("preference", {"prompt": "instruction", "chosen": "chosen_response", "rejected": "rejected_response"}),
    ),
}
"""`type` of a dataset of preferences."""

JUDGED: dict[str, Written] = {
    **dict.fromkeys(("chatml.ultra", "llama3.ultra"), _JUDGED),
    **dict.fromkeys(("chatml.intel", "llama3.intel"), Written("unpaired_preference", {"prompt": "question"})),
    **dict.fromkeys(("chatml.argilla", "llama3.argilla"), Written("unpaired_preference", {"prompt": "instruction"})),
}
"""`type` of a dataset of answers that are called good or bad."""

_TYPE_HELP = "prepare the rows as one of the formats of `llmrecipe explain data.train.format`"

_DEFAULT_ROLES = {
    "user": ("human", "user"),
    "assistant": ("gpt", "assistant"),
    "system": ("system",),
    "tool": ("tool",),
}

ITEM_KEYS = (
    "path",
    "name",
    "split",
    "type",
    "data_files",
    "ds_type",
    "revision",
    "trust_remote_code",
    "shards",
    "shards_idx",
    "preprocess_shards",
    "field",
    "text_column",
    "field_messages",
    "field_chosen",
    "field_rejected",
    "field_prompt",
    "field_instruction",
    "field_output",
    "field_input",
    "field_system",
    "field_tools",
    "field_thinking",
    "template_thinking_key",
    "message_property_mappings",
    "message_field_role",
    "message_field_content",
    "message_field_training",
    "roles",
    "roles_to_train",
    "train_on_eos",
    "train_on_eot",
    "chat_template",
    "chat_template_jinja",
    "drop_system_message",
    "conversation",
    "split_thinking",
    "skip",
    "step_separator",
    "max_completion_length",
    "train_on_last_step_only",
    "input_format",
    "input_transform",
)


def data(case: Case) -> None:
    """Everything that is said of data."""
    key = "pretraining_dataset" if case.has("pretraining_dataset") and not case.has("datasets") else "datasets"
    sources = _sources(case, key)
    if not sources:
        case.lack("there is no dataset that can be read here", "write the data into `data.train`")
        sources = [{"kind": "files", "paths": ["data/train.jsonl"], "format": "messages"}]
    case.put("data.train", sources)
    _validation(case)
    _steps(case, [source["format"] for source in sources], key == "pretraining_dataset")


def kinds(case: Case) -> set[str]:
    """The formats of the training sources."""
    return {source["format"] for source in case.recipe["data"]["train"]}


def _validation(case: Case) -> None:
    held = _sources(case, "test_datasets")
    share = case.read("val_set_size", number)
    if held:
        case.put("data.validation", {"sources": held})
        case.drop("val_set_size", "`test_datasets` are held out")
    elif share and share < 1:
        case.map("val_set_size", "data.validation.fraction", float(share), "rows are chosen by a hash of their content")
    elif share:
        message = f"a number of rows ({share:g}) cannot be held out, only a share of them"
        case.block("val_set_size", message, "write `data: {validation: {fraction: 0.05}}`")
    case.drop("val_set_size", "0 holds out nothing, as without it here")


def _steps(case: Case, formats: list[str], pretraining: bool) -> None:
    packed = bool(case.read("sample_packing", boolean))
    plain = pretraining or set(formats) == {"text"}
    packing = "bfd_split" if plain else "bfd" if packed else "none"
    if plain and not packed:
        because = "Axolotl cuts plain text into pieces of `sequence_len`, of which none is lost"
        case.imply("data.packing", packing, because)
        case.drop("sample_packing", "pieces of plain text are packed anyway, and never see each other")
    elif case.has("sample_packing"):
        case.map(
            "sample_packing", "data.packing", packing, "packed rows do not see each other, as there" if packed else ""
        )
    else:
        case.imply("data.packing", packing, "rows are not packed without being told")
    if packed and not plain:
        case.differ(
            "sample_packing",
            "rows longer than `sequence_len` are dropped there, and cut here",
            "count them: the data report does",
        )
    case.drop(
        "eval_sample_packing", "the validation is packed as the training is, and its loss is over the same tokens"
    )
    case.drop("pretraining_sample_concatenation", "pieces of plain text are packed anyway")
    if case.read("dataset_exact_deduplication", boolean):
        case.map("dataset_exact_deduplication", "data.prepare", [{"kind": "deduplicate"}])
    case.drop("dataset_exact_deduplication", "it is off")


def _sources(case: Case, key: str) -> list[dict[str, Any]]:
    value = case.get(key)
    items = value if isinstance(value, list) else [] if value is None else [value]
    found = []
    for index, item in enumerate(items):
        path: Path = (key, index) if isinstance(value, list) else (key,)
        if isinstance(item, dict):
            source = _source(case, path, item)
            found += [source] if source else []
        elif isinstance(item, str) and key == "pretraining_dataset":
            found.append({**place(case, item, []), "format": "text"})
            case.map(path, "data.train")
        else:
            case.block(path, f"`{item}` is no dataset", "write `- path: ...` with a `type`", "unfit-imported-value")
    return found


def _to(at: Path, field: str) -> str:
    """Where the recipe says something of a dataset."""
    start = "data.validation.sources" if at[0] == "test_datasets" else "data.train"
    return f"{start}.{at[1] if len(at) > 1 else 0}.{field}"


def _source(case: Case, at: Path, item: dict[str, Any]) -> dict[str, Any] | None:
    name = case.read((*at, "path"), text)
    if name is None:
        case.block((*at, "path"), "a dataset needs a `path`", "write it", "unfit-imported-value")
        return None
    files = case.read((*at, "data_files"), texts) or []
    found = place(case, name, files)
    for each in ("path", "data_files", "ds_type"):
        case.map((*at, each), _to(at, "dataset" if found["kind"] == "hub" else "paths"))
    _hub(case, at, found)
    written = _written(case, at, item)
    found["format"] = written.format if written else "messages"
    columns = dict(written.columns) if written else {}
    columns |= _columns(case, at, found)
    found |= {"columns": columns} if columns else {}
    _rest(case, at)
    return found


def _hub(case: Case, at: Path, found: dict[str, Any]) -> None:
    hub = found["kind"] == "hub"
    for key, to in (("name", "config"), ("revision", "revision")):
        value = case.get((*at, key))
        if value is not None and hub:
            found[to] = str(value)
            case.map((*at, key), _to(at, to))
        elif value is not None:
            case.drop((*at, key), "files have none")
    split = case.get((*at, "split"))
    if split is None:
        return
    name, most = cut_to(split)
    if most is not None:
        found["max_samples"] = most
        case.differ(
            (*at, "split"),
            f"the first {most} rows are taken there, {most} by chance here",
            "nothing, if rows are mixed",
        )
    if hub and name != "train":
        found["split"] = name
    if hub or name == "train":
        case.map((*at, "split"), _to(at, "split"), None, f"{most} rows: `max_samples`" if most else "")
    else:
        case.block(
            (*at, "split"), f"the slice `{split}` of a file has no equal here", "write `max_samples`, or cut the file"
        )


def _written(case: Case, at: Path, item: dict[str, Any]) -> Written | None:
    kind = item.get("type", "pretrain" if at[0] == "pretraining_dataset" else None)
    preferences = case.get("rl") in ("dpo", "ipo", "orpo", "simpo") or case.get("reward_model")
    table = JUDGED if case.get("rl") == "kto" else PAIRS if preferences else TYPES
    if isinstance(kind, dict):
        return _custom(case, at, kind, "preference" if preferences else "instruction")
    if case.get("rl") in ("grpo", "gdpo"):
        case.map((*at, "type"), _to(at, "format"), None, "rows are prompts; a transformation of Axolotl is not run")
        case.differ(
            (*at, "type"), f"`{kind}` makes prompts by Python code, which is not run", "prepare a column `prompt`"
        )
        return Written("prompt")
    written = table.get(str(kind))
    if written is None:
        message = f"the type `{kind}` has no equal here" if kind else "rows that are tokenized already cannot be read"
        case.block((*at, "type") if "type" in item else (*at, "path"), message, _TYPE_HELP)
        return None
    case.map((*at, "type"), _to(at, "format"), None, f"from `{kind}`")
    if written.prompt:
        message = f"the {written.prompt} is not written around the rows: they are turns of a chat here"
        case.differ((*at, "type"), message, "ask the trained model through its chat template")
    return written


def _custom(case: Case, at: Path, kind: dict[str, Any], format: str) -> Written:
    """A type that names its columns, and perhaps a prompt of its own."""
    roles = {
        "field_instruction": "instruction",
        "field_input": "input",
        "field_output": "output",
        "field_prompt": "prompt",
        "field_chosen": "chosen",
        "field_rejected": "rejected",
    }
    columns = {}
    for key, value in kind.items():
        path = (*at, "type", key)
        if key in roles and isinstance(value, str):
            columns[roles[key]] = value
            case.map(path, _to(at, "columns"))
        elif value:
            case.block(
                path, f"a prompt of one's own (`{key}`) has no equal here", "write a chat template as a Jinja file"
            )
        else:
            case.drop(path, "it is empty")
    return Written(format, {role: name for role, name in columns.items() if role != name})


def _columns(case: Case, at: Path, found: dict[str, Any]) -> dict[str, str]:
    columns: dict[str, str] = {}
    format = found["format"]
    if format == "messages":
        mapping = _property_mappings(case, at)
        if mapping == ("from", "value"):
            found["format"] = "conversations"
        elif mapping != ("role", "content"):
            message = f"turns of {{{mapping[0]}, {mapping[1]}}} cannot be read"
            key = (*at, "message_property_mappings")
            case.block(key, message, "rewrite the rows as {role, content}, or as {from, value}")
    role = {"messages": "messages", "conversations": "conversations", "preference": "prompt"}
    here = role.get(found["format"])
    for name, target in (
        ("field_messages", here),
        ("field", "text"),
        ("text_column", "text"),
        ("field_chosen", "chosen"),
        ("field_rejected", "rejected"),
    ):
        value = case.get((*at, name))
        if value is not None and target is not None:
            case.map((*at, name), _to(at, "columns"))
            columns |= {} if value == target else {target: str(value)}
    if found["format"] == "conversations" and case.get((*at, "field_messages")) is None:
        columns["conversations"] = "messages"
    if case.get((*at, "type")) == "chat_template.default" and case.get((*at, "field_messages")) is None:
        columns["prompt"] = "messages"
    return columns


def _property_mappings(case: Case, at: Path) -> tuple[str, str]:
    mapping = case.get((*at, "message_property_mappings"), {})
    mapping = mapping if isinstance(mapping, dict) else {}
    role = mapping.get("role") or case.get((*at, "message_field_role"), "role")
    content = mapping.get("content") or case.get((*at, "message_field_content"), "content")
    if (role, content) in (("from", "value"), ("role", "content")):
        for key in (
            ("message_field_role",),
            ("message_field_content",),
            ("message_property_mappings", "role"),
            ("message_property_mappings", "content"),
        ):
            case.map((*at, *key), _to(at, "format"))
    return str(role), str(content)


def _rest(case: Case, at: Path) -> None:
    """Options of a dataset that have one value here, and keys that are none."""
    roles = case.get((*at, "roles"), {})
    for role, sources in roles.items() if isinstance(roles, dict) else ():
        known = _DEFAULT_ROLES.get(role, ())
        for index, source in enumerate(sources if isinstance(sources, list) else [sources]):
            path = (*at, "roles", role, index) if isinstance(sources, list) else (*at, "roles", role)
            if source in known:
                case.drop(path, "this name of the role is known")
            else:
                case.block(path, f"the role `{source}` cannot be renamed", "rename it in the rows")
    if case.has((*at, "chat_template")):
        if case.get((*at, "chat_template")) == case.get("chat_template"):
            case.map((*at, "chat_template"), "tokenizer.chat_template")
        elif case.has("chat_template"):
            message = "one recipe has one chat template, and this is another one"
            case.block((*at, "chat_template"), message, "prepare these rows beforehand")
        else:
            chat_template(case, (*at, "chat_template"), case.get((*at, "chat_template")))
    for key, allowed, because in _ONE_VALUE:
        value = case.get((*at, key))
        if value is not None and any(value == each and type(value) is type(each) for each in allowed):
            case.drop((*at, key), because)
        elif value is not None and key in _REFUSED:
            case.block((*at, key), f"`{key}` has no equal here", _REFUSED[key])
    for leaf in case.open(at):
        key = str(leaf[len(at)])
        if key not in ITEM_KEYS:
            near = difflib.get_close_matches(key, ITEM_KEYS, 1)
            help_ = f"did you mean `{near[0]}`?" if near else "remove it"
            case.block(leaf, f"`{key}` is no key of a dataset", help_, "unknown-imported-key")
        elif case.get(leaf) is not None:
            case.block(leaf, f"`{key}` of a dataset has no equal here", "prepare the rows so that it is not needed")


_ONE_VALUE: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("trust_remote_code", (False,), "code of a dataset is never run"),
    (
        "roles_to_train",
        (["assistant"], ["gpt", "assistant"], ["assistant", "gpt"]),
        "the assistant's turns are learned",
    ),
    ("train_on_eos", ("turn", "all"), "the end of a turn that the template writes is learned"),
    ("train_on_eot", ("turn", "all"), "the end of a turn that the template writes is learned"),
    ("drop_system_message", (False,), "it is off"),
    ("split_thinking", (False,), "it is off"),
    ("train_on_last_step_only", (False,), "it is off"),
    ("preprocess_shards", (1,), "it changes nothing in the rows"),
    ("field_tools", ("tools",), "tools are not read"),
    ("skip", (0,), "0 rows are left out"),
)
_REFUSED = {
    "trust_remote_code": "datasets that need code are not read",
    "roles_to_train": "learn from the assistant's turns alone, or from all: `method.assistant_only_loss`",
    "train_on_eos": "the end of every turn of the assistant is learned",
    "train_on_eot": "the end of every turn of the assistant is learned",
    "drop_system_message": "leave the turns out in the rows",
}
