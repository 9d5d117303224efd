"""LR4: layers and sequences that are split over several devices."""

from collections.abc import Iterator

from llmrecipe.facts import architectures, families
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.methods.pretrain import Pretrain
from llmrecipe.optimization import Muon
from llmrecipe.recipe import Recipe
from llmrecipe.strategies import FSDP
from llmrecipe.vocabulary import DoRA, Unquantized

TENSOR, CONTEXT = "distributed.tensor_parallel_size", "distributed.context_parallel_size"
METHODS = ("pretrain", "sft")
"""Whose loss is computed by layers, and over sequences, that are split."""


def _degrees(recipe: Recipe) -> tuple[FSDP | None, int, int]:
    """The strategy with its tensor and context parallel degrees, when something is trained; else None, 1 and 1."""
    strategy = recipe.distributed
    if recipe.method is None or not isinstance(strategy, FSDP):
        return None, 1, 1
    return strategy, strategy.tensor_parallel_size, strategy.context_parallel_size


@rule("LR418")
def devices_that_do_not_make_groups(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that groups of `tensor_parallel_size` and `context_parallel_size` devices can be made, and that FSDP has
    something to spread the model over.

    ## Why is this bad?
    Devices that split layers exchange activations in each of them, which takes the links within a node. FSDP spreads
    what such a group holds over the other groups; with one group Accelerate refuses to train.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, tensor_parallel_size: 8}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, tensor_parallel_size: 4}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    strategy, tensor, context = _degrees(case.recipe)
    together, hardware = tensor * context, case.recipe.hardware
    if strategy is None or together == 1:
        return
    at, devices = TENSOR if tensor > 1 else CONTEXT, hardware.num_accelerators
    everywhere = devices * hardware.num_nodes
    if devices % tensor:
        message, divided = f"groups of {tensor} cannot be made of the {devices} devices of a node", devices
    elif everywhere % together:
        message, divided = f"groups of {together} cannot be made of {everywhere} devices", everywhere
    elif everywhere // tensor < 2:
        message = f"{everywhere} devices make one group of {together}, and FSDP has nothing to spread over"
        divided = everywhere // 2
    else:
        return
    yield Finding(at, message, f"use a divisor of {divided}" if divided > 1 else "leave it out")


@rule("LR419")
def heads_that_cannot_be_shared_out(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `tensor_parallel_size` divides the attention heads of the model, and its key-value heads.

    ## Why is this bad?
    Each device of a group computes whole heads. Training would stop once the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, tensor_parallel_size: 16}
    hardware: {accelerator: h100-80gb, num_accelerators: 32}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, tensor_parallel_size: 8}
    hardware: {accelerator: h100-80gb, num_accelerators: 32}
    ```
    """
    (_, size, _), figures = _degrees(case.recipe), case.figures
    if size == 1 or figures is None:
        return
    heads = {"attention": figures.heads, "key-value": figures.key_value_heads}
    uneven = [f"{count} {kind} heads" for kind, count in heads.items() if count % size]
    if uneven:
        fitting = [n for n in range(2, size) if not any(count % n for count in heads.values())]
        help_ = f"use {' or '.join(map(str, fitting))}" if fitting else "leave it out"
        yield Finding(TENSOR, f"{size} devices cannot share {' and '.join(uneven)}", help_)


@rule("LR493")
def method_that_is_not_split(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a method which splits layers or sequences over devices is `pretrain` or `sft`.

    ## Why is this bad?
    Other methods hold further models, generate answers, or compute their loss in ways that are not tried with layers
    and sequences that are split. Rather than to learn something else without a word, llmrecipe refuses.

    ## Example
    ```yaml
    version: 1
    name: choices
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    distributed: {kind: fsdp, tensor_parallel_size: 2}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: choices
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    method, (_, tensor, context) = case.recipe.method, _degrees(case.recipe)
    if method is None or method.kind in METHODS:
        return
    for at, size, what in ((TENSOR, tensor, "layers"), (CONTEXT, context, "sequences")):
        if size > 1:
            message = f"`{method.kind}` is not trained with {what} that are split"
            yield Finding(at, message, "leave it out: FSDP alone spreads the model as well")


