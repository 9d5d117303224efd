"""LR46: how a model is compiled, by options under `training.extra`."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Finding, Put, rule

SWITCHES = ("torch_compile_backend", "torch_compile_mode")
"""Options under `training.extra` that switch compiling on."""
RECORDED = (
    ("torch_compile_mode", ("reduce-overhead", "max-autotune")),
    ("torch_compile_backend", ("cudagraphs",)),
)
"""Option -> its values that record CUDA graphs. Source: `torch._inductor.list_mode_options` of PyTorch 2.13."""


@rule("LR460")
def compiled_without_saying_so(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `torch_compile_mode` and `torch_compile_backend` under `training.extra` stand beside
    `training.torch_compile: true`.

    ## Why is this bad?
    Either of them switches compiling on, whatever `training.torch_compile` says: the recipe reads as if nothing were
    compiled, and what does not go with compiling is not found. Source: `TrainingArguments` of Transformers 5.23.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {extra: {torch_compile_mode: default}}
    hardware: {accelerator: h100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {torch_compile: true, extra: {torch_compile_mode: default}}
    hardware: {accelerator: h100-80gb}
    ```
    """
    training = case.recipe.training
    if case.recipe.method is None or training.torch_compile:
        return
    for name in SWITCHES:
        if training.extra.get(name) is not None:
            written = "torch_compile" in training.model_fields_set
            message = f"`{name}` compiles the model, and `training.torch_compile` is `false`"
            change = Put("training.torch_compile", True)
            help_ = f"write `training.torch_compile: true`, or leave `{name}` out"
            yield Finding(f"training.extra.{name}", message, help_, on_key=True, fix=change, safe=not written)
            return


@rule("LR461", "warning")
def recorded_for_every_length(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that CUDA graphs (`torch_compile_mode: reduce-overhead` or `max-autotune`, `torch_compile_backend:
    cudagraphs`) are recorded for batches of one shape: rows packed with `wrapped`, and not for FlashAttention, which
    takes the places of documents besides.

    ## Why is this bad?
    A graph holds one shape. Batches are padded to their longest row, so that nearly each has a shape of its own, for
    which a graph is recorded and kept: training becomes slower than without, and the memory of the device fills.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {torch_compile: true, extra: {torch_compile_mode: max-autotune}}
    hardware: {accelerator: h100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {torch_compile: true, extra: {torch_compile_mode: max-autotune-no-cudagraphs}}
    hardware: {accelerator: h100-80gb}
    ```
    """
    recipe, extra = case.recipe, case.recipe.training.extra
    if recipe.method is None or recipe.data is None:
        return
    if recipe.data.packing == "wrapped" and not recipe.model.attention.startswith("flash"):
        return
    for name, values in RECORDED:
        if (value := extra.get(name)) in values:
            other = "max-autotune-no-cudagraphs" if value == "max-autotune" else None
            message = f"`{value}` records a graph for every shape of a batch, and batches are as long as their rows"
            help_ = f"use `{other}`" if other else f"leave `{name}` out"
            change = Put(f"training.extra.{name}", other) if other else ()
            yield Finding(f"training.extra.{name}", message, help_, fix=change, safe=False)
