"""LR3: searches over the fields of a recipe."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from llmrecipe.lint.evaluation import METRICS
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.sweep import Choice, FloatRange, Grid, Parameter

UNKNOWN = "the recipe has no such field"
HELP = "`llmrecipe explain FIELD` shows what a field may be"


@rule("LR306")
def impossible_sweep_value(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every parameter of a sweep is a field of the recipe, and that its bounds and choices are values of it.

    ## Why is this bad?
    The first trial that draws such a value would fail, perhaps after days of others.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], validation: {fraction: 0.1}}
    method: {kind: sft}
    evaluation: {suites: [{kind: perplexity}]}
    sweep:
      parameters:
        training.lr: {kind: float, low: 1e-5, high: 1e-3, log: true}
      objective: {metric: perplexity/loss, direction: minimize}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], validation: {fraction: 0.1}}
    method: {kind: sft}
    evaluation: {suites: [{kind: perplexity}]}
    sweep:
      parameters:
        training.learning_rate: {kind: float, low: 1e-5, high: 1e-3, log: true}
      objective: {metric: perplexity/loss, direction: minimize}
    ```
    """
    if case.recipe.sweep is None:
        return
    for name, parameter in case.recipe.sweep.parameters.items():
        at: tuple[str | int, ...] = ("sweep", "parameters", name)
        document, _, path = name.rpartition(":")
        recipe = case.recipes.get(document or case.recipe.name)
        if recipe is None:
            known = ", ".join(f"`{known}`" for known in case.recipes)
            yield Finding(at, f"no recipe here is named `{document}`", f"one of {known}", on_key=True)
            continue
        if path.split(".")[0] in ("sweep", "name", "version"):
            yield Finding(at, f"`{path}` cannot be searched", "search what the model is made from", on_key=True)
            continue
        for key, value in _tried(parameter):
            if problem := _problem(recipe, path.split("."), value):
                at = at if problem == UNKNOWN else (*at, *key)
                yield Finding(at, f"`{path}: {value}`: {problem}", HELP, on_key=problem == UNKNOWN)
                break


def _tried(parameter: Parameter) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The values that stand for all that a parameter tries, and where each is written."""
    if isinstance(parameter, Choice):
        yield from ((("values", i), value) for i, value in enumerate(parameter.values))
    else:
        yield ("low",), parameter.low
        yield ("high",), parameter.high


def _problem(recipe: Recipe, path: list[str], value: Any) -> str | None:
    """Why the recipe with this value is none."""
    data = recipe.model_dump(mode="json", exclude_unset=True)
    if not _placed(data, path, value):
        return UNKNOWN
    try:
        Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return UNKNOWN if first["type"] == "extra_forbidden" else f"{first['msg'][0].lower()}{first['msg'][1:]}"
    return None


def _placed(data: Any, path: list[str], value: Any) -> bool:
    """Write a value into plain data as `--set` does; False when a list on the way has no such item."""
    *parents, last = path
    for part in parents:
        if isinstance(data, list):
            if not part.isdigit() or int(part) >= len(data):
                return False
            data = data[int(part)]
        elif isinstance(data, dict):
            data = data.setdefault(part, {})
        else:
            return False
    if isinstance(data, list):
        if not last.isdigit() or int(last) >= len(data):
            return False
        data[int(last)] = value
        return True
    if not isinstance(data, dict):
        return False
    data[last] = value
    return True


@rule("LR307")
def unmeasured_objective(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the objective of a sweep is a metric of a suite of the same recipe.

    ## Why is this bad?
    No trial could be compared with another.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], validation: {fraction: 0.1}}
    method: {kind: sft}
    evaluation: {suites: [{kind: perplexity}]}
    sweep:
      parameters:
        model.adapter.r: {kind: choice, values: [8, 16, 32]}
      objective: {metric: perplexity/accuracy, direction: maximize}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], validation: {fraction: 0.1}}
    method: {kind: sft}
    evaluation: {suites: [{kind: perplexity}]}
    sweep:
      parameters:
        model.adapter.r: {kind: choice, values: [8, 16, 32]}
      objective: {metric: perplexity/loss, direction: minimize}
    ```
    """
    recipe = case.recipe
    if recipe.sweep is None:
        return
    suites = recipe.evaluation.suites if recipe.evaluation else []
    measured = [f"{suite.name}/{metric}" for suite in suites for metric in METRICS[suite.kind]]
    metric = recipe.sweep.objective.metric
    if metric not in measured:
        help_ = f"one of {', '.join(measured)}" if measured else "add a suite: `evaluation: {suites: [...]}`"
        yield Finding("sweep.objective.metric", f"nothing measures `{metric}`", help_)


