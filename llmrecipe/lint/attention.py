"""LR2: how attention is computed, and what cannot compute it that way."""

from collections.abc import Iterator

from llmrecipe.facts import ArchitectureFacts
from llmrecipe.lint.rule import Case, Finding, Put, rule
from llmrecipe.vocabulary import Attention

FLAGS: dict[Attention, str] = {
    "sdpa": "sdpa",
    "flex_attention": "flex",
    "flash_attention_2": "flash",
    "flash_attention_3": "flash",
}
"""What the table of architectures calls an implementation; all families have `eager`."""


@rule("LR230")
def flex_attention_on_a_processor(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `flex_attention` is not trained on `cpu`.

    ## Why is this bad?
    PyTorch computes it forward there, and stops in the first backward pass.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: flex_attention}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: cpu}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: sdpa}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: cpu}
    ```
    """
    recipe = case.recipe
    flex = recipe.model.attention == "flex_attention"
    if flex and recipe.method is not None and recipe.hardware.accelerator == "cpu":
        yield Finding("model.attention", "`flex_attention` has no backward pass on a processor", "use `sdpa`")


def has(architecture: ArchitectureFacts, attention: Attention) -> bool:
    """Whether Transformers computes the attention of a family this way, or as a kernel that it takes in its place."""
    if attention.startswith("flash") and "kernel" in architecture.attention:
        return True
    return attention == "eager" or FLAGS[attention] in architecture.attention


@rule("LR231")
def attention_not_of_the_family(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that Transformers computes the attention of the model as `model.attention` says, or by `sdpa` when it is left
    out.

    ## Why is this bad?
    The model does not load. Some families cap their scores or let attention go nowhere, which not every implementation
    can: Gemma 2 and GPT-OSS have no `sdpa`. Source: `_supports_sdpa` and its like of the classes in Transformers 5.23.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: google/gemma-2-2b-it}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: google/gemma-2-2b-it, attention: eager}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    recipe, known, attention = case.recipe, case.architecture, case.recipe.model.attention
    computed = recipe.method is not None or bool(recipe.evaluation)
    if known is None or not computed or has(known, attention):
        return
    others = [name for name, flag in FLAGS.items() if flag in known.attention and name != "flash_attention_3"]
    if recipe.hardware.accelerator == "cpu":
        others = [name for name in others if name == "sdpa"]
    help_ = f"use {' or '.join(f'`{name}`' for name in ('eager', *others))}"
    change = Put("model.attention", "sdpa" if "sdpa" in others else "eager")
    message = f"models of the family `{case.family}` have no `{attention}`"
    yield Finding("model.attention", message, help_, fix=change, safe=False)


SCORES_ARE_MUCH = 8e9
"""Bytes of attention scores of one layer of which a rule speaks."""


@rule("LR347", "warning")
def eager_attention_over_long_rows(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `eager` attention does not hold more than 8 GB of scores of one layer in memory.

    ## Why is this bad?
    It writes down what every token thinks of every other, for every head and row, in `float32` and in the type of
    the model: memory grows with the square of `training.max_length`. `sdpa` and FlashAttention never hold them.
    Source: https://arxiv.org/abs/2205.14135

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: eager}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 16384, per_device_train_batch_size: 1}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: sdpa}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 16384, per_device_train_batch_size: 1}
    ```
    """
    recipe, figures = case.recipe, case.figures
    if recipe.model.attention != "eager" or recipe.method is None or figures is None:
        return
    rows, length = recipe.training.per_device_train_batch_size, recipe.training.max_length
    scores = 6.0 * rows * figures.heads * length**2
    if scores > SCORES_ARE_MUCH:
        message = f"{rows} rows of {length:,} tokens with {figures.heads} heads have {scores / 1e9:,.0f} GB of scores"
        yield Finding("model.attention", message, "use `sdpa`", fix=Put("model.attention", "sdpa"), safe=False)
