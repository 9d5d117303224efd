"""Offsets in a text -> lines and columns."""

import re
from bisect import bisect_right

from llmrecipe.source.spans import Span


class Positions:
    """Offsets in a text -> lines and columns, never past the last visible character of the text."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.end = len(text.rstrip())
        self.starts = [0, *(found.end() for found in re.finditer(r"\r\n|\r|\n", text))]

    def span(self, start: int, end: int) -> Span:
        """The range between two offsets."""
        line, column = self._place(start)
        end_line, end_column = self._place(max(start, end))
        return Span(self.file, line, column, end_line, end_column)

    def _place(self, offset: int) -> tuple[int, int]:
        offset = min(offset, self.end)
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1
