"""LR1: data sources, columns, mixture and preparation."""

import difflib
import glob
import re
from collections.abc import Iterator

from llmrecipe.lint import local
from llmrecipe.lint.rule import Case, Finding, Put, Rename, location, rule
from llmrecipe.lint.sources import all_sources, extension, patterns, training_sources, validation_sources
from llmrecipe.mending import nearest
from llmrecipe.paths import is_url
from llmrecipe.recipe.data import Files
from llmrecipe.vocabulary import ROW_KIND, Filter, Format

EXTENSIONS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")

COLUMNS: dict[Format, tuple[str, ...]] = {
    "text": ("text",),
    "messages": ("messages",),
    "conversations": ("conversations",),
    "instruction": ("instruction", "input", "output"),
    "prompt_completion": ("prompt", "completion"),
    "preference": ("prompt", "chosen", "rejected"),
    "prompt": ("prompt", "reference"),
    "question": ("question", "reference"),
    "unpaired_preference": ("prompt", "completion", "label"),
}
"""Columns that a format reads, by the names that `columns` maps from."""


@rule("LR101")
def missing_data_file(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every path of a data source is a file. Relative paths start from the folder of the recipe.

    ## Why is this bad?
    The run would stop before its first step.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chat.jsonl], format: messages}]}
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
    for at, pattern in patterns(case.recipe):
        if is_url(pattern) or glob.has_magic(pattern) or local.files(pattern, case.folder(at)):
            continue
        if local.is_folder(pattern, case.folder(at)):
            yield Finding(at, f"`{pattern}` is a folder", f"name its files: `{pattern.rstrip('/')}/*.jsonl`")
            continue
        path = case.folder(at) / pattern
        close = difflib.get_close_matches(path.name, [each.name for each in local.neighbours(path.parent)], n=1)
        help_ = f"did you mean `{close[0]}`?" if close else f"it is looked for in `{path.parent}`"
        yield Finding(at, f"there is no file `{pattern}`", help_)


@rule("LR102")
def glob_without_match(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every glob of a data source matches a file.

    ## Why is this bad?
    A source without files is almost always a mistyped folder or extension.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: ["*.ndjson"], format: messages}]}
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
    for at, pattern in patterns(case.recipe):
        if not is_url(pattern) and glob.has_magic(pattern) and not local.files(pattern, case.folder(at)):
            help_ = f"it is looked for in `{case.folder(at)}`; `**` enters folders"
            yield Finding(at, f"no file matches `{pattern}`", help_)


@rule("LR103")
def empty_data_file(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no data file has a size of zero.

    ## Why is this bad?
    It adds nothing, and usually an export or a download was cut off.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [empty.jsonl], format: messages}]}
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
    for at, pattern in patterns(case.recipe):
        if is_url(pattern):
            continue
        for path in local.files(pattern, case.folder(at)):
            if local.is_empty(path):
                yield Finding(at, f"`{path.name}` is empty", "make the file again, or leave it out")


