"""`# llmrecipe: ignore[LR301]` behind a value, and `lint: {ignore: [LR301]}`: what a document silences."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrecipe.source import Path, Source, Span

_COMMENT = re.compile(r"#\s*llmrecipe:\s*(?P<rest>[^#\r\n]*)")
_IGNORE = re.compile(r"ignore\[(?P<topics>[^\]\r\n]*)\]\s*")
_TOPIC = re.compile(r"[^,\s]+")
_DIVIDER = re.compile(r"^---(\s|$)")


@dataclass(frozen=True)
class Silence:
    """One code or name of a rule that is not to be reported."""

    topic: str
    """As it is written; empty where the comment cannot be read."""
    span: Span
    """Where it is written."""
    line: int | None
    """The line that it silences; none for the whole document."""
    at: Path | None = None
    """The path of an item of `lint.ignore`."""
    comment: Span | None = None
    """The comment with the blanks before it, where it says nothing else."""


def written(source: Source, text: str) -> list[Silence]:
    """What a document silences; `text` is that of its file."""
    return [*_listed(source), *_commented(source, text)]


def commented(text: str) -> dict[int, set[str]]:
    """Line -> the topics that its comment silences."""
    found: dict[int, set[str]] = {}
    if "llmrecipe:" in text:
        for number, line in enumerate(text.splitlines(), start=1):
            for comment in _COMMENT.finditer(line):
                if ignored := _IGNORE.fullmatch(comment["rest"]):
                    found.setdefault(number, set()).update(_TOPIC.findall(ignored["topics"]))
    return found


def _listed(source: Source) -> Iterator[Silence]:
    section = source.data.get("lint") if isinstance(source.data, dict) else None
    listed = section.get("ignore") if isinstance(section, dict) else None
    for index, topic in enumerate(listed if isinstance(listed, list) else ()):
        at: Path = ("lint", "ignore", index)
        yield Silence(str(topic), source.at(at), None, at)


def _commented(source: Source, text: str) -> Iterator[Silence]:
    if "llmrecipe:" not in text:
        return
    lines = text.splitlines()
    own = source.values.get(())
    number = _document_of(lines, own.line) if own else 0
    quoted = _texts(source)
    current = 0
    for index, line in enumerate(lines, start=1):
        current += bool(_DIVIDER.match(line) and index > 1)
        for found in _COMMENT.finditer(line):
            if current == number and not _within(quoted, index, found.start() + 1):
                yield from _of_comment(found, Span(source.file, index, 1, index, 1))


def _of_comment(found: re.Match[str], place: Span) -> Iterator[Silence]:
    ignored = _IGNORE.fullmatch(found["rest"])
    topics = list(_TOPIC.finditer(ignored["topics"])) if ignored else []
    if ignored is None or not topics:
        yield Silence("", _between(place, found.start(), found.start() + len(found[0].rstrip())), place.line)
        return
    before = len(found.string[: found.start()].rstrip())
    whole = _between(place, before, found.end()) if len(topics) == 1 and found.end() == len(found.string) else None
    offset = found.start("rest") + ignored.start("topics")
    for topic in topics:
        span = _between(place, offset + topic.start(), offset + topic.end())
        yield Silence(topic[0], span, place.line, comment=whole)


def _between(place: Span, start: int, end: int) -> Span:
    return Span(place.file, place.line, start + 1, place.line, end + 1)


def _document_of(lines: Sequence[str], line: int) -> int:
    """How many `---` stand above a line, one at the very top not counted."""
    return sum(1 for above in lines[1:line] if _DIVIDER.match(above))


def _texts(source: Source) -> list[Span]:
    """Spans of the strings of the document's own file that could hold a `#`."""
    found: list[Span] = []
    waiting: list[tuple[Path, Any]] = [((), source.data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            if "#" in value and (span := source.values.get(path)) and span.file == source.file:
                found.append(span)
        elif isinstance(value, Mapping):
            waiting += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), item) for index, item in enumerate(value)]
    return found


def _within(spans: Sequence[Span], line: int, column: int) -> bool:
    return any((one.line, one.column) <= (line, column) < (one.end_line, one.end_column) for one in spans)
