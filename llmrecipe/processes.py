"""A running stage: started, watched, asked to stop; and the signals that ask for it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from llmrecipe.launch import Start

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECOND = 1.0
"""Seconds after which another Ctrl-C means that no checkpoint is waited for."""


class Running:
    """A stage in processes of its own, which end when this one does."""

    def __init__(self, start: Start, log: Path, work: Path, stdin: BinaryIO | None) -> None:
        """Start it.

        Args:
            start: what to run.
            log: file at whose end its standard output and error are written.
            work: its work folder, which is also its working folder: a folder of the user's project that is called like
                a package could hide that package.
            stdin: the open lock of the stage. As the standard input of every process of the stage it keeps others away
                until the last of them has ended.
        """
        self._work = work
        self._launches = start.launches
        self._told: set[int] = set()
        if start.launches:
            for file in work.glob("rank-*.pid"):
                file.unlink()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                start.words,
                env=start.variables | {"PYTHONUNBUFFERED": "1"},  # The log has the last words of who is killed.
                cwd=work,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def wait(self, seconds: float) -> int | None:
        """The exit code, negative for a signal, as soon as it has ended; null when it goes on."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def stop(self) -> None:
        """Ask every process that does the work to save and to end. Those that start later are asked by a later call.

        A launcher in between is not asked: it would end its processes before they have saved. As long as it has not
        started any, there is nothing to save.
        """
        workers = self._workers()
        if not workers:
            self.kill()
        for number in workers - self._told:
            self._told.add(number)
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)

    def kill(self) -> None:
        """End all of it now."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for number in self._workers():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def _workers(self) -> set[int]:
        if not self._launches:
            return {self._process.pid}
        return {int(text) for file in self._work.glob("rank-*.pid") if (text := file.read_text("utf-8"))}


class Stopping:
    """Ctrl-C, SIGTERM and a closed terminal, while a run goes on.

    The first asks the running stage to save and to end; a second Ctrl-C does not wait for it.
    """

    def __init__(self) -> None:
        self.requested = False
        self.preempted = False
        """Whether SIGTERM was the first to ask: the machine is wanted back, and nobody has given up the run."""
        self._when = 0.0
        self._running: Running | None = None

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals in this block, but those that whoever started us wants ignored (`nohup`)."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def reaching(self, running: Running) -> Iterator[None]:
        """Hand the signals of this block to a stage."""
        self._running = running
        try:
            yield
        except BaseException:
            running.kill()
            raise
        finally:
            self._running = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.requested and number == signal.SIGINT and time.monotonic() - self._when > SECOND
        if not self.requested:
            self.requested, self._when = True, time.monotonic()
            self.preempted = number == signal.SIGTERM
        if self._running is not None:
            if again:
                self._running.kill()
            else:
                self._running.stop()


class Events:
    """The lines that a stage appends to its `events.jsonl` from now on."""

    def __init__(self, work: Path) -> None:
        self._path = work / "events.jsonl"
        self._position = self._path.stat().st_size if self._path.exists() else 0

    def new(self) -> Iterator[dict[str, Any]]:
        """The whole lines since the last call."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if line.endswith(b"\n"):
                    self._position += len(line)
                    with suppress(ValueError):  # The end of an earlier attempt: killed within a line.
                        yield json.loads(line)
