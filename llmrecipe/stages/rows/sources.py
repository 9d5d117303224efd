"""One source of a plan -> uniform rows with the place where each was found."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from llmrecipe.plan import DataSource, PinnedDataset, PinnedFiles
from llmrecipe.stages.rows.files import Located, read_files
from llmrecipe.stages.rows.formats import FORMATS
from llmrecipe.stages.rows.record import DIFFICULTY, Record, Row


def read_source(source: DataSource, root: Path) -> Iterator[tuple[str, Row]]:
    """Where each row stands and the row, in the order of the source, made uniform but not prepared.

    Args:
        root: folder from which relative paths start.

    Raises:
        StageError: a file, dataset or row cannot be used; says which, where, and what to do.
    """
    convert = FORMATS[source.format]
    for where, data in _read(source, root):
        record = Record(where, data, source.label, source.columns)
        row = convert(record)
        yield where, row if source.difficulty is None else row | {DIFFICULTY: record.number(source.difficulty)}


def _read(source: DataSource, root: Path) -> Iterator[Located]:
    match source.origin:
        case PinnedFiles():
            return read_files(source.origin, root)
        case PinnedDataset():
            rows: Iterator[Located] = importlib.import_module("llmrecipe.stages.rows.hub").read_dataset(source.origin)
            return rows
