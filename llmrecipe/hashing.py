"""SHA-256 of files and folders; that of a large file is remembered."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

_BIG = 64 * 2**20  # bytes; the hash of a larger file is remembered by its size and time of change


def file_sha256(path: Path) -> str:
    """SHA-256 of the bytes of a file. That of a large file is remembered while its size and time stay.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    if status.st_size < _BIG:
        return _digest(path)
    mark = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    cache = _cache_folder() / hashlib.sha256(mark.encode()).hexdigest()
    with suppress(OSError):
        return cache.read_text("ascii")
    found = _digest(path)
    with suppress(OSError):  # a cache that cannot be written only costs time
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(found, "ascii")
    return found


def folder_sha256(path: Path) -> str:
    """SHA-256 over the relative names and the bytes of all files below a folder.

    Raises:
        OSError: a file cannot be read.
    """
    total = hashlib.sha256()
    for file in sorted(found for found in path.rglob("*") if found.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\n".encode())
    return total.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmrecipe" / "hashes"
