"""What the card of a dataset says of its configurations, splits and columns; what it does not say is not judged."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmrecipe.lint.data import COLUMNS
from llmrecipe.lint.rule import Finding, Put
from llmrecipe.mending import nearest
from llmrecipe.recipe.data import Hub
from llmrecipe.remote.check import Case, Sound, check
from llmrecipe.remote.named import Named
from llmrecipe.vocabulary import Format

OPTIONAL: dict[Format, frozenset[str]] = {
    "instruction": frozenset({"input"}),
    "preference": frozenset({"prompt"}),
    "prompt": frozenset({"reference"}),
    "question": frozenset({"reference"}),
}
"""Columns that rows of a format may lack."""

PART = re.compile(r"\s*(?P<name>\w+(\.\w+)*)\s*(\[[^\]]*\])?\s*(\([^)]*\))?\s*")
"""One part of a `split`: `train`, `train[:10%]`. Parts are joined by `+`."""

Card = Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """One configuration (subset) of a dataset, as far as its card describes it."""

    splits: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    download: int | None = None
    """Bytes of its files."""
    prepared: int | None = None
    """Bytes of its rows as Datasets stores them beside the files."""


def names(card: Card) -> list[str]:
    """Configurations that the card declares with their files; those alone can be asked for by name."""
    return [str(one["config_name"]) for one in _listed(card.get("configs")) if "config_name" in one]


def default(card: Card) -> str | None:
    """The configuration that is read when none is named."""
    declared = [one for one in _listed(card.get("configs")) if "config_name" in one]
    chosen = [one for one in declared if len(declared) == 1 or one["config_name"] == "default" or one.get("default")]
    return str(chosen[0]["config_name"]) if len(chosen) == 1 else None


def configuration(card: Card, name: str | None) -> Configuration:
    """What the card says of the configuration that a source reads."""
    name = name or default(card) or "default"
    described = _listed(card.get("dataset_info"))
    info = next((one for one in described if one.get("config_name", "default") == name), None)
    if info is None:
        info = described[0] if len(described) == 1 and not names(card) else {}
    declared = next((one for one in _listed(card.get("configs")) if one.get("config_name") == name), {})
    splits = _splits(declared.get("data_files")) or _names(info.get("splits"))
    sizes = (info.get("download_size"), info.get("dataset_size"))
    download, prepared = (size if isinstance(size, int) else None for size in sizes)
    return Configuration(splits, _names(info.get("features")), download, prepared)


def _listed(value: Any) -> list[Mapping[str, Any]]:
    """Entries of a list of mappings, or the one mapping that stands instead."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _names(entries: Any) -> tuple[str, ...]:
    return tuple(str(one["name"]) for one in _listed(entries) if "name" in one)


def _splits(files: Any) -> tuple[str, ...]:
    """Splits of `data_files`; files without a split are those of `train`."""
    found = tuple(str(one["split"]) for one in _listed(files) if "split" in one)
    return found if found or not files else ("train",)


