"""What else is known of a field: who reads it, which rules speak of it, and what one recipe writes there."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from llmrecipe.cli import front
from llmrecipe.document import Document
from llmrecipe.lint import RULES
from llmrecipe.methods import METHODS, BaseMethod
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.source import Path
from llmrecipe.source.inline import inline
from llmrecipe.vocabulary import ROW_KIND

_EXAMPLES = re.compile(r"```.*?```", re.DOTALL)
_WIDEST = 100  # characters of a value that are shown


def readers(path: str) -> list[str]:
    """The methods that learn from each format; of other fields, their kinds say who reads them."""
    if path not in ("data.train.format", "data.validation.sources.format"):
        return []
    width = max(map(len, ROW_KIND))
    return [
        f"{format:{width}}  {', '.join(_kind(method) for method in METHODS if rows in method.rows)}"
        for format, rows in ROW_KIND.items()
    ]


def _kind(method: type[BaseMethod]) -> str:
    return str(get_args(method.model_fields["kind"].annotation)[0])


def rules_about(path: str, known: Mapping[str, object]) -> list[tuple[str, str]]:
    """Code and name of each rule and preflight check that speaks of a field."""
    name = path.rpartition(".")[2]
    alone = sum(other.rpartition(".")[2] == name for other in known) == 1
    words = [re.escape(path), *([re.escape(name)] if alone else [])]
    said = re.compile(rf"[`\"'](?:{'|'.join(words)})(?:[`\"':]|\.\{{)")
    found = [(rule.code, rule.name) for rule in RULES.values() if said.search(_text(rule.check))]
    return sorted([*found, *((check.code, check.name) for check in CHECKS.values() if said.search(check.page))])


def _text(check: object) -> str:
    """A rule without its examples, which have many keys that it does not speak of."""
    return _EXAMPLES.sub("", inspect.getsource(check))  # type: ignore[arg-type]


def in_recipe(topic: str, path: str, file: str) -> str:
    """What the documents of a file have at a field, and where each value was written.

    `topic` may name one item of a list, `data.train.0.format`; `path` is the field without items.

    Raises:
        RecipeError: the file holds no recipe.
    """
    name = file.partition("#")[2]
    chosen = [one for one in front.documents(file) if name in ("", one.recipe.name)]
    asked = _parts(topic) if _without_items(_parts(topic)) == path else _parts(path)
    lines = [line for document in chosen for line in _values(document, asked, len(chosen) > 1)]
    return "\n".join([f"In {file}:", *(lines or ["  it is in no section that the recipe has"])])


def _parts(topic: str) -> list[str]:
    return re.sub(r"\[(\d+)\]", r".\1", topic.replace("[]", "")).split(".")


def _without_items(parts: Sequence[str]) -> str:
    return ".".join(part for part in parts if not part.isdigit())


def _values(document: Document, asked: Sequence[str], several: bool) -> Iterator[str]:
    data = document.recipe.model_dump(mode="json")
    for at, value in _found(data, asked, ()):
        where = ".".join(str(part) for part in at)
        shown = inline(value)
        shown = shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 1]}…"
        owner = f"{document.recipe.name}: " if several else ""
        yield f"  {owner}{where}: {shown}  ({_origin(document, at)})"


def _found(value: Any, asked: Sequence[str], at: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, list) and asked and not asked[0].isdigit():
        for index, item in enumerate(value):
            yield from _found(item, asked, (*at, index))
    elif not asked:
        yield at, value
    elif isinstance(value, list) and int(asked[0]) < len(value):
        yield from _found(value[int(asked[0])], asked[1:], (*at, int(asked[0])))
    elif isinstance(value, dict) and asked[0] in value:
        yield from _found(value[asked[0]], asked[1:], (*at, asked[0]))


def _origin(document: Document, at: Path) -> str:
    span = document.source.values.get(at)
    return f"{span.file}:{span.line}" if span else "default"
