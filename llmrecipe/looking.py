"""Questions to the file system that always have an answer, and a record of what was asked.

A name that cannot be asked about is not there. Whoever wants to know what a result depends on, asks inside of
`recorded()`; `still_true` asks the same again.
"""

import glob
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple, TypeVar

Answer = TypeVar("Answer")


class Look(NamedTuple):
    """A question, and what it was about."""

    question: str
    path: str
    folder: str


HEAD = 1 << 16
"""Bytes of the beginning of a file."""

Looks = dict[Look, str]
"""Each question with its answer."""

_RECORD: ContextVar[Looks | None] = ContextVar("_RECORD", default=None)


@contextmanager
def recorded() -> Iterator[Looks]:
    """The questions that are asked inside of the block."""
    looks: Looks = {}
    token = _RECORD.set(looks)
    try:
        yield looks
    finally:
        _RECORD.reset(token)


def still_true(look: Look, answer: str) -> bool:
    """Whether a question has the same answer now."""
    return _said(_ASK[look.question](look.path, Path(look.folder))) == answer


def files(pattern: str, folder: Path) -> list[Path]:
    """The files that a path or glob names, sorted; nothing when there is none."""
    return _noted("files", pattern, folder, _files)


def is_file(path: str, folder: Path) -> bool:
    """Whether a path is a file."""
    return _noted("is_file", path, folder, _is_file)


def is_folder(path: str, folder: Path) -> bool:
    """Whether a path is a folder."""
    return _noted("is_folder", path, folder, _is_folder)


def is_empty(path: Path) -> bool:
    """Whether a file has a size of zero."""
    return _noted("is_empty", str(path), Path(), _is_empty)


def size(path: Path) -> int:
    """Bytes of a file; 0 where it cannot be asked about."""
    return _noted("size", str(path), Path(), _size)


def neighbours(folder: Path) -> list[Path]:
    """What lies in a folder."""
    return _noted("neighbours", "", folder, _neighbours)


def text(path: str) -> str:
    """The text of a file in UTF-8, without a byte order mark; nothing where it cannot be read."""
    return _noted("text", path, Path(), _text)


def head(path: Path) -> str:
    """The first lines of a file, up to 64 KiB; nothing where it cannot be read."""
    return _noted("head", str(path), Path(), _head)


def read(path: str, content: bytes) -> None:
    """Note that a file was read by other means."""
    record = _RECORD.get()
    if record is not None:
        record[Look("bytes", path, "")] = _said(content)


def expand(pattern: str, start: Path) -> list[Path]:
    """As `files`, but raises where a name cannot be asked about."""
    path = start / Path(pattern).expanduser()
    if glob.has_magic(pattern):
        return [Path(found) for found in sorted(glob.iglob(str(path), recursive=True)) if Path(found).is_file()]
    return [path] if path.is_file() else []


def _noted(question: str, path: str, folder: Path, ask: Callable[[str, Path], Answer]) -> Answer:
    answer = ask(path, folder)
    record = _RECORD.get()
    if record is not None:
        record[Look(question, path, str(folder))] = _said(answer)
    return answer


def _said(answer: object) -> str:
    """An answer in few characters."""
    match answer:
        case bool():
            return "yes" if answer else "no"
        case int():
            return str(answer)
        case bytes():
            return hashlib.sha256(answer).hexdigest()
        case str():
            return hashlib.sha256(answer.encode("utf-8", "surrogatepass")).hexdigest()
        case list():
            return _said("\0".join(str(item) for item in answer))
    return "nothing"


def _guarded(question: Callable[[], Answer], otherwise: Answer) -> Answer:
    try:
        return question()
    except (OSError, RuntimeError, ValueError):  # name too long, `~` of nobody, a null character
        return otherwise


def _files(pattern: str, folder: Path) -> list[Path]:
    return _guarded(lambda: expand(pattern, folder), [])


def _is_file(path: str, folder: Path) -> bool:
    return _guarded(lambda: (folder / Path(path).expanduser()).is_file(), False)


def _is_folder(path: str, folder: Path) -> bool:
    return _guarded(lambda: (folder / Path(path).expanduser()).is_dir(), False)


def _is_empty(path: str, folder: Path) -> bool:
    return _guarded(lambda: Path(path).stat().st_size == 0, False)


def _size(path: str, folder: Path) -> int:
    return _guarded(lambda: Path(path).stat().st_size, 0)


def _neighbours(path: str, folder: Path) -> list[Path]:
    return _guarded(lambda: sorted(folder.iterdir()), [])


def _text(path: str, folder: Path) -> str:
    return _guarded(lambda: Path(path).read_bytes().decode("utf-8-sig"), "")


def _head(path: str, folder: Path) -> str:
    return _guarded(lambda: _first_lines(Path(path)), "")


def _first_lines(path: Path) -> str:
    with path.open("rb") as file:
        begun = file.read(HEAD)
    whole = begun if len(begun) < HEAD else begun[: begun.rfind(b"\n") + 1]
    return whole.decode("utf-8-sig")


def _bytes(path: str, folder: Path) -> bytes | None:
    return _guarded(lambda: Path(path).read_bytes(), None)


_ASK: dict[str, Callable[[str, Path], object]] = {
    "files": _files,
    "is_file": _is_file,
    "is_folder": _is_folder,
    "is_empty": _is_empty,
    "size": _size,
    "neighbours": _neighbours,
    "text": _text,
    "bytes": _bytes,
    "head": _head,
}
