"""LR8: what is written and has no effect."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Drop, Finding, rule
from llmrecipe.lint.sources import (
    all_sources,
    evaluation_sources,
    extension,
    row_kind,
    training_sources,
    validation_sources,
)
from llmrecipe.methods.sft import SFT
from llmrecipe.recipe.data import Files
from llmrecipe.recipe.tokenizer import TrainTokenizer
from llmrecipe.vocabulary import Deduplicate, Filter, Full, Normalize, is_path


@rule("LR801", "warning")
def weight_without_a_mixture(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that weights stand at training sources, and only when there are several.

    ## Why is this bad?
    A weight is a share of the training mixture: one source is all of it, and validation and evaluation take every row.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages, weight: 0.5}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    train = training_sources(case.recipe)
    alone = train if len(train) == 1 else []
    for at, source in alone + validation_sources(case.recipe) + evaluation_sources(case.recipe):
        if source.weight is not None:
            yield Finding(
                f"{at}.weight",
                "there is no mixture that this could be a share of",
                "leave it out",
                on_key=True,
                fix=Drop(f"{at}.weight"),
            )


@rule("LR802", "warning")
def sample_by_without_text_files(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a source with `sample_by` has a txt file.

    ## Why is this bad?
    In every other kind of file a row is a row.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages, sample_by: line}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    for at, source in all_sources(case.recipe):
        if not isinstance(source, Files) or "sample_by" not in source.model_fields_set:
            continue
        if not any(extension(path) in (".txt", "") or extension(path).endswith("*") for path in source.paths):
            at = f"{at}.sample_by"
            yield Finding(at, "no file of this source is a txt file", "leave it out", on_key=True, fix=Drop(at))


@rule("LR803", "warning")
def step_without_effect(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every step of the preparation can change something: a filter has a bound, `normalize` is not switched
    off, and rows are not deduplicated twice in the same way.

    ## Why is this bad?
    It reads every row for nothing, and was surely meant to do something.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: filter}]
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: filter, min_words: 20}]
    method: {kind: pretrain}
    ```
    """
    steps = case.recipe.data.prepare if case.recipe.data else []
    for i, step in enumerate(steps):
        match step:
            case Filter() if not step.model_dump(exclude={"kind"}, exclude_none=True):
                yield Finding(f"data.prepare.{i}", "a filter without a bound keeps every row", "give it a bound")
            case Normalize(unicode="none", whitespace=False, strip_control=False):
                yield Finding(f"data.prepare.{i}", "this normalisation changes nothing", "leave it out")
            case Deduplicate() if i and steps[i - 1] == step:
                yield Finding(f"data.prepare.{i}", "the rows were deduplicated just before", "leave one out")
            case _:
                pass


