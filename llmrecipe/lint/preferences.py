"""LR3 and LR5: reward models, methods that learn from preferences, distillation."""

from collections.abc import Iterator

from llmrecipe.facts import models
from llmrecipe.lint.figures import embeddings, first
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.lint.sources import row_kind
from llmrecipe.methods.cpo import CPO
from llmrecipe.methods.distillation import Distillation
from llmrecipe.methods.dpo import DPO
from llmrecipe.methods.kto import KTO
from llmrecipe.methods.reference import ReferenceMethod
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.evaluation import Perplexity, PreferenceAccuracy
from llmrecipe.recipe.tokenizer import TrainTokenizer
from llmrecipe.vocabulary import Full, Head, RecipeReference, is_path

DIFFERENCES = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft")
"""Losses of DPO that go with every `f_divergence_type`."""

SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""Losses of DPO that know `label_smoothing`."""

SHAPE = {
    "family": "model_type",
    **{name: name for name in ("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size")},
    "tie_word_embeddings": "tie_word_embeddings",
}
"""What decides which weights a model has: its name in the facts of published models, and in a `config.json`."""


def _origin(case: Case, recipe: Recipe) -> Recipe:
    """The recipe at the end of the chain of bases."""
    seen = {recipe.name}
    while isinstance(recipe.model.base, RecipeReference):
        base = case.recipes.get(recipe.model.base.name)
        if base is None or base.name in seen:
            break
        seen.add(base.name)
        recipe = base
    return recipe


def _head(case: Case, recipe: Recipe) -> Head:
    """What the exported model of a recipe ends in."""
    seen: set[str] = set()
    while recipe.method is None and isinstance(recipe.model.base, RecipeReference) and recipe.name not in seen:
        seen.add(recipe.name)
        recipe = case.recipes.get(recipe.model.base.name, recipe)
    return "causal" if recipe.method is None else recipe.method.head


@rule("LR310")
def kto_batch_of_one(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks for KTO with one row per device.

    ## Why is this bad?
    KTO estimates the KL by giving prompts the answers to other prompts of the same batch. With one row there is no
    other prompt, and the trainer stops after the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [answers.jsonl], format: unpaired_preference}]}
    method: {kind: kto}
    training: {per_device_train_batch_size: 1}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [answers.jsonl], format: unpaired_preference}]}
    method: {kind: kto}
    training: {per_device_train_batch_size: 4}
    ```
    """
    method = case.recipe.method
    estimates = isinstance(method, KTO) and method.loss_type == "kto"
    if estimates and case.recipe.training.per_device_train_batch_size == 1:
        help_ = "use 4 or more, or `method.loss_type: apo_zero_unpaired`, which needs no KL"
        yield Finding("training.per_device_train_batch_size", "`kto` needs at least two rows per device", help_)


