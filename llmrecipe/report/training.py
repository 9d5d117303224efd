"""Curves of the training stages by step: what is learned, what it costs, and what the watchdog said."""

from collections.abc import Iterator
from typing import Any

from llmrecipe.report.chart import Series, chart
from llmrecipe.report.html import Html, element, number
from llmrecipe.report.reading import Run, RunStage

CHARTS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Loss", (("loss", "training"), ("eval_loss", "validation"))),
    ("Learning rate", (("learning_rate", "learning rate"),)),
    ("Gradient norm", (("grad_norm", "gradient norm"),)),
    ("Entropy, nats per token", (("entropy", "training"), ("eval_entropy", "validation"))),
    ("Reward", (("reward", "reward"), ("objective/scores", "reward"))),
    ("KL divergence from the reference", (("kl", "KL"), ("objective/kl", "KL"))),
    ("Tokens per second", (("tokens_per_second", "tokens per second"),)),
    ("Share of the accelerator's peak (MFU)", (("mfu", "MFU"),)),
    ("Memory, GiB", (("memory_gib", "memory"),)),
    ("Share of time waiting for data", (("data_loading_share", "waiting"),)),
)
"""Title -> keys of the log with their labels."""


def training(run: Run) -> Iterator[Html]:
    """A section with one part for each training stage that has begun."""
    parts = [part for stage in run.of("train") for part in _stage(stage)]
    if parts:
        yield element("h2", "Training")
        yield from parts


def _stage(stage: RunStage) -> Iterator[Html]:
    log = stage.lines("metrics/log.jsonl") or stage.lines("log.jsonl")
    if not log:
        return
    yield element("h3", stage.plan.name)
    yield element("p", _facts(stage, log), class_="dim")
    for line in log:
        if "warning" in line:
            yield element("p", f"Warning at step {number(line['step'])}: {line['message']}. To do: {line['help']}.")
    figures = [chart(title, curves) for title, keys in CHARTS if (curves := _curves(log, keys))]
    yield element("div", *figures, class_="figures")


def _curves(log: list[dict[str, Any]], keys: tuple[tuple[str, str], ...]) -> list[Series]:
    found = [Series(label, [(line["step"], line[key]) for line in log if key in line]) for key, label in keys]
    return [curve for curve in found if curve.points]


def _facts(stage: RunStage, log: list[dict[str, Any]]) -> str:
    names = {"parameters": "parameters", "trainable_parameters": "trained", "train_tokens": "tokens seen"}
    facts = [
        f"{number(stage.summary.metrics[key])} {name}" for key, name in names.items() if key in stage.summary.metrics
    ]
    last = {key: line[key] for line in log for key in ("step", "loss", "eval_loss") if key in line}
    facts.append(f"step {number(last['step'])}")
    facts += [
        f"last {name} {number(last[key])}" for key, name in CHARTS[0][1] if key in last for name in [f"{name} loss"]
    ]
    return " · ".join(facts)
