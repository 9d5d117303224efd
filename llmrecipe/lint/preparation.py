"""LR1: what preparation makes of rows: roles of columns, filters, splits, and rows that are cut."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from llmrecipe.lint import local
from llmrecipe.lint.rule import Case, Drop, Finding, Put, location, rule
from llmrecipe.lint.sources import all_sources, extension, training_sources
from llmrecipe.methods.pretrain import Pretrain
from llmrecipe.paths import is_url
from llmrecipe.recipe.data import Files
from llmrecipe.vocabulary import Filter


@rule("LR135")
def one_column_for_two_roles(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `columns` reads each column of the data for one purpose.

    ## Why is this bad?
    A preference whose chosen and rejected answers are one column says nothing: the loss stays at ln 2. A completion
    that is its own prompt teaches to repeat.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference, columns: {chosen: good, rejected: good}}]}
    method: {kind: dpo}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference, columns: {chosen: good, rejected: bad}}]}
    method: {kind: dpo}
    ```
    """
    for at, source in all_sources(case.recipe):
        first: dict[str, str] = {}
        for role, column in source.columns.items():
            if column in first:
                message = f"`{first[column]}` and `{role}` are both read from `{column}`"
                yield Finding((*location(at), "columns", role), message, "name the column that holds it")
            first.setdefault(column, role)


@rule("LR136")
def filter_of_what_is_cut(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a filter does not ask for more words than `training.max_length` has tokens, unless rows are packed so
    that none is cut (`bfd_split`, `wrapped`).

    ## Why is this bad?
    A word is at least one token: every row that passes is cut, and loses its end.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]
      prepare: [{kind: filter, min_words: 2000}]
    method: {kind: sft}
    training: {max_length: 1024}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]
      prepare: [{kind: filter, min_words: 2000}]
    method: {kind: sft}
    training: {max_length: 8192}
    ```
    """
    data, length = case.recipe.data, case.recipe.training.max_length
    if data is None or _keeps_everything(case):
        return
    for i, step in enumerate(data.prepare):
        if isinstance(step, Filter) and step.min_words is not None and step.min_words >= length:
            message = f"rows of at least {step.min_words:,} words are all longer than {length:,} tokens, and are cut"
            help_ = "raise `training.max_length`, or pack with `bfd_split`"
            yield Finding(f"data.prepare.{i}.min_words", message, help_)


def _keeps_everything(case: Case) -> bool:
    """Whether rows are split where they are too long, and not cut."""
    data = case.recipe.data
    packing = data.packing if data else None
    unsaid = packing is None and isinstance(case.recipe.method, Pretrain) and data is not None
    return packing in ("bfd_split", "wrapped") or (unsaid and data is not None and data.curriculum is None)


@rule("LR137")
def pattern_that_excludes_itself(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `pattern` and `exclude_pattern` of a filter are not the same expression.

    ## Why is this bad?
    No row is left.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B-Base}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: filter, pattern: lorem, exclude_pattern: lorem}]
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B-Base}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: filter, exclude_pattern: lorem}]
    method: {kind: pretrain}
    ```
    """
    for i, step in enumerate(case.recipe.data.prepare if case.recipe.data else []):
        if isinstance(step, Filter) and step.pattern is not None and step.pattern == step.exclude_pattern:
            message = f"rows with `{step.pattern}` are kept by one and dropped by the other"
            yield Finding(f"data.prepare.{i}.pattern", message, "leave one of the two out")


CHARACTERS_PER_TOKEN = 16
"""More than any tokenizer reaches over a whole text."""


@rule("LR138", "warning")
def file_that_is_one_row(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a text file which is one row (`sample_by: document`) is not many times longer than
    `training.max_length`, where rows that are too long are cut.

    ## Why is this bad?
    Only its beginning is learned from. Source: files with 16 bytes for each token of `max_length` are told, which is
    four times what text in English has.

    ## Example
    ```yaml
    version: 1
    name: verse
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [book.txt], format: text}]}
    method: {kind: sft}
    training: {max_length: 512}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: verse
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [book.txt], format: text, sample_by: paragraph}]}
    method: {kind: sft}
    training: {max_length: 512}
    ```
    """
    length = case.recipe.training.max_length
    if case.recipe.method is None or _keeps_everything(case):
        return
    for at, source in training_sources(case.recipe):
        if not isinstance(source, Files) or source.sample_by != "document":
            continue
        for i, pattern in enumerate(source.paths):
            texts = [] if is_url(pattern) or extension(pattern) != ".txt" else _files(case, f"{at}.paths.{i}", pattern)
            for file in texts:
                if (size := local.size(file)) > CHARACTERS_PER_TOKEN * length and file.suffix == ".txt":
                    message = f"`{file.name}` is one row of {size / 1000:,.0f} kB, and {length:,} tokens of it are kept"
                    help_ = "write `sample_by: paragraph` or `line`, or `packing: bfd_split`"
                    yield Finding(f"{at}.paths.{i}", message, help_)
                    break


def _files(case: Case, at: str, pattern: str) -> list[Path]:
    return [Path(file) for file in local.files(pattern, case.folder(at))]


@rule("LR139", "warning")
def more_held_out_than_learned(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `validation.fraction` is not above one half.

    ## Why is this bad?
    Most rows would be kept from the training; a share of the training rows was probably meant.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.95}
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
    validation = case.recipe.data.validation if case.recipe.data else None
    if validation is not None and validation.fraction is not None and validation.fraction > 0.5:
        share = validation.fraction
        message = f"{share:.0%} of the rows are held out, and {1 - share:.0%} are learned from"
        change = Put("data.validation.fraction", round(1 - share, 6))
        yield Finding("data.validation.fraction", message, f"use {1 - share:.2g}", fix=change, safe=False)


@rule("LR810", "warning")
def step_done_twice(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no step of the preparation follows itself, with the same options.

    ## Why is this bad?
    Whatever it does, it has done already.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B-Base}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: normalize}, {kind: normalize}]
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B-Base}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: normalize}]
    method: {kind: pretrain}
    ```
    """
    steps = case.recipe.data.prepare if case.recipe.data else []
    for i, (before, step) in enumerate(pairwise(steps), start=1):
        if before == step:
            at = f"data.prepare.{i}"
            yield Finding(at, f"`{step.kind}` was done by the step before", "leave it out", fix=Drop(at))
