"""Sources -> uniform, prepared, mixed and split rows, and a report of what became of every row.

Every row goes through every step once, in the order of the sources, and the kept ones wait in a file per source; then
the mixture is known, and the chosen ones are written.
"""

import shutil
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from llmrecipe.plan import DataSource, PinnedFiles, PrepareData
from llmrecipe.stages.columns import integers
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.rows.mixture import Indices, choose
from llmrecipe.stages.rows.record import Row
from llmrecipe.stages.rows.report import Account, Report, Split
from llmrecipe.stages.rows.shards import RowWriter, ShardWriter, groups, layout
from llmrecipe.stages.rows.sources import read_source
from llmrecipe.stages.rows.steps import Drop, Step, build, check, digest, texts

Reader = Callable[[DataSource, Path], Iterator[tuple[str, Row]]]
"""Where each row of a source stands and the row; relative paths start from the folder."""

HELD_OUT = "_held_out"
CHARACTERS = "_characters"
"""Columns that kept rows carry until they are written."""

EVENT_ROWS = 20_000


class Output:
    """The written rows of one split, and how long they are."""

    def __init__(self, folder: Path) -> None:
        self.characters = array("q")
        self._shards = ShardWriter(folder)

    def write(self, table: pa.Table) -> None:
        """Append kept rows."""
        self.characters.extend(table[CHARACTERS].to_pylist())
        self._shards.write(table.drop_columns([HELD_OUT, CHARACTERS]))

    def close(self) -> None:
        """Complete the last shard."""
        self._shards.close()


@dataclass
class Preparation:
    """One run: what its sources share."""

    spec: PrepareData
    place: Place
    read: Reader = read_source
    report: Report = field(default_factory=Report)
    layout: tuple[tuple[str, type], ...] | None = None
    validation_rows: set[bytes] = field(default_factory=set)
    """Digests of the rows of own validation sources."""


def run(spec: PrepareData, place: Place, read: Reader = read_source) -> dict[str, float]:
    """Fill `rows/train`, `rows/validation` (when rows are held out) and `report/report.json`.

    Args:
        spec: what to prepare.
        place: where.
        read: who reads a source; another reader takes a sample.

    Raises:
        StageError: a source cannot be read, a row is not in its format, or no row is left.
    """
    preparation = Preparation(spec, place, read)
    kept = place.work / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    train = Output(place.output / "rows" / "train")
    validation = Output(place.output / "rows" / "validation")
    if spec.validation:
        _prepare(preparation, "validation", spec.validation, train, validation)
    _prepare(preparation, "train", spec.train, train, validation)
    train.close()
    validation.close()
    shutil.rmtree(kept)
    report = preparation.report
    _check_not_empty(spec, report.accounts, train, validation)
    report.write(place.output / "report" / "report.json", train.characters, validation.characters)
    return {
        "rows_in": sum(account.rows_in for account in report.accounts),
        "rows_dropped": sum(account.rows_in - account.kept for account in report.accounts),
        "train_rows": len(train.characters),
        "train_characters": sum(train.characters),
        "validation_rows": len(validation.characters),
        "train_rows_also_in_validation": report.train_rows_also_in_validation,
    }


def _prepare(
    preparation: Preparation, split: Split, sources: Sequence[DataSource], train: Output, validation: Output
) -> None:
    """Read, choose and write all sources of a split."""
    spec = preparation.spec
    steps = [*(build(step) for step in spec.steps), check]
    accounts = [Account(source, split) for source in sources]
    preparation.report.accounts += accounts
    for number, account in enumerate(accounts):
        _keep(preparation, account, steps, _kept(preparation.place, split, number))
    chosen = choose([account.kept for account in accounts], sources, spec.stopping_strategy, spec.seed)
    for number, (account, passes) in enumerate(zip(accounts, chosen)):
        account.used = sum(map(len, passes))
        for repetition, rows in enumerate(passes):
            for table in _take(_kept(preparation.place, split, number), rows):
                held_out = pc.cast(table[HELD_OUT], pa.bool_())
                train.write(table.filter(pc.invert(held_out)))
                if repetition == 0:
                    validation.write(table.filter(held_out))


def _kept(place: Place, split: Split, number: int) -> Path:
    return place.work / "kept" / f"{split}-{number}.parquet"


