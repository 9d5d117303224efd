"""One job, in this process: `python -m llmrecipe.stages JOB.json`. A launcher starts it once per rank."""

import faulthandler
import importlib
import importlib.metadata
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from llmrecipe import tether, trust
from llmrecipe.plan import Continued, Job, Outcome, Record, packages
from llmrecipe.stages import reach
from llmrecipe.stages.outcome import outcome_file, write_outcome
from llmrecipe.stages.place import Interrupted, Place, StageError

STAGES: dict[str, str] = {
    "prepare_data": "llmrecipe.stages.prepare_data",
    "train_tokenizer": "llmrecipe.stages.train_tokenizer",
    "tokenize": "llmrecipe.stages.tokenize",
    "train": "llmrecipe.stages.train",
    "evaluate": "llmrecipe.stages.evaluate",
    "fisher": "llmrecipe.stages.fisher",
    "score_data": "llmrecipe.stages.score_data",
    "check_gates": "llmrecipe.stages.check_gates",
    "merge": "llmrecipe.stages.merge",
    "combine": "llmrecipe.stages.combine",
    "export": "llmrecipe.stages.export",
}
"""Kind of a spec -> the module whose `run(spec, place)` does it."""

EXIT_CODES: dict[str, int] = {"complete": 0, "failed": 1, "interrupted": 130}

_told_to_stop = threading.Event()


def main(arguments: list[str]) -> int:
    """Run the job named on the command line.

    Returns:
        0 complete, 1 failed, 130 interrupted, 2 when the command line or the job cannot be read. Ranks other than 0
        return 0 when interrupted: a launcher kills every rank as soon as one fails, and rank 0 may still be saving.
    """
    parent = os.environ.get(tether.VARIABLE)
    tether.tie(None if parent is None else int(parent))
    faulthandler.enable()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    if len(arguments) != 1:
        print("usage: python -m llmrecipe.stages JOB.json", file=sys.stderr)
        return 2
    try:
        job = Job.model_validate_json(Path(arguments[0]).read_bytes())
    except (OSError, ValidationError) as error:
        print(f"{arguments[0]} cannot be read: {error}", file=sys.stderr)
        return 2
    if Path(job.output).exists():
        return 0
    place = _place(job)
    outcome = _run(job, place)
    if place.rank != 0 and outcome.status == "interrupted":
        return 0
    return EXIT_CODES[outcome.status]


def _interrupt(number: int, frame: FrameType | None) -> None:
    _told_to_stop.set()
    raise KeyboardInterrupt


def _place(job: Job) -> Place:
    output = Path(job.output).absolute()
    return Place(
        inputs={name: Path(folder).absolute() for name, folder in job.inputs.items()},
        output=output.with_name(output.name + ".partial"),
        work=Path(job.work).absolute(),
        root=Path(job.root).absolute(),
        allow_code=job.allow_code,
        trusted=trust.trusted(),
        rank=int(os.environ.get("RANK", "0")),
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        name=job.name,
        run=None if job.run is None else Path(job.run).absolute(),
    )


def _run(job: Job, place: Place) -> Outcome:
    """Do the work, give the artifact its name, and write down how it ended."""
    place.work.mkdir(parents=True, exist_ok=True)
    write_outcome(outcome_file(place), Outcome(status="started"))
    (place.work / f"rank-{place.rank}.pid").write_text(str(os.getpid()), encoding="utf-8")
    started = time.monotonic()
    outcome: Outcome
    try:
        if place.rank == 0:
            shutil.rmtree(place.output, ignore_errors=True)
            place.output.mkdir(parents=True)
        reach.prepare(job)
        metrics = importlib.import_module(STAGES[job.spec.kind]).run(job.spec, place)
        seconds = time.monotonic() - started
        if place.rank == 0:
            _complete(job, place, metrics, seconds)
        outcome = Outcome(status="complete", metrics=metrics, seconds=seconds)
    except (Interrupted, KeyboardInterrupt):
        outcome = Outcome(status="interrupted", seconds=time.monotonic() - started)
    except Exception as error:
        traceback.print_exc()
        message, help_ = _explain(error, job)
        outcome = Outcome(status="failed", message=message, help=help_, seconds=time.monotonic() - started)
        if _told_to_stop.is_set():  # Compiled code, pydantic's for one, makes other errors of a KeyboardInterrupt.
            outcome = Outcome(status="interrupted", seconds=outcome.seconds)
    if place.rank == 0:
        shutil.rmtree(place.output, ignore_errors=True)
    write_outcome(outcome_file(place), outcome)
    return outcome


def _complete(job: Job, place: Place, metrics: dict[str, float], seconds: float) -> None:
    """Say what the artifact is, bring it to the disk, and only then give it its name."""
    output = Path(job.output).absolute()
    record = Record(
        name=job.name,
        address=job.address,
        spec=job.spec,
        inputs={name: Path(os.path.relpath(folder, output.parent)).as_posix() for name, folder in place.inputs.items()},
        metrics=metrics,
        seconds=seconds,
        packages={name: _version(name) for name in ("llmrecipe", *packages(job.spec))},
        continued=_continued(place),
    )
    text = json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False)
    (place.output / "stage.json").write_text(text + "\n", encoding="utf-8")
    for folder, _, files in os.walk(place.output):
        for name in files:
            _sync(Path(folder, name))
        _sync(Path(folder))
    place.output.rename(output)
    _sync(output.parent)


def _continued(place: Place) -> list[Continued]:
    """What the runner has this training go on from."""
    file = place.work / "continued.json"
    return [Continued.model_validate(part) for part in json.loads(file.read_bytes())] if file.exists() else []


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _explain(error: Exception, job: Job) -> tuple[str, str | None]:
    """What is so and what to do, in the words of the error or, for an unexpected one, in ours."""
    match error:
        case StageError():
            return error.message, error.help
        case ModuleNotFoundError() if error.name and not error.name.startswith("llmrecipe"):
            extra = "data" if job.spec.kind == "prepare_data" else "train"
            return f"the package `{error.name}` is not installed", f"pip install 'llmrecipe[{extra}]'"
        case OSError() if error.filename is not None:
            return f"{error.strerror}: {error.filename}", None
    if "No space left on device" in str(error):
        return "the disk is full", "free some space and run again: complete checkpoints are kept"
    return f"{type(error).__name__}: {error}", "this should not happen: the log has the traceback"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
