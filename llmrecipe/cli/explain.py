"""`llmrecipe explain CODE|FIELD`: the manual page of a diagnostic, or what a field of the language means."""

import argparse
import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmrecipe import facts
from llmrecipe.cli.fields import in_recipe, readers, rules_about
from llmrecipe.cli.front import UsageError
from llmrecipe.command_errors import COMMAND_ERRORS
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.lint import RULES
from llmrecipe.methods import METHODS
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.remote import CHECKS as REMOTE_CHECKS

Entry = Mapping[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """The topic, and the recipe whose value is shown."""
    parser.add_argument(
        "topic", metavar="CODE|FIELD", help="a code (LR311), a rule's name, or a field (training.max_length)"
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="a recipe: what it has at the field, and where that was written"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the page.

    Raises:
        UsageError: there is no such code and no such field.
        RecipeError: FILE holds no recipe.
    """
    print(explanation(arguments.topic))
    if arguments.file is not None:
        path = _path(arguments.topic)
        if path is None:
            raise UsageError(f"`{arguments.topic}` is no field of a recipe, so that FILE has no value for it")
        print(f"\n{in_recipe(arguments.topic, path, arguments.file)}")
    return 0


def explanation(topic: str) -> str:
    """The page of a code, a rule's name or a field.

    Raises:
        UsageError: there is none; says what is near.
    """
    pages = _pages()
    code = next((code for code, (name, _, _) in pages.items() if topic.upper() == code or topic == name), None)
    if code is not None:
        name, severity, page = pages[code]
        return f"# {code} {name}\n\nSeverity: {severity}.\n\n{page.strip()}"
    if (foreign := _foreign(_without_items(topic))) is not None:
        return foreign
    known, path = facts.recipe_fields(), _path(topic)
    if path is None:
        raise UsageError(_unknown(topic, _same_end(topic), [*pages, *known]))
    return _field(path, known)


def _path(topic: str) -> str | None:
    """The field that a topic names: its path, or the end of one path alone."""
    path, same_end = _without_items(topic), _same_end(topic)
    if path in facts.recipe_fields():
        return path
    return same_end[0] if len(same_end) == 1 else None


def _without_items(topic: str) -> str:
    return re.sub(r"\[\d*\]|\.\d+(?=\.|$)", "", topic)


def _same_end(topic: str) -> list[str]:
    return [each for each in facts.recipe_fields() if each.rpartition(".")[2] == _without_items(topic)]


def _pages() -> dict[str, tuple[str, str, str]]:
    """Code -> name, severity, page."""
    found = {error.code: (error.name, "error", error.page) for error in (*DOCUMENT_ERRORS, *COMMAND_ERRORS)}
    found |= {check.code: (check.name, check.severity, check.page) for check in CHECKS.values()}
    found |= {check.code: (check.name, check.severity, check.page) for check in REMOTE_CHECKS.values()}
    return found | {rule.code: (rule.name, rule.severity, rule.page) for rule in RULES.values()}


def _unknown(topic: str, same_end: list[str], known: list[str]) -> str:
    if same_end:
        return f"`{topic}` is a field of several sections: {', '.join(f'`{path}`' for path in same_end)}"
    lowered = {each.lower(): each for each in known}
    by_end = {each.rpartition(".")[2].lower(): each for each in known}
    words = {**by_end, **lowered}
    close = difflib.get_close_matches(topic.lower(), words, n=1) or difflib.get_close_matches(
        topic.rpartition(".")[2].lower(), by_end, n=1
    )
    hint = (
        f"did you mean `{words[close[0]]}`?" if close else "write a code such as LR311, or a field such as `data.train`"
    )
    return f"there is no code and no field `{topic}`; {hint}"


# -- fields of the language --


def _field(path: str, known: Mapping[str, Any]) -> str:
    parts = [f"# {path}"]
    parts += ["\n".join(_lines(entry)) for entry in known[path]]
    keys = [each for each in known if each.rpartition(".")[0] == path]
    if keys:
        width = max(len(key.rpartition(".")[2]) for key in keys)
        parts.append("Keys:\n" + "\n".join(_key(key, known[key], width) for key in keys))
    if methods := readers(path):
        parts.append("Methods that learn from each:\n" + "\n".join(f"  {line}" for line in methods))
    if rules := rules_about(path, known):
        parts.append("Rules that speak of it:\n" + "\n".join(f"  {code}  {name}" for code, name in rules))
    if path == "hardware.accelerator":
        parts.append("\n".join(_accelerators()))
    if path == "training.extra":
        parts.append(f"`llmrecipe explain {path}.NAME` explains one of them: {', '.join(sorted(_trainer_fields()))}.")
    if path == "serving.extra":
        parts.append(f"`llmrecipe explain {path}.NAME` explains one of them: {', '.join(facts.vllm_options())}.")
    return "\n\n".join(parts)


def _lines(entry: Entry) -> Iterator[str]:
    yield f"Type: {entry['type']}{' ' + entry['bounds'] if 'bounds' in entry else ''}"
    if "choices" in entry:
        yield f"Choices: {', '.join(str(choice) for choice in entry['choices'])}"
    if "default" in entry:
        yield f"Default: {json.dumps(entry['default'])}"
    elif entry.get("required"):
        yield "Required."
    if "kinds" in entry:
        yield f"Under `kind`: {', '.join(entry['kinds'])}"
    yield ""
    yield str(entry["description"])


def _key(path: str, entries: list[Entry], width: int) -> str:
    description = str(entries[0]["description"])
    kinds = re.findall(r"^- `(\w+)`:", description, re.MULTILINE)
    summary = f"One of {', '.join(kinds)}." if description.startswith("- ") else description.partition("\n")[0]
    return f"  {path.rpartition('.')[2]:{width}}  {summary}".rstrip()


def _accelerators() -> Iterator[str]:
    yield "Presets:"
    for name, preset in facts.accelerators().items():
        memory = f"{preset.memory:g} GiB" if preset.memory else ""
        yield f"  {name:14} {memory:>10}  {'bfloat16' if preset.bfloat16 else 'no bfloat16'}"


# -- options that belong to others --


def _foreign(path: str) -> str | None:
    section, _, name = path.rpartition(".")
    if section == "training.extra":
        fields = _trainer_fields().get(name)
        return None if fields is None else "\n".join([f"# {path}", "", *(_trainer_line(*field) for field in fields)])
    if section == "serving.extra" and name in facts.vllm_options():
        option = facts.vllm_options()[name]
        lines = [f"# {path}", "", f"An option of `vllm serve` {facts.vllm_version()}: `{option.flag}`.", ""]
        lines.append(f"Type: {option.kind}")
        lines += [f"Choices: {', '.join(option.choices)}"] if option.choices else []
        lines += [f"Default: {json.dumps(option.default)}"] if option.default is not None else []
        return "\n".join(lines)
    return None


def _trainer_fields() -> dict[str, list[tuple[str, facts.TrainerField]]]:
    """Field -> configuration classes of methods that have it."""
    found: dict[str, list[tuple[str, facts.TrainerField]]] = {}
    for config in sorted({method.config for method in METHODS}):
        for name, field in facts.trainer_fields(config).items():
            found.setdefault(name, []).append((config, field))
    return found


def _trainer_line(config: str, field: facts.TrainerField) -> str:
    methods = ", ".join(f"`{m.model_fields['kind'].annotation.__args__[0]}`" for m in METHODS if m.config == config)  # type: ignore[union-attr]
    choices = f", one of {', '.join(field.choices)}" if field.choices else ""
    return f"{methods} ({config.replace(':', '.')}): {field.type}{choices}; default {json.dumps(field.default)}"