@rule("LR322")
def reference_that_cannot_follow(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `sync_ref_model` is used where every weight is trained, without `precompute_ref_log_probs`, and with a
    reference of the same shape.

    ## Why is this bad?
    Under an adapter the reference is the base with the adapter switched off: there is no second model to follow. What
    was asked of the reference before training is not asked again when it has moved. And weights are mixed one by one.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, sync_ref_model: {every_steps: 100}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, sync_ref_model: {every_steps: 100}}
    ```
    """
    method = case.recipe.method
    if not isinstance(method, ReferenceMethod) or method.sync_ref_model is None:
        return
    if not isinstance(case.recipe.model.adapter, Full):
        message = "the reference of an adapter is its base, which does not follow"
        yield Finding("method.sync_ref_model", message, "leave it out, or train every weight: `adapter: {kind: full}`")
    if method.precompute_ref_log_probs:
        message = "a reference that moves cannot be asked before training"
        yield Finding("method.precompute_ref_log_probs", message, "leave out one of the two")
    ours, theirs = (
        _shape(case, case.recipe.model.base, "model.base"),
        _shape(case, method.ref_model, "method.ref_model"),
    )
    for name in SHAPE:
        if name in ours and name in theirs and ours[name] != theirs[name]:
            message = f"the reference cannot follow: its `{name}` is `{theirs[name]}`, that of the base `{ours[name]}`"
            yield Finding(
                "method.ref_model", message, "use a reference of the same shape, or leave out `sync_ref_model`"
            )
            return


def _shape(case: Case, model: object, at: str) -> dict[str, object]:
    """What is known of the shape of a published model or of one in a folder."""
    if not isinstance(model, str):
        return {}
    if is_path(model):
        written = case.configuration(model, at)
        return {name: written[key] for name, key in SHAPE.items() if key in written}
    facts = models().get(model)
    return {} if facts is None else {name: getattr(facts, name) for name in SHAPE}


@rule("LR323")
def losses_that_do_not_go_together(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks the losses of DPO against the options that change them: an `f_divergence_type` other than `reverse_kl` needs
    losses over the difference of the two answers, `use_weighting` is not for `aot`, `exo_pair` needs `label_smoothing`.

    ## Why is this bad?
    The other losses have no such form, sorted batches have no pairs to weigh, and without smoothing `exo_pair` is
    infinite. The trainer stops after the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, loss_type: apo_zero, f_divergence_type: js_divergence}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, loss_type: sigmoid, f_divergence_type: js_divergence}
    ```
    """
    method = case.recipe.method
    if not isinstance(method, DPO):
        return
    losses = [part.loss for part in method.losses]
    others = [loss for loss in losses if loss not in DIFFERENCES]
    if method.f_divergence_type != "reverse_kl" and others:
        message = f"`{others[0]}` has no form for `{method.f_divergence_type}`"
        yield Finding("method.f_divergence_type", message, f"use one of {', '.join(DIFFERENCES)}, or `reverse_kl`")
    if method.use_weighting and (sorted_ := [loss for loss in losses if loss.startswith("aot")]):
        message = f"`{sorted_[0]}` sorts the batch, so that there are no pairs to weigh"
        yield Finding("method.use_weighting", message, "leave it out, or use another loss")
    if "exo_pair" in losses and method.label_smoothing == 0:
        yield Finding(
            "method.loss_type", "`exo_pair` without `label_smoothing` is infinite", "add `label_smoothing: 0.001`"
        )


@rule("LR324")
def option_of_another_loss(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that an option belongs to a loss that is used: `label_smoothing`, `discopop_tau` and
    `f_alpha_divergence_coef` of DPO, `simpo_gamma` and `label_smoothing` of CPO.

    ## Why is this bad?
    It would change nothing.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, label_smoothing: 0.1}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, loss_type: robust, label_smoothing: 0.1}
    ```
    """
    for option, of, used in _options(case.recipe):
        if not used:
            message = f"`{option}` is of {of}, and changes nothing here"
            yield Finding(f"method.{option}", message, "leave it out, or use the loss that it belongs to")


def _options(recipe: Recipe) -> Iterator[tuple[str, str, bool]]:
    """Options that are written, what they belong to, and whether that is used."""
    method = recipe.method
    if isinstance(method, DPO):
        losses = {part.loss for part in method.losses}
        if method.label_smoothing:
            yield (
                "label_smoothing",
                "the losses " + ", ".join(f"`{loss}`" for loss in SMOOTHED),
                bool(losses & {*SMOOTHED}),
            )
        if method.discopop_tau is not None:
            yield "discopop_tau", "the loss `discopop`", "discopop" in losses
        if method.f_alpha_divergence_coef is not None:
            alpha = method.f_divergence_type == "alpha_divergence"
            yield "f_alpha_divergence_coef", "`f_divergence_type: alpha_divergence`", alpha
    if isinstance(method, CPO):
        if method.simpo_gamma is not None:
            yield "simpo_gamma", "the loss `simpo`", method.loss_type == "simpo"
        if method.label_smoothing:
            yield "label_smoothing", "the losses `sigmoid` and `simpo`", method.loss_type in ("sigmoid", "simpo")


