"""LR2: how attention is computed, and what cannot compute it that way."""

from collections.abc import Iterator

from llmrecipe.facts import models
from llmrecipe.lint.rule import Case, Finding, Put, rule
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.model import FromScratch

WITHOUT_FLEX = ("falcon", "gpt2")
"""Causal families whose Transformers code has no flex attention."""


def family(recipe: Recipe) -> str | None:
    """The `model_type` of the base, where the recipe or the table of published models says it."""
    base = recipe.model.base
    if isinstance(base, FromScratch):
        return base.architecture.family
    facts = models().get(base) if isinstance(base, str) else None
    return None if facts is None else facts.family


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


@rule("LR231")
def flex_attention_not_of_the_family(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the family of the model has flex attention.

    ## Why is this bad?
    The model does not load.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: gpt2, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
      attention: flex_attention
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    hardware: {accelerator: h100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: gpt2, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
      attention: sdpa
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    hardware: {accelerator: h100-80gb}
    ```
    """
    found = family(case.recipe)
    if case.recipe.model.attention == "flex_attention" and found in WITHOUT_FLEX:
        yield Finding("model.attention", f"models of the family `{found}` have no flex attention", "use `sdpa`")


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
