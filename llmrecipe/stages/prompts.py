"""Prepared prompts -> rows that are answered while training: the prompt itself, its tokens, and its reference."""

import json
from array import array
from collections.abc import Iterable

import pyarrow as pa

from llmrecipe.stages.columns import integer_lists, strings
from llmrecipe.stages.dataset_folder import DatasetWriter
from llmrecipe.stages.encode import Encoder
from llmrecipe.stages.rows.record import Row
from llmrecipe.stages.token_report import SAMPLES, TokenReport, spans

TOO_LONG = "the prompt leaves no room for an answer of max_completion_length"


def write_prompts(encoder: Encoder, batches: Iterable[list[Row]], writer: DatasetWriter, report: TokenReport) -> None:
    """Write `prompt` (JSON text: a string or messages), `prompt_ids` [length] and `reference` of every row that fits.

    Raises:
        StageError: the chat template refuses a conversation.
    """
    for rows in batches:
        kept: list[tuple[Row, list[int]]] = []
        for row, ids in zip(rows, encoder.prompts(rows), strict=True):
            report.rows += 1
            if len(ids) > report.max_length:
                report.dropped[TOO_LONG] += 1
                continue
            kept.append((row, ids))
            report.lengths.append(len(ids))
            report.tokens += len(ids)
            if len(report.samples) < SAMPLES:
                report.samples.append({"spans": spans(encoder.tokenizer, ids, [False] * len(ids))})
        if kept:
            writer.write(_table(kept))
    writer.close()
    report.sequences = writer.rows


def _table(rows: list[tuple[Row, list[int]]]) -> pa.Table:
    flat = array("i", (token for _, ids in rows for token in ids))
    return pa.table(
        {
            "prompt": strings(json.dumps(row["prompt"], ensure_ascii=False) for row, _ in rows),
            "prompt_ids": integer_lists(flat, [len(ids) for _, ids in rows]),
            "reference": strings(row["reference"] for row, _ in rows),
        }
    )
