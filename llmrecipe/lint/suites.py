"""LR50, LR51, LR52: suites that measure something else than they seem to."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Drop, Finding, Put, rule
from llmrecipe.methods.online import OnlineMethod
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.evaluation import Generation, Rewards

Answering = Generation | Rewards


def _answering(recipe: Recipe) -> Iterator[tuple[str, Answering]]:
    """Suites for which the model answers, and where they stand."""
    for i, suite in enumerate(recipe.evaluation.suites if recipe.evaluation else []):
        if isinstance(suite, Generation | Rewards):
            yield f"evaluation.suites.{i}", suite


@rule("LR508")
def answers_beyond_the_positions(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the answers of a suite leave room for a question within the longest sequence of the model.

    ## Why is this bad?
    The evaluation stops at its first question, after all the training.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: HuggingFaceTB/SmolLM2-135M-Instruct}
    evaluation:
      suites:
        - kind: generation
          sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]
          max_new_tokens: 8192
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: HuggingFaceTB/SmolLM2-135M-Instruct}
    evaluation:
      suites:
        - kind: generation
          sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]
          max_new_tokens: 1024
    ```
    """
    positions = case.figures.positions if case.figures is not None else 0
    for at, suite in _answering(case.recipe):
        if positions and suite.max_new_tokens >= positions:
            longest = suite.max_new_tokens
            message = f"answers of {longest} tokens leave no room for a question within {positions} positions"
            yield Finding(f"{at}.max_new_tokens", message, f"use less than {positions}")


@rule("LR512", "warning")
def shorter_answers_than_learned(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a suite lets a model that learned from its own answers say as much as it could while it learned.

    ## Why is this bad?
    Answers are cut off before they come to their point, and are scored as wrong. A model that thinks longer looks
    worse than one that does not, although it is better.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], max_completion_length: 512}
    evaluation: {suites: [{kind: reward, sources: [{kind: files, paths: [answers.jsonl], format: prompt}]}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], max_completion_length: 512}
    evaluation:
      suites:
        - {kind: reward, sources: [{kind: files, paths: [answers.jsonl], format: prompt}], max_new_tokens: 512}
    ```
    """
    method = case.recipe.method
    if not isinstance(method, OnlineMethod):
        return
    learned = method.max_completion_length
    for at, suite in _answering(case.recipe):
        if suite.max_new_tokens < learned:
            message = f"answers are cut at {suite.max_new_tokens} tokens, and the model learned to say up to {learned}"
            change = Put(f"{at}.max_new_tokens", learned)
            yield Finding(f"{at}.max_new_tokens", message, f"use {learned}", fix=change, safe=False)


@rule("LR521")
def stop_that_cuts_everything(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no `stop` of a generation suite is an empty text.

    ## Why is this bad?
    An answer is cut before the first of these texts, and an empty one is found at its very beginning: every answer is
    empty.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - kind: generation
          sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]
          stop: [""]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - kind: generation
          sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]
          stop: ["\\n\\n"]
    ```
    """
    for at, suite in _answering(case.recipe):
        for i, text in enumerate(suite.stop if isinstance(suite, Generation) else []):
            if not text:
                where = f"{at}.stop.{i}"
                message = "an empty text is found at once, so that every answer is cut to nothing"
                yield Finding(where, message, "leave it out", fix=Drop(where))
