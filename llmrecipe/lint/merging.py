"""LR2: models that are merged."""

from collections.abc import Iterator

from llmrecipe.lint.figures import Figures, figures
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.combination import Combination, LinearMerge, SlerpMerge
from llmrecipe.vocabulary import ModelReference, RecipeReference


def _place(place: str) -> str:
    return f"model.base.merge.{place}" + ("" if place == "base" else ".model")


def _figures(case: Case, reference: ModelReference) -> Figures | None:
    """Figures of a part of a merge."""
    alone = {"version": 1, "name": "part", "model": {"base": reference}}
    return figures(Recipe.model_validate(alone), case.recipes)


def _line(case: Case, reference: ModelReference) -> list[str]:
    """A model and all that it was trained from, as far as recipes say: names of recipes, ids and paths."""
    found: list[str] = []
    while isinstance(reference, RecipeReference) and reference.name in case.recipes and reference.name not in found:
        found.append(reference.name)
        base = case.recipes[reference.name].model.base
        if not isinstance(base, str | RecipeReference):
            return found
        reference = base
    return [*found, reference] if isinstance(reference, str) else found


@rule("LR252")
def merge_of_models_that_differ(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the models of a merge have one family and one size, where these are known.

    ## Why is this bad?
    Weights are summed number by number, and have to lie in the same places.

    ## Example
    ```yaml
    version: 1
    name: both
    model: {base: {merge: {kind: slerp, models: [{model: Qwen/Qwen3-0.6B}, {model: Qwen/Qwen3-1.7B}]}}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: both
    model: {base: {merge: {kind: slerp, models: [{model: Qwen/Qwen3-0.6B}, {model: Qwen/Qwen3-0.6B-Base}]}}}
    ```
    """
    base = case.recipe.model.base
    if not isinstance(base, Combination):
        return
    known = [(place, found) for place, part in base.parts().items() if (found := _figures(case, part)) is not None]
    for place, found in known[1:]:
        first = known[0][1]
        for name in ("family", "layers", "heads", "key_value_heads", "parameters"):
            one, other = getattr(first, name), getattr(found, name)
            if one is not None and other is not None and one != other:
                message = (
                    f"this model has another shape than the first: {name.replace('_', ' ')} {other} instead of {one}"
                )
                yield Finding(_place(place), message, "merge models that were trained from one base")
                break


@rule("LR253", "warning")
def task_vectors_from_another_base(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the `base` of a merge is one of the models that each of its `models` was trained from, where recipes say
    so.

    ## Why is this bad?
    What a model has learned is its difference to the model that it began with. A difference to another model holds all
    that sets the two apart, and drowns it.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ---
    version: 1
    name: both
    model: {base: {merge: {kind: task_arithmetic, base: Qwen/Qwen3-0.6B-Base, models: [{model: {recipe: style}}]}}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ---
    version: 1
    name: both
    model: {base: {merge: {kind: task_arithmetic, base: Qwen/Qwen3-0.6B, models: [{model: {recipe: style}}]}}}
    ```
    """
    base = case.recipe.model.base
    if not isinstance(base, Combination) or isinstance(base.merge, LinearMerge | SlerpMerge):
        return
    start = base.merge.base
    name = start.name if isinstance(start, RecipeReference) else start
    for i, part in enumerate(base.merge.models):
        if isinstance(part.model, RecipeReference) and name not in (line := _line(case, part.model))[1:]:
            message = f"`{part.model.name}` was not trained from `{name}`"
            help_ = f"use {' or '.join(f'`{each}`' for each in line[1:])} as `base`" if line[1:] else "use its own base"
            yield Finding(_place(f"models.{i}"), message, help_)


@rule("LR254")
def weights_that_sum_to_nothing(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the weights of a normalized merge have a sum other than zero.

    ## Why is this bad?
    Everything is divided by it.

    ## Example
    ```yaml
    version: 1
    name: both
    model:
      base:
        merge:
          kind: linear
          models: [{model: Qwen/Qwen3-0.6B, weight: 1.0}, {model: Qwen/Qwen3-0.6B-Base, weight: -1.0}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: both
    model:
      base:
        merge:
          kind: linear
          models: [{model: Qwen/Qwen3-0.6B, weight: 0.5}, {model: Qwen/Qwen3-0.6B-Base, weight: 0.5}]
    ```
    """
    base = case.recipe.model.base
    if not isinstance(base, Combination) or isinstance(base.merge, SlerpMerge) or not base.merge.normalize:
        return
    if abs(sum(part.weight for part in base.merge.models)) < 1e-6:
        yield Finding("model.base.merge.models", "the weights sum to zero", "use other weights, or `normalize: false`")


@rule("LR255", "warning")
def one_model_twice(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a merge names each model once, and not its `base`.

    ## Why is this bad?
    The difference of a model to itself is nothing; a model that stands twice only counts more.

    ## Example
    ```yaml
    version: 1
    name: both
    model: {base: {merge: {kind: slerp, models: [{model: Qwen/Qwen3-0.6B}, {model: Qwen/Qwen3-0.6B}]}}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: both
    model: {base: {merge: {kind: slerp, models: [{model: Qwen/Qwen3-0.6B}, {model: Qwen/Qwen3-0.6B-Base}]}}}
    ```
    """
    base = case.recipe.model.base
    if not isinstance(base, Combination):
        return
    seen: list[ModelReference] = []
    for place, part in base.parts().items():
        if part in seen:
            yield Finding(_place(place), "this model is in the merge already", "leave it out, or change its weight")
        seen.append(part)
