"""`--set PATH=VALUE` -> documents that are merged last."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from llmrecipe.resolve.merging import OVERRIDE, merge
from llmrecipe.source import Path, Source, SourceError, Span, parse

_FORM = re.compile(r"(?:(?P<document>[a-z0-9-]+):)?(?P<path>[^=:]+)=(?P<value>.*)", re.DOTALL)


class OverrideError(ValueError):
    """An override cannot be meant as it is written."""


class Override(NamedTuple):
    """One argument of `--set`."""

    text: str
    document: str | None
    source: Source


def parse_overrides(arguments: Sequence[str]) -> list[Override]:
    """The overrides of a command line.

    Raises:
        OverrideError: one is not of the form `PATH=VALUE` or `NAME:PATH=VALUE`, or its value is not YAML.
    """
    found, line = [], 1
    for argument in arguments:
        found.append(_parse(argument, line))
        line += argument.count("\n") + 1
    return found


def combined(overrides: Sequence[Override]) -> Source:
    """All overrides of one document as one, later ones last."""
    source = overrides[0].source
    for override in overrides[1:]:
        source = merge(source, override.source)
    return source


def _parse(argument: str, line: int) -> Override:
    matched = _FORM.fullmatch(argument)
    segments = matched["path"].split(".") if matched else []
    if matched is None or not all(segment.strip() for segment in segments):
        raise OverrideError(f"`--set {argument}`: write PATH=VALUE, such as training.max_steps=100")
    if "[" in matched["path"]:
        dotted = matched["path"].replace("[", ".").replace("]", "")
        raise OverrideError(f"`--set {argument}`: items are counted with dots; write {dotted}={matched['value']}")
    if segments[0] == "extends":
        raise OverrideError(f"`--set {argument}`: `extends` is read before overrides; change the file")
    try:
        value = _value(matched["value"], line, matched.start("value"))
    except SourceError as error:
        raise OverrideError(f"`--set {argument}`: {error.problems[0].message}; {error.problems[0].help}") from None
    return Override(argument, matched["document"], _nested(segments, value, (line, matched.start("path") + 1)))


def _value(text: str, line: int, offset: int) -> Source:
    """The value of an override, with spans that count in the text of all of them."""
    if not text.strip():
        span = Span(OVERRIDE, line, offset + 1, line, offset + 1)
        return Source(OVERRIDE, None, {}, {(): span})
    value = parse(text, OVERRIDE)[0]

    def moved(span: Span) -> Span:
        return replace(
            span,
            line=span.line + line - 1,
            column=span.column + (offset if span.line == 1 else 0),
            end_line=span.end_line + line - 1,
            end_column=span.end_column + (offset if span.end_line == 1 else 0),
        )

    keys = {path: moved(span) for path, span in value.keys.items()}
    return Source(OVERRIDE, value.data, keys, {path: moved(span) for path, span in value.values.items()})


def _nested(segments: Sequence[str], value: Source, start: tuple[int, int]) -> Source:
    """The value as the document that has nothing else: `a.b=1` is `{a: {b: 1}}`."""
    line, column = start
    data: Any = value.data
    for segment in reversed(segments):
        data = {segment: data}
    at: Path = tuple(segments)
    keys = {(*at, *path): span for path, span in value.keys.items()}
    values = {(*at, *path): span for path, span in value.values.items()}
    whole = Span(OVERRIDE, line, column, line, column + len(".".join(segments)))
    for depth, segment in enumerate(segments):
        keys[at[: depth + 1]] = Span(OVERRIDE, line, column, line, column + len(segment))
        values[at[:depth]] = whole
        column += len(segment) + 1
    return Source(OVERRIDE, data, keys, values)
