"""One row as it was read, and where: what every complaint about it starts with."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmrecipe.stages.place import StageError

Row = dict[str, Any]
"""A uniform row: every value is a string, a list of `{"role": ..., "content": ...}`, a truth value (`label`), or
a number (`difficulty`)."""

DIFFICULTY = "difficulty"
"""Column of the number by which a curriculum orders rows."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a source as it was read."""

    where: str
    """`data/a.jsonl:12`, or `data/a.json, row 3`."""
    data: Mapping[str, Any]
    label: str
    """Where the recipe names the source: `data.train[0]`."""
    columns: Mapping[str, str]
    """Column of the format -> column of the data, where they differ."""

    def has(self, column: str) -> bool:
        """Whether the row has that column of the format."""
        return self.columns.get(column, column) in self.data

    def get(self, column: str) -> Any:
        """The value of a column of the format.

        Raises:
            StageError: the row lacks it.
        """
        name = self.columns.get(column, column)
        if name not in self.data:
            raise self.lacks(column)
        return self.data[name]

    def string(self, column: str) -> str:
        """The value of a column that must be a string.

        Raises:
            StageError: the row lacks it, or it is something else.
        """
        value = self.get(column)
        if not isinstance(value, str):
            name = self.columns.get(column, column)
            raise self.wrong(f"`{name}` is {kind(value)}, not a string", "write it as a string, or leave the row out")
        return value

    def number(self, column: str) -> float:
        """The value of a column of the data that must be a number.

        Raises:
            StageError: the row lacks it, or it is something else.
        """
        value = self.data.get(column)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            message = f"`{column}` is {kind(value)}, not a finite number" if column in self.data else f"no `{column}`"
            raise self.wrong(message, "`data.curriculum.column` names a column that holds a number in every row")
        return float(value)

    def lacks(self, column: str) -> StageError:
        """What to say when a column is not there: which ones are, and which was probably meant."""
        name = self.columns.get(column, column)
        there = ", ".join(f"`{other}`" for other in list(self.data)[:12]) or "no column at all"
        close = difflib.get_close_matches(name, list(self.data), n=1, cutoff=0.6)
        meant = close[0] if close else "..."
        question = f"did you mean `{meant}`? " if close else ""
        return self.wrong(
            f"the row has no column `{name}`; it has {there}",
            f"{question}say which column it is under `{self.label}`: `columns: {{{column}: {meant}}}`, "
            "or choose another `format`",
        )

    def wrong(self, message: str, help: str | None = None) -> StageError:
        """A complaint about this row."""
        return StageError(f"{self.where}: {message}", help)


def kind(value: object) -> str:
    """What a value is, in the words of JSON."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return f"a number ({value})"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
    return f"a value of type {type(value).__name__}"
