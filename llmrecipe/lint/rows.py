"""LR1: rows that are read twice, learned from and judged by, cut in pieces, or cut short."""

from collections.abc import Iterator
from pathlib import Path

from llmrecipe.lint import local
from llmrecipe.lint.rule import Case, Finding, Put, rule
from llmrecipe.lint.sources import Located, evaluation_sources, row_kind, training_sources, validation_sources
from llmrecipe.methods.pretrain import Pretrain
from llmrecipe.methods.sft import SFT
from llmrecipe.paths import is_url
from llmrecipe.recipe.data import Files, Hub
from llmrecipe.vocabulary import Deduplicate, Normalize

Origin = tuple[str, ...]
"""What tells one file, or one split of a dataset, from another."""


def _origins(case: Case, at: str, source: Files | Hub) -> Iterator[tuple[str, str, Origin]]:
    """Where it is written, how it is called, what it is; each file of a source, or its split."""
    if isinstance(source, Hub):
        split = (source.dataset, source.config or "", source.split, source.revision or "")
        yield f"{at}.split", f"the split `{source.split}` of {source.dataset}", split
        return
    for i, pattern in enumerate(source.paths):
        place = f"{at}.paths.{i}"
        if is_url(pattern):
            yield place, f"`{pattern}`", (pattern,)
            continue
        for file in local.files(pattern, case.folder(place)):
            yield place, f"`{Path(file).name}`", (str(Path(file).absolute()),)


def _all_origins(case: Case, sources: list[Located]) -> Iterator[tuple[str, str, Origin]]:
    for at, source in sources:
        yield from _origins(case, at, source)


@rule("LR112", "warning")
def documents_cut_short(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `pretrain` does not pack with `bfd`.

    ## Why is this bad?
    `bfd` cuts every document at `training.max_length` and throws the rest away: of a set with long documents 73 % of
    the tokens were gone. `bfd_split` packs as tightly and keeps them all. Source: measured with TRL 1.16, whose
    default it is.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B-Base}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}], packing: bfd}
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B-Base}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}], packing: bfd_split}
    method: {kind: pretrain}
    ```
    """
    recipe = case.recipe
    if isinstance(recipe.method, Pretrain) and recipe.data is not None and recipe.data.packing == "bfd":
        message = f"`bfd` throws away what a document has beyond {recipe.training.max_length:,} tokens"
        help_ = "use `bfd_split`, which keeps it"
        yield Finding("data.packing", message, help_, fix=Put("data.packing", "bfd_split"), safe=False)


@rule("LR113", "warning")
def answers_cut_from_their_questions(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `sft` over conversations, or over prompts and completions, is not packed with `wrapped`.

    ## Why is this bad?
    `wrapped` cuts the stream of tokens every `training.max_length`, wherever that is. The second half of an answer then
    stands at the beginning of a sequence and is learned without its question. Source:
    https://arxiv.org/abs/2404.10830

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], packing: wrapped}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}], packing: bfd}
    method: {kind: sft}
    ```
    """
    recipe = case.recipe
    wrapped = recipe.data is not None and recipe.data.packing == "wrapped"
    if wrapped and isinstance(recipe.method, SFT) and row_kind(recipe) in ("messages", "prompt_completion"):
        message = f"`wrapped` cuts rows every {recipe.training.max_length:,} tokens, answers from their questions"
        help_ = "use `bfd`, which keeps each row in one piece"
        yield Finding("data.packing", message, help_, fix=Put("data.packing", "bfd"), safe=False)


@rule("LR114")
def validation_from_the_training_data(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no file, and no split of a dataset, is both in `data.train` and in `data.validation`.

    ## Why is this bad?
    The validation then measures what was learned by heart: it falls as long as training goes on, and neither early
    stopping nor the best checkpoint mean anything.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {sources: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
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
    ```
    """
    learned = {origin: at for at, _, origin in _all_origins(case, training_sources(case.recipe))}
    for at, name, origin in _all_origins(case, validation_sources(case.recipe)):
        if origin in learned:
            message = f"{name} is learned from as well, at `{learned[origin]}`"
            yield Finding(at, message, "write `validation: {fraction: 0.05}`, or rows of their own")


