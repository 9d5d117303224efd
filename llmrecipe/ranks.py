"""`llmrecipe run` as ranks of a launcher: rank 0 leads, the others train when it says so and wait in between."""

import importlib
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from llmrecipe import launch, tether
from llmrecipe.plan import Job
from llmrecipe.processes import Running, Stopping
from llmrecipe.store import RunError

INTERVAL = 0.1
"""Seconds between two looks."""


class Board(Protocol):
    """Texts by name, which every rank can write and read. See `stages/rendezvous.py`."""

    def post(self, name: str, text: str) -> None: ...

    def read(self, name: str) -> str | None: ...


def connect(variables: Mapping[str, str]) -> Board:
    """The board of the launcher that started this rank. From now on this process dies with the launcher.

    Raises:
        RunError: the launcher keeps no store, or it cannot be reached.
    """
    if variables.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise RunError(
            f"WORLD_SIZE is {variables['WORLD_SIZE']}, but no launcher of PyTorch stands behind it",
            "start with `accelerate launch` or `torchrun`, or unset WORLD_SIZE and RANK",
        )
    tether.tie(os.getppid())
    try:
        board: Board = importlib.import_module("llmrecipe.stages.rendezvous").Board()
    except ModuleNotFoundError as error:
        raise RunError(f"the package `{error.name}` is not installed", "pip install 'llmrecipe[train]'") from None
    except OSError as error:
        raise RunError(str(error)) from None
    return board


class Leader:
    """Rank 0: says what all do."""

    def __init__(self, board: Board, variables: Mapping[str, str]) -> None:
        self._board = board
        self._variables = variables
        self.world_size = int(variables["WORLD_SIZE"])
        self._others = range(1, self.world_size)
        self._turn = 0

    def begin(self, job: Path, log: Path, changed: Mapping[str, str]) -> dict[str, str]:
        """Let the others start a job, and return the variables with which rank 0 must start it.

        `changed` are variables of the launcher that are other ones for this job.

        Each job gets a port of its own: the store of the launcher still knows the addresses of the last one.
        """
        meeting = {**changed, "MASTER_PORT": str(_free_port()), "TORCHELASTIC_USE_AGENT_STORE": "False"}
        self._say({"do": "train", "job": str(job), "log": str(log), "variables": meeting})
        return {**self._variables, **meeting}

    def lost(self) -> bool:
        """Whether another rank has failed, so that rank 0 would wait for it in vain."""
        return self._board.read(f"failed/{self._turn}") is not None

    def finish(self, code: int) -> None:
        """Wait until the others have ended the job, too; end it for them when it failed here."""
        if code != 0:
            self._board.post(f"abort/{self._turn}", "")
        for rank in self._others:
            while self._board.read(f"ended/{self._turn}/{rank}") is None:
                time.sleep(INTERVAL)

    def end(self, code: int) -> None:
        """Let the others leave with an exit code."""
        self._say({"do": "end", "code": code})

    def _say(self, what: dict[str, Any]) -> None:
        self._turn += 1
        self._board.post(f"turn/{self._turn}", json.dumps(what))


def follow(board: Board, variables: Mapping[str, str]) -> int:
    """Any other rank: do what rank 0 says until it says which exit code to leave with. Waits without a time-out."""
    turn = 0
    stopping = Stopping()
    with stopping.handled():
        while True:
            turn += 1
            while (text := board.read(f"turn/{turn}")) is None:
                time.sleep(INTERVAL)
            said = json.loads(text)
            if said["do"] == "end":
                return int(said["code"])
            _train(board, turn, said, variables, stopping)


def _train(board: Board, turn: int, said: dict[str, Any], variables: Mapping[str, str], stopping: Stopping) -> None:
    """Do one job as this rank, and say when it has ended. Why is in its outcome and in the log."""
    job = Path(said["job"])
    work = Path(Job.model_validate_json(job.read_bytes()).work)
    running = Running(launch.process(job, {**variables, **said["variables"]}), Path(said["log"]), work, None)
    with stopping.reaching(running):
        while (code := running.wait(INTERVAL)) is None:
            if board.read(f"abort/{turn}") is not None:
                running.kill()
    if code != 0:
        board.post(f"failed/{turn}", "")
    board.post(f"ended/{turn}/{variables['RANK']}", "")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])