@rule("LR804", "warning")
def unmerged_without_an_adapter(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with `export: {merge: false}` trains an adapter.

    ## Why is this bad?
    There is nothing that could be left unmerged.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ```
    """
    recipe = case.recipe
    if not recipe.export.merge and (isinstance(recipe.model.adapter, Full) or recipe.method is None):
        help_ = "leave it out, or add `model.adapter`"
        yield Finding("export.merge", "there is no adapter", help_, on_key=True, fix=Drop("export.merge"))


@rule("LR805", "warning")
def completion_loss_without_completions(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a written `completion_only_loss` belongs to rows of prompt and completion.

    ## Why is this bad?
    Other rows have no completion; the loss is over all of them whatever is written here.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft, completion_only_loss: true}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft, assistant_only_loss: true}
    ```
    """
    method, rows = case.recipe.method, row_kind(case.recipe)
    if isinstance(method, SFT) and "completion_only_loss" in method.model_fields_set and rows in ("messages", "text"):
        help_ = "for messages write `assistant_only_loss`" if rows == "messages" else "leave it out"
        at = "method.completion_only_loss"
        yield Finding(at, f"rows of `{rows}` have no completion", help_, on_key=True, fix=Drop(at), safe=rows == "text")


@rule("LR806", "warning")
def training_without_a_method(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with `training`, `distributed` or `data` has a method.

    ## Why is this bad?
    Without one nothing is trained.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    training: {max_steps: 100}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 100}
    ```
    """
    recipe = case.recipe
    if recipe.method is not None:
        return
    for name in ("data", "training", "distributed"):
        if name in recipe.model_fields_set and getattr(recipe, name) is not None:
            yield Finding(
                name, f"without a `method` nothing reads `{name}`", "add `method`, or leave it out", on_key=True
            )
    if not isinstance(recipe.model.adapter, Full):
        yield Finding("model.adapter", "without a `method` no adapter is trained", "add `method`, or leave it out")


@rule("LR807", "warning")
def stopping_strategy_without_weights(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `stopping_strategy` is written with weights only.

    ## Why is this bad?
    Without weights every source is taken whole, one time, and nothing is exhausted early.

    ## Example
    ```yaml
    version: 1
    name: mixed
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - {kind: files, paths: [chats.jsonl], format: messages}
        - {kind: files, paths: [sharegpt.jsonl], format: conversations}
      stopping_strategy: all_exhausted
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: mixed
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - {kind: files, paths: [chats.jsonl], format: messages, weight: 0.7}
        - {kind: files, paths: [sharegpt.jsonl], format: conversations, weight: 0.3}
      stopping_strategy: all_exhausted
    method: {kind: sft}
    ```
    """
    data = case.recipe.data
    if data is None or "stopping_strategy" not in data.model_fields_set:
        return
    if all(source.weight is None for source in data.train):
        message = "no source has a weight, so each is taken whole"
        help_ = "leave it out, or give every source a `weight`"
        yield Finding(
            "data.stopping_strategy", message, help_, on_key=True, fix=Drop("data.stopping_strategy"), safe=False
        )


@rule("LR808", "warning")
def revision_without_a_hub_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `model.revision` stands beside a Hub id.

    ## Why is this bad?
    A folder, another recipe and an architecture have no revisions.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: ./base, revision: main}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: ./base}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    model = case.recipe.model
    if model.revision is not None and (not isinstance(model.base, str) or is_path(model.base)):
        at = "model.revision"
        yield Finding(at, "only a model of the Hub has revisions", "leave it out", on_key=True, fix=Drop(at))


@rule("LR809", "warning")
def alphabet_of_a_byte_tokenizer(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `limit_alphabet` is written for `wordpiece` or `unigram` only.

    ## Why is this bad?
    `bpe` works on bytes and always has all 256 of them.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: bpe, vocab_size: 1000, limit_alphabet: 200}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, algorithm: unigram, vocab_size: 1000, limit_alphabet: 200}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```
    """
    tokenizer = case.recipe.tokenizer
    trained_on_bytes = isinstance(tokenizer, TrainTokenizer) and tokenizer.algorithm == "bpe"
    if trained_on_bytes and "limit_alphabet" in tokenizer.model_fields_set:
        at = "tokenizer.limit_alphabet"
        yield Finding(at, "`bpe` has no alphabet to limit", "leave it out", on_key=True, fix=Drop(at))


OF_VALIDATIONS = ("bf16_full_eval", "eval_delay", "fp16_full_eval", "num_generations_eval")
"""Options under `training.extra` of validations alone."""


@rule("LR811", "warning")
def option_of_validations_that_are_not_there(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that options of validations are written beside `data.validation`: `training.per_device_eval_batch_size`, and
    `eval_delay`, `num_generations_eval`, `bf16_full_eval` and `fp16_full_eval` under `training.extra`.

    ## Why is this bad?
    Training has no rows to validate on, so that nothing is measured, and nobody says so.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {per_device_eval_batch_size: 16}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.05}
    method: {kind: sft}
    training: {per_device_eval_batch_size: 16}
    ```
    """
    recipe, training = case.recipe, case.recipe.training
    if recipe.method is None or recipe.data is None or recipe.data.validation is not None:
        return
    extra = {name for name in OF_VALIDATIONS if training.extra.get(name)}
    if {"bf16_full_eval", "fp16_full_eval"} <= extra:  # LR393 says so.
        return
    written = [f"training.extra.{name}" for name in sorted(extra)]
    if "per_device_eval_batch_size" in training.model_fields_set:
        written.append("training.per_device_eval_batch_size")
    for at in written:
        help_ = "add `data.validation: {fraction: 0.05}`, or leave it out"
        yield Finding(at, "there are no rows to validate on", help_, on_key=True, fix=Drop(at), safe=False)
