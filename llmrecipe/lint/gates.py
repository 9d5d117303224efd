"""LR50, LR51: gates that let the wrong models pass."""

from collections.abc import Iterator
from math import ceil, sqrt

from llmrecipe.lint.evaluation import SHARES
from llmrecipe.lint.rule import Case, Drop, Finding, rule
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.evaluation import Generation, PreferenceAccuracy
from llmrecipe.vocabulary import Gate

FALLING = ("perplexity", "loss")
"""Metrics that are better when they are smaller."""
RISING = (*SHARES, "accuracy_ratio", "reward", "margin")
"""Metrics that are better when they are greater."""
LEAST = {"perplexity": 1.0, "loss": 0.0}
"""Metric -> what it can never be below, whatever a model says."""
TOLERABLE = 0.1
"""Two standard errors of a share that a gate can live with."""
WANTED = 0.05


def _gates(recipe: Recipe) -> list[tuple[str, Gate, str]]:
    """Where a gate stands, the gate, and the last word of its metric."""
    gates = recipe.evaluation.gates if recipe.evaluation else []
    return [(f"evaluation.gates.{i}", gate, gate.metric.rpartition("/")[2]) for i, gate in enumerate(gates)]


@rule("LR509", "warning")
def gate_within_the_noise(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a share which a gate asks for is measured over enough rows, where `max_samples` says how many there
    are at most: two standard errors of it should not be above 0.1.

    ## Why is this bad?
    Over 40 questions a model that answers 80 % of all questions right is seen at anything between 67 % and 93 %. Such
    a gate lets worse models pass and stops better ones.

    The standard error of a share p over n rows is the root of p (1 - p) / n. Source: https://arxiv.org/abs/2411.00640

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - kind: generation
          sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion, max_samples: 40}]
      gates: [{metric: generation/exact_match, min: 0.8}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - kind: generation
          sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion, max_samples: 256}]
      gates: [{metric: generation/exact_match, min: 0.8}]
    ```
    """
    suites = {suite.name: suite for suite in case.recipe.evaluation.suites} if case.recipe.evaluation else {}
    for at, gate, metric in _gates(case.recipe):
        suite = suites.get(gate.metric.partition("/")[0])
        bound = gate.min if gate.min is not None else gate.max
        if metric not in SHARES or bound is None or not isinstance(suite, Generation | PreferenceAccuracy):
            continue
        most = [source.max_samples for source in suite.sources if source.max_samples is not None]
        share = min(max(bound, 0.05), 0.95)
        if len(most) < len(suite.sources) or 2 * sqrt(share * (1 - share) / sum(most)) <= TOLERABLE:
            continue
        error = 2 * sqrt(share * (1 - share) / sum(most))
        enough = ceil(4 * share * (1 - share) / WANTED**2)
        message = f"over {sum(most)} rows at most, a share of {share:g} is known to +-{error:.2f} (two standard errors)"
        yield Finding(at, message, f"use at least {enough} rows, which leaves +-{WANTED:g}")


@rule("LR514", "warning")
def gate_in_the_other_direction(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a gate bounds what is bad: perplexity and loss from above; accuracies, rewards and margins from below.

    ## Why is this bad?
    The gate passes every bad model and stops the good ones.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/f1, max: 0.8}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/f1, min: 0.8}]
    ```
    """
    for at, gate, metric in _gates(case.recipe):
        if metric in FALLING and gate.max is None and gate.min is not None:
            message = f"`{gate.metric}` is better when it is smaller, and this gate asks for {gate.min:g} or more"
            yield Finding(f"{at}.min", message, f"write `max: {gate.min:g}`", on_key=True)
        elif metric in RISING and gate.min is None and gate.max is not None:
            message = f"`{gate.metric}` is better when it is greater, and this gate asks for {gate.max:g} or less"
            yield Finding(f"{at}.max", message, f"write `min: {gate.max:g}`", on_key=True)


@rule("LR518")
def metric_gated_twice(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that each metric has one gate.

    ## Why is this bad?
    Of two bounds on the same side only the stricter one counts, and nobody sees which was meant; bounds on both sides
    can stand in one gate.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/f1, min: 0.8}, {metric: generation/f1, min: 0.6}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/f1, min: 0.8}]
    ```
    """
    first: dict[str, Gate] = {}
    for at, gate, _ in _gates(case.recipe):
        earlier = first.setdefault(gate.metric, gate)
        if earlier is not gate:
            message = f"`{gate.metric}` has a gate already ({_said(earlier)}), and this one says {_said(gate)}"
            yield Finding(at, message, "keep one of them, with both bounds if need be", fix=Drop(at), safe=False)


def _said(gate: Gate) -> str:
    bounds = {"min": gate.min, "max": gate.max}
    return ", ".join(f"`{name}: {value:g}`" for name, value in bounds.items() if value is not None) or "nothing"


@rule("LR519")
def gate_below_the_least(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no gate asks for a perplexity below 1 or a loss below 0.

    ## Why is this bad?
    A model that is sure of every token has a perplexity of 1 and a loss of 0. The run would fail after all its work.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft}
    evaluation: {suites: [{kind: perplexity}], gates: [{metric: perplexity/perplexity, max: 0.9}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft}
    evaluation: {suites: [{kind: perplexity}], gates: [{metric: perplexity/perplexity, max: 9.0}]}
    ```
    """
    for at, gate, metric in _gates(case.recipe):
        if metric in LEAST and gate.max is not None and gate.max < LEAST[metric]:
            message = f"`{gate.metric}` is never below {LEAST[metric]:g}, and this gate asks for {gate.max:g} or less"
            yield Finding(f"{at}.max", message, f"use a number above {LEAST[metric]:g}")
