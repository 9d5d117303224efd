"""A sweep -> one HTML page: its trials side by side, the best first."""

import json
from itertools import accumulate

from llmrecipe.progress import duration
from llmrecipe.report.chart import Series, chart
from llmrecipe.report.html import Content, Html, element, number, table
from llmrecipe.summary import SweepSummary, TrialSummary


def sweep_parts(sweep: SweepSummary) -> list[Html]:
    """The body of the page."""
    better = min if sweep.direction == "minimize" else max
    complete = [trial for trial in sweep.trials if trial.objective is not None]
    counts = ", ".join(
        f"{count} {status}"
        for status in ("complete", "pruned", "failed")
        if (count := sum(trial.status == status for trial in sweep.trials))
    )
    parts = [
        element("h1", sweep.name),
        element("p", f"{len(sweep.trials)} of {sweep.planned} trials: {counts}; {sweep.direction} {sweep.metric}"),
    ]
    if not complete:
        return parts
    values = [trial.objective for trial in complete if trial.objective is not None]
    best_so_far = list(accumulate(values, better))
    numbers = [float(trial.number + 1) for trial in complete]
    curves = [
        Series("trial", list(zip(numbers, values, strict=True))),
        Series("best so far", list(zip(numbers, best_so_far, strict=True))),
    ]
    parts.append(element("div", chart(sweep.metric, curves), class_="figures"))
    parts.append(element("h2", "Trials"))
    order = sorted(sweep.trials, key=lambda trial: _rank(trial, sweep.direction))
    names = list(sweep.trials[0].values)
    head = ["trial", "", *names, sweep.metric, "time", ""]
    parts.append(table(head, [_row(trial, names, trial.number == sweep.best) for trial in order]))
    return parts


def _rank(trial: TrialSummary, direction: str) -> tuple[bool, float, int]:
    """The best first, those without an objective last."""
    value = trial.objective
    signed = 0.0 if value is None else value if direction == "minimize" else -value
    return value is None, signed, trial.number


def _row(trial: TrialSummary, names: list[str], best: bool) -> list[Content]:
    state = element("b", "best", class_="good") if best else trial.status
    values = [_value(trial.values[name]) for name in names]
    took = "" if trial.seconds is None else duration(trial.seconds)
    return [str(trial.number + 1), state, *values, number(trial.objective), took, trial.message or trial.run]


def _value(value: object) -> str:
    return number(value) if isinstance(value, float) else json.dumps(value)
