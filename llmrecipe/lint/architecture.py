"""LR2: the shape of a model from scratch."""

from collections.abc import Iterator

from llmrecipe.facts import families
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.model import FromScratch
from llmrecipe.vocabulary import Architecture

SHAPE = "model.base.architecture"


def _architecture(recipe: Recipe) -> Architecture | None:
    return recipe.model.base.architecture if isinstance(recipe.model.base, FromScratch) else None


@rule("LR206")
def heads_that_do_not_divide_the_hidden_size(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `hidden_size` is a multiple of `num_attention_heads`, unless the family lets `head_dim` be chosen.

    ## Why is this bad?
    The width of a head would not be a whole number.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 6}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 96, num_hidden_layers: 2, num_attention_heads: 6}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```
    """
    shape = _architecture(case.recipe)
    if shape is None or shape.hidden_size % shape.num_attention_heads == 0:
        return
    free = not families()[shape.family].heads_divide_hidden_size
    if shape.head_dim is None or not free:
        message = f"a hidden size of {shape.hidden_size} is not divisible by {shape.num_attention_heads} heads"
        nearest = max(1, round(shape.hidden_size / shape.num_attention_heads)) * shape.num_attention_heads
        help_ = f"use {nearest}, or another number of heads" + (", or write `head_dim`" if free else "")
        yield Finding(f"{SHAPE}.hidden_size", message, help_)


@rule("LR207")
def key_value_heads_that_do_not_divide_the_heads(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `num_attention_heads` is a multiple of `num_key_value_heads`.

    ## Why is this bad?
    In grouped-query attention each key-value head serves the same number of heads.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base:
        architecture:
          {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 3}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model:
      base:
        architecture:
          {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```
    """
    shape = _architecture(case.recipe)
    if shape is None or shape.num_key_value_heads is None:
        return
    heads, groups = shape.num_attention_heads, shape.num_key_value_heads
    if heads % groups:
        divisors = ", ".join(str(n) for n in range(1, min(heads, 128) + 1) if heads % n == 0)
        message = f"{heads} heads cannot share {groups} key-value heads evenly"
        yield Finding(f"{SHAPE}.num_key_value_heads", message, f"use one of {divisors}")


@rule("LR208")
def option_not_of_the_family(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every option of an `architecture` exists in the family.

    ## Why is this bad?
    It would have no effect: GPT-2, for instance, has neither key-value heads nor rotary positions.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base:
        architecture:
          {family: gpt2, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
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
    ```
    """
    shape = _architecture(case.recipe)
    if shape is None:
        return
    known = families()[shape.family].fields
    for name in sorted(shape.model_fields_set - {"family"}):
        if name not in known and getattr(shape, name) is not None:
            others = ", ".join(f"`{other}`" for other, family in families().items() if name in family.fields)
            message = f"models of the family `{shape.family}` have no `{name}`"
            yield Finding(f"{SHAPE}.{name}", message, f"leave it out, or use one of {others}", on_key=True)


@rule("LR209")
def odd_head_dim(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the width of a head is even in families with rotary positions.

    ## Why is this bad?
    Rotary positions turn pairs of numbers; the model cannot run with an odd one left over.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 60, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```
    """
    shape = _architecture(case.recipe)
    if shape is None or "rope_theta" not in families()[shape.family].fields:
        return
    width = shape.head_dim or shape.hidden_size // shape.num_attention_heads
    if width % 2:
        at = f"{SHAPE}.head_dim" if shape.head_dim else f"{SHAPE}.hidden_size"
        yield Finding(at, f"a head of width {width} cannot have rotary positions", "make the width of a head even")