def _several(words: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(f"`{word}`" for word in words[:8])
    return shown + (f" and {len(words) - 8} more" if len(words) > 8 else "")


@check("LR936")
def missing_dataset_configuration(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that a dataset has the configuration (subset) that `config` names,
    and that one is named where there are several and none is the default, as far as its card says so.

    ## Why is this bad?
    The run stops when the rows are read.

    ## Example
    ```yaml
    version: 1
    name: sums
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - kind: hub
          dataset: openai/gsm8k
          format: prompt_completion
          columns: {prompt: question, completion: answer}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: sums
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - kind: hub
          dataset: openai/gsm8k
          config: main
          format: prompt_completion
          columns: {prompt: question, completion: answer}
    method: {kind: sft}
    ```
    """
    for one, source, found in case.datasets():
        known = names(found.card)
        if source.config is None and len(known) > 1 and default(found.card) is None:
            message = f"`{source.dataset}` has {len(known)} configurations and no default"
            yield Finding(one.at, message, f"write `config`: one of {_several(known)}")
        elif source.config is not None and known and source.config not in known:
            near, _ = nearest(source.config, known)
            at = (*one.beside, "config")
            help_ = f"did you mean `{near}`?" if near else f"it has {_several(known)}"
            message = f"`{source.dataset}` has no configuration `{source.config}`"
            yield Finding(at, message, help_, fix=Put(at, near) if near else (), safe=False)


def _described(case: Case) -> Iterator[tuple[Named, Hub, Configuration]]:
    """Sources whose configuration exists, with what is known of it."""
    for one, source, found in case.datasets():
        known = names(found.card)
        if not known or source.config in known or (source.config is None and default(found.card)):
            yield one, source, configuration(found.card, source.config)


@check("LR937")
def missing_dataset_split(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that a dataset has the split that is read, as far as its card names
    its splits.

    ## Why is this bad?
    The run stops after the whole dataset was downloaded.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: hub, dataset: HuggingFaceH4/ultrachat_200k, format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: hub, dataset: HuggingFaceH4/ultrachat_200k, split: train_sft, format: messages}]}
    method: {kind: sft}
    ```
    """
    for one, source, known in _described(case):
        parts = [PART.fullmatch(part) for part in source.split.split("+")]
        asked = [part["name"] for part in parts if part is not None]
        missing = [name for name in asked if name not in (*known.splits, "all")]
        if known.splits and missing:
            at = (*one.beside, "split") if "split" in source.model_fields_set else one.at
            near, _ = nearest(missing[0], known.splits)
            write = "" if "split" in source.model_fields_set else "write `split`: "
            help_ = f"did you mean `{near}`?" if near else f"{write}it has {_several(known.splits)}"
            alone = near is not None and source.split == missing[0]
            fix = Put((*one.beside, "split"), near) if alone else ()
            message = f"`{source.dataset}` has no split `{missing[0]}`"
            yield Finding(at, message, help_, fix=fix, safe=False)


@check("LR938")
def missing_dataset_column(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that a dataset has the columns that its format reads, as far as its
    card names its columns (`dataset_info`). No row is downloaded for it.

    ## Why is this bad?
    The run stops at the first row, after the whole dataset was downloaded.

    ## Example
    ```yaml
    version: 1
    name: sums
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: hub, dataset: openai/gsm8k, config: main, format: prompt_completion}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: sums
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train:
        - kind: hub
          dataset: openai/gsm8k
          config: main
          format: prompt_completion
          columns: {prompt: question, completion: answer}
    method: {kind: sft}
    ```
    """
    for one, source, known in _described(case):
        if not known.columns:
            continue
        has = f"it has {_several(known.columns)}"
        for column, name in source.columns.items():
            if column in COLUMNS[source.format] and name not in known.columns:
                at, (near, _) = (*one.beside, "columns", column), nearest(name, known.columns)
                help_ = f"did you mean `{near}`?" if near else has
                fix = Put(at, near) if near else ()
                yield Finding(at, f"`{source.dataset}` has no column `{name}`", help_, fix=fix, safe=False)
        if missing := _unmapped(source, known):
            mapping = ", ".join(f"{column}: {nearest(column, known.columns)[0] or 'NAME'}" for column in missing)
            help_ = f"{has}; `columns: {{{mapping}}}` says which to take"
            message = f"`{source.dataset}` has no column{'s' * (len(missing) > 1)} {_several(missing)}"
            yield Finding((*one.beside, "format"), message, help_)


def _unmapped(source: Hub, known: Configuration) -> list[str]:
    """Columns that the format reads under their own names, and the dataset lacks."""
    needed = [name for name in COLUMNS[source.format] if name not in OPTIONAL.get(source.format, ())]
    return [name for name in needed if name not in source.columns and name not in known.columns]
