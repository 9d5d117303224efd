"""What a check is: one documented function from a case to findings, and the table of all of them."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmrecipe.diagnostics import Severity

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case

Tier = Literal["rows", "model", "trial", "machine"]
"""What a check costs: reading rows and tokens, a model without weights, training steps of a tiny one, a look around."""


@dataclass(frozen=True)
class Finding:
    """What a check found: where in the recipe, what is so, what to do."""

    at: str
    """`data.train.0`."""
    message: str
    help: str
    severity: Severity | None = None
    """When it is not that of the check."""


Judge = Callable[["Case"], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """A check with its manual page."""

    code: str
    name: str
    severity: Severity
    tier: Tier
    judge: Judge

    @property
    def page(self) -> str:
        """What it does, why that is bad, how to mend it, and its source: Markdown."""
        return inspect.cleandoc(self.judge.__doc__ or "")


CHECKS: dict[str, Check] = {}
"""By code; `llmrecipe.preflight.checks` fills it."""


def check(code: str, severity: Severity = "error", tier: Tier = "rows") -> Callable[[Judge], Judge]:
    """Enter a function in the table. Its name, with hyphens, is the name of the check; its docstring is its page."""

    def enter(judge: Judge) -> Judge:
        assert code not in CHECKS, f"{code} is taken"
        CHECKS[code] = Check(code, judge.__name__.replace("_", "-"), severity, tier, judge)
        return judge

    return enter


def graded(share: float, warning: float, error: float) -> Severity | None:
    """The severity of a share that should be zero; None where it is small enough."""
    return "error" if share > error else "warning" if share > warning else None
