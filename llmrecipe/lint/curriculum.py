"""LR1: the order of rows."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.methods.mlm import MLM
from llmrecipe.recipe.data import ByColumn, ByPerplexity


@rule("LR131")
def packed_curriculum(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that rows with a curriculum are not packed.

    ## Why is this bad?
    Packing fills sequences by the lengths of rows, so that easy and hard ones share a sequence and there is no order
    left.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      curriculum: {kind: length}
      packing: bfd

    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      curriculum: {kind: length}
      packing: none

    method: {kind: sft}
    ```
    """
    data = case.recipe.data
    if data is not None and data.curriculum is not None and data.packing not in (None, "none"):
        yield Finding("data.packing", "packed rows have no order", "use `none`, or leave out `curriculum`")


@rule("LR132")
def curriculum_and_grouping(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `training.group_by_length` is not written with a curriculum.

    ## Why is this bad?
    Both say in which order rows come.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      curriculum: {kind: length}

    method: {kind: sft}
    training: {group_by_length: true}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      curriculum: {kind: length}

    method: {kind: sft}
    ```
    """
    recipe = case.recipe
    if recipe.data is not None and recipe.data.curriculum is not None and recipe.training.group_by_length:
        message = "the curriculum says in which order rows come"
        yield Finding("training.group_by_length", message, "leave out one of the two", on_key=True)


@rule("LR133")
def perplexity_of_hidden_tokens(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `mlm` has no curriculum by `perplexity`.

    ## Why is this bad?
    Perplexity is the surprise of a model that reads from left to right; an encoder has none.

    ## Example
    ```yaml
    version: 1
    name: encoder
    model: {base: answerdotai/ModernBERT-base}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      curriculum: {kind: perplexity, model: Qwen/Qwen3-0.6B}
    method: {kind: mlm}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: encoder
    model: {base: answerdotai/ModernBERT-base}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      curriculum: {kind: length}
    method: {kind: mlm}
    ```
    """
    recipe = case.recipe
    by_perplexity = recipe.data is not None and isinstance(recipe.data.curriculum, ByPerplexity)
    if isinstance(recipe.method, MLM) and by_perplexity:
        message = "an encoder has no perplexity, and other models have other tokens"
        yield Finding("data.curriculum.kind", message, "use `length` or `column`")


@rule("LR134")
def order_by_a_text(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a curriculum by `column` does not name a column that the format reads as text.

    ## Why is this bad?
    It must hold a number in every row.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      curriculum: {kind: column, column: messages}

    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      curriculum: {kind: column, column: difficulty}

    method: {kind: sft}
    ```
    """
    data = case.recipe.data
    if data is None or not isinstance(data.curriculum, ByColumn):
        return
    column = data.curriculum.column
    for source in data.train:
        if column in READ[source.format] and source.columns.get(column, column) == column:
            message = f"`{column}` is what `{source.format}` learns from, and no number"
            yield Finding("data.curriculum.column", message, "name a column that holds a number in every row")
            return


READ: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "messages": ("messages",),
    "conversations": ("conversations",),
    "instruction": ("instruction", "input", "output"),
    "prompt_completion": ("prompt", "completion"),
    "preference": ("prompt", "chosen", "rejected"),
    "unpaired_preference": ("prompt", "completion", "label"),
    "prompt": ("prompt", "reference"),
    "question": ("question", "reference"),
}
"""Format -> its own columns."""
