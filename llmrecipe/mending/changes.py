"""Changes of a document, in terms of its paths -> edits of the files that it was read from."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llmrecipe.diagnostics import Add, Edit, Fix, Remove, Write
from llmrecipe.source import Path, Source, Span
from llmrecipe.source.inline import inline, quoted


@dataclass(frozen=True)
class Put:
    """Another value at a path; where there is none, the entry is written, with the sections around it."""

    at: str | Path
    value: Any


@dataclass(frozen=True)
class Rename:
    """Another name for the key at a path."""

    at: str | Path
    key: str


@dataclass(frozen=True)
class Drop:
    """The entry or the item at a path is left out; a section that would be empty with it."""

    at: str | Path


@dataclass(frozen=True)
class Swap:
    """Another text in a span of the file: of a comment, which has no path."""

    span: Span
    text: str


Change = Put | Rename | Drop | Swap


class _NoPlaceError(Exception):
    """The text has no single place where the change could be made."""


def location(at: str | Path) -> Path:
    """A dotted path as a path into the document."""
    if isinstance(at, tuple):
        return at
    return tuple(int(part) if part.isdigit() else part for part in at.split("."))


def fix(source: Source, *changes: Change, safe: bool = True) -> Fix | None:
    """The changes as edits of text; none where aliases or overrides leave no place for one of them."""
    try:
        edits = tuple(_edit(change, source) for change in changes)
    except _NoPlaceError:
        return None
    return Fix("; ".join(_title(change) for change in changes), edits, safe)


def _title(change: Change) -> str:
    if isinstance(change, Swap):
        return f"`{change.text}`" if change.text else "the comment is left out"
    at = ".".join(str(part) for part in location(change.at))
    match change:
        case Put():
            return f"`{at}: {inline(change.value)}`"
        case Rename():
            return f"`{at}` is now `{change.key}`"
        case Drop():
            return f"`{at}` is left out"


def _edit(change: Change, source: Source) -> Edit:
    if isinstance(change, Swap):
        return Write(change.span, change.text)
    at = location(change.at)
    match change:
        case Put():
            return _put(source, at, change.value)
        case Rename():
            if (*at[:-1], change.key) in source.keys:
                raise _NoPlaceError
            return Write(_only(source, source.keys, at), quoted(change.key))
        case Drop():
            return _drop(source, at)


def _put(source: Source, at: Path, value: Any) -> Write | Add:
    if at in source.values:
        if isinstance(_value(source, at), dict | list):
            raise _NoPlaceError
        return Write(_only(source, source.values, at), inline(value))
    while at[:-1] not in source.values:
        at, value = at[:-1], {at[-1]: value}
    *_, key = at
    if not isinstance(key, str) or not isinstance(_value(source, at[:-1]), dict):
        raise _NoPlaceError
    inside = _only(source, source.values, at[:-1])
    keys = [path for path in source.keys if path[:-1] == at[:-1] and source.keys[path].file == inside.file]
    if not keys and _value(source, at[:-1]):
        raise _NoPlaceError  # All its entries stand in other files.
    own = [_only(source, source.values, path) for path in keys]
    last = max(own, key=_end) if own else None
    return Add(inside, source.keys[keys[0]] if keys else None, last, f"{quoted(key)}: {inline(value)}")


def _drop(source: Source, at: Path) -> Remove:
    """Up to the first section that keeps something else."""
    while len(at) > 1 and len(_value(source, at[:-1])) == 1:
        at = at[:-1]
    if at not in source.values or len(at) == 0:
        raise _NoPlaceError
    value, inside = _only(source, source.values, at), source.at(at[:-1])
    if value.file != inside.file:  # The list or section was made of several files.
        inside = value
    spans = source.keys if isinstance(at[-1], str) else source.values
    beside = [span for path, span in spans.items() if path[:-1] == at[:-1] and span.file == value.file]
    start = spans[at]
    later = [span for span in beside if _start(span) > _start(start)]
    key = _only(source, source.keys, at) if isinstance(at[-1], str) else None
    return Remove(key, value, inside, min(later, key=_start) if later else None)


def _value(source: Source, at: Path) -> Any:
    value = source.data
    for part in at:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            raise _NoPlaceError from None
    return value


def _only(source: Source, spans: Any, at: Path) -> Span:
    """The span at a path, unless an alias repeats it elsewhere or it stands on the command line."""
    span: Span = spans.get(at)
    if span is None or span.file == "--set" or _repeated(span, spans.values()):
        raise _NoPlaceError
    return span


def _repeated(span: Span, spans: Iterable[Span]) -> bool:
    return sum(span == other for other in spans) > 1


def _start(span: Span) -> tuple[int, int]:
    return span.line, span.column


def _end(span: Span) -> tuple[int, int]:
    return span.end_line, span.end_column
