"""LR3 and others: masked language models, which read both sides and cannot speak."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Drop, Finding, rule
from llmrecipe.methods.mlm import MLM
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.evaluation import MaskedAccuracy
from llmrecipe.vocabulary import Head, RecipeReference


def head_of_base(case: Case) -> Head | None:
    """What the base of a recipe ends in; None when nothing offline says it."""
    recipe = _beginning(case)
    if recipe is None:
        return None
    if recipe is not case.recipe and recipe.method is not None:
        return recipe.method.head
    if case.figures is None and case.recipe.method is None:
        return None  # A folder holds a model of its family with any head, which training would replace.
    return case.architecture.head if case.architecture is not None else None


def _beginning(case: Case) -> Recipe | None:
    """The recipe that the base comes from: the nearest one with a method or with a base of its own."""
    recipe, seen = case.recipe, {case.recipe.name}
    while isinstance(recipe.model.base, RecipeReference) and (recipe is case.recipe or recipe.method is None):
        name = recipe.model.base.name
        if name in seen or name not in case.recipes:
            return None
        seen.add(name)
        recipe = case.recipes[name]
    return recipe


def _result_head(case: Case) -> Head | None:
    """What the model of a recipe ends in."""
    return case.recipe.method.head if case.recipe.method is not None else head_of_base(case)


@rule("LR360")
def base_of_another_direction(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `mlm` trains an encoder, and that every other method trains a decoder.

    ## Why is this bad?
    A decoder sees only what stands before a token, so that it cannot guess it from both sides; an encoder sees what it
    would have to predict.

    ## Example
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    ```
    """
    method, head = case.recipe.method, head_of_base(case)
    if method is None or head is None:
        return
    if method.head == "masked" and head != "masked":
        help_ = "use a base such as `answerdotai/ModernBERT-base`, or a family such as `bert`; or `pretrain`"
        yield Finding("model.base", "`mlm` needs an encoder, and this base is a decoder", help_)
    elif method.head != "masked" and head == "masked":
        message = f"`{method.kind}` needs a decoder, and this base is an encoder"
        yield Finding("model.base", message, "use a decoder, or the method `mlm`")


@rule("LR361")
def replacements_beyond_all(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `mask_replace_prob` and `random_replace_prob` are at most 1 together.

    ## Why is this bad?
    They are shares of the same tokens.

    ## Example
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm, mask_replace_prob: 0.9, random_replace_prob: 0.2}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm, mask_replace_prob: 0.9, random_replace_prob: 0.1}
    ```
    """
    method = case.recipe.method
    if not isinstance(method, MLM):
        return
    total = method.mask_replace_prob + method.random_replace_prob
    if total > 1 + 1e-9:
        at = next(n for n in ("random_replace_prob", "mask_replace_prob") if n in method.model_fields_set)
        message = f"{total:.3g} of the hidden tokens would be replaced"
        yield Finding(f"method.{at}", message, "lower one of the two; what is left of 1 is seen as it is")


@rule("LR362")
def serving_an_encoder(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a masked language model is not served.

    ## Why is this bad?
    It fills gaps and does not write answers, which is what the servers do.

    ## Example
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    serving: {kind: transformers}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    ```
    """
    if case.recipe.serving is not None and _result_head(case) == "masked":
        message = "a masked language model does not write answers"
        yield Finding("serving", message, "leave out `serving`", on_key=True)


@rule("LR363", "warning")
def template_of_an_encoder(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no chat template is written for `mlm`.

    ## Why is this bad?
    It learns from plain text; nothing reads the template.

    ## Example
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000, chat_template: chatml}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    ```
    """
    tokenizer = case.recipe.tokenizer
    written = "chat_template" in tokenizer.model_fields_set and tokenizer.chat_template is not None
    if isinstance(case.recipe.method, MLM) and written:
        at = "tokenizer.chat_template"
        yield Finding(at, "`mlm` learns from plain text", "leave it out", on_key=True, fix=Drop(at))


@rule("LR130")
def packing_through_a_window(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `mlm` packs rows only where they can be kept apart: not in families whose layers see a window, such as
    `modernbert`, and not with FlashAttention.

    ## Why is this bad?
    Documents of one sequence are kept apart by a mask of blocks. Such a mask takes the place of the window, and
    FlashAttention takes none.

    ## Example
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: modernbert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}], packing: bfd_split}
    method: {kind: mlm}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: modernbert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}], packing: none}
    method: {kind: mlm}
    ```
    """
    recipe = case.recipe
    data = recipe.data
    if not isinstance(recipe.method, MLM) or data is None or data.packing in (None, "none"):
        return
    if case.architecture is not None and case.architecture.sliding:
        message = f"layers of `{case.family}` see a window, which a mask for packed rows would replace"
        yield Finding("data.packing", message, "use `none`, or the family `bert`")
    elif recipe.model.attention not in ("sdpa", "eager"):
        message = f"`{recipe.model.attention}` takes no mask that keeps packed rows apart on both sides"
        yield Finding("data.packing", message, "use `none`, or `model.attention: sdpa`")


@rule("LR520")
def suite_for_another_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a masked language model is measured by `masked_accuracy` alone, and that no other model is.

    ## Why is this bad?
    An encoder does not write answers, and its losses are no perplexity; a decoder has no mask token.

    ## Example
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      validation: {fraction: 0.1}
    method: {kind: mlm}
    evaluation: {suites: [{kind: perplexity}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: encoder
    model:
      base: {architecture: {family: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: wordpiece, vocab_size: 1000}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      validation: {fraction: 0.1}
    method: {kind: mlm}
    evaluation: {suites: [{kind: masked_accuracy}]}
    ```
    """
    head = _result_head(case)
    if head is None or case.recipe.evaluation is None:
        return
    for i, suite in enumerate(case.recipe.evaluation.suites):
        fits = isinstance(suite, MaskedAccuracy) == (head == "masked")
        if not fits and head == "masked":
            message = f"`{suite.kind}` measures models that write text"
            yield Finding(f"evaluation.suites.{i}.kind", message, "use `masked_accuracy`")
        elif not fits:
            message = "`masked_accuracy` measures models that were trained with `mlm`"
            yield Finding(f"evaluation.suites.{i}.kind", message, "use `perplexity` or `generation`")
