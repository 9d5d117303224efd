"""`llmrecipe run`: do what is missing, and go on with what was interrupted."""

import argparse
import errno
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llmrecipe import launch, printers, ranks
from llmrecipe.cli import code, front, planning
from llmrecipe.folder import RunFolder
from llmrecipe.lock import lock_file
from llmrecipe.plan import Plan, Stage
from llmrecipe.progress import Lines, count, duration
from llmrecipe.run import Examiner, Options, Watcher
from llmrecipe.run import run as run_plan
from llmrecipe.store import RunError, Store
from llmrecipe.summary import StageSummary, Summary
from llmrecipe.unfinished import Answer

_STARTED_ALONE = """\
`accelerate launch` has started one process, as it does on processors unless `--multi_gpu` is given, too; \
training spreads as the recipe says: `distributed` and `hardware.num_accelerators`"""
EXIT_CODES = {"complete": 0, "failed": 1, "interrupted": 130}
PREEMPTED = 75
"""As in `llmrecipe.cli`, which imports this module when it is asked for."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    front.add_recipe(parser)
    planning.add_store(parser)
    parser.add_argument("--until", metavar="STAGE", help="do only this stage and what it needs")
    parser.add_argument("--no-preflight", action="store_true", help="begin training without looking at rows and model")
    parser.add_argument("--allow-code", action="store_true", help="let Python code of models and rewards run")
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument(
        "--start-anew", action="store_true", help="begin a training anew that was interrupted with another recipe"
    )
    answer.add_argument(
        "--resume-changed", action="store_true", help="go on from the checkpoint that it has, as the recipe says now"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text", help="json prints the summary")


def run(arguments: argparse.Namespace) -> int:
    """Run a recipe: 0 complete, 1 failed, 75 stopped by SIGTERM, 130 interrupted."""
    try:
        if launch.started_alone(os.environ):
            print(_STARTED_ALONE, file=sys.stderr)
        if not launch.is_rank(os.environ):
            return _run(arguments, None)
        board = ranks.connect(os.environ)
        if os.environ["RANK"] != "0":
            return ranks.follow(board, os.environ)
        return _lead(arguments, ranks.Leader(board, os.environ))
    except RunError as error:
        return _refuse(error.message, error.help)
    except BrokenPipeError:
        raise
    except ConnectionError as error:
        return _refuse(str(error), None)


def _lead(arguments: argparse.Namespace, leader: ranks.Leader) -> int:
    """Run as rank 0 of a launcher, and let the other ranks leave with the same exit code, whatever happens."""
    code = 1
    try:
        code = _run(arguments, leader)
    finally:
        leader.end(code)
    return code


def _run(arguments: argparse.Namespace, leader: ranks.Leader | None) -> int:
    found = planning.understand(arguments, launch.around(os.environ))
    if found.warnings:
        front.show(found.warnings, arguments.overrides)
    code.check(found.plan, arguments.allow_code)
    if not lock_file(found.file).exists():
        print("no lock: what is not pinned may change; `llmrecipe lock` pins it", file=sys.stderr)
    store = Store(planning.store_root(arguments, found.root))
    folder = RunFolder(planning.runs_root(arguments, found.root) / found.plan.name)
    answer: Answer = "anew" if arguments.start_anew else "continue" if arguments.resume_changed else "refuse"
    examiner = None if arguments.no_preflight else _examiner(found, store, arguments)
    options = Options(found.root, folder, arguments.allow_code, arguments.until, examiner, answer)
    try:
        with watching(arguments.format) as watcher:
            summary = run_plan(found.plan, store, options, watcher, leader)
        _compile(found.plan, found.root, folder)
    except ConnectionError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        help_ = "make room and run again" if full else "--store and --runs name other folders"
        raise RunError(f"{error.filename} cannot be written: {error.strerror}", help_) from None
    if arguments.format == "json":
        print(json.dumps(summary.model_dump(mode="json"), indent=2, ensure_ascii=False))
    else:
        _conclude(summary, folder.path, arguments.file)
    for stage in summary.stages:
        if stage.status == "failed":
            _blame(stage, folder.path)
    return PREEMPTED if summary.preempted else EXIT_CODES[summary.status]


def _examiner(planned: planning.Planned, store: Store, arguments: argparse.Namespace) -> Examiner:
    """Preflight as `run` makes it: all of it; errors keep every training from beginning."""

    def examine(stages: list[Stage], stopped: Callable[[], bool]) -> tuple[str, str] | None:
        examining = importlib.import_module("llmrecipe.cli.examining")
        looking = examining.Looking(allow_code=arguments.allow_code)
        try:
            answer = examining.examine(planned, store, stages, looking, stopped)
        except RunError as error:  # What advises must not be what stops a training that could go on.
            print(f"warning: no preflight: {error.message}", file=sys.stderr)
            return None
        found = examining.diagnostics(answer, planned.documents)
        if found:
            front.show(found, arguments.overrides)
        errors = sum(one.severity == "error" for one in found)
        if not errors:
            return None
        what = f"{printers.amount(errors, 'error')} of the preflight checks"
        return what, f"mend them, or begin all the same: `llmrecipe run {arguments.file} --no-preflight`"

    return examine


@contextmanager
def watching(form: str) -> Iterator[Watcher]:
    """A table that changes on a terminal, else lines; with JSON these are not on standard output."""
    if form == "text" and sys.stdout.isatty():
        with importlib.import_module("llmrecipe.live").display() as watcher:
            yield watcher
    else:
        yield Lines(sys.stdout if form == "text" else sys.stderr)


def _compile(plan: Plan, root: Path, folder: RunFolder) -> None:
    """Keep what `llmrecipe compile --target local` would write. Only now: it is not to delay the first stage."""
    compiled = folder.path / "compiled"
    local = importlib.import_module("llmrecipe.targets").TARGETS["local"]
    folder.compile(local.render(plan, root=Path(os.path.relpath(root, compiled)).as_posix()))


def _conclude(summary: Summary, folder: Path, file: str) -> None:
    """The last lines of a run that did not fail."""
    shown = _short(folder)
    if summary.status == "complete":
        cached = sum(stage.cached for stage in summary.stages)
        print(f"complete in {duration(summary.seconds)}: {count(summary.stages)}, {cached} of them cached")
        if summary.model is not None:
            print(f"model: {shown / summary.model}")
        print(f"summary: {shown / 'summary.json'}")
    elif summary.status == "interrupted":
        print(f"interrupted; `llmrecipe run {file}` goes on from here")


def _refuse(message: str, help_: str | None) -> int:
    """Say why there was no run, or why it could not go on."""
    print(f"error: {message}", file=sys.stderr)
    if help_ is not None:
        print(f"  = help: {help_}", file=sys.stderr)
    return 1


def _blame(stage: StageSummary, folder: Path) -> None:
    print(f"error: {stage.name} failed: {stage.message}", file=sys.stderr)
    for line in stage.tail:
        print(f"  | {line}", file=sys.stderr)
    if stage.help is not None:
        print(f"  = help: {stage.help}", file=sys.stderr)
    if stage.log is not None:
        print(f"  = log: {_short(folder / stage.log)}", file=sys.stderr)


def _short(path: Path) -> Path:
    """From the working folder, where that is shorter to read."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
