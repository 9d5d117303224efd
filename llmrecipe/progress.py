"""How a run goes on, in lines: the start and the end of every stage, and now and then how far it is."""

import sys
import time
from typing import Any, TextIO

from llmrecipe.plan import Plan
from llmrecipe.store import Holder
from llmrecipe.summary import StageSummary

SHOWN = ("evaluate", "train", "check_gates")
"""Kinds of stages whose metrics are worth a look while a run goes on."""

METRICS = 5
"""Most metrics that are shown of one stage; the summary has all."""


class Pace:
    """How far a stage is, and when it will be done at the pace since it was first heard of."""

    def __init__(self) -> None:
        self.event: dict[str, Any] = {}
        self._first: tuple[float, float] | None = None
        self._now = 0.0

    def update(self, event: dict[str, Any]) -> None:
        """Take in a line of `events.jsonl`. What it does not say again stays as it was."""
        if event.get("event") != "progress":
            return
        self.event |= event
        self._now = time.monotonic()
        if self._first is None:
            self._first = (self._now, event.get("done", 0))

    @property
    def share(self) -> float | None:
        """Between 0 and 1."""
        total = self.event.get("total")
        return self.event.get("done", 0) / total if total else None

    @property
    def left(self) -> float | None:
        """Seconds."""
        if self._first is None or self.share is None:
            return None
        since, begin = self._first
        done = self.event["done"] - begin
        return (self.event["total"] - self.event["done"]) * (self._now - since) / done if done > 0 else None

    def __str__(self) -> str:
        parts = []
        if "done" in self.event:
            total = f"/{self.event['total']}" if self.event.get("total") else ""
            parts.append(f"{self.event['done']}{total} {self.event.get('unit', '')}".rstrip())
        if "loss" in self.event:
            parts.append(f"loss {number(self.event['loss'])}")
        if "tokens_per_second" in self.event:
            parts.append(f"{self.event['tokens_per_second']:,.0f} tokens/s")
        if self.left is not None:
            parts.append(f"{duration(self.left)} left")
        return "  ".join(parts)


class Lines:
    """A watcher that prints lines."""

    INTERVAL = 5.0
    """Seconds between two lines about how far a stage is."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._pace = Pace()
        self._last = 0.0
        self._width = 0
        self._kinds: dict[str, str] = {}

    def began(self, plan: Plan, stages: list[StageSummary]) -> None:
        self._kinds = {stage.name: stage.spec.kind for stage in plan.stages}
        self._width = max((len(stage.name) for stage in stages), default=0)
        cached = sum(stage.cached for stage in stages)
        self._print(f"{plan.name}: {count(stages)}, {cached} of them cached")

    def changed(self, stage: StageSummary) -> None:
        if stage.status == "running":
            self._pace, self._last = Pace(), time.monotonic()
        self._say(stage.name, state(stage) + shown(stage, self._kinds[stage.name]))

    def event(self, stage: str, event: dict[str, Any]) -> None:
        self._pace.update(event)
        if event.get("event") == "warning":
            self._say(stage, f"warning: {event['message']}")
        if str(self._pace) and time.monotonic() - self._last >= self.INTERVAL:
            self._last = time.monotonic()
            self._say(stage, str(self._pace))

    def waits(self, stage: str, holder: Holder) -> None:
        self._say(stage, f"waiting: {holder} is running it")

    def _say(self, stage: str, text: str) -> None:
        self._print(f"{stage:<{self._width}}  {text}")

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def count(stages: list[StageSummary]) -> str:
    """How many stages."""
    return f"{len(stages)} stage{'' if len(stages) == 1 else 's'}"


def state(stage: StageSummary) -> str:
    """One or a few words about a stage."""
    if stage.status == "complete":
        return "cached" if stage.cached else f"done in {duration(stage.seconds or 0)}"
    return "started" if stage.status == "running" else stage.status


def shown(stage: StageSummary, kind: str) -> str:
    """The metrics of a stage that are worth a look."""
    if kind not in SHOWN:
        return ""
    return "".join(f"  {name} {number(value)}" for name, value in list(stage.metrics.items())[:METRICS])


def number(value: float) -> str:
    """Four significant digits, without an exponent for counts."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3:05`, `1:02:09`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
