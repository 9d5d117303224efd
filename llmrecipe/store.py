"""Address -> folder: complete artifacts, the work of stages that are not complete, and one lock for each."""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from llmrecipe.plan import Record

VERSION = 1


class RunError(ValueError):
    """Something of this machine or of the way it was asked keeps a run from going on.

    The message says what is so, the help what to do.
    """

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


@dataclass(frozen=True)
class Holder:
    """Who runs a stage."""

    pid: int | None
    host: str | None

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid} on {self.host}"


class Store:
    """A folder of artifacts. Making this object touches nothing; `create` does."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def create(self) -> None:
        """Make the folders, or see that those that are there were made by this version.

        Raises:
            RunError: the store is of another version, or cannot be written.
        """
        self.check()
        try:
            for name in ("artifacts", "work", "locks"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            if not (self.root / "store.json").exists():
                write(self.root / "store.json", json.dumps({"version": VERSION}) + "\n")
            for name in ("artifacts", "work", "locks"):
                if not os.access(self.root / name, os.W_OK):
                    raise PermissionError(13, os.strerror(13), str(self.root / name))
        except OSError as error:
            raise RunError(
                f"the store cannot be written: {error.strerror}: {error.filename}",
                "choose another folder with `--store DIR` or LLMRECIPE_STORE",
            ) from None

    def check(self) -> None:
        """See that the store, if it exists, is of this version.

        Raises:
            RunError: it is not, or it is something else.
        """
        file = self.root / "store.json"
        try:
            version = json.loads(file.read_text("utf-8"))["version"]
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError(f"{file} does not say which version the store has", _OTHER) from None
        if version != VERSION:
            raise RunError(f"the store {self.root} has version {version}; this llmrecipe works with {VERSION}", _OTHER)

    def artifact(self, address: str) -> Path:
        """The folder of an artifact; it exists only when complete."""
        return self.root / "artifacts" / address

    def has(self, address: str) -> bool:
        """Whether the artifact is there."""
        return self.artifact(address).is_dir()

    def work(self, address: str) -> Path:
        """The folder of a stage that is not complete."""
        return self.root / "work" / address

    def record(self, address: str) -> Record:
        """What an artifact is.

        Raises:
            RunError: its `stage.json` is missing or damaged.
        """
        folder = self.artifact(address)
        try:
            return Record.model_validate_json((folder / "stage.json").read_bytes())
        except (OSError, ValidationError):
            raise RunError(
                f"{folder} is damaged: its stage.json cannot be read", f"remove it: rm -r {folder}"
            ) from None

    @contextmanager
    def locked(self, address: str, waiting: Callable[[Holder], None]) -> Iterator[BinaryIO]:
        """Be the only one who runs a stage.

        The lock lasts until this block is left and every process that has the open file has ended: give it to them as
        standard input, and nobody can come in between while they die.

        Args:
            address: of the stage.
            waiting: called over and over while another holds the lock; it sleeps as long as it likes, and may raise.
        """
        path = self.root / "locks" / f"{address}.lock"
        file = _acquire(path, waiting)
        with file:
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            file.flush()
            try:
                yield file
            finally:
                if self.has(address):
                    path.unlink(missing_ok=True)

    def clean(self, address: str) -> None:
        """Remove what is left of the work of a complete stage. Only under its lock."""
        shutil.rmtree(self.work(address), ignore_errors=True)
        shutil.rmtree(self.artifact(address).with_name(f"{address}.partial"), ignore_errors=True)

    def has_leftovers(self, address: str) -> bool:
        """Whether a complete stage was killed before it could clean up."""
        lock = self.root / "locks" / f"{address}.lock"
        return self.work(address).exists() or lock.exists()


_OTHER = "choose another folder with `--store DIR`, or remove this one to make everything anew"


def write(path: Path, text: str) -> None:
    """Write a file whose old or new text is there at any moment."""
    beside = path.with_name(path.name + ".partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _acquire(path: Path, waiting: Callable[[Holder], None]) -> BinaryIO:
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, file):
                return file
            file.close()
        except BlockingIOError:
            file.close()
            waiting(_holder(path))


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Whether the file is the one of that name: its last holder may have removed it while we waited."""
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _holder(path: Path) -> Holder:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return Holder(None, None)
    return Holder(found["pid"], found["host"])
