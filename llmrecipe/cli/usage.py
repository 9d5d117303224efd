"""What needs no recipe: that a command was called wrongly, and how findings are shown."""

import os
import sys
from collections.abc import Sequence

from llmrecipe.diagnostics import Diagnostic
from llmrecipe.printers import text


class UsageError(ValueError):
    """The command was called in a way that cannot be meant; exit code 2."""


def show(findings: Sequence[Diagnostic], overrides: Sequence[str] = ()) -> None:
    """Print findings for people, on standard error."""
    color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(text(findings, color, overrides), file=sys.stderr)
