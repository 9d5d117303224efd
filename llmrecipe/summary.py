"""What a run came to: `runs/NAME/summary.json`, written anew after every stage."""

from typing import Literal

from pydantic import JsonValue

from llmrecipe.plan import Plan
from llmrecipe.schema import Name, Section


class StageSummary(Section):
    """One stage of a run."""

    name: str
    address: str
    status: Literal["waiting", "running", "complete", "failed", "interrupted"]
    cached: bool = False
    """Whether the store had it, so that nothing was done."""
    seconds: float | None = None
    """How long the making took; for a cached stage, when it was made. After a resumption, since then."""
    metrics: dict[str, float] = {}
    packages: dict[str, str | None] = {}
    """Versions of the packages that made it."""
    message: str | None = None
    """What was wrong, when it failed."""
    help: str | None = None
    tail: list[str] = []
    """Last lines of the log, when its process died without a word."""
    log: str | None = None
    """File with all that its processes printed, in the folder of the run."""


class Summary(Section):
    """A run of a plan."""

    version: Literal[1] = 1
    name: Name
    status: Literal["running", "complete", "failed", "interrupted"]
    """A run that was killed goes on saying `running`."""
    preempted: bool = False
    """Whether it was interrupted by SIGTERM, so that whoever started it should start it again."""
    started: str
    """ISO 8601, UTC."""
    seconds: float
    """Of this run, waiting included."""
    stages: list[StageSummary]
    """Those that the run is about, in the order of the plan."""
    model: str | None = None
    """The exported model in the folder of the run, when it is complete."""
    environment: dict[str, str | int]
    """The machine and its Python."""
    plan: Plan


class TrialSummary(Section):
    """One trial of a sweep."""

    number: int
    status: Literal["running", "complete", "pruned", "failed"]
    """`pruned`: given up, since others were better at the same step."""
    values: dict[str, JsonValue]
    """Field -> what was tried."""
    objective: float | None = None
    """The metric that decides; for a pruned trial null."""
    seconds: float | None = None
    message: str | None = None
    """What was wrong, when it failed."""
    run: str
    """Folder of its run, beside the summary of the sweep."""


class SweepSummary(Section):
    """A sweep: `runs/NAME.sweep/sweep.json`, written anew after every trial."""

    version: Literal[1] = 1
    name: Name
    metric: str
    direction: Literal["minimize", "maximize"]
    planned: int
    """Trials in all."""
    trials: list[TrialSummary]
    best: int | None = None
    """Number of the best complete trial."""
