"""Events of the YAML parser -> documents."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from llmrecipe.source.positions import Positions
from llmrecipe.source.scalars import scalar
from llmrecipe.source.spans import Path, Problem, Source, Span
from llmrecipe.source.syntax import UNPRINTABLE, explain

MAX_VALUES = 100_000  # of one file, with every alias written out
MAX_DEPTH = 64
MAX_DOCUMENTS = 250  # of one file


class _StopError(Exception):
    """Nothing more can be read of this file."""


@dataclass(slots=True)
class _Written:
    """Where the keys and values of one document were written."""

    keys: dict[Path, Span] = field(default_factory=dict)
    values: dict[Path, Span] = field(default_factory=dict)


@dataclass(slots=True)
class _Anchor:
    """What an alias repeats; `written` is missing while the value itself is being read."""

    path: Path
    data: Any = None
    written: _Written | None = None


class Composer:
    """Reads the documents of one text; what is wrong with it gathers in `problems`."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.problems: list[Problem] = []
        self._file = file
        self._positions = Positions(text, file)
        self._events: Iterator[Any] = iter(())
        self._anchors: dict[str, _Anchor] = {}
        self._written = _Written()
        self._count = 0
        self._documents = 0
        self._reached = 0  # offset behind the last value that was read

    def documents(self) -> list[Source]:
        """The documents that can be read."""
        sources: list[Source] = []
        parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # only for its events; C is eight times as fast
        try:
            self._refuse_control_characters()
            self._events = yaml.parse(self.text, Loader=parser)
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    sources.extend(self._document())
        except yaml.MarkedYAMLError as error:
            at, message, hint = explain(error, self.text)
            self._problem("invalid-yaml", f"not YAML: {message}", (at, at + 1), hint)
        except _StopError:
            return sources
        if not sources and not self.problems:
            self._problem(
                "empty-document", "the file is empty", (0, 0), "`llmrecipe init` writes a recipe to begin with"
            )
        return sources

    def _document(self) -> Iterator[Source]:
        self._anchors, self._written = {}, _Written()
        first = next(self._events)
        self._documents += 1
        if self._documents > MAX_DOCUMENTS:
            message = f"the file has more than {MAX_DOCUMENTS} documents"
            self._stop("document-too-large", message, first, "write the others into a file of their own")
        if isinstance(first, yaml.ScalarEvent) and first.implicit[0] and not first.value:
            self._problem("empty-document", "the document is empty", _offsets(first), "remove the `---` beside it")
            return
        data = self._value(first, (), 0)
        yield Source(self._file, data, self._written.keys, self._written.values)

    def _value(self, event: Any, path: Path, depth: int) -> Any:
        """Plain data of the value that begins with `event`; its spans are noted under `path`."""
        self._limit(event, depth)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, depth)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            hint = "remove it; what is in quotes is a string, a plain `5` a number"
            self._problem(
                "unsupported-yaml", f"the tag `{_short(tag)}` cannot be used in a recipe", _offsets(event), hint
            )
        anchor = _Anchor(path)
        if event.anchor is not None:
            self._anchors[event.anchor] = anchor
        if isinstance(event, yaml.ScalarEvent):
            data, end = self._scalar(event), self._end(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            data, end = self._sequence(event, path, depth)
        else:
            data, end = self._mapping(event, path, depth)
        self._written.values[path] = self._positions.span(event.start_mark.index, end)
        anchor.data, anchor.written = data, self._written
        self._reached = end
        return data

    def _sequence(self, event: Any, path: Path, depth: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        end: int = event.end_mark.index
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(item, (*path, len(items)), depth + 1))
            end = self._reached
        return items, _offsets(item)[1] if event.flow_style else end

    def _mapping(self, event: Any, path: Path, depth: int) -> tuple[dict[str, Any], int]:
        data: dict[str, Any] = {}
        end: int = event.end_mark.index
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            name = self._key(key, path, data, depth)
            if name is None:
                self._discard(next(self._events), depth)
            else:
                self._written.keys[(*path, name)] = self._positions.span(*_offsets(key))
                data[name] = self._value(next(self._events), (*path, name), depth + 1)
            end = self._reached
        return data, _offsets(key)[1] if event.flow_style else end

    def _discard(self, event: Any, depth: int) -> None:
        """Read a value that has no place; an alias may still repeat it."""
        kept, self._written = self._written, _Written()
        self._value(event, (), depth + 1)
        self._written = kept

    def _key(self, event: Any, path: Path, data: Mapping[str, Any], depth: int) -> str | None:
        """The name of a key that can be used, else nothing and a problem."""
        if not isinstance(event, yaml.ScalarEvent):
            self._discard(event, depth)
            self._problem("unsupported-yaml", "a key must be a string", _offsets(event), "write `key: value`")
            return None
        name = self._scalar(event)
        if event.implicit[0] and event.value == "<<":
            hint = "use `extends: [FILE]` at the top of the recipe; `&name` and `*name` repeat a whole value"
            self._problem("unsupported-yaml", "`<<` cannot be used in a recipe", _offsets(event), hint)
        elif event.tag is not None or not isinstance(name, str):
            hint = f'put it in quotes: `"{_short(event.value)}"`' if event.value else "write a name before the `:`"
            self._problem("unsupported-yaml", "a key must be a string", _offsets(event), hint)
        elif name in data:
            first = self._written.keys[(*path, name)]
            hint = f"first written on line {first.line}; keep one of the two"
            self._problem("duplicate-key", f"the key `{_short(name)}` is written twice", _offsets(event), hint)
        else:
            return name
        return None

    def _scalar(self, event: Any) -> Any:
        if not event.implicit[0]:
            return event.value
        try:
            return scalar(event.value)
        except OverflowError as error:
            hint = "put it in quotes if it is meant as text"
            self._problem("document-too-large", str(error), _offsets(event), hint)
            return 0

    def _alias(self, event: Any, path: Path, depth: int) -> Any:
        anchor = self._anchors.get(event.anchor)
        name = f"`*{_short(event.anchor)}`"
        if anchor is None:
            hint = "write `&name` before the value that it repeats, further up in the same document"
            self._problem("invalid-yaml", f"{name} repeats a value that is not there", _offsets(event), hint)
            self._written.values[path] = self._positions.span(*_offsets(event))
            self._reached = event.end_mark.index
            return None
        if anchor.written is None:
            self._stop("document-too-large", f"{name} repeats a value that contains it", event, "it would never end")
        self._repeat(anchor, anchor.data, (anchor.path, path), (event, depth))
        self._reached = event.end_mark.index
        return anchor.data

    def _repeat(self, anchor: _Anchor, data: Any, paths: tuple[Path, Path], place: tuple[Any, int]) -> None:
        """Note the spans of a repeated value a second time, under the path of its alias."""
        (old, new), (event, depth) = paths, place
        assert anchor.written is not None
        self._limit(event, depth)
        self._written.values[new] = anchor.written.values[old]
        items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        for key, item in items:
            if isinstance(data, dict):
                self._written.keys[(*new, key)] = anchor.written.keys[(*old, key)]
            self._repeat(anchor, item, ((*old, key), (*new, key)), (event, depth + 1))

    def _limit(self, event: Any, depth: int) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            hint = "a recipe names data, it holds none; aliases count as often as they are used"
            self._stop("document-too-large", f"the file has more than {MAX_VALUES:,} values", event, hint)
        if depth > MAX_DEPTH:
            message = f"values are nested more than {MAX_DEPTH} deep"
            self._stop("document-too-large", message, event, "no section of a recipe is that deep")

    def _end(self, event: Any) -> int:
        """The offset behind a scalar, without the empty lines that end a block."""
        start, end = _offsets(event)
        return start + len(self.text[start:end].rstrip()) if event.style in ("|", ">") else end

    def _stop(self, name: str, message: str, event: Any, hint: str) -> NoReturn:
        self._problem(name, message, _offsets(event), hint)
        raise _StopError

    def _problem(self, name: str, message: str, offsets: tuple[int, int], hint: str) -> None:
        self.problems.append(Problem(name, message, self._positions.span(*offsets), hint))

    def _refuse_control_characters(self) -> None:
        found = UNPRINTABLE.search(self.text)
        if found:
            number = ord(found[0])
            hint = f"remove it; in double quotes it can be written `\\x{number:02X}`"
            self._problem("invalid-yaml", f"the character U+{number:04X} cannot stand in YAML", found.span(), hint)
            raise _StopError


def _offsets(event: Any) -> tuple[int, int]:
    return event.start_mark.index, event.end_mark.index


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
