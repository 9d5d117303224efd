"""Prepared rows -> token ids and labels that a trainer takes as they are, and a report of what is learned from."""

import json
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import JsonValue

from llmrecipe.plan import Tokenize
from llmrecipe.stages.columns import integer_lists
from llmrecipe.stages.dataset_folder import DatasetWriter
from llmrecipe.stages.encode import IGNORED, Encoded, Encoder
from llmrecipe.stages.packing import Sequences, pack
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.preferences import write_preferences, write_unpaired
from llmrecipe.stages.prompts import write_prompts
from llmrecipe.stages.rows.record import DIFFICULTY, Row
from llmrecipe.stages.rows.shards import count_rows, read_tables
from llmrecipe.stages.token_report import SAMPLES, TokenReport, spans
from llmrecipe.stages.tokenizer import check_turns_end, load_tokenizer, template_for_assistant_loss
from llmrecipe.vocabulary import Objective

Split = Literal["train", "validation"]

BATCH_ROWS = 500
CHUNK_TOKENS = 1_000_000

NOTHING_LEARNED = "no supervised token"
NOTHING_LEFT = "no supervised token within max_length"


def run(spec: Tokenize, place: Place) -> dict[str, float]:
    """Fill `dataset/train`, `dataset/validation` (when there are such rows), `tokenizer/` and `report/report.json`.

    Raises:
        StageError: there is no tokenizer, it cannot encode these rows, or no row is left.
    """
    tokenizer = load_tokenizer(spec, place)
    encoder = encoder_for(spec, tokenizer, place.inputs["rows"])
    work = _WORK[spec.objective]
    train = work(spec, place, encoder, "train")
    validation = work(spec, place, encoder, "validation") if _shards(place, "validation").is_dir() else None
    tokenizer.save_pretrained(place.output / "tokenizer")
    _write_report(place.output / "report" / "report.json", encoder, train, validation)
    metrics = {
        "train_rows": train.kept,
        "train_tokens": train.tokens,
        "train_sequences": train.sequences,
        "rows_dropped": train.dropped.total(),
        "supervised_share": train.supervised_share,
        "truncated_share": train.truncated_share,
        "packing_efficiency": train.packing_efficiency,
        "vocab_size": len(tokenizer),
    }
    if validation is not None:
        metrics |= {"validation_rows": validation.kept, "validation_tokens": validation.tokens}
    return metrics


def _shards(place: Place, split: Split) -> Path:
    return place.inputs["rows"] / split


def encoder_for(spec: Tokenize, tokenizer: Any, rows: Path) -> Encoder:
    """How these rows are encoded; checks that the tokenizer can, before the first one is.

    Raises:
        StageError: it cannot.
    """
    first = next(read_tables(rows / "train")).slice(0, 1).to_pylist()[0]
    if any(isinstance(value, list) for value in first.values()):
        if tokenizer.chat_template is None:
            raise StageError(
                "the rows are conversations, and the tokenizer has no chat template",
                "give one: `tokenizer: {kind: reuse, chat_template: chatml}` or a path to a Jinja file",
            )
        assistant = spec.loss_on == "assistant"
        template = template_for_assistant_loss(tokenizer) if assistant else None
        check_turns_end(tokenizer, template, masked=assistant)
        return Encoder(tokenizer, spec.loss_on, template)
    if spec.objective == "masked":
        if tokenizer.mask_token is None:
            raise StageError(
                "the tokenizer has no mask token, behind which a masked language model could guess",
                "use a base that was trained with `mlm`, or train a tokenizer: `tokenizer: {kind: train, ...}`",
            )
        return Encoder(tokenizer, spec.loss_on)
    if tokenizer.eos_token is None:
        raise StageError(
            "the tokenizer has no end of text (`eos_token`), which every row must end with",
            "set `eos_token` in its tokenizer_config.json",
        )
    return Encoder(tokenizer, spec.loss_on)


def _batches(spec: Tokenize, place: Place, split: Split) -> Iterator[list[Row]]:
    """Rows of a split, some hundred at a time."""
    total = count_rows(_shards(place, split))
    done = 0
    for table in read_tables(_shards(place, split)):
        for start in range(0, table.num_rows, BATCH_ROWS):
            rows = table.slice(start, BATCH_ROWS).to_pylist()
            yield rows
            done += len(rows)
            place.event(event="progress", done=done, total=total, unit="rows")


def _check_not_empty(report: TokenReport, split: Split) -> None:
    if not report.kept:
        raise StageError(
            f"no {split} row of {report.rows:,} has anything to learn: {report.reasons()}",
            f"raise `training.max_length` ({report.max_length}), or look at what the loss is over",
        )


# -- texts, conversations, prompts and completions --


def _causal(spec: Tokenize, place: Place, encoder: Encoder, split: Split) -> TokenReport:
    """Encode a split into two flat files, then lay it into sequences: memory does not grow with the tokens."""
    report = TokenReport(spec.max_length)
    begin = encoder.tokenizer.bos_token_id
    lengths, difficulties = array("q"), array("d")
    names = ("ids", "labels", "words") if spec.words else ("ids", "labels")
    paths = [place.work / f"{split}-{name}.bin" for name in names]
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for rows in _batches(spec, place, split):
            encoded = encoder.masked(rows, spec.words) if spec.objective == "masked" else encoder.causal(rows)
            for row, read in zip(encoded, rows, strict=True):
                kept = _account(spec, report, row)
                if kept is None:
                    continue
                if DIFFICULTY in read:
                    difficulties.append(read[DIFFICULTY])
                if len(report.samples) < SAMPLES:
                    report.samples.append(
                        {"spans": spans(encoder.tokenizer, kept.ids.tolist(), kept.learned().tolist())}
                    )
                report.doubled_bos += begin is not None and kept.ids[:2].tolist() == [begin, begin]
                for file, values in zip(files, kept.columns(), strict=True):
                    file.write(values.data)
                lengths.append(len(kept.ids))
    _check_not_empty(report, split)
    sequences = pack(np.frombuffer(lengths, np.int64), spec.max_length, spec.packing)
    flat = _Flat(paths, difficulties)
    _write_sequences(spec, sequences, flat, DatasetWriter(place.output / "dataset" / split), report)
    for path in paths:
        path.unlink()
    return report


