"""LR2: what the classes of a family cannot do in training."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Drop, Finding, rule

NOT_RECOMPUTED = ("albert", "mpnet")
"""Families whose classes in Transformers 5.23 have no `supports_gradient_checkpointing`."""


@rule("LR232")
def family_that_recomputes_nothing(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the activations of the model can be recomputed where `training.gradient_checkpointing` asks for it.

    ## Why is this bad?
    Transformers refuses to for ALBERT and MPNet, once the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: fill
    model: {base: ./albert}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    training: {gradient_checkpointing: true, per_device_train_batch_size: 4}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: fill
    model: {base: ./albert}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: mlm}
    training: {per_device_train_batch_size: 4}
    ```
    """
    recipe, at = case.recipe, "training.gradient_checkpointing"
    if recipe.method is not None and recipe.training.gradient_checkpointing and case.family in NOT_RECOMPUTED:
        message = f"models of the family `{case.family}` cannot recompute their activations"
        help_ = "leave it out; a smaller `per_device_train_batch_size` needs less memory too"
        yield Finding(at, message, help_, on_key=True, fix=Drop(at), safe=False)