@rule("LR494")
def family_whose_layers_are_not_split(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the layers of the model can be split.

    ## Why is this bad?
    Transformers says family by family which weights are split by rows and which by columns. Of some it does not, and
    parts of experts cannot be put into checkpoints. Training would stop once the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: {architecture: {family: gpt2, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    distributed: {kind: fsdp, tensor_parallel_size: 2}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: {architecture: {family: llama, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    distributed: {kind: fsdp, tensor_parallel_size: 2}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    known, (_, tensor, _) = case.architecture, _degrees(case.recipe)
    if tensor > 1 and known is not None and not known.splits:
        others = ", ".join(sorted(name for name in families() if architectures()[name].splits))
        message = f"the layers of the family `{case.family}` cannot be split"
        yield Finding(TENSOR, message, f"leave it out, or use a model of {others}")


@rule("LR495")
def option_that_needs_whole_layers(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that layers which are split over devices are not used with what needs them whole.

    ## Why is this bad?
    DoRA measures whole columns, quantized weights are packed, Muon orthogonalizes whole matrices, Triton kernels and
    compiled code are not made for parts of layers, and what FSDP offloads, recomputes or lets one process read is not
    there when the layers are split. Copies of shares (`hybrid`) are not tried with it.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: dora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, tensor_parallel_size: 2}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, tensor_parallel_size: 2}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    recipe, (strategy, tensor, _) = case.recipe, _degrees(case.recipe)
    if strategy is None or tensor == 1:
        return
    wrong = {
        "model.adapter.kind": isinstance(recipe.model.adapter, DoRA),
        "model.quantization.kind": not isinstance(recipe.model.quantization, Unquantized),
        "training.optimizer.kind": isinstance(recipe.training.optimizer, Muon),
        "training.kernels": recipe.training.kernels != "none",
        "training.torch_compile": recipe.training.torch_compile,
        "training.neftune_noise_alpha": recipe.training.neftune_noise_alpha is not None,
        "distributed.sharding": strategy.sharding == "hybrid",
        "distributed.cpu_offload": strategy.cpu_offload,
        "distributed.activation_checkpointing": strategy.activation_checkpointing,
        "distributed.cpu_ram_efficient_loading": strategy.cpu_ram_efficient_loading,
    }
    for at, found in wrong.items():
        if found:
            message = f"`{at.removesuffix('.kind').rpartition('.')[2]}` is not trained with layers that are split"
            yield Finding(at, message, "leave out one of the two: this, or `distributed.tensor_parallel_size`")


@rule("LR496")
def packed_rows_in_shares(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that sequences which are shared out over devices hold one document each.

    ## Why is this bad?
    Attention over shares of a sequence knows one mask: every token sees all before it. Packed documents would see each
    other, and nothing would say so. `pretrain` packs when `data.packing` is left out.

    ## Example
    ```yaml
    version: 1
    name: long
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    training: {max_length: 32768}
    distributed: {kind: fsdp, context_parallel_size: 4}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: long
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}], packing: none}
    method: {kind: pretrain}
    training: {max_length: 32768}
    distributed: {kind: fsdp, context_parallel_size: 4}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    data, method, (_, _, context) = case.recipe.data, case.recipe.method, _degrees(case.recipe)
    if context == 1 or data is None or method is None or method.kind not in METHODS:
        return
    packs = isinstance(method, Pretrain) and data.curriculum is None
    if data.packing != "none" and (data.packing is not None or packs):
        at = "data.packing" if data.packing is not None else CONTEXT
        yield Finding(at, "packed documents would see each other in shared sequences", "set `data.packing: none`")


@rule("LR497")
def attention_of_whole_sequences(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that attention over shared sequences is `sdpa`.

    ## Why is this bad?
    PyTorch passes keys and values around for its own attention alone. With another one, Transformers refuses in the
    first step.

    ## Example
    ```yaml
    version: 1
    name: long
    model: {base: Qwen/Qwen3-8B, attention: flash_attention_2}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 32768}
    distributed: {kind: fsdp, context_parallel_size: 4}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: long
    model: {base: Qwen/Qwen3-8B, attention: sdpa}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 32768}
    distributed: {kind: fsdp, context_parallel_size: 4}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    attention, (_, _, context) = case.recipe.model.attention, _degrees(case.recipe)
    if context > 1 and attention != "sdpa":
        yield Finding("model.attention", f"`{attention}` cannot be computed over shared sequences", "use `sdpa`")


@rule("LR498")
def family_of_whole_sequences(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the attention of a model whose sequences are shared out is that of every token to all before it.

    ## Why is this bad?
    Sliding windows, biases and attention in both directions are masks, which attention over shares of a sequence does
    not know. Accelerate drops them; where it notices, it refuses, and else the model learns another attention.

    ## Example
    ```yaml
    version: 1
    name: long
    model: {base: google/gemma-3-1b-it}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 16384}
    distributed: {kind: fsdp, context_parallel_size: 4}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: long
    model: {base: Qwen/Qwen3-1.7B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 16384}
    distributed: {kind: fsdp, context_parallel_size: 4}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    known, (_, _, context) = case.architecture, _degrees(case.recipe)
    if context > 1 and known is not None and not known.shares:
        others = ", ".join(sorted(name for name in families() if architectures()[name].shares))
        message = f"sequences of the family `{case.family}` cannot be shared out"
        yield Finding(CONTEXT, message, f"leave it out, or use a model of {others}")


@rule("LR499")
def option_that_needs_whole_sequences(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that sequences which are shared out are not used with what needs them whole.

    ## Why is this bad?
    NEFTune scales its noise by the length of a sequence, of which each device would know its share. Compiled code and
    Triton kernels are not made for attention that is exchanged while it is computed; DoRA, quantized weights,
    FSDP's own recomputation (`training.gradient_checkpointing` is) and `hybrid` are not tried with it. And where layers
    are split as well, devices that recompute them wait for each other for ever.

    ## Example
    ```yaml
    version: 1
    name: long
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 32768, neftune_noise_alpha: 5}
    distributed: {kind: fsdp, context_parallel_size: 4}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: long
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 32768}
    distributed: {kind: fsdp, context_parallel_size: 4}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    model, training, (strategy, tensor, context) = case.recipe.model, case.recipe.training, _degrees(case.recipe)
    if strategy is None or context == 1:
        return
    if tensor > 1:  # LR495 has said what else needs whole layers.
        message = "sequences are not shared out over devices that split layers"
        yield Finding(CONTEXT, message, f"leave out one of the two: this, or `{TENSOR}`")
        return
    wrong = {
        "model.adapter.kind": isinstance(model.adapter, DoRA),
        "model.quantization.kind": not isinstance(model.quantization, Unquantized),
        "training.torch_compile": training.torch_compile,
        "training.kernels": training.kernels != "none",
        "training.neftune_noise_alpha": training.neftune_noise_alpha is not None,
        "distributed.sharding": strategy.sharding == "hybrid",
        "distributed.activation_checkpointing": strategy.activation_checkpointing,
    }
    for at, found in wrong.items():
        if found:
            message = f"`{at.removesuffix('.kind').rpartition('.')[2]}` is not trained over shares of sequences"
            yield Finding(at, message, f"leave out one of the two: this, or `{CONTEXT}`")
