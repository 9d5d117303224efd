"""Rows as the model will see them: tokens, and which of them are learned from."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

from datasets import load_from_disk

from llmrecipe.preflight.case import Case
from llmrecipe.preflight.job import ShownRow, Stretch
from llmrecipe.stages.encode import IGNORED
from llmrecipe.stages.token_rows import has_rows

TOKENS = 2_000
"""Tokens of a row that are shown."""


def shown(case: Case, count: int) -> Iterator[ShownRow]:
    """The first rows of the tokenized training set, and as many of the validation."""
    splits: tuple[Literal["train", "validation"], ...] = ("train", "validation")
    for split in splits:
        folder: Path = case.tokenized / f"dataset/{split}"
        if has_rows(folder):
            dataset = load_from_disk(str(folder))
            rows = (dataset[number] for number in range(min(count, len(dataset))))
            yield from islice((each for row in rows for each in _rows(case.tokenizer, row, split)), count)


def _rows(tokenizer: Any, row: dict[str, Any], split: Literal["train", "validation"]) -> Iterator[ShownRow]:
    if "prompt_ids" not in row:
        starts = set()
        if "seq_lengths" in row:
            starts = {sum(row["seq_lengths"][:number]) for number in range(len(row["seq_lengths"]))}
        learned = [
            label != IGNORED and number > 0 and number not in starts for number, label in enumerate(row["labels"])
        ]
        note = f"{len(starts)} documents" if len(starts) > 1 else ""
        yield _row(tokenizer, split, row["input_ids"], learned, note)
        return
    answers = {name.removesuffix("_ids"): row[name] for name in row if name.endswith("_ids") and name != "prompt_ids"}
    for name, answer in (answers or {"prompt": []}).items():
        note = f"label: {row['label']}" if "label" in row else name
        marks = [False] * len(row["prompt_ids"]) + [True] * len(answer)
        yield _row(tokenizer, split, row["prompt_ids"] + answer, marks, note)


def _row(
    tokenizer: Any, split: Literal["train", "validation"], ids: Sequence[int], learned: Sequence[bool], note: str
) -> ShownRow:
    marked = zip(ids[:TOKENS], learned, strict=False)
    stretches = []
    for mark, part in groupby(marked, key=lambda pair: bool(pair[1])):
        tokens = [token for token, _ in part]
        words = [tokenizer.decode([token]) for token in tokens]
        stretches.append(Stretch(text=tokenizer.decode(tokens), tokens=words, learned=mark))
    return ShownRow(split=split, length=len(ids), stretches=stretches, note=note)