@rule("LR115", "warning")
def judged_by_what_was_learned(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no suite asks what stands in `data.train`: a file of it, or a split of a dataset.

    ## Why is this bad?
    A model that knows the answers by heart passes every gate. Source: https://arxiv.org/abs/2311.04850

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
    method: {kind: sft}
    evaluation:
      suites:
        - {kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
    method: {kind: sft}
    evaluation:
      suites:
        - {kind: generation, sources: [{kind: files, paths: [answers.jsonl], format: prompt_completion}]}
    ```
    """
    learned = {origin: at for at, _, origin in _all_origins(case, training_sources(case.recipe))}
    for at, name, origin in _all_origins(case, evaluation_sources(case.recipe)):
        if origin in learned:
            yield Finding(at, f"{name} is learned from, at `{learned[origin]}`", "ask what the model has not seen")


@rule("LR116", "warning")
def rows_read_twice(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no file, and no split of a dataset, is read twice by `data.train`: by two sources, or by two paths of
    one.

    ## Why is this bad?
    Its rows count twice, and are learned by heart twice as fast. What is meant to count more is said with `weight`.
    Reading other columns, or the same ones otherwise, is no second time.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl, "chats*.jsonl"], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: ["chats*.jsonl"], format: messages}]}
    method: {kind: sft}
    ```
    """
    seen: dict[tuple[Origin, str, tuple[tuple[str, str], ...]], str] = {}
    told: set[str] = set()
    for place, source in training_sources(case.recipe):
        for at, name, origin in _origins(case, place, source):
            reading = (origin, source.format, tuple(sorted(source.columns.items())))
            if reading in seen and at not in told:
                told.add(at)
                yield Finding(at, f"{name} is read already, at `{seen[reading]}`", "leave one of the two out")
            seen.setdefault(reading, at)


@rule("LR117", "warning")
def deduplicated_before_it_is_uniform(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `normalize` comes before `deduplicate`.

    ## Why is this bad?
    Rows that differ only in blanks, line ends or the form of their Unicode are equal after `normalize`, and have all
    been kept by then.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B-Base}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: deduplicate}, {kind: normalize}]
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B-Base}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: normalize}, {kind: deduplicate}]
    method: {kind: pretrain}
    ```
    """
    steps = case.recipe.data.prepare if case.recipe.data else []
    uniform = next((i for i, step in enumerate(steps) if isinstance(step, Normalize)), None)
    for i, step in enumerate(steps):
        if isinstance(step, Deduplicate) and uniform is not None and i < uniform:
            message = f"rows that step {uniform + 1} would make equal are kept as different ones"
            yield Finding(f"data.prepare.{i}", message, "put `normalize` first")


@rule("LR118", "warning")
def trained_on_a_test_split(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no training source is the split `test` of a dataset.

    ## Why is this bad?
    It is what others measure models with. Trained on it, a model looks better than it is wherever it is compared.
    Source: https://arxiv.org/abs/2311.04850

    ## Example
    ```yaml
    version: 1
    name: sums
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: hub, dataset: openai/gsm8k, config: main, split: test, format: question}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: sums
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: hub, dataset: openai/gsm8k, config: main, split: train, format: question}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}]}
    ```
    """
    for at, source in training_sources(case.recipe):
        if isinstance(source, Hub) and source.split.partition("[")[0].lower() == "test":
            change = Put(f"{at}.split", "train")
            message = f"{source.dataset} is learned from by its test split"
            yield Finding(f"{at}.split", message, "use `train`, or another split", fix=change, safe=False)


@rule("LR119")
def share_of_less_than_one_row(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `validation.fraction` of the rows that `max_samples` lets through is at least one row.

    ## Why is this bad?
    There is nothing to validate with, and the preparation stops.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages, max_samples: 20}]
      validation: {fraction: 0.01}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages, max_samples: 2000}]
      validation: {fraction: 0.01}
    method: {kind: sft}
    ```
    """
    data = case.recipe.data
    if data is None or data.validation is None or data.validation.fraction is None:
        return
    most = [source.max_samples for source in data.train]
    rows = sum(count for count in most if count is not None)
    if None in most or rows * data.validation.fraction >= 1:
        return
    message = f"a share of {data.validation.fraction:g} of at most {rows:,} rows is less than one row"
    yield Finding("data.validation.fraction", message, f"use at least {1 / rows:.2g}")
