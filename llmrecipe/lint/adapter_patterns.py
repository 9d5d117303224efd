"""LR2: what an adapter names and does not reach, or cannot hold."""

import re
from collections.abc import Iterator
from math import sqrt

from llmrecipe.facts import ArchitectureFacts, accelerators, architectures, models
from llmrecipe.lint.figures import first
from llmrecipe.lint.rule import Case, Drop, Finding, Put, rule
from llmrecipe.methods.reward import Reward
from llmrecipe.recipe import Recipe
from llmrecipe.vocabulary import DoRA, Full, LoRA, Unquantized

AT = ("model", "adapter")


def adapter_of(recipe: Recipe) -> LoRA | DoRA | None:
    adapter = recipe.model.adapter
    return None if isinstance(adapter, Full) else adapter


def targets_of(adapter: LoRA | DoRA, case: Case) -> list[str] | None:
    """Names of the layers that get an update, as far as they are known; None where they are not."""
    if not isinstance(adapter.target_modules, str):
        return adapter.target_modules
    known = case.architecture
    return None if known is None else [*known.linear, *known.outside, *known.renamed]


def embeddings_of(case: Case) -> set[str]:
    """Names of the embeddings of the base; of all families where that of the base is not known."""
    known = architectures().values() if case.architecture is None else (case.architecture,)
    return {name for family in known for name in family.embeddings}


def reaches(adapter: LoRA | DoRA, known: ArchitectureFacts) -> bool:
    """Whether the adapter updates weights that are no layers: the experts of a mixture."""
    named = known.renamed if isinstance(adapter.target_modules, str) else map(last_word, adapter.target_modules)
    experts = {last_word(name) for name in known.experts}
    return bool(adapter.target_parameters) or any(known.renamed.get(name) in experts for name in named)


def last_word(name: str) -> str:
    """The name of a layer without what leads to it."""
    return name.rpartition(".")[2]


def patterns_of(adapter: LoRA | DoRA) -> Iterator[tuple[str, str]]:
    """Every key of the two patterns, with the field that it is in."""
    yield from (("rank_pattern", key) for key in adapter.rank_pattern)
    yield from (("alpha_pattern", key) for key in adapter.alpha_pattern)


def broken(pattern: str) -> str | None:
    """Why a text is no regular expression; None when it is one."""
    try:
        re.compile(rf"(.*\.)?({pattern})$")
    except re.error as error:
        return error.msg
    return None


