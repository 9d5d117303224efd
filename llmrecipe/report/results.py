"""What the models can do: metrics of every recipe side by side, gates, and answers to the same questions."""

import math
from collections.abc import Iterator
from typing import Any

from llmrecipe.plan import CheckGates, Evaluate, GenerationSuite, RewardSuite
from llmrecipe.report.html import Content, Html, element, join, number, table
from llmrecipe.report.reading import Run, RunStage
from llmrecipe.vocabulary import Gate

SAMPLES = 12
"""Most answers shown of each suite."""


def results(run: Run) -> Iterator[Html]:
    """Metrics and gates."""
    parts = [*_metrics(run), *_gates(run)]
    if parts:
        yield element("h2", "Metrics")
        yield from parts


def _metrics(run: Run) -> Iterator[Html]:
    """One row for each metric, one column for each recipe, in the order in which they were trained."""
    judged = [stage for stage in run.of("evaluate") if stage.summary.metrics]
    recipes = list(dict.fromkeys(stage.recipe for stage in judged))
    values: dict[str, dict[str, float]] = {}
    for stage in judged:
        for name, value in stage.summary.metrics.items():
            values.setdefault(f"{_suite(stage)}/{name}", {})[stage.recipe] = value
    if not values:
        return
    yield table(
        ["", *recipes],
        [[metric, *(number(found.get(recipe)) for recipe in recipes)] for metric, found in values.items()],
        numbers=1,
    )


def _gates(run: Run) -> Iterator[Html]:
    """Bounds on metrics, and whether they hold; also of a run that they ended."""
    rows = [
        _gate(stage.recipe, gate, _value(run, stage.recipe, gate.metric))
        for stage in run.of("check_gates")
        if isinstance(stage.plan.spec, CheckGates)
        for gate in stage.plan.spec.gates
    ]
    if rows:
        yield element("h3", "Gates")
        yield table(["recipe", "metric", "bounds", "value", ""], rows)


def _value(run: Run, recipe: str, metric: str) -> float | None:
    suite, _, name = metric.partition("/")
    values = (s.summary.metrics.get(name) for s in run.of("evaluate") if (s.recipe, _suite(s)) == (recipe, suite))
    return next(values, None)


def _gate(recipe: str, gate: Gate, value: float | None) -> list[Content]:
    low, high = gate.min, gate.max
    bounds = [f"at least {number(low)}"] if low is not None else []
    bounds += [f"at most {number(high)}"] if high is not None else []
    if value is None:
        verdict = element("span", "not measured", class_="dim")
    elif (low is None or value >= low) and (high is None or value <= high):
        verdict = element("b", "holds", class_="good")
    else:
        verdict = element("b", "does not hold", class_="bad")
    return [recipe, gate.metric, " and ".join(bounds), number(value), verdict]


def samples(run: Run) -> Iterator[Html]:
    """Some answers of each suite; recipes that have the same suite stand side by side."""
    suites: dict[str, list[RunStage]] = {}
    for stage in run.of("evaluate"):
        if isinstance(stage.plan.spec, Evaluate) and isinstance(stage.plan.spec.suite, GenerationSuite | RewardSuite):
            suites.setdefault(_suite(stage), []).append(stage)
    parts = [part for name, stages in suites.items() for part in _suite_samples(name, stages)]
    if parts:
        yield element("h2", "Answers")
        yield from parts


def _suite_samples(name: str, stages: list[RunStage]) -> Iterator[Html]:
    """Answers spread evenly over the suite, since its first questions may be all of one sort."""
    found = {stage.recipe: lines for stage in stages if (lines := stage.lines("samples/samples.jsonl"))}
    questions: dict[str, dict[str, Any]] = {}
    for recipe, lines in found.items():
        for line in lines:
            questions.setdefault(_question(line), {"": line["reference"]})[recipe] = line
    if not questions:
        return
    shown = list(questions)[:: math.ceil(len(questions) / SAMPLES)]
    rows = [
        [_said(question), _said(answers[""]), *(_answer(answers.get(recipe)) for recipe in found)]
        for question, answers in ((question, questions[question]) for question in shown)
    ]
    yield element("h3", name)
    yield element("p", f"{len(shown)} of {number(len(questions))} questions", class_="dim")
    yield table(["question", "reference", *found], rows)


def _question(sample: dict[str, Any]) -> str:
    """The prompt as text; of a conversation every turn with who says it, unless it is a single question."""
    prompt = sample["prompt"]
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def _said(text: str) -> Html:
    return element("div", text, class_="said")


def _answer(sample: dict[str, Any] | None) -> Html:
    if sample is None:
        return element("span", "–", class_="dim")
    if "reward" in sample:
        return element("div", join(element("b", f"{number(sample['reward'])} "), sample["answer"]), class_="said")
    right = bool(sample["correct"])
    mark = element("b", "✓ " if right else "✗ ", class_="good" if right else "bad")
    return element("div", join(mark, sample["answer"]), class_="said")


def _suite(stage: RunStage) -> str:
    assert isinstance(stage.plan.spec, Evaluate)
    return stage.plan.spec.suite.name