@rule("LR325")
def model_that_cannot_take_its_role(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a language model is not made from a reward model, and that references and teachers are language models,
    and whole ones.

    ## Why is this bad?
    A reward model has no output layer any more. Where input and output share their weights the model would load without
    a word, and say what it has unlearned to say. An adapter that was exported alone is no model.

    ## Example
    ```yaml
    version: 1
    name: judge
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: reward}
    ---
    version: 1
    name: preferred
    model: {base: {recipe: judge}}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judge
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: reward}
    ---
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```
    """
    method = case.recipe.method
    if method is None or method.head != "causal":
        return
    wanted = {"model.base": case.recipe.model.base}
    wanted |= {
        f"method.{role}": model for role, model in method.models().items() if role in ("ref_model", "teacher_model")
    }
    for at, model in wanted.items():
        other = case.recipes.get(model.name) if isinstance(model, RecipeReference) else None
        if other is None:
            continue
        adapted = other.method is not None and not isinstance(other.model.adapter, Full)
        if at != "model.base" and adapted and not other.export.merge:
            message = f"`{other.name}` exports an adapter alone"
            yield Finding(at, message, "leave out `export.merge: false` there")
        if (head := _head(case, other)) != "causal":
            name = "a reward model" if head == "reward" else "a masked language model"
            help_ = "use the model that it was made from"
            yield Finding(at, f"`{other.name}` is {name}, and has no words to say", help_)


@rule("LR326")
def teacher_with_another_tokenizer(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that student and teacher, and policy and reference, do not come from recipes with different tokenizers, nor
    from published models that give probabilities to different numbers of tokens.

    ## Why is this bad?
    Their distributions are compared token by token; the same number would mean another word. Models that share a
    tokenizer may still differ in the rows of their embeddings: the small ones of Qwen2.5 have 151936, the large ones
    152064. Training stops when both are loaded.

    ## Example
    ```yaml
    version: 1
    name: large
    model:
      base: {architecture: {family: qwen3, hidden_size: 128, num_hidden_layers: 4, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 2000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ---
    version: 1
    name: small
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: distillation, teacher_model: {recipe: large}, lmbda: 0}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: large
    model:
      base: {architecture: {family: qwen3, hidden_size: 128, num_hidden_layers: 4, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ---
    version: 1
    name: small
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: distillation, teacher_model: {recipe: large}, lmbda: 0}
    ```
    """
    method = case.recipe.method
    ours, rows = _origin(case, case.recipe), embeddings(first(case.recipe), case.recipes)
    for role, model in method.models().items() if method is not None else ():
        if role not in ("ref_model", "teacher_model"):
            continue
        others = embeddings(model, case.recipes)
        if rows is not None and others is not None and rows != others:
            message = f"it gives probabilities to {others} tokens, and the model that is trained to {rows}"
            yield Finding(f"method.{role}", message, "use two models whose embeddings have as many rows")
        other = case.recipes.get(model.name) if isinstance(model, RecipeReference) else None
        if other is None:
            continue
        theirs = _origin(case, other)
        trained = isinstance(ours.tokenizer, TrainTokenizer), isinstance(theirs.tokenizer, TrainTokenizer)
        if any(trained) and ours.tokenizer != theirs.tokenizer:
            message = f"`{theirs.name}` and `{ours.name}` have different tokenizers"
            help_ = "train both on the same rows with the same `tokenizer`, or start both from one recipe"
            yield Finding(f"method.{role}", message, help_)


@rule("LR327", "warning")
def teacher_that_is_the_student(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the teacher is another model than the one that is trained.

    ## Why is this bad?
    A model that is to become what it is learns nothing.

    ## Example
    ```yaml
    version: 1
    name: small
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
    method: {kind: distillation, teacher_model: Qwen/Qwen3-0.6B}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: small
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
    method: {kind: distillation, teacher_model: {recipe: large}}
    ---
    version: 1
    name: large
    model: {base: Qwen/Qwen3-4B}
    ```
    """
    method = case.recipe.method
    if isinstance(method, Distillation) and method.teacher_model == case.recipe.model.base:
        yield Finding(
            "method.teacher_model", "the teacher is the student as it begins", "name a larger or a better model"
        )


@rule("LR328")
def answers_without_prompts(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a student that answers itself (`lmbda` above 0) has prompts to answer, and no packed rows.

    ## Why is this bad?
    Rows of text have no beginning that asks for the rest, and a packed row has several.

    ## Example
    ```yaml
    version: 1
    name: small
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: distillation, teacher_model: {recipe: large}, lmbda: 0.5}
    ---
    version: 1
    name: large
    model: {base: Qwen/Qwen3-4B}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: small
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: distillation, teacher_model: {recipe: large}, lmbda: 0}
    ---
    version: 1
    name: large
    model: {base: Qwen/Qwen3-4B}
    ```
    """
    method, data = case.recipe.method, case.recipe.data
    if not isinstance(method, Distillation) or data is None:
        return
    if method.lmbda > 0 and row_kind(case.recipe) == "text":
        help_ = "set `lmbda: 0`, or use rows of `prompt_completion` or `messages`"
        yield Finding("method.lmbda", "rows of text have no prompt that the student could answer", help_)
    if data.packing not in (None, "none"):
        yield Finding("data.packing", "`distillation` does not learn from packed rows", "leave out `packing`")


@rule("LR329")
def served_reward_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with a reward model has no `serving`.

    ## Why is this bad?
    A reward model answers with a number; the servers of a recipe answer with words.

    ## Example
    ```yaml
    version: 1
    name: judge
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: reward}
    serving: {kind: transformers}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judge
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: reward}
    ```
    """
    if case.recipe.serving is not None and _head(case, case.recipe) == "reward":
        help_ = "leave out `serving`, and use the exported model where it judges: `reward_model: {recipe: NAME}`"
        yield Finding("serving", "a reward model has no words to serve", help_)


@rule("LR510")
def pairs_in_another_format(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the sources of a `preference_accuracy` suite hold preferences.

    ## Why is this bad?
    There would be one answer, and nothing to compare it with.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - {kind: preference_accuracy, sources: [{kind: files, paths: [answers.jsonl], format: unpaired_preference}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - {kind: preference_accuracy, sources: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    ```
    """
    for i, suite in enumerate(case.recipe.evaluation.suites if case.recipe.evaluation else []):
        for j, source in enumerate(suite.sources if isinstance(suite, PreferenceAccuracy) else []):
            if source.format != "preference":
                at = f"evaluation.suites.{i}.sources.{j}.format"
                yield Finding(at, f"rows of `{source.format}` hold no two answers", "use rows of `preference`")


@rule("LR511")
def suite_for_another_end(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a reward model is measured by `preference_accuracy`, and not by what it says.

    ## Why is this bad?
    A reward model gives one number for a text; it has neither answers nor a perplexity.

    ## Example
    ```yaml
    version: 1
    name: judge
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: reward}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judge
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: reward}
    evaluation:
      suites: [{kind: preference_accuracy, sources: [{kind: files, paths: [held.jsonl], format: preference}]}]
    ```
    """
    if case.recipe.evaluation is None or _head(case, case.recipe) != "reward":
        return
    for i, suite in enumerate(case.recipe.evaluation.suites):
        if not isinstance(suite, PreferenceAccuracy | Perplexity) or (
            isinstance(suite, Perplexity) and case.recipe.method is None
        ):
            message = f"a reward model has nothing that `{suite.kind}` could measure"
            yield Finding(f"evaluation.suites.{i}", message, "use a suite of `kind: preference_accuracy`")