@rule("LR215")
def token_beyond_the_vocabulary(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `trainable_token_indices` are ids that the embedding of the model has, where its size is known.

    ## Why is this bad?
    PEFT reads these rows of the embedding when it puts the adapter on, and stops with an `IndexError` after the model
    is loaded.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, trainable_token_indices: [151936]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, trainable_token_indices: [151644]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, base = adapter_of(case.recipe), first(case.recipe)
    facts = models().get(base) if isinstance(base, str) else None
    if adapter is None or facts is None:
        return
    for i, token in enumerate(adapter.trainable_token_indices):
        if token >= facts.vocab_size:
            message = f"the embedding of {base} has {facts.vocab_size:,} rows, numbered from 0"
            yield Finding((*AT, "trainable_token_indices", i), message, f"use at most {facts.vocab_size - 1}")


@rule("LR216")
def adapter_that_excludes_itself(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `exclude_modules` leaves some of the layers that `target_modules` names.

    ## Why is this bad?
    Nothing would get an update; PEFT stops after the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, target_modules: [q_proj], exclude_modules: [q_proj]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, target_modules: [q_proj, v_proj], exclude_modules: [v_proj]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = adapter_of(case.recipe)
    targets = None if adapter is None else targets_of(adapter, case)
    if adapter is None or not targets or not adapter.exclude_modules or adapter.target_parameters:
        return
    if all(last_word(name) in adapter.exclude_modules for name in targets):
        message = f"all of {', '.join(f'`{name}`' for name in targets)} are left out again"
        yield Finding((*AT, "exclude_modules"), message, "exclude fewer, or name others in `target_modules`")


@rule("LR217", "warning")
def rank_beyond_the_layer(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the rank of an adapter is below the hidden size of the model, where it is known.

    ## Why is this bad?
    An update of full rank has more numbers than the layer itself: training all weights is cheaper. Source:
    https://arxiv.org/abs/2106.09685, section 4.2

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, r: 1024, lora_alpha: 1024}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, r: 64, lora_alpha: 64}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, base = adapter_of(case.recipe), first(case.recipe)
    facts = models().get(base) if isinstance(base, str) else None
    if adapter is None or facts is None:
        return
    ranks: list[tuple[tuple[str, ...], int]] = [((*AT, "r"), adapter.r)]
    ranks += [((*AT, "rank_pattern", name), rank) for name, rank in adapter.rank_pattern.items()]
    for at, rank in ranks:
        if rank >= facts.hidden_size:
            message = f"a rank of {rank:,} is not below the hidden size of {base}, {facts.hidden_size:,}"
            yield Finding(at, message, f"use {max(8, facts.hidden_size // 16)}, or train every weight")


@rule("LR218")
def module_that_is_not_there(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `modules_to_save` names modules that the family of the base has, where it is known: embeddings, layers,
    norms and the output head, which a reward model calls `score`.

    ## Why is this bad?
    PEFT trains what it finds and says nothing of what it does not: the run goes on as if the entry were not there.
    Source: measured with PEFT 0.21; `modules_to_save: [lmhead]` trains the same numbers as none.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, modules_to_save: [lmhead]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, modules_to_save: [lm_head]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, known, reward = adapter_of(case.recipe), case.architecture, isinstance(case.recipe.method, Reward)
    if adapter is None or known is None:
        return
    head = "score" if reward else known.output
    modules = known.modules - {known.output} | {head}
    for i, name in enumerate(adapter.modules_to_save):
        word = last_word(name)
        if word and any(module.endswith(word) for module in modules):  # As PEFT looks for them.
            continue
        at = (*AT, "modules_to_save", i)
        if word == known.output:
            help_ = "leave it out: the head of a reward model is `score`, and it is trained by itself"
            yield Finding(at, f"a reward model has no `{word}`", help_, fix=Drop(at))
        else:
            others = ", ".join((*known.embeddings, head))
            message = f"models of the family `{case.family}` have no `{word}`"
            yield Finding(at, message, f"use one of {others}, or the name of a layer")


@rule("LR219", "warning")
def frozen_base_in_float32(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the base under an adapter is not held in `float32` when training computes in 16 bits.

    ## Why is this bad?
    The base does not change, and is rounded to 16 bits wherever it computes: twice the memory for nothing. Source:
    https://arxiv.org/abs/2106.09685

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, dtype: float32, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: h100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, dtype: bfloat16, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: h100-80gb}
    ```
    """
    recipe = case.recipe
    preset = accelerators().get(recipe.hardware.accelerator)
    if adapter_of(recipe) is None or recipe.model.dtype != "float32" or preset is None:
        return
    precision = recipe.training.precision
    if precision == "auto":
        precision = "bfloat16" if preset.bfloat16 and preset.memory else "float32"
    if isinstance(recipe.model.quantization, Unquantized) and precision != "float32":
        parameters = case.figures.parameters if case.figures else None
        size = f": {4e-9 * parameters:.1f} GB instead of {2e-9 * parameters:.1f}" if parameters else ""
        message = f"the frozen base takes twice the memory that `{precision}` needs{size}"
        help_ = "leave out `dtype`, which takes that of the checkpoint"
        yield Finding("model.dtype", message, help_, fix=Drop("model.dtype"), safe=False)


@rule("LR220", "warning")
def unusual_scale_of_a_pattern(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the scale of every layer that `rank_pattern` or `alpha_pattern` names lies between 0.1 and 8, as LR222
    does for the rest.

    ## Why is this bad?
    A rank of its own keeps `lora_alpha`, so that the update of that layer is scaled otherwise than all others: 16 times
    less at a rank that is 16 times as large. Source: https://arxiv.org/abs/2312.03732

    ## Example
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, r: 8, lora_alpha: 8, rank_pattern: {down_proj: 256}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, r: 8, lora_alpha: 8, rank_pattern: {down_proj: 256}, alpha_pattern: {down_proj: 256}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = adapter_of(case.recipe)
    if adapter is None:
        return
    for name in dict.fromkeys((*adapter.rank_pattern, *adapter.alpha_pattern)):
        rank = adapter.rank_pattern.get(name, adapter.r)
        alpha = adapter.alpha_pattern.get(name, adapter.lora_alpha)
        scale = alpha / (sqrt(rank) if adapter.use_rslora else rank)
        if not 0.1 <= scale <= 8:
            field = "alpha_pattern" if name in adapter.alpha_pattern else "rank_pattern"
            wanted = round(sqrt(rank)) if adapter.use_rslora else rank
            change = Put((*AT, "alpha_pattern", name), wanted)
            message = f"the update of `{name}` is scaled by {scale:.3g}"
            help_ = f"write `alpha_pattern: {{{name}: {wanted}}}`"
            yield Finding((*AT, field, name), message, help_, fix=change, safe=False)


@rule("LR226", "warning")
def experts_left_out(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that an adapter on a mixture of experts reaches the experts: by `target_parameters`, or, in families that
    PEFT knows, by `all-linear` or the names that their projections had before they became one weight.

    ## Why is this bad?
    The experts hold most of the model. Names of attention layers alone leave them as they are, and what they know
    cannot change; in families such as GPT-OSS, `all-linear` does. Source: measured with PEFT 0.21;
    https://github.com/unslothai/unsloth/issues/3405

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base:
        architecture: {family: qwen3_moe, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_experts: 8}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ---
    version: 1
    name: style
    model: {base: {recipe: tiny}, adapter: {kind: lora, target_modules: [q_proj, k_proj, v_proj, o_proj]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model:
      base:
        architecture: {family: qwen3_moe, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_experts: 8}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ---
    version: 1
    name: style
    model: {base: {recipe: tiny}, adapter: {kind: lora, target_modules: all-linear}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, known = adapter_of(case.recipe), case.architecture
    if adapter is None or known is None or not known.experts or not adapter.target_modules or reaches(adapter, known):
        return
    help_ = f"add `target_parameters: [{', '.join(known.experts)}]`"
    if isinstance(adapter.target_modules, str):
        message = f"the experts get no update: those of `{case.family}` are weights, which `all-linear` passes over"
    else:
        named = ", ".join(f"`{last_word(name)}`" for name in adapter.target_modules)
        message = f"the experts get no update: {named} are no weights of theirs"
        help_ += ", or write `all-linear`" if known.renamed else ""
    yield Finding((*AT, "target_modules"), message, help_)


@rule("LR229")
def broken_pattern_of_layers(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the keys of `rank_pattern` and `alpha_pattern` are regular expressions of Python.

    ## Why is this bad?
    PEFT matches the names of all layers with them, and stops with an error of the `re` module after the model is
    loaded.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, rank_pattern: {"(q_proj": 32}}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, rank_pattern: {"q_proj": 32}}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = adapter_of(case.recipe)
    for field, key in patterns_of(adapter) if adapter is not None else ():
        if (why := broken(key)) is not None:
            message = f"`{key}` is not a regular expression: {why}"
            yield Finding((*AT, field, key), message, "write the name of a layer", on_key=True)
