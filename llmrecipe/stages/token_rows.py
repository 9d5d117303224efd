"""The rows that tokenization left, read without importing `datasets`."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TokenRow = dict[str, NDArray[Any]]
"""Column -> integers [any length]."""


def has_rows(folder: Path) -> bool:
    """Whether a split is there and is not empty."""
    return folder.is_dir() and bool(_files(folder))


def read_rows(folder: Path) -> list[TokenRow]:
    """All rows of a split, their lists of integers alone; these stay in the mapped file."""
    tables = [pa.ipc.open_stream(pa.memory_map(str(file))).read_all() for file in _files(folder)]
    table = pa.concat_tables(tables)
    names = [field.name for field in table.schema if pa.types.is_list(field.type)]
    columns = [_lists(table[name]) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _files(folder: Path) -> list[Path]:
    state = json.loads((folder / "state.json").read_bytes())
    return [folder / file["filename"] for file in state["_data_files"]]


def _lists(column: pa.ChunkedArray) -> list[NDArray[Any]]:
    found: list[NDArray[Any]] = []
    for chunk in column.chunks:
        values = np.asarray(chunk.values)
        found += [values[start:end] for start, end in pairwise(chunk.offsets.to_pylist())]
    return found
