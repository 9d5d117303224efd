"""Data files of this machine or of any file system that fsspec knows -> rows with their file and line."""

import csv
import gzip
import importlib
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from llmrecipe.plan import PinnedFile, PinnedFiles
from llmrecipe.stages.place import StageError
from llmrecipe.stages.rows.record import kind

Located = tuple[str, dict[str, Any]]
"""Where a row stands, and the row."""

SampleBy = Literal["document", "paragraph", "line"]

BOM = b"\xef\xbb\xbf"

csv.field_size_limit(sys.maxsize)


def read_files(origin: PinnedFiles, root: Path) -> Iterator[Located]:
    """Rows of all files in their order.

    Args:
        root: folder from which relative paths start.

    Raises:
        StageError: a file or one of its rows cannot be read; says the file and the line.
    """
    for file in origin.files:
        yield from _read(file, origin.sample_by, root)


def _read(file: PinnedFile, sample_by: SampleBy, root: Path) -> Iterator[Located]:
    path = file.path
    reader = READERS.get(file.suffix.removesuffix(".gz"))
    if reader is None:
        known = ", ".join(suffix.removeprefix(".") for suffix in READERS)
        raise StageError(f"{path}: unknown kind of file", f"its name must end in one of {known}, or in .gz after that")
    try:
        with _open(file, root) as stream:
            yield from reader(stream, path, sample_by)
    except FileNotFoundError:
        raise StageError(f"{path} does not exist", "correct `paths`; they start from the recipe's folder") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _not_utf8(f"{path}:{line}", error) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise StageError(f"{path} is not a complete gzip file: {error}", "fetch or compress it again") from None
    except (OSError, ImportError) as error:
        raise StageError(f"{path} cannot be read: {error}", "check that it is there and may be read") from None


@contextmanager
def _open(file: PinnedFile, root: Path) -> Iterator[IO[bytes]]:
    with _remote(file.path) if "://" in file.path else (root / file.path).open("rb") as stream:
        if file.suffix.endswith(".gz"):
            with gzip.open(stream) as plain:
                yield plain  # type: ignore[misc]
        else:
            yield stream


def _remote(url: str) -> AbstractContextManager[IO[bytes]]:
    try:
        opened: AbstractContextManager[IO[bytes]] = importlib.import_module("fsspec").open(url, "rb")
    except (ImportError, ValueError) as error:
        raise StageError(f"{url} cannot be opened: {error}", "correct the URL, or install what it needs") from None
    return opened


def _jsonl(stream: IO[bytes], path: str, sample_by: SampleBy) -> Iterator[Located]:
    for number, line in enumerate(stream, start=1):
        if line.isspace():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line.strip())
        except UnicodeDecodeError as error:
            raise _not_utf8(where, error) from None
        except json.JSONDecodeError as error:
            message = f"{where}:{error.colno}: the line is not JSON: {error.msg}"
            raise StageError(message, "a jsonl file has one JSON object on each line") from None
        yield where, _object(row, where)


def _json(stream: IO[bytes], path: str, sample_by: SampleBy) -> Iterator[Located]:
    try:
        content = json.loads(stream.read().removeprefix(BOM).decode())
    except json.JSONDecodeError as error:
        lines = error.msg == "Extra data"
        help_ = "if it holds one object per line, name it .jsonl" if lines else "mend the file at that place"
        raise StageError(f"{path}:{error.lineno}:{error.colno}: the file is not JSON: {error.msg}", help_) from None
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        message = f'{path} holds {kind(content)}, not a list of rows or {{"data": [...]}}'
        raise StageError(message, "write one list of objects, or one object per line into a .jsonl file")
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        yield where, _object(row, where)


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise StageError(f"{where}: the row is {kind(row)}, not an object", 'write it as `{"column": value}`')
    return row


def _csv(stream: IO[bytes], path: str, sample_by: SampleBy) -> Iterator[Located]:
    return _delimited(stream, path, ",")


def _tsv(stream: IO[bytes], path: str, sample_by: SampleBy) -> Iterator[Located]:
    return _delimited(stream, path, "\t")


def _delimited(stream: IO[bytes], path: str, delimiter: str) -> Iterator[Located]:
    reader = csv.reader(_lines(stream, path), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise StageError(f"{where}: the row cannot be read: {error}", "check its quotes") from None
        if cells is None:
            return
        if not header:
            header = cells
        elif cells and len(cells) != len(header):
            message = f"{where}: the row has {len(cells)} fields, the header has {len(header)}"
            raise StageError(message, f"put quotes around fields that hold {delimiter!r} or line ends")
        elif cells:
            yield where, dict(zip(header, cells))


def _lines(stream: IO[bytes], path: str) -> Iterator[str]:
    """Lines of a text with their ends."""
    for number, line in enumerate(stream, start=1):
        yield _decoded(line.removeprefix(BOM) if number == 1 else line, f"{path}:{number}")


def _txt(stream: IO[bytes], path: str, sample_by: SampleBy) -> Iterator[Located]:
    if sample_by == "document":
        yield path, {"text": stream.read().removeprefix(BOM).decode()}
        return
    block: list[str] = []
    start = 1
    for number, line in enumerate(_lines(stream, path), start=1):
        text = line.rstrip("\r\n")
        if text.strip() and not block:
            start = number
        if text.strip():
            block.append(text)
        if block and (sample_by == "line" or not text.strip()):
            yield f"{path}:{start}", {"text": "\n".join(block)}
            block = []
    if block:
        yield f"{path}:{start}", {"text": "\n".join(block)}


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(where, error) from None


def _not_utf8(where: str, error: UnicodeDecodeError) -> StageError:
    message = f"{where}: the line is not UTF-8 text: byte {error.object[error.start]:#04x}"
    return StageError(message, "convert the file from its encoding: `iconv -f ISO-8859-1 -t UTF-8`")


def _parquet(stream: IO[bytes], path: str, sample_by: SampleBy) -> Iterator[Located]:
    number = 0
    try:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row
    except pa.ArrowInvalid as error:
        raise StageError(f"{path} is not a parquet file that can be read: {error}", "fetch or write it again") from None


READERS: dict[str, Callable[[IO[bytes], str, SampleBy], Iterator[Located]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".txt": _txt,
    ".parquet": _parquet,
}
"""Suffix -> its reader."""
