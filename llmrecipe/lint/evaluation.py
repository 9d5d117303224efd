"""LR5: suites and gates."""

from collections.abc import Iterator

from llmrecipe.lint import online
from llmrecipe.lint.rule import Case, Finding, Put, rule
from llmrecipe.lint.sources import evaluation_sources, row_kind
from llmrecipe.mending import nearest
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.evaluation import Generation, MaskedAccuracy, Perplexity, Rewards, Suite
from llmrecipe.vocabulary import ROW_KIND, Gate

METRICS: dict[str, tuple[str, ...]] = {
    "perplexity": ("perplexity", "loss", "tokens"),
    "masked_accuracy": ("accuracy", "unigram_accuracy", "accuracy_ratio", "loss", "tokens"),
    "generation": ("exact_match", "f1", "answers"),
    "preference_accuracy": ("accuracy", "margin", "pairs"),
}
"""Suite kind -> metrics that its stage leaves."""

SHARES = ("exact_match", "f1", "accuracy")
"""Metrics from 0 to 1."""


def _suites(recipe: Recipe) -> list[Suite]:
    return recipe.evaluation.suites if recipe.evaluation else []


def _metrics(recipe: Recipe, suite: Suite) -> tuple[str, ...]:
    return online.metrics(recipe, suite) if isinstance(suite, Rewards) else METRICS[suite.kind]


def _gates(recipe: Recipe) -> list[tuple[str, Gate]]:
    return [(f"evaluation.gates.{i}", g) for i, g in enumerate(recipe.evaluation.gates if recipe.evaluation else [])]


@rule("LR501")
def duplicate_suite_name(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every suite of a recipe has a name of its own. The default is its kind.

    ## Why is this bad?
    The metrics of one would stand under the name of the other.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - {kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
        - {kind: generation, sources: [{kind: files, paths: [chats.jsonl], format: messages}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - {kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
        - {kind: generation, name: chats, sources: [{kind: files, paths: [chats.jsonl], format: messages}]}
    ```
    """
    seen: set[str] = set()
    for i, suite in enumerate(_suites(case.recipe)):
        if suite.name in seen:
            at = f"evaluation.suites.{i}.name"
            yield Finding(at, f"there is a suite `{suite.name}` already", "give each suite a `name` of its own")
        seen.add(suite.name)


@rule("LR502")
def perplexity_without_rows(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with a suite of `perplexity` or `masked_accuracy` trains and has `data.validation`.

    ## Why is this bad?
    The suite is over the validation rows as the training tokenized them. Without them there is nothing to measure.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    evaluation: {suites: [{kind: perplexity}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      validation: {fraction: 0.05}
    method: {kind: pretrain}
    evaluation: {suites: [{kind: perplexity}]}
    ```
    """
    recipe = case.recipe
    for i, suite in enumerate(_suites(recipe)):
        if not isinstance(suite, Perplexity | MaskedAccuracy):
            continue
        if recipe.method is None:
            help_ = "use a suite of `kind: generation`, or add `data` and `method`"
            yield Finding(f"evaluation.suites.{i}", "without a `method` there are no tokenized validation rows", help_)
        elif recipe.data is not None and recipe.data.validation is None:
            help_ = "add `data.validation: {fraction: 0.05}`"
            yield Finding(f"evaluation.suites.{i}", "there are no validation rows to measure", help_)


@rule("LR503")
def perplexity_of_preferences(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with a perplexity suite does not learn from preferences.

    ## Why is this bad?
    A validation row is then a prompt with two answers, and not a text whose perplexity could be measured.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [pairs.jsonl], format: preference}]
      validation: {fraction: 0.1}
    method: {kind: dpo}
    evaluation: {suites: [{kind: perplexity}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [pairs.jsonl], format: preference}]
      validation: {fraction: 0.1}
    method: {kind: dpo}
    evaluation:
      suites:
        - {kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
    ```
    """
    if case.recipe.method is None or row_kind(case.recipe) not in ("preference", "unpaired_preference"):
        return
    for i, suite in enumerate(_suites(case.recipe)):
        if isinstance(suite, Perplexity):
            help_ = "use a suite of `kind: generation`"
            yield Finding(f"evaluation.suites.{i}", "preference rows have no perplexity", help_)


@rule("LR504")
def references_that_cannot_be_compared(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the sources of a generation suite hold a question and a reference: `prompt_completion`, `messages`,
    `conversations` or `instruction`.

    ## Why is this bad?
    Plain text has no question, and a preference two answers.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [corpus.txt], format: text}]}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
    ```
    """
    for at, source in evaluation_sources(case.recipe):
        suite = _suites(case.recipe)[int(at.split(".")[2])]
        if isinstance(suite, Generation) and ROW_KIND[source.format] not in ("messages", "prompt_completion"):
            help_ = "use `prompt_completion`, `messages`, `conversations` or `instruction`"
            yield Finding(f"{at}.format", f"rows of `{source.format}` have no question and reference", help_)


@rule("LR505")
def unknown_gate_metric(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the metric of a gate is one that a suite of the recipe measures.

    ## Why is this bad?
    The gate could never be checked, and the run would fail after all its work.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/accuracy, min: 0.8}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/exact_match, min: 0.8}]
    ```
    """
    known = [f"{suite.name}/{metric}" for suite in _suites(case.recipe) for metric in _metrics(case.recipe, suite)]
    for at, gate in _gates(case.recipe):
        if gate.metric not in known:
            near, sure = nearest(gate.metric, known)
            help_ = f"did you mean `{near}`?" if near else f"the suites measure {', '.join(known)}"
            at, fix = f"{at}.metric", Put(f"{at}.metric", near) if near else ()
            yield Finding(at, f"no suite measures `{gate.metric}`", help_, fix=fix, safe=sure)


@rule("LR506")
def gate_without_a_bound(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a gate has `min` or `max`.

    ## Why is this bad?
    Every model passes it.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/f1}]
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
    for at, gate in _gates(case.recipe):
        if gate.min is None and gate.max is None:
            yield Finding(at, f"nothing is asked of `{gate.metric}`", "add `min` or `max`")


@rule("LR507")
def gate_that_nothing_passes(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `min` is not above `max`, and that the bounds of a share (exact match, F1) lie between 0 and 1.

    ## Why is this bad?
    The run would fail after all its work, whatever the model learned. Often a share was written in percent.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/exact_match, min: 80}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/exact_match, min: 0.8}]
    ```
    """
    for at, gate in _gates(case.recipe):
        share = gate.metric.rpartition("/")[2] in SHARES
        if gate.min is not None and gate.max is not None and gate.min > gate.max:
            yield Finding(f"{at}.min", f"nothing lies between {gate.min:g} and {gate.max:g}", "swap `min` and `max`")
        elif share and gate.min is not None and gate.min > 1:
            help_ = f"use {gate.min / 100:g}" if gate.min <= 100 else "use a number up to 1"
            yield Finding(f"{at}.min", f"`{gate.metric}` is a share: it is never above 1", help_)
        elif share and gate.max is not None and gate.max < 0:
            yield Finding(f"{at}.max", f"`{gate.metric}` is a share: it is never below 0", "use a number from 0 to 1")
