"""LR6: export and serving."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.recipe.serving import VLLM
from llmrecipe.vocabulary import Full


@rule("LR601")
def served_adapter_without_its_base(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe that serves exports a whole model.

    ## Why is this bad?
    With `export: {merge: false}` the exported folder holds an adapter alone, which no server can load as a model.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    serving: {kind: transformers}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: true}
    serving: {kind: transformers}
    ```
    """
    recipe = case.recipe
    adapted = recipe.method is not None and not isinstance(recipe.model.adapter, Full)
    if adapted and not recipe.export.merge and recipe.serving is not None:
        yield Finding("export.merge", "the exported adapter cannot be served alone", "use `merge: true`")


@rule("LR602")
def uneven_tensor_parallelism(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the devices of a node divide evenly among servers of `tensor_parallel_size` devices.

    ## Why is this bad?
    A server that needs more devices than a node has does not start; and a rest of devices stays idle.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb, num_accelerators: 2}
    serving: {kind: vllm, tensor_parallel_size: 4}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb, num_accelerators: 4}
    serving: {kind: vllm, tensor_parallel_size: 4}
    ```
    """
    serving, devices = case.recipe.serving, case.recipe.hardware.num_accelerators
    if isinstance(serving, VLLM) and devices % serving.tensor_parallel_size:
        message = f"{devices} accelerator(s) for servers of {serving.tensor_parallel_size}"
        help_ = f"use a divisor of {devices}, or `hardware.num_accelerators: {serving.tensor_parallel_size}`"
        yield Finding("serving.tensor_parallel_size", message, help_)


@rule("LR603")
def heads_that_cannot_be_split(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the attention heads of the model divide by `serving.tensor_parallel_size`, and that its key-value heads
    divide by it or are a divisor of it.

    ## Why is this bad?
    Every device takes whole heads; vLLM stops when it starts.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: HuggingFaceTB/SmolLM2-135M-Instruct}
    hardware: {accelerator: l4-24gb, num_accelerators: 2}
    serving: {kind: vllm, tensor_parallel_size: 2}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: HuggingFaceTB/SmolLM2-1.7B-Instruct}
    hardware: {accelerator: l4-24gb, num_accelerators: 2}
    serving: {kind: vllm, tensor_parallel_size: 2}
    ```
    """
    serving, figures = case.recipe.serving, case.figures
    if not isinstance(serving, VLLM) or figures is None:
        return
    size, groups = serving.tensor_parallel_size, figures.key_value_heads
    message = None
    if figures.heads % size:
        message = f"{figures.heads} heads cannot be split over {size} devices"
    elif groups % size and size % groups:
        message = f"{groups} key-value heads cannot be split over {size} devices"
    if message:
        fitting = [
            n
            for n in range(1, min(figures.heads, 64) + 1)
            if figures.heads % n == 0 and (groups % n == 0 or n % groups == 0)
        ]
        yield Finding("serving.tensor_parallel_size", message, f"use one of {', '.join(map(str, fitting))}")


@rule("LR604")
def context_beyond_the_positions(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `serving.max_model_len` is not above the longest sequence that the model has positions for.

    ## Why is this bad?
    vLLM refuses to start.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: HuggingFaceTB/SmolLM2-1.7B-Instruct}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, max_model_len: 32768}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: HuggingFaceTB/SmolLM2-1.7B-Instruct}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, max_model_len: 8192}
    ```
    """
    serving, figures = case.recipe.serving, case.figures
    if not isinstance(serving, VLLM) or serving.max_model_len is None or figures is None or not figures.positions:
        return
    if "hf_overrides" in serving.extra:
        return  # Further positions may be interpolated there.
    if serving.max_model_len > figures.positions:
        message = f"{serving.max_model_len} tokens for a model with {figures.positions} positions"
        yield Finding("serving.max_model_len", message, f"use at most {figures.positions}")


@rule("LR605", "warning")
def accelerator_image_without_accelerator(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that vLLM's own image is used with an accelerator.

    ## Why is this bad?
    `vllm/vllm-openai` is built for CUDA and does not start on a processor. `hardware.accelerator` is `cpu` when it is
    left out.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    serving: {kind: vllm}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm}
    ```
    """
    serving = case.recipe.serving
    on_cpu = case.recipe.hardware.accelerator == "cpu"
    if isinstance(serving, VLLM) and on_cpu and serving.image.startswith("vllm/vllm-openai"):
        message = f"`{serving.image}` does not run on `cpu`"
        help_ = "write `hardware.accelerator`, an `image` for processors, or `kind: transformers`"
        yield Finding("serving.kind", message, help_)
