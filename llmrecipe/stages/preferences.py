"""Prepared preferences -> token ids within `max_length`: two answers to a prompt, or one that is good or bad."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from llmrecipe.stages.columns import integer_lists, integers
from llmrecipe.stages.dataset_folder import DatasetWriter
from llmrecipe.stages.encode import Encoder, Ids
from llmrecipe.stages.rows.record import Row
from llmrecipe.stages.token_report import SAMPLES, TokenReport, spans
from llmrecipe.vocabulary import TooLong

PROMPT_FILLS = "the prompt alone fills max_length"
ANSWER_TOO_LONG = "an answer is longer than max_length"
NO_DIFFERENCE = "both answers are the same within max_length"


def write_preferences(
    encoder: Encoder, batches: Iterable[list[Row]], writer: DatasetWriter, report: TokenReport, too_long: TooLong
) -> None:
    """Write `prompt_ids`, `chosen_ids` and `rejected_ids` of every row that fits and says which answer is better.

    Raises:
        StageError: the chat template refuses a conversation.
    """
    for rows in batches:
        encoded = ((row.prompt, (row.chosen, row.rejected)) for row in encoder.preferences(rows))
        kept = list(_fitting(encoded, report, too_long))
        for prompt, (chosen, rejected) in kept:
            _add_sample(report, encoder.tokenizer, prompt, chosen, {"rejected": encoder.tokenizer.decode(rejected)})
        if kept:
            columns = {"chosen_ids": [answers[0] for _, answers in kept], "rejected_ids": [a[1] for _, a in kept]}
            writer.write(_table([prompt for prompt, _ in kept], columns))
    writer.close()
    report.sequences = 2 * writer.rows


def write_unpaired(encoder: Encoder, batches: Iterable[list[Row]], writer: DatasetWriter, report: TokenReport) -> None:
    """Write `prompt_ids`, `completion_ids` and `label` (1: good, 0: bad) of every row that fits.

    A preference becomes two rows.

    Raises:
        StageError: the chat template refuses a conversation.
    """
    for rows in batches:
        answers = [answer for row in rows for answer in unpaired(row)]
        encoded = zip(encoder.completions(answers), (bool(answer["label"]) for answer in answers), strict=True)
        kept = []
        for (prompt, completion), label in encoded:
            for _, (cut,) in _fitting([(prompt, (completion,))], report, "cut"):
                kept.append((prompt, cut, label))
                _add_sample(report, encoder.tokenizer, prompt, cut, {"label": label})
        if kept:
            table = _table([row[0] for row in kept], {"completion_ids": [row[1] for row in kept]})
            writer.write(table.append_column("label", integers(row[2] for row in kept)))
    writer.close()
    report.sequences = writer.rows


def unpaired(row: Row) -> list[Row]:
    """The answers of a row that are good or bad: one, or the two of a preference."""
    if "label" in row:
        return [row]
    return [
        {"prompt": row["prompt"], "completion": row[name], "label": name == "chosen"} for name in ("chosen", "rejected")
    ]


def _fitting(
    rows: Iterable[tuple[Ids, tuple[Ids, ...]]], report: TokenReport, too_long: TooLong
) -> Iterable[tuple[Ids, tuple[Ids, ...]]]:
    """The rows that can be learned from, cut, and entered into the report."""
    for prompt, answers in rows:
        report.rows += 1
        room = report.max_length - len(prompt)
        if room <= 0:
            report.dropped[PROMPT_FILLS] += 1
            continue
        cut = tuple(answer[:room] for answer in answers)
        if cut != answers and too_long == "drop":
            report.dropped[ANSWER_TOO_LONG] += 1
        elif len(cut) == 2 and cut[0] == cut[1]:
            report.dropped[NO_DIFFERENCE] += 1
        else:
            _account(report, prompt, answers, cut)
            yield prompt, cut


def _account(report: TokenReport, prompt: Ids, answers: Sequence[Ids], cut: Sequence[Ids]) -> None:
    report.lengths.append(len(prompt) + max(map(len, answers)))
    report.truncated += report.lengths[-1] > report.max_length
    for before, after in zip(answers, cut, strict=True):
        report.tokens += len(prompt) + len(after)
        report.cut_off += len(before) - len(after)
        report.supervised += len(prompt) + len(after) - max(len(prompt), 1)


def _add_sample(report: TokenReport, tokenizer: Any, prompt: Ids, answer: Ids, more: dict[str, Any]) -> None:
    if len(report.samples) < SAMPLES:
        learned = [False] * len(prompt) + [True] * len(answer)
        report.samples.append({"spans": spans(tokenizer, prompt + answer, learned), **more})


def _table(prompts: list[Ids], answers: dict[str, list[Ids]]) -> pa.Table:
    return pa.table({name: _lists(values) for name, values in ({"prompt_ids": prompts} | answers).items()})


def _lists(values: list[Ids]) -> pa.Array:
    return integer_lists(array("i", (token for value in values for token in value)), map(len, values))