@rule("LR104")
def unknown_file_extension(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the extension of every data file is one that says how it is written: jsonl, json, csv, tsv, parquet or
    txt, with or without `.gz`.

    ## Why is this bad?
    The extension is the only thing that tells how a file is read.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [corpus.md], format: text}]}
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```
    """
    for at, pattern in patterns(case.recipe):
        found = [pattern] if is_url(pattern) else [path.name for path in local.files(pattern, case.folder(at))]
        for name in found:
            if extension(name) not in EXTENSIONS:
                known = ", ".join(end.removeprefix(".") for end in EXTENSIONS)
                message = f"the end of `{name}` does not say how its rows are written"
                yield Finding(at, message, f"use a file that ends in one of: {known}")
                break


@rule("LR105")
def unknown_column_role(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the keys of `columns` are columns of the format. A key is the name that the format uses, a value the
    name in the data.

    ## Why is this bad?
    The mapping would be ignored, most often because it was written the wrong way round.

    ## Example
    ```yaml
    version: 1
    name: answers
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - {kind: files, paths: [questions.jsonl], format: prompt_completion, columns: {question: prompt}}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: answers
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - {kind: files, paths: [questions.jsonl], format: prompt_completion, columns: {prompt: question}}
    method: {kind: sft}
    ```
    """
    for at, source in all_sources(case.recipe):
        known = COLUMNS[source.format]
        for column, name in source.columns.items():
            if column in known:
                continue
            names = ", ".join(f"`{each}`" for each in known)
            help_ = f"write `{name}: {column}`" if name in known else f"the format has {names}"
            where = (*location(at), "columns", column)
            near, sure = nearest(column, known)
            swapped = (Put(where, column), Rename(where, name))
            fix = swapped if name in known else (Rename(where, near),) if near else ()
            message = f"`{column}` is not a column of the format `{source.format}`"
            yield Finding(where, message, help_, on_key=True, fix=fix, safe=sure or name in known)


@rule("LR106")
def missing_weight(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that either all training sources have a weight or none has.

    ## Why is this bad?
    A share is relative to the other weights; beside a source without one it has no meaning.

    ## Example
    ```yaml
    version: 1
    name: mixed
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - {kind: files, paths: [chats.jsonl], format: messages, weight: 0.7}
        - {kind: files, paths: [sharegpt.jsonl], format: conversations}
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
    method: {kind: sft}
    ```
    """
    sources = training_sources(case.recipe)
    if any(source.weight is not None for _, source in sources):
        for at, source in sources:
            if source.weight is None:
                yield Finding(at, "this source has no `weight`, but another has", "give it one, or leave all out")


@rule("LR107")
def mixed_row_kinds(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that all training and validation sources become rows of one kind: text, messages, prompt and completion,
    or preferences. `conversations` and `instruction` become messages.

    ## Why is this bad?
    The loss is over other tokens for each kind, so that one dataset cannot hold two.

    ## Example
    ```yaml
    version: 1
    name: mixed
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - {kind: files, paths: [chats.jsonl], format: messages}
        - {kind: files, paths: [corpus.txt], format: text}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: mixed
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - {kind: files, paths: [chats.jsonl], format: messages}
        - {kind: files, paths: [sharegpt.jsonl], format: conversations}
    method: {kind: sft}
    ```
    """
    sources = training_sources(case.recipe) + validation_sources(case.recipe)
    for at, source in sources[1:]:
        first, here = ROW_KIND[sources[0][1].format], ROW_KIND[source.format]
        if here != first:
            help_ = "train on each kind in a recipe of its own, the second from the first with `{recipe: NAME}`"
            if at.startswith("data.validation"):
                help_ = f"write the held-out rows as the training rows are: {first}"
            yield Finding(f"{at}.format", f"rows of `{here}` beside rows of `{first}`", help_)


@rule("LR108")
def rows_not_for_the_method(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the method learns from the kind of rows that the sources give.

    ## Why is this bad?
    The trainer would look for columns that are not there.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```
    """
    method = case.recipe.method
    for at, source in training_sources(case.recipe)[:1] if method else []:
        assert method is not None
        rows = ROW_KIND[source.format]
        if rows not in method.rows:
            wanted = [f"`{name}`" for name, kind in ROW_KIND.items() if kind in method.rows]
            help_ = f"`{method.kind}` learns from {', '.join(wanted)}"
            yield Finding(f"{at}.format", f"`{method.kind}` does not learn from rows of `{rows}`", help_)


@rule("LR109")
def text_file_with_columns(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that txt files are read with the format `text`.

    ## Why is this bad?
    A txt file has no columns; every other format needs some.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [corpus.txt], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: sft}
    ```
    """
    for at, source in all_sources(case.recipe):
        if isinstance(source, Files) and source.format != "text":
            for i, pattern in enumerate(source.paths):
                if extension(pattern) == ".txt":
                    message = f"a txt file cannot have the columns of `{source.format}`"
                    yield Finding(f"{at}.paths.{i}", message, "use `format: text`, or a jsonl file with the columns")


@rule("LR110")
def filter_that_keeps_nothing(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the lower bounds of a filter are not above its upper ones.

    ## Why is this bad?
    No row can pass.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: filter, min_words: 500, max_words: 50}]
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: filter, min_words: 50, max_words: 500}]
    method: {kind: pretrain}
    ```
    """
    for i, step in enumerate(case.recipe.data.prepare if case.recipe.data else []):
        if not isinstance(step, Filter):
            continue
        bounds = {"words": (step.min_words, step.max_words), "characters": (step.min_characters, step.max_characters)}
        for unit, (low, high) in bounds.items():
            if low is not None and high is not None and low > high:
                message = f"no row has at least {low} and at most {high} {unit}"
                yield Finding(f"data.prepare.{i}.min_{unit}", message, f"swap `min_{unit}` and `max_{unit}`")


@rule("LR111")
def broken_regular_expression(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the patterns of a filter are regular expressions of Python.

    ## Why is this bad?
    The preparation would stop at the first row.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: filter, exclude_pattern: "(lorem"}]
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [corpus.txt], format: text}]
      prepare: [{kind: filter, exclude_pattern: "(lorem|ipsum)"}]
    method: {kind: pretrain}
    ```
    """
    for i, step in enumerate(case.recipe.data.prepare if case.recipe.data else []):
        if not isinstance(step, Filter):
            continue
        for name, pattern in (("pattern", step.pattern), ("exclude_pattern", step.exclude_pattern)):
            try:
                re.compile(pattern or "")
            except re.error as error:
                message = f"`{pattern}` is not a regular expression: {error.msg}"
                yield Finding(f"data.prepare.{i}.{name}", message, r"put `\` before a character that stands for itself")
