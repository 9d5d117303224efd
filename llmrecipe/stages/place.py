"""Where a stage works, and how it says what is wrong."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue


class StageError(ValueError):
    """A mistake of the user that only running could find: the message says what is so, the help what to do."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The stage was asked to stop (SIGTERM or SIGINT), saved what can be saved, and stopped before its end.

    By default both signals raise KeyboardInterrupt where the stage happens to be, which means the same. A stage that
    has something to save sets its own handlers for the two, and every rank raises this when all have saved.
    """


@dataclass(frozen=True)
class Place:
    """The folders of one stage, and which of its processes this is."""

    inputs: dict[str, Path]
    """Input name -> folder, complete and not to be changed."""
    output: Path
    """Folder to fill, empty at first. It gets its final name when the stage has ended.

    Rank 0 makes it; other ranks must not touch it before all ranks have met.
    """
    work: Path
    """Folder that survives a kill: checkpoints, events, outcome. Removed when the stage is complete."""
    root: Path
    """Folder from which pinned relative paths start."""
    allow_code: bool = False
    """Whether code that the recipe points to may run."""
    trusted: frozenset[str] = frozenset()
    """SHA-256 of the files in the user's trust list."""
    rank: int = 0
    world_size: int = 1
    name: str = "recipe/stage"
    """`RECIPE/STAGE`."""
    run: Path | None = None
    """Folder of the run, in which trackers keep their files; null where nobody says it."""

    def event(self, **fields: JsonValue) -> None:
        """Append one line to `events.jsonl`, which the live progress reads. Does nothing on other ranks than 0."""
        if self.rank == 0:
            with (self.work / "events.jsonl").open("a", encoding="utf-8") as events:
                events.write(json.dumps(fields) + "\n")
