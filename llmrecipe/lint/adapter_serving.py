"""LR2: adapters that are served beside a model."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.serving import VLLM
from llmrecipe.vocabulary import DoRA, Full, RecipeReference

LARGEST_RANK = 512
"""Of an adapter that vLLM serves."""


def _served(case: Case) -> Iterator[tuple[str, Recipe]]:
    """Where each adapter is written, and its recipe."""
    serving = case.recipe.serving
    for i, reference in enumerate(serving.adapters if isinstance(serving, VLLM) else []):
        if reference.name in case.recipes:
            yield f"serving.adapters.{i}", case.recipes[reference.name]


def _same_base(case: Case, recipe: Recipe) -> bool:
    """Whether an adapter was trained on the model that is served."""
    base, served = recipe.model.base, case.recipe
    if isinstance(base, RecipeReference) and base.name == served.name:
        return True
    if served.method is not None:
        return False
    if isinstance(base, RecipeReference) and isinstance(served.model.base, RecipeReference):
        return base.name == served.model.base.name
    return base == served.model.base and recipe.model.revision == served.model.revision


@rule("LR256")
def served_adapter_of_another_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that each of `serving.adapters` is a recipe that exports an adapter alone, trained on the served model.

    ## Why is this bad?
    A merged model is no adapter, and an adapter on another base answers nonsense.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ---
    version: 1
    name: server
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, adapters: [{recipe: style}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ---
    version: 1
    name: server
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, adapters: [{recipe: style}]}
    ```
    """
    for at, recipe in _served(case):
        if recipe.method is None or isinstance(recipe.model.adapter, Full) or recipe.export.merge:
            help_ = f"give `{recipe.name}` an adapter and `export: {{merge: false}}`"
            yield Finding(at, f"`{recipe.name}` does not export an adapter alone", help_)
        elif not _same_base(case, recipe):
            message = f"`{recipe.name}` was trained on another model than `{case.recipe.name}` serves"
            yield Finding(
                at, message, f"let both have the same `model.base`, or train it on `{{recipe: {case.recipe.name}}}`"
            )


@rule("LR257")
def adapter_that_vllm_does_not_serve(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that each of `serving.adapters` is a plain LoRA of rank 512 at most: no DoRA, and no modules, tokens,
    biases or experts that are trained beside it.

    ## Why is this bad?
    vLLM refuses to load it, after it has loaded the model.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: dora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ---
    version: 1
    name: server
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, adapters: [{recipe: style}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ---
    version: 1
    name: server
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, adapters: [{recipe: style}]}
    ```
    """
    for at, recipe in _served(case):
        adapter = recipe.model.adapter
        if isinstance(adapter, Full):
            continue
        doubled = adapter.init_lora_weights.startswith(("pissa", "olora"))
        rank = max([adapter.r, *adapter.rank_pattern.values()]) * (2 if doubled else 1)
        reasons = {
            "is a DoRA": isinstance(adapter, DoRA),
            "has `modules_to_save`": bool(adapter.modules_to_save),
            "has `trainable_token_indices`": bool(adapter.trainable_token_indices),
            "has `target_parameters`": bool(adapter.target_parameters),
            "has biases": adapter.bias != "none",
            f"has rank {rank}, and {LARGEST_RANK} is the largest": rank > LARGEST_RANK,
        }
        for reason, found in reasons.items():
            if found:
                yield Finding(
                    at, f"vLLM does not serve `{recipe.name}`, which {reason}", "merge it, or train a plain LoRA"
                )
