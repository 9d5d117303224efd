"""What must hold of figures for people: the time left, and numbers that can be read."""

import io
import math

import pytest
from plans import gates, plan

from llmrecipe import progress
from llmrecipe.progress import Lines, Pace, duration, number
from llmrecipe.store import Holder
from llmrecipe.summary import StageSummary


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def step(done: int, **fields: float) -> dict[str, object]:
    return {"event": "progress", "done": done, "total": 300, "unit": "steps", **fields}


def test_the_time_left_counts_from_where_the_stage_was_resumed(clock):
    pace = Pace()
    pace.update(step(200))
    assert pace.left is None
    clock[0] += 10
    pace.update(step(250, loss=2.3125, tokens_per_second=5100.4))
    assert pace.left == pytest.approx(10)
    assert str(pace) == "250/300 steps  loss 2.312  5,100 tokens/s  10 s left"


def test_what_an_event_does_not_say_again_stays(clock):
    pace = Pace()
    pace.update(step(1, loss=2.0))
    pace.update(step(2))
    assert pace.event["loss"] == 2.0


def test_other_events_and_stages_without_a_total_do_no_harm():
    pace = Pace()
    pace.update({"event": "other"})
    assert str(pace) == ""
    pace.update({"event": "progress", "done": 7, "unit": "rows"})
    assert str(pace) == "7 rows"
    assert pace.share is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.6, "1:00"), (185, "3:05"), (3729, "1:02:09")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.95, "0.95"), (6912000.0, "6,912,000"), (5.61234, "5.612"), (math.nan, "nan"), (math.inf, "inf")],
)
def test_numbers(value, text):
    assert number(value) == text


def test_lines_say_how_far_a_stage_is_but_not_at_every_step(clock):
    out = io.StringIO()
    lines = Lines(out)
    stage = StageSummary(name="base/check-gates", address="0", status="running")
    lines.began(plan(gates()), [stage])
    lines.changed(stage)
    for done in range(100):
        clock[0] += 0.1
        lines.event(stage.name, step(done))
    told = [line for line in out.getvalue().splitlines() if "steps" in line]
    assert len(told) == 1
    lines.event(stage.name, {"event": "warning", "rule": "throughput", "message": "slow"})
    assert out.getvalue().endswith("warning: slow\n")
    lines.waits(stage.name, Holder(7, "here"))
    assert out.getvalue().endswith("waiting: process 7 on here is running it\n")
