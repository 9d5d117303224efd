"""Diagnostic: what is wrong, where, what to do, and what mends it; RecipeError, which carries all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmrecipe.source import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Write:
    """Replace what stands in a span."""

    span: Span
    text: str

    @property
    def file(self) -> str:
        """The file that it changes."""
        return self.span.file


@dataclass(frozen=True, slots=True)
class Remove:
    """Take an entry out of a mapping, or an item out of a list."""

    key: Span | None
    """Where the entry begins; none for an item of a list."""
    value: Span
    inside: Span
    """The mapping or list around it."""
    following: Span | None
    """Where the next entry begins."""

    @property
    def file(self) -> str:
        """The file that it changes."""
        return self.value.file


@dataclass(frozen=True, slots=True)
class Add:
    """Write a further entry into a mapping."""

    inside: Span
    key: Span | None
    """The first key of the mapping; none where it is empty."""
    last: Span | None
    """The last value of the mapping."""
    text: str
    """`key: value`."""

    @property
    def file(self) -> str:
        """The file that it changes."""
        return self.inside.file


Edit = Write | Remove | Add


@dataclass(frozen=True, slots=True)
class Fix:
    """The smallest change of the text that mends a finding."""

    title: str
    """What is done, in a few words: "`adaptor` -> `adapter`"."""
    edits: tuple[Edit, ...]
    safe: bool
    """Whether it cannot mean anything else than what was meant; only such are applied without being asked."""


@dataclass(frozen=True)
class Diagnostic:
    """One finding: the message says what is so, the help what to do."""

    code: str
    name: str
    message: str
    span: Span
    help: str | None = None
    severity: Severity = "error"
    fix: Fix | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        """The finding as `--format json` prints it; lines and columns from 1."""
        return {
            "code": self.code,
            "name": self.name,
            "severity": self.severity,
            "message": self.message,
            "help": self.help,
            "file": self.span.file,
            "line": self.span.line,
            "column": self.span.column,
            "end_line": self.span.end_line,
            "end_column": self.span.end_column,
        }


class RecipeError(ValueError):
    """The recipe cannot be used; carries every finding, never only the first."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("; ".join(f"{d.code}: {d.message}" for d in self.diagnostics))