@dataclass(frozen=True)
class _Flat:
    """The tokens of all rows, end to end."""

    paths: list[Path]
    """Files of ids, of labels, and of words where these are told."""
    difficulties: "array[float]"
    """One number for each row by which rows are ordered, or none."""


def _account(spec: Tokenize, report: TokenReport, row: Encoded) -> Encoded | None:
    """The row, cut where the packing cuts it, or nothing when there is nothing in it to learn."""
    report.rows += 1
    kept = row.cut(spec.max_length) if spec.packing in ("none", "bfd") else row
    if not kept.learned().any():
        report.dropped[NOTHING_LEFT if row.learned().any() else NOTHING_LEARNED] += 1
        return None
    report.lengths.append(len(row.ids))
    report.truncated += len(kept.ids) < len(row.ids)
    report.cut_off += len(row.ids) - len(kept.ids)
    return kept


def _write_sequences(
    spec: Tokenize, sequences: Sequences, flat: _Flat, writer: DatasetWriter, report: TokenReport
) -> None:
    """Gather the tokens of each sequence, about a million at a time.

    In packed sequences the first token of a document has no label: the one before it belongs to another document.
    """
    flat_ids, flat_labels, *flat_words = (np.memmap(path, np.int32, "r") for path in flat.paths)
    ends = np.cumsum(np.add.reduceat(sequences.lengths, sequences.bounds[:-1]))
    chunks = np.searchsorted(ends, np.arange(0, ends[-1], CHUNK_TOKENS), side="left")
    edges = np.unique(np.append(chunks, len(sequences)))
    for first, last in pairwise(edges):
        low, high = sequences.bounds[first], sequences.bounds[last]
        starts, lengths = sequences.starts[low:high], sequences.lengths[low:high]
        heads = np.cumsum(lengths) - lengths
        where = np.repeat(starts - heads, lengths) + np.arange(lengths.sum())
        ids, labels = flat_ids[where], flat_labels[where]
        learned = labels != IGNORED
        learned[heads] = False
        report.supervised += int(learned.sum())
        report.tokens += len(ids)
        if spec.packing != "none":
            labels[heads] = IGNORED
        bounds = sequences.bounds[first : last + 1] - low
        sizes = np.add.reduceat(lengths, bounds[:-1]).tolist()
        columns = {"input_ids": integer_lists(ids, sizes), "labels": integer_lists(labels, sizes)}
        for words in flat_words:
            columns["word_ids"] = integer_lists(words[where], sizes)
        if flat.difficulties:
            columns[DIFFICULTY] = pa.array(flat.difficulties[first:last], pa.float64())
        if spec.packing != "none":
            columns["seq_lengths"] = integer_lists(lengths.astype(np.int32), np.diff(bounds).tolist())
        writer.write(pa.table(columns))
    writer.close()
    report.sequences = writer.rows


# -- preferences --


def _preferences(spec: Tokenize, place: Place, encoder: Encoder, split: Split) -> TokenReport:
    """Encode a split of pairs of answers."""
    report = TokenReport(spec.max_length)
    writer = DatasetWriter(place.output / "dataset" / split)
    write_preferences(encoder, _batches(spec, place, split), writer, report, spec.too_long)
    _check_not_empty(report, split)
    return report


def _unpaired(spec: Tokenize, place: Place, encoder: Encoder, split: Split) -> TokenReport:
    """Encode a split of answers that are good or bad."""
    report = TokenReport(spec.max_length)
    write_unpaired(encoder, _batches(spec, place, split), DatasetWriter(place.output / "dataset" / split), report)
    _check_not_empty(report, split)
    return report


# -- prompts --


def _prompts(spec: Tokenize, place: Place, encoder: Encoder, split: Split) -> TokenReport:
    """Encode a split of prompts."""
    report = TokenReport(spec.max_length)
    write_prompts(encoder, _batches(spec, place, split), DatasetWriter(place.output / "dataset" / split), report)
    _check_not_empty(report, split)
    return report


_WORK: dict[Objective, Callable[[Tokenize, Place, Encoder, Split], TokenReport]] = {
    "causal": _causal,
    "masked": _causal,
    "preference": _preferences,
    "unpaired_preference": _unpaired,
    "prompt": _prompts,
}


# -- report --


def _write_report(path: Path, encoder: Encoder, train: TokenReport, validation: TokenReport | None) -> None:
    warnings = train.warnings()
    if encoder.merged_boundaries:
        warnings.append(
            f"in {encoder.merged_boundaries:,} rows the prompt is tokenized otherwise when the answer follows; "
            "end prompts on a word, without a blank"
        )
    tokenizer = encoder.tokenizer
    content: dict[str, JsonValue] = {
        "train": train.as_dict(),
        "validation": None if validation is None else validation.as_dict(),
        "warnings": [*warnings],
        "tokenizer": {
            "class": type(tokenizer).__name__,
            "vocab_size": len(tokenizer),
            "eos_token": tokenizer.eos_token,
            "pad_token": tokenizer.pad_token,
        },
    }
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
