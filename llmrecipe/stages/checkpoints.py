"""Checkpoints that can be trusted: sealed when complete, verified before anything goes on from them."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue
from safetensors import SafetensorError

from llmrecipe.stages.place import StageError

MANIFEST = "checkpoint.json"
_PREFIX = "checkpoint-"


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was taken."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def seal(checkpoint: Path, training: JsonValue = None) -> None:
    """Write down what a finished checkpoint consists of, and which training it belongs to. Only then it is one."""
    files = {}
    for path in _files(checkpoint):
        _sync(path)
        files[path.relative_to(checkpoint).as_posix()] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    written = checkpoint / (MANIFEST + ".new")
    manifest = {"step": step_of(checkpoint), "training": training, "files": files}
    written.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _sync(written)
    written.rename(checkpoint / MANIFEST)
    _sync(checkpoint)
    _sync(checkpoint.parent)


def belongs(checkpoint: Path, training: JsonValue) -> bool:
    """See that a complete checkpoint is of this very training.

    Returns:
        Whether it was written under other options, which somebody chose to go on from.

    Raises:
        StageError: it is of another one.
    """
    manifest = json.loads((checkpoint / MANIFEST).read_bytes())
    if manifest.get("training") != training:
        raise StageError(
            f"{checkpoint} was written by a training with another specification, data or number of processes",
            f"remove {checkpoint.parent.parent} to begin anew",
        )
    return bool(manifest.get("changed", False))


def complete(checkpoint: Path) -> bool:
    """Whether a checkpoint is sealed and every file is still what it was."""
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    files = {checkpoint / name: file for name, file in manifest["files"].items()}
    return all(path.is_file() and path.stat().st_size == file["size"] for path, file in files.items()) and all(
        _sha256(path) == file["sha256"] for path, file in files.items()
    )


def newest_complete(folder: Path) -> Path | None:
    """The newest checkpoint that is complete. Newer ones, which are not, are removed."""
    for checkpoint in reversed(_checkpoints(folder)):
        if complete(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint)
    return None


def at_step(folder: Path, step: int) -> Path:
    """The checkpoint that is taken after a step."""
    return folder / f"{_PREFIX}{step}"


def keep_newest(folder: Path, count: int, best: int | None = None) -> None:
    """Remove all but the newest checkpoints and the one of the best step. Call it when the newest is complete."""
    for checkpoint in _checkpoints(folder)[:-count]:
        if step_of(checkpoint) != best:
            shutil.rmtree(checkpoint)


@contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """Write one folder. When the disk or its permissions say no, remove what was begun and say so.

    Raises:
        StageError: the folder cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = _why(error)
        if reason is None:
            raise
        shutil.rmtree(folder, ignore_errors=True)
        free = shutil.disk_usage(folder.parent).free
        raise StageError(
            f"{what} cannot be written to {folder}: {reason}; {free / 1e6:,.0f} MB are free there",
            "make room and run again: it goes on from the last complete checkpoint",
        ) from error


def _why(error: Exception) -> str | None:
    """What the file system said; None when the error is not about writing."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error)
    if isinstance(error, SafetensorError):
        return text
    # torch.save reports a short write without the reason of the system.
    if "PytorchStreamWriter" in text or "unexpected pos" in text:
        return os.strerror(errno.ENOSPC) if "File too large" not in text else os.strerror(errno.EFBIG)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, complete or not, oldest first."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=step_of)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
