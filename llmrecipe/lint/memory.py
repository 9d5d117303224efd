"""LR4: what a training or a server takes, against the memory, the disk and the budget that the recipe declares."""

from collections.abc import Iterator
from dataclasses import replace

from llmrecipe.estimate import bytes_of, compute, device_bytes, fitting, serving, setting, storage
from llmrecipe.estimate.memory import Memory, memory
from llmrecipe.estimate.serving import Serving
from llmrecipe.estimate.setting import Setting
from llmrecipe.facts import accelerators
from llmrecipe.lint.amounts import written
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.methods.online import OnlineMethod
from llmrecipe.strategies import FSDP, DeepSpeed

GIB = 2**30
UNMEASURED = 0.9
"""Of the least need under DeepSpeed and of what is offloaded, which was never measured as other trainings were."""


def _needs(case: Case) -> tuple[Setting, Memory, float, float] | None:
    """The setting of a training, its memory with all rows full, the least it may need, and the memory of a device."""
    device = device_bytes(case.recipe.hardware)
    found = setting.of(case.recipe, case.recipes)
    if device is None or found is None:
        return None
    full = memory(found, device)
    # Rows that are neither packed nor written yet may all be much shorter than they may be.
    short = not found.packed or isinstance(found.method, OnlineMethod)
    least = memory(replace(found, length=max(1, found.length // 4)), device).low if short else full.low
    offloads = isinstance(found.strategy, FSDP) and found.strategy.cpu_offload
    if offloads or isinstance(found.strategy, DeepSpeed):
        least *= UNMEASURED
    return found, full, least, device


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _served(case: Case) -> tuple[Serving, float] | None:
    recipe = case.recipe
    device, preset = device_bytes(recipe.hardware), accelerators().get(recipe.hardware.accelerator)
    if device is None or preset is None:
        return None
    found = serving.serving(recipe, case.recipes, device, preset)
    return None if found is None else (found, device)


@rule("LR420")
def training_beyond_the_memory(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that what a device holds at the fullest moment of a training step fits into it: weights, gradients, state of
    the optimizer, activations, the loss, and other models. It is an error when even the least that the estimate allows
    is too much, and a warning when it depends on how long rows are and how well memory is used. `llmrecipe plan` lists
    the parts.

    ## Why is this bad?
    The run stops when it is out of memory: at its first step, or hours later at the first batch of long rows.

    Source: the memory tracker of PyTorch over the steps of our trainers, and the formulas of
    https://arxiv.org/abs/2205.05198, section 4, and https://arxiv.org/abs/1910.02054, section 3

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: l4-24gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true}
    hardware: {accelerator: l4-24gb}
    ```
    """
    found = _needs(case)
    if found is None:
        return
    training, full, least, device = found
    if full.high <= device:
        return
    peak = full.peak
    largest = sorted(peak.terms.items(), key=lambda term: -term[1])[:3]
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in largest)
    name = case.recipe.hardware.accelerator
    message = (
        f"training needs {_gib(least)} to {_gib(full.high)}, and `{name}` has {_gib(device)}; most of it in the moment "
        f"`{peak.name}`: {parts}"
    )
    changes = fitting.changes(training, device)
    help_ = f"use `{changes[0].what}` ({_gib(changes[0].needs)})" if changes else "use a larger accelerator or model"
    yield Finding("hardware.accelerator", message, help_, severity="error" if least > device else "warning")


@rule("LR421")
def host_memory_exceeded(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `hardware.memory` holds what the processes of a node keep in it: the weights that each reads before they
    go to its device, what is offloaded, and the processes themselves.

    ## Why is this bad?
    The system kills the process without a word, or Kubernetes does, often while the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8, memory: 128Gi}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8, memory: 512Gi}
    ```
    """
    recipe, found = case.recipe, setting.of(case.recipe, case.recipes)
    if found is None or recipe.hardware.memory is None:
        return
    there = bytes_of(recipe.hardware.memory)
    needs = storage.storage(recipe, found, memory(found).host).host
    least = needs - found.processes_per_node * storage.PROCESS / 2
    if needs > there:
        processes = found.processes_per_node
        message = f"{processes} process(es) of a node need about {_gib(needs)} of {recipe.hardware.memory}"
        help_ = f"use nodes with {int(needs / GIB * 1.1) + 1}Gi"
        if recipe.distributed.kind == "fsdp" and processes > 1:
            help_ += ", or `distributed.cpu_ram_efficient_loading: true`"
        yield Finding("hardware.memory", message, help_, severity="error" if least > there else "warning")


@rule("LR422")
def budget_exceeded(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a training with `max_steps` costs no more than `hardware.budget`, by its arithmetic, the accelerator's
    peak and the price of an hour. It is an error when even a fast run costs more, and a warning when a slow one does.

    ## Why is this bad?
    The money is gone before the model is there. Epochs are counted where all sources are files of this machine, by
    their sizes.

    Sources: https://arxiv.org/abs/2001.08361, section 2.1, for the arithmetic; `llmrecipe plan` prints the ranges

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 20000, global_batch_size: 512, max_length: 4096, gradient_checkpointing: true}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8, price_per_hour: 2.5, budget: 500}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 200, global_batch_size: 512, max_length: 4096, gradient_checkpointing: true}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8, price_per_hour: 2.5, budget: 2000}
    ```
    """
    recipe, found = case.recipe, setting.of(case.recipe, case.recipes)
    budget = recipe.hardware.budget
    if found is None or budget is None:
        return
    todo = compute.todo(recipe, found, written(case))
    if todo is None:
        return
    price = compute.cost(found, todo, recipe.hardware, accelerators().get(recipe.hardware.accelerator)).price
    if price is not None and price[1] > budget:
        what = f"{recipe.training.max_steps} steps" if recipe.training.max_steps else "these epochs"
        message = f"{what} cost {price[0]:,.0f} to {price[1]:,.0f}, and the budget is {budget:,.0f}"
        fitting_steps = int(todo.steps[1] * budget / price[1])
        help_ = f"use at most {fitting_steps} steps, a smaller model or an adapter, or raise `budget`"
        yield Finding("hardware.budget", message, help_, severity="error" if price[0] > budget else "warning")


@rule("LR423")
def served_model_beyond_the_memory(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the weights of a served model, split over `tensor_parallel_size` devices, leave room in the share of the
    memory that the server may take.

    ## Why is this bad?
    vLLM stops while it loads the model.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-32B}
    hardware: {accelerator: l40s-48gb}
    serving: {kind: vllm}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-32B}
    hardware: {accelerator: l40s-48gb, num_accelerators: 4}
    serving: {kind: vllm, tensor_parallel_size: 4, max_model_len: 8192}
    ```
    """
    served = _served(case)
    if served is None:
        return
    found, device = served
    if found.pool[1] <= 0:
        message = f"{_gib(found.weights)} of weights do not fit into the {_gib(device)} of a device"
        help_ = "raise `serving.tensor_parallel_size` and `hardware.num_accelerators`, or use a larger accelerator"
        yield Finding("serving.kind", message, help_)


@rule("LR424")
def context_beyond_the_cache(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the keys and values of one request of `max_model_len` tokens fit into the memory that the weights leave.
    The model's own limit counts when `max_model_len` is left out. It is a warning when it depends on what else vLLM
    holds.

    ## Why is this bad?
    vLLM refuses to start, after it has loaded the model.

    Source: https://arxiv.org/abs/2309.06180, section 2.2

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, max_model_len: 8192}
    ```
    """
    served = _served(case)
    if served is None:
        return
    found, device = served
    low, high = found.tokens
    if found.pool[1] > 0 and low < found.length:
        message = (
            f"one request of {found.length:,} tokens takes {_gib(found.length * found.token)} of keys and values, and "
            f"there is room for {low:,} to {high:,} tokens beside the weights ({_gib(found.weights)} of {_gib(device)})"
        )
        help_ = f"use `max_model_len: {max(1024, low // 1024 * 1024)}`, or more devices"
        yield Finding(
            "serving.max_model_len" if _written(case) else "serving.kind",
            message,
            help_,
            severity="error" if high < found.length else "warning",
        )


def _written(case: Case) -> bool:
    return case.recipe.serving is not None and "max_model_len" in case.recipe.serving.model_fields_set


@rule("LR425")
def disk_exceeded(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `hardware.disk` holds the checkpoints that lie side by side, the one being written among them, and
    the exported model.

    ## Why is this bad?
    A full disk ends the run in the middle of a checkpoint.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true, max_length: 512}
    hardware: {accelerator: h200-141gb, disk: 200Gi}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true, max_length: 512}
    hardware: {accelerator: h200-141gb, disk: 200Gi}
    ```
    """
    recipe, found = case.recipe, setting.of(case.recipe, case.recipes)
    if found is None or recipe.hardware.disk is None:
        return
    there, needs = bytes_of(recipe.hardware.disk), storage.storage(recipe, found)
    if needs.disk > there:
        message = (
            f"{needs.checkpoints} checkpoints of {_gib(needs.checkpoint)} and an exported model of "
            f"{_gib(needs.exported)} are {_gib(needs.disk)}, more than {recipe.hardware.disk}"
        )
        help_ = f"use {int(needs.disk / GIB * 1.1) + 1}Gi, or a smaller `training.checkpoints.save_total_limit`"
        yield Finding("hardware.disk", message, help_)


@rule("LR426", "warning")
def figure_without_effect_on_estimates(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that figures of `hardware` that only estimates read are read: a `budget` needs a price, `carbon_intensity` an
    accelerator with a known power, `accelerator_memory` an accelerator, and `api_price_per_million_tokens` a vLLM that
    serves.

    ## Why is this bad?
    Nobody compares anything with them.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {budget: 100}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: h100-80gb, budget: 100}
    ```
    """
    recipe, hardware = case.recipe, case.recipe.hardware
    preset = accelerators().get(hardware.accelerator)
    priced = hardware.price_per_hour is not None or (preset is not None and preset.price is not None)
    reads = {
        "budget": (priced, "no price of an hour is known: write `price_per_hour`, or an accelerator with one"),
        "carbon_intensity": (preset is not None and preset.watts is not None, "write the accelerator that is meant"),
        "accelerator_memory": (device_bytes(hardware) is not None, "write the accelerator that is meant"),
        "api_price_per_million_tokens": (
            recipe.serving is not None and recipe.serving.kind == "vllm",
            "add `serving: {kind: vllm}`, or leave it out",
        ),
    }
    for name, (read, help_) in reads.items():
        if name in hardware.model_fields_set and not read:
            yield Finding(f"hardware.{name}", f"`{name}` is compared with nothing", help_, on_key=True)


@rule("LR427")
def more_memory_than_the_accelerator_has(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `hardware.accelerator_memory` is not above the memory of the preset.

    ## Why is this bad?
    Every estimate would promise what the device does not have.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true}
    hardware: {accelerator: l4-24gb, accelerator_memory: 48Gi}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true}
    hardware: {accelerator: l40s-48gb, accelerator_memory: 40Gi}
    ```
    """
    hardware = case.recipe.hardware
    preset = accelerators().get(hardware.accelerator)
    if hardware.accelerator_memory is None or preset is None or not preset.memory:
        return
    if bytes_of(hardware.accelerator_memory) > (preset.memory + 1) * GIB:
        message = f"{hardware.accelerator_memory} is more than the {preset.memory:g} GiB of `{hardware.accelerator}`"
        yield Finding("hardware.accelerator_memory", message, "write what one device has, or another accelerator")
