"""Spans, documents with spans, and what is wrong with a text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Path = tuple[str | int, ...]
"""Where a value stands in a document: `("data", "train", 0, "format")`."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a file; lines and columns count from 1, the end column is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Source:
    """One document: its plain data, and where each key and each value was written."""

    file: str
    data: Any
    keys: Mapping[Path, Span] = field(repr=False)
    values: Mapping[Path, Span] = field(repr=False)

    def at(self, path: Path) -> Span:
        """The span of the value at `path`, or of the nearest mapping or list around it."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values[path]

    def key_at(self, path: Path) -> Span:
        """The span of the key at `path`; for a list item that of the item."""
        return self.keys.get(path) or self.at(path)


class Problem(NamedTuple):
    """Why a text is no recipe source; `name` is that of a document error."""

    name: str
    message: str
    span: Span
    help: str | None = None


class SourceError(ValueError):
    """A file cannot be read as YAML; carries every problem, and the documents that could be read all the same."""

    def __init__(self, problems: Sequence[Problem], sources: Sequence[Source] = ()) -> None:
        self.problems = tuple(problems)
        self.sources = tuple(sources)
        super().__init__("; ".join(problem.message for problem in self.problems))
