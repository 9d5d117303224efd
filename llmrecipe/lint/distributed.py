"""LR4: hardware and how a run spreads over it."""

from collections.abc import Iterator

from llmrecipe.facts import accelerators
from llmrecipe.lint.rule import Case, Drop, Finding, Put, rule
from llmrecipe.mending import nearest
from llmrecipe.strategies import FSDP, Single, together


@rule("LR401")
def unknown_accelerator(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `hardware.accelerator` is a preset.

    ## Why is this bad?
    Its memory, its precision and what clusters call it would be unknown.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: h100}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: h100-80gb}
    ```
    """
    name, known = case.recipe.hardware.accelerator, list(accelerators())
    if name not in known:
        near, sure = nearest(name.lower(), known, 0.5)
        help_ = f"did you mean `{near}`?" if near else f"use one of {', '.join(known)}"
        at, message = "hardware.accelerator", f"`{name}` is not an accelerator that llmrecipe knows"
        yield Finding(at, message, help_, fix=Put(at, near) if near else (), safe=sure)


@rule("LR402", "warning")
def idle_accelerators(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a run on several devices is spread over them.

    ## Why is this bad?
    `single` trains on one device; the others are paid for and idle.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: ddp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    recipe = case.recipe
    devices = recipe.hardware.num_accelerators
    if recipe.method is not None and isinstance(recipe.distributed, Single) and devices > 1:
        message = f"training uses one of {devices} accelerators"
        yield Finding("hardware.num_accelerators", message, "add `distributed: {kind: ddp}`")


@rule("LR403", "warning")
def spread_over_one_process(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a run that is spread has more than one process.

    ## Why is this bad?
    `ddp` over one device is `single` with more to start. `fsdp` and `deepspeed` can still offload what does not fit.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: ddp}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: ddp}
    hardware: {num_accelerators: 2}
    ```
    """
    recipe = case.recipe
    processes = recipe.hardware.num_accelerators * recipe.hardware.num_nodes
    if not isinstance(recipe.distributed, Single) and processes == 1:
        help_ = "write `hardware.num_accelerators`, or leave out `distributed`"
        yield Finding("distributed.kind", f"`{recipe.distributed.kind}` over one process", help_)


@rule("LR404")
def nodes_that_do_not_work_together(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a run over several nodes is spread over them.

    ## Why is this bad?
    With `single` there is one process, and nothing for the other nodes to do.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: h100-80gb, num_nodes: 2}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: ddp}
    hardware: {accelerator: h100-80gb, num_nodes: 2}
    ```
    """
    recipe = case.recipe
    if recipe.hardware.num_nodes > 1 and isinstance(recipe.distributed, Single):
        message = f"`single` does not use {recipe.hardware.num_nodes} nodes"
        yield Finding("hardware.num_nodes", message, "add `distributed: {kind: ddp}`, or use one node")


@rule("LR405")
def uneven_global_batch(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `global_batch_size` is a multiple of `per_device_train_batch_size` times the number of processes.

    ## Why is this bad?
    Gradient accumulation makes up the rest, and it counts in whole steps of all processes.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {per_device_train_batch_size: 8, global_batch_size: 100}
    distributed: {kind: ddp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {per_device_train_batch_size: 8, global_batch_size: 128}
    distributed: {kind: ddp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    training, hardware = case.recipe.training, case.recipe.hardware
    total = training.global_batch_size
    spread = not isinstance(case.recipe.distributed, Single)
    processes = hardware.num_accelerators * hardware.num_nodes if spread else 1
    processes = max(1, processes // together(case.recipe.distributed))
    at_once = training.per_device_train_batch_size * processes
    if case.recipe.method is None or total is None or total % at_once == 0:
        return
    message = (
        f"{total} sequences cannot be made of {processes} process(es) with "
        f"{training.per_device_train_batch_size} sequences each"
    )
    share = total // processes
    fitting = [size for size in range(min(share, 512), 0, -1) if share % size == 0 and size <= at_once]
    multiple = f"use a multiple of {at_once}"
    smaller = [size for size in fitting if size < training.per_device_train_batch_size]
    if total % processes == 0 and smaller:
        multiple += f", or `per_device_train_batch_size: {smaller[0]}`"
    yield Finding("training.global_batch_size", message, multiple)


@rule("LR415")
def bert_under_fsdp(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no BERT is spread by FSDP.

    ## Why is this bad?
    BERT holds the bias of its head twice, in two modules. FSDP2 shards module by module and stops at what both hold.

    ## Example
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 256, num_hidden_layers: 4, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 8000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: modernbert, hidden_size: 256, num_hidden_layers: 4, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 8000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    if case.recipe.method is None or not isinstance(case.recipe.distributed, FSDP):
        return
    if case.family == "bert":
        help_ = "use `{kind: ddp}` or `{kind: deepspeed}`, or a model such as ModernBERT"
        yield Finding("distributed.kind", "FSDP cannot shard a BERT, whose head has a bias that is held twice", help_)


@rule("LR428", "warning")
def whole_gradients_without_accumulation(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `sync_each_batch: false` stands where a step has several batches.

    ## Why is this bad?
    It says when the gradients of an accumulation are spread. A step of one batch has none, and spreads them at once.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {per_device_train_batch_size: 8, global_batch_size: 64}
    distributed: {kind: fsdp, sync_each_batch: false}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {per_device_train_batch_size: 8, global_batch_size: 128}
    distributed: {kind: fsdp, sync_each_batch: false}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    training, strategy, hardware = case.recipe.training, case.recipe.distributed, case.recipe.hardware
    if not isinstance(strategy, FSDP) or strategy.sync_each_batch:
        return
    groups = hardware.num_accelerators * hardware.num_nodes // together(strategy)
    at_once = training.per_device_train_batch_size * max(1, groups)
    if training.global_batch_size is None or training.global_batch_size <= at_once:
        message = f"a step has one batch of {at_once} sequences: nothing is accumulated"
        at = "distributed.sync_each_batch"
        yield Finding(
            at, message, "leave it out, or set a larger `training.global_batch_size`", fix=Drop(at), on_key=True
        )