@rule("LR308")
def pruning_without_validation(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a sweep that gives trials up has a validation loss to judge them by while they run.

    ## Why is this bad?
    Trials are compared by `eval_loss` at the same step; without `training.eval_steps` it is known at the end alone.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], validation: {fraction: 0.1}}
    method: {kind: sft}
    evaluation: {suites: [{kind: perplexity}]}
    sweep:
      parameters:
        model.adapter.r: {kind: choice, values: [8, 16, 32]}
      objective: {metric: perplexity/loss, direction: minimize}
      pruning: {kind: median}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], validation: {fraction: 0.1}}
    method: {kind: sft}
    training: {eval_steps: 50}
    evaluation: {suites: [{kind: perplexity}]}
    sweep:
      parameters:
        model.adapter.r: {kind: choice, values: [8, 16, 32]}
      objective: {metric: perplexity/loss, direction: minimize}
      pruning: {kind: median}
    ```
    """
    recipe = case.recipe
    if recipe.sweep is None or recipe.sweep.pruning is None:
        return
    if recipe.training.eval_steps is None or recipe.data is None or recipe.data.validation is None:
        help_ = "set `training.eval_steps` and `data.validation`, or leave out `pruning`"
        yield Finding("sweep.pruning", "there is no validation loss while a trial runs", help_)


@rule("LR309")
def endless_grid(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a grid has finitely many values, and that `trials` reaches its end.

    ## Why is this bad?
    A range of any numbers has no next one; and a grid that is cut leaves out its last combinations, not random ones.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], validation: {fraction: 0.1}}
    method: {kind: sft}
    evaluation: {suites: [{kind: perplexity}]}
    sweep:
      parameters:
        training.learning_rate: {kind: float, low: 1e-5, high: 1e-3}
      objective: {metric: perplexity/loss, direction: minimize}
      sampler: {kind: grid}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], validation: {fraction: 0.1}}
    method: {kind: sft}
    evaluation: {suites: [{kind: perplexity}]}
    sweep:
      parameters:
        training.learning_rate: {kind: choice, values: [1e-5, 1e-4, 1e-3]}
      objective: {metric: perplexity/loss, direction: minimize}
      sampler: {kind: grid}
    ```
    """
    sweep = case.recipe.sweep
    if sweep is None or not isinstance(sweep.sampler, Grid):
        return
    ranges = [name for name, parameter in sweep.parameters.items() if isinstance(parameter, FloatRange)]
    for name in ranges:
        at = ("sweep", "parameters", name)
        yield Finding(at, f"a grid cannot take every number of `{name}`", "write `kind: choice` with the values to try")
    combinations = 1
    for parameter in sweep.parameters.values():
        match parameter:
            case Choice():
                combinations *= len(parameter.values)
            case FloatRange():
                pass
            case _:
                combinations *= (parameter.high - parameter.low) // parameter.step + 1
    if not ranges and combinations > sweep.trials:
        message = f"the grid has {combinations} combinations, and {sweep.trials} trials leave out the last of them"
        yield Finding("sweep.sampler", message, f"set `trials: {combinations}`, or search at random")
