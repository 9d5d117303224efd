"""Questions to the file system that always have an answer: a name that cannot be asked about is not there."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from llmrecipe import paths

Answer = TypeVar("Answer")


def _ask(question: Callable[[], Answer], otherwise: Answer) -> Answer:
    try:
        return question()
    except (OSError, RuntimeError, ValueError):  # name too long, `~` of nobody, a null character
        return otherwise


def files(pattern: str, folder: Path) -> list[Path]:
    """The files that a path or glob names."""
    return _ask(lambda: paths.expand(pattern, folder), [])


def is_file(path: str, folder: Path) -> bool:
    """Whether a path is a file."""
    return _ask((lambda: (folder / Path(path).expanduser()).is_file()), False)


def is_folder(path: str, folder: Path) -> bool:
    """Whether a path is a folder."""
    return _ask((lambda: (folder / Path(path).expanduser()).is_dir()), False)


def is_empty(path: Path) -> bool:
    """Whether a file has a size of zero."""
    return _ask(lambda: path.stat().st_size == 0, False)


def neighbours(folder: Path) -> list[Path]:
    """What lies in a folder."""
    return _ask(lambda: sorted(folder.iterdir()), [])