def _keep(preparation: Preparation, account: Account, steps: Sequence[Step], path: Path) -> None:
    """Bring one source through the steps into a file of kept rows."""
    with RowWriter(path) as writer:
        for row in _kept_rows(preparation, account, steps):
            characters = sum(map(len, texts(row)))
            held_out = _held_out(preparation, account.split, row)
            writer.append({**row, HELD_OUT: held_out, CHARACTERS: characters}, characters)
    account.kept = writer.rows


def _kept_rows(preparation: Preparation, account: Account, steps: Sequence[Step]) -> Iterator[Row]:
    """The rows of a source that no step drops."""
    report = preparation.report
    for where, read in preparation.read(account.source, preparation.place.root):
        account.rows_in += 1
        if account.rows_in % EVENT_ROWS == 0:
            done = sum(each.rows_in for each in report.accounts)
            preparation.place.event(event="progress", done=done, unit="rows")
        row = _through(steps, read)
        if isinstance(row, Drop):
            report.drop(account, row, where, read)
            continue
        if preparation.layout is None:
            preparation.layout = layout(row)
        if layout(row) != preparation.layout:
            ours, theirs = ("messages", "strings") if list in dict(layout(row)).values() else ("strings", "messages")
            message = f"{where}: the row is written as {ours}, the rows before it as {theirs}"
            raise StageError(message, "write the prompts and answers of all sources the same way")
        yield row


def _through(steps: Sequence[Step], row: Row) -> Row | Drop:
    for step in steps:
        changed = step(row)
        if isinstance(changed, Drop):
            return changed
        row = changed
    return row


def _held_out(preparation: Preparation, split: Split, row: Row) -> bool:
    """Whether a row is for validation. A fraction looks at nothing but the content of the row."""
    spec = preparation.spec
    if spec.validation_fraction is not None:
        return int.from_bytes(digest(row)[:8]) < spec.validation_fraction * 2**64
    if spec.validation:
        key = digest(row)
        if split == "validation":
            preparation.validation_rows.add(key)
        elif key in preparation.validation_rows:
            preparation.report.train_rows_also_in_validation += 1
    return split == "validation"


def _take(path: Path, rows: Indices) -> Iterator[pa.Table]:
    """Those rows of a file of kept rows, group by group."""
    if not rows:
        return
    offset = 0
    for table in groups(path):
        end = offset + table.num_rows
        here = rows[bisect_left(rows, offset) : bisect_left(rows, end)]
        yield table if len(here) == table.num_rows else table.take(integers(row - offset for row in here))
        offset = end


def _check_not_empty(spec: PrepareData, accounts: Sequence[Account], train: Output, validation: Output) -> None:
    for account in accounts:
        label = account.source.label
        if account.rows_in == 0:
            raise StageError(f"`{label}` has no rows", "its files are empty: correct `paths`, or leave it out")
        if account.kept == 0:
            raise StageError(f"none of the {account.rows_in:,} rows of `{label}` is left: {account.reasons()}", LOOSEN)
    for account in accounts:  # A source without rows leaves the others of its mixture without any.
        if account.used == 0:
            label = account.source.label
            raise StageError(f"the weight of `{label}` gives it less than one row", "raise it, or leave the source out")
    if spec.validation_fraction is None or (train.characters and validation.characters):
        return
    rows = len(train.characters) + len(validation.characters)
    side = "for validation" if train.characters else "to train on"
    message = f"`data.validation.fraction: {spec.validation_fraction:g}` of {rows:,} rows leaves none {side}"
    document = any(_is_document(source) for source in spec.train)
    raise StageError(message, SPLIT_DOCUMENTS if document else OTHER_FRACTION)


def _is_document(source: DataSource) -> bool:
    return (
        isinstance(source.origin, PinnedFiles)
        and source.origin.sample_by == "document"
        and any(".txt" in file.path for file in source.origin.files)
    )


LOOSEN = "loosen `data.prepare`, or correct `columns` and `format`"
OTHER_FRACTION = "use more rows or another fraction, or give `data.validation.sources`"
SPLIT_DOCUMENTS = "each txt file is one row: write `sample_by: paragraph` or `line`, or give `data.validation.sources`"
