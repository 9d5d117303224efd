"""How a stage that left no artifact has ended, from what its processes left behind."""

import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from llmrecipe.plan import Outcome

LINES = 8
"""Last lines of the log that are shown of a process that could not say why it died."""


@dataclass(frozen=True)
class Before:
    """What is looked at again when the stage has ended."""

    work: Path
    log: Path
    position: int
    """Bytes that the log had."""
    kills: int
    """Processes that the kernel had killed for want of memory."""


def before(work: Path, log: Path) -> Before:
    """Forget what an earlier attempt left, and remember how things are."""
    for file in work.glob("outcome*.json"):
        file.unlink()
    return Before(work, log, log.stat().st_size if log.exists() else 0, _out_of_memory_kills())


def ending(was: Before, code: int, asked: bool) -> tuple[Outcome, list[str]]:
    """The outcome, and the last lines of the log where nothing else says what happened.

    Args:
        was: how things were.
        code: exit code of the first process, negative for a signal.
        asked: whether the stage was asked to stop; then ranks that lost each other have not failed.
    """
    found = _outcomes(was.work)
    if asked:
        return Outcome(status="interrupted", seconds=max((outcome.seconds for outcome in found), default=0.0)), []
    for outcome in found:
        if outcome.status == "failed":
            return outcome, []
    message = died(code)
    if any(outcome.status == "interrupted" for outcome in found):
        message = "it was told to stop, by somebody else or because another of its processes died"
    if _out_of_memory_kills() > was.kills:
        message += "; the kernel has killed a process of this machine because memory ran out"
    return Outcome(status="failed", message=message), _tail(was.log, was.position)


def died(code: int) -> str:
    """What an exit code says of a process that wrote down nothing."""
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process died with exit code {code} before it could say why"


def _outcomes(work: Path) -> list[Outcome]:
    """What the ranks wrote down, rank 0 first."""
    found = []
    for file in sorted(work.glob("outcome*.json"), key=lambda file: (len(file.name), file.name)):
        with suppress(ValidationError):  # Killed while writing: as good as missing.
            found.append(Outcome.model_validate_json(file.read_bytes()))
    return found


def _tail(log: Path, start: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace").splitlines()[-LINES:]


def _out_of_memory_kills() -> int:
    """How often the kernel has killed a process of this machine because memory ran out; 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text("ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
