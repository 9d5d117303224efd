"""LR3: options of speed and memory that a machine, a model or a method does not have."""

from collections.abc import Iterator

from llmrecipe.facts import accelerators, trainer_fields
from llmrecipe.lint.rule import Case, Finding, Put, rule
from llmrecipe.recipe.training import CheckpointingOptions
from llmrecipe.strategies import DeepSpeed
from llmrecipe.vocabulary import Full

WITHOUT_LIGER = ("falcon", "gpt2", "bert", "modernbert")
"""Families for which Liger has no kernels."""


def _capability(case: Case) -> float:
    """Compute capability of the accelerator; 0 for a processor and for what is no preset."""
    preset = accelerators().get(case.recipe.hardware.accelerator)
    return float(preset.compute_capability or 0) if preset is not None else 0.0


def _unknown(case: Case) -> bool:
    return case.recipe.hardware.accelerator not in accelerators()


def _checkpointing(case: Case) -> CheckpointingOptions:
    options = case.recipe.training.gradient_checkpointing
    return CheckpointingOptions() if isinstance(options, bool) else options


@rule("LR350")
def tf32_without_its_hardware(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the accelerator computes in TensorFloat-32 when `tf32` is true: compute capability 8.0 or newer.

    ## Why is this bad?
    The run stops when it starts on that machine.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {tf32: true, precision: float32}
    hardware: {accelerator: t4-16gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {tf32: true, precision: float32}
    hardware: {accelerator: a100-80gb}
    ```
    """
    recipe = case.recipe
    if recipe.method is not None and recipe.training.tf32 and not _unknown(case) and _capability(case) < 8:
        message = f"`{recipe.hardware.accelerator}` has no TensorFloat-32"
        yield Finding("training.tf32", message, "leave it out")


@rule("LR351")
def liger_without_a_gpu(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that Liger's kernels are not asked for on `cpu`.

    ## Why is this bad?
    They are written in Triton, which compiles for a GPU alone; the run stops in its first step.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {kernels: liger}
    hardware: {accelerator: cpu}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {kernels: liger}
    hardware: {accelerator: a100-80gb}
    ```
    """
    recipe = case.recipe
    if recipe.method is not None and recipe.training.kernels == "liger" and recipe.hardware.accelerator == "cpu":
        yield Finding("training.kernels", "Liger's kernels do not run on a processor", "leave it out")


@rule("LR352")
def liger_not_of_the_family(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that Liger has kernels for the family of the model.

    ## Why is this bad?
    Nothing would become faster: Liger passes over models that it does not know.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: gpt2, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    training: {kernels: liger}
    hardware: {accelerator: a100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: gpt2, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    training: {kernels: none}
    hardware: {accelerator: a100-80gb}
    ```
    """
    if case.recipe.method is not None and case.recipe.training.kernels == "liger" and case.family in WITHOUT_LIGER:
        message = f"Liger has no kernels for models of the family `{case.family}`"
        yield Finding("training.kernels", message, "leave it out")


@rule("LR353")
def offloading_without_an_accelerator(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that activations are not offloaded from `cpu`.

    ## Why is this bad?
    They are in the memory of the host already. Copying them costs time and saves nothing.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: {offload: true}}
    hardware: {accelerator: cpu}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true}
    hardware: {accelerator: cpu}
    ```
    """
    recipe = case.recipe
    if recipe.method is None or recipe.hardware.accelerator != "cpu":
        return
    message = "activations are in the memory of the host already"
    if recipe.training.activation_offloading:
        yield Finding("training.activation_offloading", message, "leave it out")
    if _checkpointing(case).offload:
        yield Finding("training.gradient_checkpointing.offload", message, "leave it out")


@rule("LR354")
def offloading_not_of_the_method(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the trainer of the method can offload activations.

    ## Why is this bad?
    The option would be ignored: only some of TRL's trainers have it.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: text}]}
    method: {kind: pretrain}
    training: {activation_offloading: true}
    hardware: {accelerator: a100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: text}]}
    method: {kind: pretrain}
    training: {gradient_checkpointing: {offload: true}}
    hardware: {accelerator: a100-80gb}
    ```
    """
    method = case.recipe.method
    if method is None or not case.recipe.training.activation_offloading:
        return
    if "activation_offloading" not in trainer_fields(method.config):
        help_ = "use `gradient_checkpointing: {offload: true}`"
        yield Finding("training.activation_offloading", f"`{method.kind}` has no such option", help_)


@rule("LR355", "warning")
def selection_without_its_attention(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that selective checkpointing meets an attention whose results it can keep: `sdpa` or FlashAttention.

    ## Why is this bad?
    `eager` and `flex_attention` are no single operation. Everything would be recomputed, as without the option.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: eager}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: {selective: true}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: sdpa}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: {selective: true}}
    ```
    """
    attention = case.recipe.model.attention
    if case.recipe.method is not None and _checkpointing(case).selective and attention in ("eager", "flex_attention"):
        message = f"nothing of `{attention}` is kept"
        yield Finding("training.gradient_checkpointing.selective", message, "use `model.attention: sdpa`")


@rule("LR356")
def grouping_without_padding(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that rows are grouped by length only where a batch is padded: one row, one sequence, in a causal method.

    ## Why is this bad?
    Packed rows are of one length already, and other methods do not batch rows by their tokens.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], packing: bfd}
    method: {kind: sft}
    training: {group_by_length: true}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], packing: none}
    method: {kind: sft}
    training: {group_by_length: true}
    ```
    """
    recipe = case.recipe
    if recipe.method is None or recipe.data is None or not recipe.training.group_by_length:
        return
    packed = recipe.data.packing != "none" and (recipe.data.packing is not None or recipe.method.kind == "pretrain")
    if packed:
        yield Finding("training.group_by_length", "packed rows have one length", "leave it out, or `packing: none`")
    elif recipe.method.kind not in ("pretrain", "sft"):
        message = f"the rows of `{recipe.method.kind}` have no one length"
        yield Finding("training.group_by_length", message, "leave it out")


@rule("LR364")
def selection_where_recomputing_is_reentrant(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that selective checkpointing is not used with an adapter under ZeRO-3, by methods that TRL trains.

    ## Why is this bad?
    TRL recomputes in the reentrant way there, since DeepSpeed loses its shares otherwise, and that way cannot keep
    anything. The trainer stops after the model is loaded. Source:
    https://github.com/huggingface/trl/issues/2514

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: {selective: true}}
    distributed: {kind: deepspeed, zero_stage: 3}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true}
    distributed: {kind: deepspeed, zero_stage: 3}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    recipe, strategy = case.recipe, case.recipe.distributed
    if recipe.method is None or not _checkpointing(case).selective or isinstance(recipe.model.adapter, Full):
        return
    if isinstance(strategy, DeepSpeed) and strategy.zero_stage == 3 and recipe.method.trainer.startswith("trl:"):
        at = "training.gradient_checkpointing"
        message = f"`{recipe.method.kind}` recomputes everything or nothing of a model with an adapter under ZeRO-3"
        yield Finding(at, message, "use `gradient_checkpointing: true`", fix=Put(at, True), safe=False)
