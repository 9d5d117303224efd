"""The schema, the rules and the command line -> the pages of docs/reference, and what `llmrecipe explain` reads."""

import argparse
import inspect
import json
from collections.abc import Iterator
from typing import Any

from llmrecipe.cli import COMMANDS, parser
from llmrecipe.command_errors import COMMAND_ERRORS
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.lint import RULES
from llmrecipe.methods import METHODS
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.remote import CHECKS as REMOTE_CHECKS

Schema = dict[str, Any]

MADE = "<!-- Made by scripts/generate.py. -->\n"

FAMILIES = {
    "LR0": "the document",
    "LR1": "data",
    "LR2": "model, tokenizer and adapter",
    "LR3": "method and training",
    "LR4": "hardware and distribution",
    "LR5": "evaluation",
    "LR6": "export and serving",
    "LR7": "reproducibility and security",
    "LR8": "entries without effect",
    "LR9": "imports, and what the Hub says",
}


# -- fields --


def fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every path of the language with what can be said of it; the same path once for each kind that has it."""
    yield from _fields(schema, schema, "", None)


def _fields(section: Schema, root: Schema, prefix: str, kind: str | None) -> Iterator[tuple[str, Schema]]:
    for name, field in section.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, _entry(field, root, kind, name in _required(section))
        if name in ("extra", "extends"):
            continue
        for member in _members(field, root):
            inner = member.get("properties", {}).get("kind", {}).get("const")
            yield from _fields(member, root, f"{path}.", inner)


def _required(section: Schema) -> list[str]:
    """Keys that must be there; those of a recipe stand behind a condition on `extends`."""
    found: list[str] = section.get("required", section.get("else", {}).get("required", []))
    return found


def _members(field: Schema, root: Schema) -> list[Schema]:
    """The sections that a field may hold, itself or as items of a list."""
    target = field.get("items", field)
    members = [_resolved(member, root) for member in target.get("oneOf", [target])]
    return [member for member in members if "properties" in member]


def _resolved(schema: Schema, root: Schema) -> Schema:
    reference = schema.get("$ref")
    return root["$defs"][reference.rpartition("/")[2]] | schema if reference else schema


def _entry(field: Schema, root: Schema, kind: str | None, required: bool) -> Schema:
    resolved = _resolved(field, root)
    choices = resolved.get("enum", [resolved["const"]] if "const" in resolved else [])
    entry: Schema = {"type": _type(field, root), "description": resolved.get("description", "")}
    if kind is not None:
        entry["kind"] = kind
    if required:
        entry["required"] = True
    if "default" in resolved:
        entry["default"] = resolved["default"]
    if choices:
        entry["choices"] = [value for value in choices if value is not None]
    if bounds := _bounds(resolved):
        entry["bounds"] = bounds
    return entry


def _type(field: Schema, root: Schema) -> str:
    resolved = _resolved(field, root)
    if "oneOf" in resolved and "properties" not in resolved:
        names = [_type(member, root) for member in resolved["oneOf"]]
        return " or ".join(dict.fromkeys(name for name in names if name != "null"))
    if "properties" in resolved:
        return "section"
    if "enum" in resolved or "const" in resolved:
        return "choice"
    kinds = resolved.get("type", "any value")
    name = kinds if isinstance(kinds, str) else next(kind for kind in kinds if kind != "null")
    if name == "array":
        return f"list of {_type(resolved['items'], root)}s"
    return "mapping" if name == "object" else str(name)


def _bounds(field: Schema) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return " and ".join(f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field)


def fields_json(schema: Schema) -> str:
    """What `explain` reads: path -> one entry per distinct meaning, each with the kinds that share it."""
    found: dict[str, list[Schema]] = {}
    for path, entry in fields(schema):
        kind = entry.pop("kind", None)
        if path.rpartition(".")[2] == "kind":
            entry = {"type": "choice", "description": "Chooses what the section is.", "choices": entry["choices"]}
            known = found.setdefault(path, [])
            if known:
                known[0]["choices"] += [choice for choice in entry["choices"] if choice not in known[0]["choices"]]
                continue
            known.append(entry)
            continue
        same = next((known for known in found.get(path, ()) if _meaning(known) == _meaning(entry)), None)
        if same is None:
            found.setdefault(path, []).append(entry | ({"kinds": [kind]} if kind else {}))
        elif kind and kind not in same["kinds"]:
            same["kinds"].append(kind)
    return "{\n" + ",\n".join(f"  {json.dumps(path)}: {json.dumps(found[path])}" for path in found) + "\n}\n"


def _meaning(entry: Schema) -> Schema:
    return {name: value for name, value in entry.items() if name != "kinds"}


# -- pages --


def recipe_page(schema: Schema) -> str:
    """docs/reference/recipe.md: every section of the language."""
    parts = [f"# The recipe\n\n{MADE}\n{schema['description']}\n", _table(schema, schema)]
    for name, field in schema["properties"].items():
        if _members(field, schema):
            parts += _section(name, field, schema, depth=2)
    return "\n".join(parts)


def _section(path: str, field: Schema, root: Schema, depth: int) -> Iterator[str]:
    members = _members(field, root)
    yield f"{'#' * depth} `{path}`\n"
    if len(members) > 1 and (text := field.get("description", "").partition("\n\n- ")[0]) and not text.startswith("- "):
        yield f"{text}\n"
    for member in members:
        kind = member.get("properties", {}).get("kind", {}).get("const")
        if kind:
            yield f"{'#' * (depth + 1)} `{path}`: `{kind}`\n"
        yield f"{member.get('description', '')}\n"
        yield _table(member, root)
        for example in member.get("examples", [])[:1]:
            yield f"```yaml\n{_yaml(path, [example] if 'items' in field else example)}\n```\n"
        for name, inner in member["properties"].items():
            if _members(inner, root) and not _is_source(path, name):
                yield from _section(f"{path}.{name}", inner, root, min(depth + 1, 5))


def _is_source(path: str, name: str) -> bool:
    """Whether a field holds data sources beyond `data.train`, where they are described."""
    return name == "sources"


def _yaml(path: str, example: Any) -> str:
    """An example in flow style: JSON is YAML, and fits on one line."""
    return f"{path.rpartition('.')[2]}: {_flow(example)}"


def _flow(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(_flow(item) for item in value) + "]"
        case str() if value and all(character.isalnum() or character in "-_./" for character in value):
            return value
        case _:
            return json.dumps(value)


def _table(section: Schema, root: Schema) -> str:
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    for name, field in section.get("properties", {}).items():
        entry = _entry(field, root, None, name in _required(section))
        kind = entry["type"] if "choices" not in entry else ", ".join(f"`{choice}`" for choice in entry["choices"])
        kind += f" {entry['bounds']}" if "bounds" in entry else ""
        default = (
            "required" if "required" in entry else f"`{json.dumps(entry['default'])}`" if "default" in entry else ""
        )
        text = " ".join(entry["description"].replace("\n- ", "\n").removeprefix("- ").split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {kind} | {default} | {text} |")
    return "\n".join(rows) + "\n"


def methods_page(schema: Schema) -> str:
    """docs/reference/methods.md: what each method learns from, and its options."""
    parts = [f"# Methods\n\n{MADE}"]
    for method in METHODS:
        section = schema["$defs"][method.__name__]
        kind = section["properties"]["kind"]["const"]
        rate = f"{method.learning_rate:.0e}"
        parts.append(
            f"## `{kind}`\n\n{section['description']}\n\n"
            f"- Learns from rows of {', '.join(f'`{rows}`' for rows in method.rows)}.\n"
            f"- Learning rate when none is written: {rate}, ten times that for an adapter.\n"
            f"- Trained by `{method.trainer.replace(':', '.')}`; `training.extra` takes the fields of "
            f"`{method.config.replace(':', '.')}`.\n\n{_table(section, schema)}"
        )
    return "\n".join(parts)


def rules_page() -> str:
    """docs/reference/rules.md: every code with its manual page."""
    parts = [
        f"# Diagnostics\n\n{MADE}\n`llmrecipe explain CODE` prints one of these pages. "
        "`# llmrecipe: ignore[CODE]` at the end of a line silences a rule there.\n"
    ]
    pages = {error.code: (error.name, "error", error.page) for error in (*DOCUMENT_ERRORS, *COMMAND_ERRORS)}
    pages |= {rule.code: (rule.name, rule.severity, rule.page) for rule in RULES.values()}
    pages |= {check.code: (check.name, check.severity, check.page) for check in CHECKS.values()}
    pages |= {check.code: (check.name, check.severity, check.page) for check in REMOTE_CHECKS.values()}
    for family, title in FAMILIES.items():
        parts.append(f"## {family}: {title}\n")
        for code in sorted(code for code in pages if code.startswith(family)):
            name, severity, page = pages[code]
            parts.append(f"### {code} {name}\n\nSeverity: {severity}.\n\n{page.replace('## ', '#### ').strip()}\n")
    return "\n".join(parts)


def commands_page() -> str:
    """docs/reference/commands.md: every command and its options, as `--help` has them."""
    parts = [
        f"# Commands\n\n{MADE}\nExit codes: 0 clean, 1 findings or a failed run or gate, 2 usage, 3 a bug of ours, "
    ]
    parts[0] += "75 stopped by SIGTERM with everything saved (start it again), 130 interrupted.\n"
    for name, text in COMMANDS.items():
        command = _command(parser(name), name)
        usage = inspect.cleandoc(" ".join(command.format_usage().removeprefix("usage: ").split()))
        rows = ["| argument | |", "|---|---|"]
        rows += [f"| `{_spelling(action)}` | {_help(action)} |" for action in command._actions if action.dest != "help"]
        parts.append(f"## `{name}`\n\n{text[0].upper()}{text[1:]}.\n\n```\n{usage}\n```\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _command(top: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    chosen = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    found: argparse.ArgumentParser = chosen.choices[name]
    return found


def _spelling(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.choices is not None:
        metavar = "|".join(str(choice) for choice in action.choices)
    value = "" if action.nargs == 0 else f" {metavar}"
    return f"{', '.join(action.option_strings)}{value}".strip().replace("|", "\\|")


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("|", "\\|").replace("%%", "%")
