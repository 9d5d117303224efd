"""Edits -> the text of a file with them: comments and layout stay."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from llmrecipe.diagnostics import Add, Edit, Remove, Write
from llmrecipe.source import Span
from llmrecipe.source.positions import Positions

_REST = re.compile(r"[ \t]*(#[^\r\n]*)?(\r\n|\r|\n|\Z)")
"""What may follow an entry on its last line."""


class Replacement(NamedTuple):
    """What a text has instead of the characters between two offsets."""

    start: int
    end: int
    text: str


class CannotEditError(ValueError):
    """The text is laid out in a way that leaves no safe place for the edit."""


class Text:
    """The text of a file, and where its lines begin."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = Positions(text, "").starts

    def offsets(self, span: Span) -> tuple[int, int]:
        """Offsets of the begin and the end of a span.

        Raises:
            CannotEditError: the text is not the one that the span was read from.
        """
        if max(span.line, span.end_line) > len(self._starts):
            raise CannotEditError
        return self._starts[span.line - 1] + span.column - 1, self._starts[span.end_line - 1] + span.end_column - 1

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line_start(self, offset: int) -> int:
        """Where the line of an offset begins."""
        return self._starts[bisect_right(self._starts, offset) - 1]

    def replacement(self, edit: Edit) -> Replacement:
        """What an edit does to the text.

        Raises:
            CannotEditError: there is no safe place for it.
        """
        match edit:
            case Write():
                start, end = self.offsets(edit.span)
                blank = " " if start == end and self.text[:start].endswith(":") else ""
                return Replacement(start, end, blank + edit.text)
            case Remove():
                return self._remove(edit)
            case Add():
                return self._add(edit)

    # -- entries that go --

    def _remove(self, edit: Remove) -> Replacement:
        value_start, end = self.offsets(edit.value)
        start = self.offsets(edit.key)[0] if edit.key else value_start
        around = self.offsets(edit.inside)[0]
        if start > end or (edit.key and not self._is_value_of(edit.key, value_start)):
            raise CannotEditError
        if self._is_flow(around) and around < start:
            return self._remove_in_brackets(start, end)
        return self._remove_lines(start, end, edit)

    def _is_value_of(self, key: Span, value_start: int) -> bool:
        """Whether nothing but the colon, comments and the anchor stands between a key and its value."""
        between = self.text[self.offsets(key)[1] : value_start]
        return re.fullmatch(r"[ \t]*:([ \t\r\n]|#[^\r\n]*|&\S+)*", between) is not None

    def _is_flow(self, start: int) -> bool:
        return self.text[start : start + 1] in ("{", "[")

    def _remove_in_brackets(self, start: int, end: int) -> Replacement:
        comma = re.compile(r"\s*,[ \t]*").match(self.text, end)
        if comma:
            return Replacement(start, comma.end(), "")
        before = re.search(r",\s*\Z", self.text[:start])
        if before:
            return Replacement(before.start(), end, "")
        if re.search(r"[{\[][ \t]*\Z", self.text[:start]) and re.match(r"[ \t]*[}\]]", self.text[end:]):
            return Replacement(start, end, "")
        raise CannotEditError

    def _remove_lines(self, start: int, end: int, edit: Remove) -> Replacement:
        rest = _REST.match(self.text, end)
        if rest is None:
            raise CannotEditError
        line = self.line_start(start)
        before = self.text[line:start]
        if not before.strip():
            return Replacement(line, rest.end(), "")
        if edit.key is None and re.fullmatch(r"[ \t]*-[ \t]+", before):
            return Replacement(line, rest.end(), "")
        if edit.key and edit.following and re.fullmatch(r"([ \t]*-[ \t]+)+", before):  # the next key takes its place
            return Replacement(start, self.offsets(edit.following)[0], "")
        raise CannotEditError

    # -- entries that come --

    def _add(self, edit: Add) -> Replacement:
        start, end = self.offsets(edit.inside)
        if edit.last is None:
            if re.fullmatch(r"\{\s*\}", self.text[start:end]) is None:
                raise CannotEditError
            return Replacement(start, end, f"{{{edit.text}}}")
        last = self.offsets(edit.last)[1]
        assert edit.key is not None
        if not start <= last <= end:
            raise CannotEditError
        if self._is_flow(start):
            return Replacement(last, last, f", {edit.text}")
        first = self.offsets(edit.key)[0]
        rest = _REST.match(self.text, last)
        if rest is None:
            raise CannotEditError
        indent = " " * (first - self.line_start(first))
        newline = rest[2] or "\n"
        line = f"{indent}{edit.text}{newline}"
        return Replacement(rest.end(), rest.end(), line if rest[2] else newline + line)


def replaced(text: str, made: Iterable[Replacement]) -> str:
    """The text with replacements that do not overlap."""
    for one in sorted(made, reverse=True):
        text = text[: one.start] + one.text + text[one.end :]
    return text


def overlap(one: Replacement, other: Replacement) -> bool:
    """Whether two replacements want the same characters, or the same place."""
    return one.start <= other.end and other.start <= one.end and one != other
