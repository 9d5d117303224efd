"""Uniform rows <-> parquet shards, in bounded memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from llmrecipe.stages.columns import conversations, integers, strings
from llmrecipe.stages.rows.record import DIFFICULTY, Row

GROUP_ROWS = 10_000
GROUP_CHARACTERS = 32_000_000
"""A group of rows is written as soon as it has either."""
SHARD_ROWS = 100_000


def layout(row: Mapping[str, Any]) -> tuple[tuple[str, type], ...]:
    """The columns of a row and what they hold, without the number by which training rows may be ordered."""
    return tuple((name, type(value)) for name, value in row.items() if name != DIFFICULTY)


class RowWriter:
    """Writes rows of one layout into a parquet file, group by group. Without rows there is no file."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._buffer: list[Mapping[str, Any]] = []
        self._characters = 0

    def append(self, row: Mapping[str, Any], characters: int) -> None:
        """Take one row; `characters` is about how much memory it needs."""
        self._buffer.append(row)
        self._characters += characters
        self.rows += 1
        if len(self._buffer) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if not self._buffer:
            return
        table = pa.table({name: _column([row[name] for row in self._buffer]) for name in self._buffer[0]})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)
        self._buffer, self._characters = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()


def _column(values: list[Any]) -> pa.Array:
    match values[0]:
        case str():
            return strings(values)
        case list():
            return conversations(values)
        case float():
            return pa.array(values, pa.float64())
    return integers(values)


class ShardWriter:
    """Writes tables into `00000.parquet`, `00001.parquet`, ... of a folder. Without rows there is no folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None
        self._shards = 0
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        """Append a group of rows."""
        if table.num_rows == 0:
            return
        if self._writer is None or self._rows >= SHARD_ROWS:
            self.close()
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{self._shards:05}.parquet"
            self._writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            self._shards += 1
        self._writer.write_table(table)
        self._rows += table.num_rows

    def close(self) -> None:
        """Complete the file that is being written."""
        if self._writer is not None:
            self._writer.close()
        self._writer, self._rows = None, 0


def groups(path: Path) -> Iterator[pa.Table]:
    """The groups of rows of one file, one after the other."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def count_rows(folder: Path) -> int:
    """Rows of all shards of a folder."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def read_tables(folder: Path) -> Iterator[pa.Table]:
    """The groups of rows of all shards of a folder in their order; none when the folder is not there."""
    for path in sorted(folder.glob("*.parquet")):
        yield from groups(path)


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows of all shards of a folder in their order."""
    for table in read_tables(folder):
        yield from table.to_pylist()
