"""How a run goes on, on a terminal: one table that changes, with every stage, its progress and the time left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from llmrecipe.plan import Plan
from llmrecipe.progress import Pace, duration, shown, state
from llmrecipe.store import Holder
from llmrecipe.summary import StageSummary

STYLES = {"complete": "green", "cached": "dim", "running": "bold cyan", "failed": "red", "interrupted": "yellow"}
MARKS = {"complete": "✓", "cached": "✓", "running": "▸", "failed": "✗", "interrupted": "■"}


@contextmanager
def display() -> Iterator["Display"]:
    """A watcher that draws on standard output; at the end of the block the table stays as it is."""
    watcher = Display()
    with Live(get_renderable=watcher.draw, console=Console(), refresh_per_second=4):
        yield watcher


class Display:
    """A watcher whose drawing is asked for."""

    def __init__(self) -> None:
        self._name = ""
        self._kinds: dict[str, str] = {}
        self._stages: dict[str, StageSummary] = {}
        self._pace = Pace()
        self._since = 0.0
        self._note = ""
        self._warnings: dict[str, str] = {}
        """Stage -> what its watchdog said last."""

    def began(self, plan: Plan, stages: list[StageSummary]) -> None:
        self._name = plan.name
        self._kinds = {stage.name: stage.spec.kind for stage in plan.stages}
        self._stages = {stage.name: stage for stage in stages}

    def changed(self, stage: StageSummary) -> None:
        if stage.status == "running":
            self._pace, self._since = Pace(), time.monotonic()
        self._note = ""
        self._stages[stage.name] = stage

    def event(self, stage: str, event: dict[str, Any]) -> None:
        self._pace.update(event)
        if event.get("event") == "warning":
            self._warnings[stage] = event["message"]

    def waits(self, stage: str, holder: Holder) -> None:
        self._note = f"{stage} is being run by {holder}: waiting"

    def draw(self) -> RenderableType:
        """How things are now."""
        table = Table.grid(padding=(0, 2))
        for stage in list(self._stages.values()):
            look = "cached" if stage.cached else stage.status
            style = STYLES.get(look, "dim")
            table.add_row(Text(MARKS.get(look, "·"), style), Text(stage.name, style), *self._tell(stage))
        notes = [*(f"{stage}: {message}" for stage, message in self._warnings.items()), self._note]
        return Group(Text(self._name, "bold"), table, *(Text(note, "yellow") for note in notes if note))

    def _tell(self, stage: StageSummary) -> tuple[RenderableType, RenderableType]:
        if stage.status != "running":
            text = "" if stage.status == "waiting" else state(stage) + shown(stage, self._kinds[stage.name])
            return Text(text, "dim" if stage.cached else ""), ""
        seconds = f"{duration(time.monotonic() - self._since)}"
        if self._pace.share is None:
            return Text(f"{seconds}  {self._pace}"), ""
        bar = ProgressBar(total=1.0, completed=self._pace.share, width=24)
        return bar, Text(f"{seconds}  {self._pace}")
