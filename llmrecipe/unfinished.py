"""Trainings that were interrupted under another recipe: found, told of, and gone on with when somebody says so."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from llmrecipe.difference import ABSENT, compare
from llmrecipe.plan import Continued, Job, Train, training_record
from llmrecipe.store import RunError, Store, write

Answer = Literal["refuse", "anew", "continue"]
"""What to do about an interrupted training of the same stage under another recipe."""

LEFT = "left-behind"
"""File of a work folder: somebody chose to begin anew."""
CONTINUED = "continued.json"
"""File of a work folder: which checkpoints of other specifications it goes on from."""
MANIFEST = "checkpoint.json"
"""File that makes a checkpoint complete; the training stage writes it last."""
FREE = ("arguments", "seed", "packed", "attention", "rewards")
"""Fields of a training that may change under a checkpoint: neither tensors nor the strategy depend on them."""
BOUND = ("optim", "optim_args", "fp16", "adam_mini")
"""Arguments that say how the state of the optimizer looks."""


@dataclass(frozen=True)
class Unfinished:
    """An interrupted training that has a complete checkpoint."""

    job: Job
    work: Path
    checkpoint: Path
    """The newest complete one."""

    @property
    def step(self) -> int:
        """Optimizer steps that were done."""
        return _step(self.checkpoint)


def find(store: Store, job: Job) -> Unfinished | None:
    """The newest interrupted training of the same stage of the same run under another address.

    None when this very training has begun itself, or the other one is running or was left behind.
    """
    if newest(store.work(job.address)) is not None:
        return None
    found = [other for other in _others(store, job) if other.job.address != job.address]
    return max(found, key=lambda other: (other.checkpoint / MANIFEST).stat().st_mtime, default=None)


def _others(store: Store, job: Job) -> Iterator[Unfinished]:
    for file in (store.root / "work").glob("*/job.json"):
        with suppress(OSError, ValidationError):
            other = Job.model_validate_json(file.read_bytes())
            checkpoint = newest(file.parent)
            same = (other.name, other.run, other.root) == (job.name, job.run, job.root)
            if same and checkpoint and not (file.parent / LEFT).exists() and not _runs(store, other.address):
                yield Unfinished(other, file.parent, checkpoint)


def _runs(store: Store, address: str) -> bool:
    """Whether a process is at it."""
    path = store.root / "locks" / f"{address}.lock"
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def newest(work: Path) -> Path | None:
    """The newest checkpoint of a work folder that says it is complete."""
    found = [path.parent for path in work.glob(f"checkpoints/checkpoint-*/{MANIFEST}")]
    return max(found, key=_step, default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


# -- what changed --


def changes(old: Job, new: Job) -> list[str]:
    """What differs: fields of the specification, inputs, packages."""
    found = []
    for change in compare(old.spec, new.spec, placed=False):
        values = ["nothing" if side.value is ABSENT else json.dumps(side.value) for side in (change.old, change.new)]
        found.append(f"{change.path}: {values[0]} -> {values[1]}")
    for name in sorted({*old.inputs, *new.inputs}):
        if _artifact(old.inputs.get(name)) != _artifact(new.inputs.get(name)):
            found.append(f"input {name}: made from something else")
    for name in sorted({*old.packages, *new.packages}):
        if old.packages.get(name) != new.packages.get(name):
            found.append(f"package {name}: {old.packages.get(name)} -> {new.packages.get(name)}")
    return found


def _artifact(folder: str | None) -> tuple[str, ...]:
    return () if folder is None else Path(folder).parts[-2:]


def obstacles(old: Job, new: Job) -> list[str]:
    """What keeps a checkpoint of the old training from being gone on with: tensors or the strategy differ."""
    found = []
    replicated = all(isinstance(job.spec, Train) and job.spec.distributed.kind == "ddp" for job in (old, new))
    for change in compare(old.spec, new.spec, placed=False):
        top, _, rest = change.path.partition(".")
        free = top in FREE and rest.partition(".")[0] not in BOUND
        if not free and not (top == "world_size" and replicated):
            found.append(change.path)
    for name in sorted({*old.inputs, *new.inputs}):
        before, after = old.inputs.get(name), new.inputs.get(name)
        if _artifact(before) != _artifact(after) and not _may_differ(name, before, after):
            found.append(f"input {name}")
    return found


def _may_differ(name: str, before: str | None, after: str | None) -> bool:
    """Whether an input that comes from another artifact may be taken: other data, or an equal tokenizer."""
    if name == "dataset":
        return True
    return name == "tokenizer" and before is not None and after is not None and _files(before) == _files(after)


def _files(folder: str) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*") if path.is_file()}


# -- what to do about it --


def refusal(found: Unfinished, job: Job) -> RunError:
    """Why a run does not begin, and the two ways on."""
    total = _total(found)
    lines = [f"  {change}" for change in changes(found.job, job)]
    message = (
        f"{job.name} would begin anew, and it was interrupted at step {found.step}{total} with another recipe; what "
        "changed:\n" + "\n".join(lines)
    )
    anew = f"`--start-anew` begins again and leaves {found.work} alone"
    if bound := obstacles(found.job, job):
        return RunError(message, f"{anew}; going on from it is not possible: {', '.join(bound)} must be equal")
    return RunError(message, f"{anew}; `--resume-changed` goes on from step {found.step} as the recipe says now")


def _total(found: Unfinished) -> str:
    with suppress(OSError, ValueError, KeyError):
        return f" of {json.loads((found.checkpoint / 'trainer_state.json').read_bytes())['max_steps']}"
    return ""


def take_over(found: Unfinished, job: Job) -> None:
    """Let the new training go on from the newest checkpoint of the old one, which it shares and does not change.

    Raises:
        RunError: tensors or the strategy differ.
    """
    if obstacles(found.job, job):
        raise refusal(found, job)
    work = Path(job.work)
    history = _history(found.work)
    history.append(Continued(address=found.job.address, step=found.step, changes=changes(found.job, job)))
    target = work / "checkpoints" / found.checkpoint.name
    for path in sorted(found.checkpoint.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            _share(path, target / path.relative_to(found.checkpoint))
    write(work / CONTINUED, json.dumps([part.model_dump(mode="json") for part in history], indent=2) + "\n")
    manifest = json.loads((found.checkpoint / MANIFEST).read_bytes())
    manifest |= {"training": training_record(job.spec, job.inputs), "changed": True}
    write(target / MANIFEST, json.dumps(manifest, indent=1))
    leave(found)


def _history(work: Path) -> list[Continued]:
    with suppress(FileNotFoundError):
        return [Continued.model_validate(part) for part in json.loads((work / CONTINUED).read_bytes())]
    return []


def _share(path: Path, target: Path) -> None:
    """One file under two names; a copy where the file system cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def leave(found: Unfinished) -> None:
    """Ask about this one no more, until somebody goes on with it."""
    (found.work / LEFT).touch()
