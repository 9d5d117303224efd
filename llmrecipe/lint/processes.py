"""LR45, LR83: what the processes of a training are told: layers to shard, offloaded optimizers, how they talk."""

from collections.abc import Iterator

from llmrecipe.facts import architectures
from llmrecipe.lint.rule import Case, Drop, Finding, Put, rule
from llmrecipe.mending import nearest
from llmrecipe.optimization import AdamW
from llmrecipe.strategies import DDP, FSDP, DeepSpeed, Single

OF_DDP = ("ddp_broadcast_buffers", "ddp_bucket_cap_mb", "ddp_static_graph")
"""Options under `training.extra` of DistributedDataParallel alone."""
SHORT = 120
"""Seconds in which a checkpoint, a validation or a rollout of another process may not be over."""


@rule("LR450")
def layers_of_another_family(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the classes of `distributed.wrap` are classes of the base, where its family is known, and not of another
    family, or misspelt.

    ## Why is this bad?
    Accelerate looks for the class after every process has read the model, and stops.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: h100-80gb, num_accelerators: 4}
    distributed: {kind: fsdp, wrap: [LlamaDecoderLayer]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: h100-80gb, num_accelerators: 4}
    distributed: {kind: fsdp, wrap: [Qwen3DecoderLayer]}
    ```
    """
    strategy, known = case.recipe.distributed, case.architecture
    if not isinstance(strategy, FSDP) or known is None:
        return
    owners = {name: family for family, facts in architectures().items() for name in facts.classes}
    for i, name in enumerate(strategy.wrap):
        near, sure = nearest(name, known.classes)
        at = f"distributed.wrap.{i}"
        if name in known.classes or (name not in owners and not sure):
            continue
        if name in owners:
            message = f"`{name}` is of the family `{owners[name]}`, and this model of `{case.family}`"
        else:
            message = f"models of the family `{case.family}` have no class `{name}`"
        help_ = "leave `wrap` out, which takes the layers that the model names"
        help_ += f", or use `{known.wrapped[0]}`" if known.wrapped else ""
        change = Put(at, near) if sure and near is not None and name not in owners else Drop("distributed.wrap")
        yield Finding(at, message, help_, fix=change, safe=False)


@rule("LR451")
def backend_of_other_devices(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `ddp_backend` is one that the declared devices can talk over, and that there are several processes.

    ## Why is this bad?
    `nccl` has nothing to say between processors, and stops when the processes meet; `gloo` moves gradients between
    accelerators through the memory of the host, many times slower (a warning). With one process, any is refused.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {seed: 1, extra: {ddp_backend: nccl}}
    hardware: {num_accelerators: 2}
    distributed: {kind: ddp}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {seed: 1}
    hardware: {num_accelerators: 2}
    distributed: {kind: ddp}
    ```
    """
    recipe, at = case.recipe, "training.extra.ddp_backend"
    backend, on_cpu = recipe.training.extra.get("ddp_backend"), recipe.hardware.accelerator == "cpu"
    if recipe.method is None or backend is None:
        return
    if isinstance(recipe.distributed, Single):
        message = "one process has nobody to talk to, and no backend for it"
        yield Finding(at, message, "leave it out", fix=Drop(at))
    elif backend == "nccl" and on_cpu:
        yield Finding(at, "`nccl` is for accelerators, and this runs on `cpu`", "leave it out", fix=Drop(at))
    elif backend == "gloo" and not on_cpu:
        message = f"`gloo` sends what `{recipe.hardware.accelerator}` devices tell each other through the host"
        yield Finding(at, message, "leave it out", severity="warning", fix=Drop(at), safe=False)


@rule("LR452", "warning")
def timeout_shorter_than_a_checkpoint(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `ddp_timeout` is at least two minutes.

    ## Why is this bad?
    All processes wait for the slowest: while one writes a checkpoint, reads weights from a network, or scores long
    answers, the others give up, and the run ends.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {extra: {ddp_timeout: 30}}
    hardware: {accelerator: h100-80gb, num_accelerators: 2}
    distributed: {kind: ddp}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {extra: {ddp_timeout: 1800}}
    hardware: {accelerator: h100-80gb, num_accelerators: 2}
    distributed: {kind: ddp}
    ```
    """
    seconds = case.recipe.training.extra.get("ddp_timeout")
    if case.recipe.method is not None and isinstance(seconds, int) and 0 < seconds < SHORT:
        message = f"processes wait {seconds} s for each other, and a checkpoint of one can take longer"
        at = "training.extra.ddp_timeout"
        yield Finding(at, message, "leave it out for 1800 s", fix=Drop(at))


@rule("LR453")
def offloaded_in_other_bits(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that an `adamw` in 8 bits, or a paged one, is not offloaded by DeepSpeed.

    ## Why is this bad?
    What is offloaded is stepped by DeepSpeed's own Adam in 32 bits. Accelerate puts it in the place of this optimizer
    without a word, and with the weight decay of Adam, which is no decay of weights but of gradients.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: adamw, bits: 8}}
    hardware: {accelerator: h100-80gb, num_accelerators: 4}
    distributed: {kind: deepspeed, offload_optimizer: cpu}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: adamw}}
    hardware: {accelerator: h100-80gb, num_accelerators: 4}
    distributed: {kind: deepspeed, offload_optimizer: cpu}
    ```
    """
    strategy, optimizer = case.recipe.distributed, case.recipe.training.optimizer
    if not isinstance(strategy, DeepSpeed) or strategy.offload_optimizer == "none" or case.recipe.method is None:
        return
    if not isinstance(optimizer, AdamW):
        return
    for name, other in (("bits", optimizer.bits != 32), ("paged", optimizer.paged)):
        if other:
            at = f"training.optimizer.{name}"
            message = f"DeepSpeed steps an offloaded `adamw` in 32 bits, whatever `{name}` says"
            yield Finding(at, message, "leave it out, or do not offload the optimizer", fix=Drop(at), safe=False)


@rule("LR837", "warning")
def option_of_another_strategy(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `ddp_broadcast_buffers`, `ddp_bucket_cap_mb` and `ddp_static_graph` are written for `ddp`, and
    `ds3_gather_for_generation` for the third stage of ZeRO.

    ## Why is this bad?
    No other strategy reads them.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {seed: 1, extra: {ddp_bucket_cap_mb: 100}}
    hardware: {accelerator: h100-80gb, num_accelerators: 4}
    distributed: {kind: fsdp}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {seed: 1}
    hardware: {accelerator: h100-80gb, num_accelerators: 4}
    distributed: {kind: fsdp}
    ```
    """
    recipe, strategy = case.recipe, case.recipe.distributed
    if recipe.method is None:
        return
    unread = () if isinstance(strategy, DDP) else OF_DDP
    if not isinstance(strategy, DeepSpeed) or strategy.zero_stage != 3:
        unread = (*unread, "ds3_gather_for_generation")
    for name in unread:
        if name in recipe.training.extra:
            at = f"training.extra.{name}"
            message = f"`{strategy.kind}` does not read `{name}`"
            yield Finding(at, message, "leave it out", on_key=True, fix=Drop(at))
