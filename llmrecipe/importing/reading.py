"""YAML as PyYAML reads it (1.1) -> plain data, spans, and what a reader of YAML 1.2 would not expect."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from llmrecipe.command_errors import command_error
from llmrecipe.diagnostics import RecipeError
from llmrecipe.source import Path, Source, Span
from llmrecipe.source.positions import Positions

MAX_BYTES = 4 * 2**20
MAX_VALUES = 100_000  # with every alias written out
MAX_DEPTH = 64

_TAG = "tag:yaml.org,2002:"
_CONSTRUCTOR: Any = yaml.constructor.SafeConstructor()
_SURPRISING: dict[str, tuple[re.Pattern[str], str]] = {
    f"{_TAG}bool": (re.compile(r"(?!(?i:true|false)$).*"), "a boolean"),
    f"{_TAG}int": (re.compile(r"[-+]?0[0-7_]+|.*[_:].*|[-+]?0b.*"), "a number"),
    f"{_TAG}float": (re.compile(r".*[_:].*"), "a number"),
}
"""Tag -> plain scalars that YAML 1.2 reads as text, or as another number."""


@dataclass(frozen=True)
class Leaf:
    """A value without values in it, where it was written."""

    path: Path
    value: Any
    span: Span


@dataclass
class Configuration:
    """A file of another tool."""

    source: Source
    surprises: dict[Path, str] = field(default_factory=dict)
    """Values that mean something else than they seem to."""
    overwritten: list[Leaf] = field(default_factory=list)
    """Values of keys that are written a second time; PyYAML takes the last one."""


def read(file: str) -> Configuration:
    """The one mapping that a file holds. Nothing of it is ever executed.

    Raises:
        RecipeError: it cannot be read, is no YAML, has tags, several documents or no keys, or is too large.
    """
    try:
        with FilePath(file).open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "its name is no path"
        raise _unreadable(f"`{file}` cannot be read: {reason}", Span(file, 1, 1, 1, 1), "check the path") from None
    if len(raw) > MAX_BYTES:
        raise _unreadable(f"`{file}` is larger than {MAX_BYTES // 2**20} MiB", Span(file, 1, 1, 1, 1), "shorten it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable(f"`{file}` is no text in UTF-8", Span(file, 1, 1, 1, 1), "save it as UTF-8") from None
    return parse(text, file)


def parse(text: str, file: str) -> Configuration:
    """As `read`, of a text; `file` is what spans call it.

    Raises:
        RecipeError: as for `read`.
    """
    positions = Positions(text, file)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = mark.index if mark else 0
        message = f"not YAML: {error.problem or error.context}"
        raise _unreadable(
            message, positions.span(at, at + 1), "correct it so that the tool itself can read it"
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise _unreadable(f"not YAML: {error}", Span(file, 1, 1, 1, 1), "correct it") from None
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise RecipeError(
            [
                command_error(
                    "unrecognized-configuration",
                    f"`{file}` holds no keys",
                    Span(file, 1, 1, 1, 1),
                    "give a configuration of Axolotl, LLaMA-Factory or TRL",
                )
            ]
        )
    return _Reader(positions).configuration(root)


def leaves(data: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of all values without values in them, in the order of the file; empty lists and mappings are such."""
    if isinstance(data, dict | list) and data:
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(value, (*path, key))
    else:
        yield path


def _unreadable(message: str, span: Span, help_: str) -> RecipeError:
    return RecipeError([command_error("unreadable-configuration", message, span, help_)])


class _Reader:
    """Nodes -> data; counts them, since an alias may stand for many."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._count = 0
        self._keys: dict[Path, Span] = {}
        self._values: dict[Path, Span] = {}
        self._found: Configuration

    def configuration(self, root: yaml.MappingNode) -> Configuration:
        self._found = Configuration(Source(self._positions.file, {}, self._keys, self._values))
        data = self._value(root, ())
        self._found.source = Source(self._positions.file, data, self._keys, self._values)
        return self._found

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        span = self._span(node)
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            what = f"more than {MAX_VALUES:,} values" if self._count > MAX_VALUES else f"values {MAX_DEPTH} deep"
            raise _unreadable(f"the file has {what}", span, "write aliases out, and shorten it")
        self._values[path] = span
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode(value=items, tag=tag) if tag == f"{_TAG}seq":
                return [self._value(item, (*path, number)) for number, item in enumerate(items)]
            case yaml.ScalarNode():
                return self._scalar(node, path)
        raise self._tagged(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        if node.tag != f"{_TAG}map":
            raise self._tagged(node)
        try:
            _CONSTRUCTOR.flatten_mapping(node)  # writes out `<<`
        except (yaml.MarkedYAMLError, RecursionError) as error:
            raise _unreadable(f"`<<` cannot be followed: {error}", self._span(node), "write the keys out") from None
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _unreadable("a key is no text", self._span(key), "write `key: value`")
            at = (*path, key.value)
            if key.value in data:
                self._found.overwritten += [
                    Leaf(leaf, _inside(data[key.value], leaf[len(at) :]), self._values[leaf])
                    for leaf in leaves(data[key.value], at)
                ]
            self._keys[at] = self._span(key)
            data[key.value] = self._value(value, at)
        return data

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        kind = node.tag.removeprefix(_TAG)
        pattern, what = _SURPRISING.get(node.tag, (None, ""))
        try:
            match kind:
                case "null":
                    return None
                case "str" | "timestamp" | "value":
                    return node.value
                case "bool" | "int" | "float":
                    value = getattr(_CONSTRUCTOR, f"construct_yaml_{kind}")(node)
                    if pattern is not None and pattern.fullmatch(node.value):
                        shown = str(value).lower() if kind == "bool" else str(value)
                        self._found.surprises[path] = f"`{node.value}` is {what} to YAML 1.1: {shown}"
                    return value
        except (ValueError, KeyError, OverflowError):
            raise _unreadable(f"`{node.value[:40]}` is no {kind}", self._span(node), "correct it") from None
        raise self._tagged(node)

    def _span(self, node: yaml.Node) -> Span:
        return self._positions.span(node.start_mark.index, node.end_mark.index)

    def _tagged(self, node: yaml.Node) -> RecipeError:
        shown = node.tag.replace(_TAG, "!!")
        message = f"the tag `{shown}` is not read: it may run code"
        return _unreadable(message, self._span(node), "write the value without a tag")


def _inside(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data
