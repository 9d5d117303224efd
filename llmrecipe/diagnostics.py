"""Diagnostic, what is wrong, where, and what to do; RecipeError, which carries all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmrecipe.source import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Diagnostic:
    """One finding: the message says what is so, the help what to do."""

    code: str
    name: str
    message: str
    span: Span
    help: str | None = None
    severity: Severity = "error"

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
