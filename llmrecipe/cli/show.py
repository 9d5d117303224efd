"""`llmrecipe show FILE`: the resolved recipe, and with `--origins` where each value comes from."""

import argparse
from collections.abc import Iterator
from typing import Any

from llmrecipe.cli import front
from llmrecipe.document import Document
from llmrecipe.source import Path
from llmrecipe.source.inline import inline, quoted

Line = tuple[str, Path | None]
"""A line of YAML, and the path of the value on it if there is one."""

_ORIGIN_COLUMN = 56


def configure(parser: argparse.ArgumentParser) -> None:
    """FILE, --set and --origins."""
    front.add_recipe(parser)
    parser.add_argument("--origins", action="store_true", help="say behind each value where it was written")


def run(arguments: argparse.Namespace) -> int:
    """Print the documents of the file as YAML that reads back equal."""
    file, _, name = arguments.file.partition("#")
    documents = front.documents(arguments.file, arguments.overrides)
    shown = [d for d in documents if d.source.file == file and name in ("", d.recipe.name)]
    print("---\n".join(written(document, arguments.origins) for document in shown), end="")
    return 0


def written(document: Document, origins: bool = False) -> str:
    """One document as YAML with the defaults that say something; with `origins` all of them, and where each is from."""
    data = document.recipe.model_dump(mode="json")
    lines = list(_mapping(data if origins else _without_empty_defaults(data, (), document), (), ""))
    if not origins:
        return "".join(f"{text}\n" for text, _ in lines)
    column = min(_ORIGIN_COLUMN, max(len(text) for text, path in lines if path is not None))
    return "".join(
        f"{text}\n" if path is None else f"{text:<{column}}  # {_origin(document, path)}\n" for text, path in lines
    )


def _origin(document: Document, path: Path) -> str:
    span = document.source.values.get(path)
    return f"{span.file}:{span.line}" if span else "default"


def _without_empty_defaults(value: Any, path: Path, document: Document) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_empty_defaults(item, (*path, key), document) for key, item in value.items()}
        given = document.source.values
        return {key: item for key, item in kept.items() if item not in (None, {}, []) or (*path, key) in given}
    if isinstance(value, list):
        return [_without_empty_defaults(item, (*path, index), document) for index, item in enumerate(value)]
    return value


def _mapping(data: dict[str, Any], path: Path, indent: str) -> Iterator[Line]:
    for key in sorted(data, key=lambda key: key != "kind"):
        value = data[key]
        at = (*path, key)
        name = f"{indent}{quoted(key)}:"
        if isinstance(value, dict) and value:
            yield name, None
            yield from _mapping(value, at, f"{indent}  ")
        elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            yield name, None
            yield from _items(value, at, f"{indent}  ")
        else:
            yield f"{name} {inline(value)}", at


def _items(items: list[Any], path: Path, indent: str) -> Iterator[Line]:
    for index, item in enumerate(items):
        if isinstance(item, dict) and item:
            for number, (text, at) in enumerate(_mapping(item, (*path, index), f"{indent}  ")):
                yield (f"{indent}- {text[len(indent) + 2 :]}" if number == 0 else text), at
        else:
            yield f"{indent}- {inline(item)}", (*path, index)
