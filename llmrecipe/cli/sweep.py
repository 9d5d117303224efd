"""`llmrecipe sweep`: the search that a recipe describes; every trial is an ordinary run."""

import argparse
import fcntl
import importlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmrecipe import launch
from llmrecipe.cli import front, planning
from llmrecipe.cli.exported import refused
from llmrecipe.cli.run import EXIT_CODES, watching
from llmrecipe.folder import RunFolder
from llmrecipe.recipe.sweep import Sweep
from llmrecipe.report import sweep_page
from llmrecipe.run import Options, Watcher
from llmrecipe.run import run as run_plan
from llmrecipe.store import Holder, RunError, Store, write
from llmrecipe.summary import StageSummary, Summary, SweepSummary, TrialSummary

FAILURES = 3
"""Trials that fail one after the other before the search stops: by then it is the recipe, and not the values."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    front.add_recipe(parser)
    planning.add_store(parser)
    parser.add_argument("--allow-code", action="store_true", help="let Python code run that comes with a model")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="json prints the summary")


def run(arguments: argparse.Namespace) -> int:
    """Run the trials that are missing: 0 when one is complete, 1 when none is or it stopped, 130 interrupted."""
    found = planning.understand(arguments)
    recipe = found.documents[-1].recipe
    if recipe.sweep is None:
        raise front.UsageError(f"`{recipe.name}` has no `sweep`: say what to search and what is better")
    try:
        if launch.is_rank(os.environ):
            raise RunError(
                "a sweep starts its own processes, and a launcher started this one",
                "run `llmrecipe sweep` alone: `hardware` and `distributed` say how each trial spreads",
            )
        if find_spec("optuna") is None:
            raise RunError("the package `optuna` is not installed", "pip install 'llmrecipe[sweep]'")
        store = Store(planning.store_root(arguments, found.root))
        folder = planning.runs_root(arguments, found.root) / f"{recipe.name}.sweep"
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            return _Sweeping(arguments, recipe.name, recipe.sweep, folder, store).go()
    except RunError as error:
        return refused(error)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process search at a time."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process runs the sweep of {folder}", "wait for it, or stop it") from None
        yield


class _GivenUpError(Exception):
    """A trial is worse than the others."""


@dataclass
class _Pruning:
    """Shows a trial as an ordinary run, and gives it up when its validation loss is worse than that of the others."""

    watcher: Watcher
    trial: Any
    minimizes: bool
    running: str | None = None
    """Address of the stage that runs."""

    def began(self, plan: Any, stages: list[StageSummary]) -> None:
        self.watcher.began(plan, stages)

    def changed(self, stage: StageSummary) -> None:
        self.running = stage.address if stage.status == "running" else None
        self.watcher.changed(stage)

    def event(self, stage: str, event: dict[str, Any]) -> None:
        self.watcher.event(stage, event)
        if "eval_loss" in event and self.trial.worse_than_others(event["done"], event["eval_loss"], self.minimizes):
            raise _GivenUpError

    def waits(self, stage: str, holder: Holder) -> None:
        self.watcher.waits(stage, holder)


@dataclass
class _Sweeping:
    """One call of the command."""

    arguments: argparse.Namespace
    name: str
    sweep: Sweep
    folder: Path
    store: Store

    def go(self) -> int:
        """Run trial after trial."""
        search = importlib.import_module("llmrecipe.sweep").Search(self.folder / "study.db", self.name, self.sweep)
        failed = 0
        while (trial := search.next()) is not None:
            print(f"trial {trial.number + 1} of {search.planned}: {'  '.join(trial.overrides)}", file=sys.stderr)
            done = self._trial(trial)
            if done is None:
                print(f"interrupted; `llmrecipe sweep {self.arguments.file}` goes on from here", file=sys.stderr)
                return EXIT_CODES["interrupted"]
            search.finish(trial, done)
            self._keep(search.summary())
            failed = failed + 1 if done.status == "failed" else 0
            if failed == FAILURES:
                raise RunError(f"{failed} trials failed one after the other, the last: {done.message}", done.run)
        return self._conclude(search.summary())

    def _trial(self, trial: Any) -> TrialSummary | None:
        """One run; None when it was interrupted."""
        run_folder = RunFolder(self.folder / f"trial-{trial.number:04}")
        values = vars(self.arguments) | {"overrides": [*self.arguments.overrides, *trial.overrides]}
        found = planning.understand(argparse.Namespace(**values))
        options = Options(found.root, run_folder, allow_code=self.arguments.allow_code)
        base = TrialSummary(number=trial.number, status="running", values=trial.values, run=run_folder.path.name)
        with watching(self.arguments.format) as watcher:
            pruning = _Pruning(watcher, trial, self.sweep.objective.direction == "minimize")
            try:
                summary = run_plan(found.plan, self.store, options, pruning)
            except _GivenUpError:
                if pruning.running is not None:
                    shutil.rmtree(self.store.work(pruning.running), ignore_errors=True)
                return base.model_copy(update={"status": "pruned"})
        if summary.status == "interrupted":
            return None
        if summary.status == "failed":
            failed = next(stage for stage in summary.stages if stage.status == "failed")
            message = f"{failed.name}: {failed.message}"
            return base.model_copy(update={"status": "failed", "seconds": summary.seconds, "message": message})
        ended = {"status": "complete", "seconds": summary.seconds, "objective": self._objective(summary)}
        return base.model_copy(update=ended)

    def _objective(self, summary: Summary) -> float:
        suite, _, metric = self.sweep.objective.metric.partition("/")
        stage = next(stage for stage in summary.stages if stage.name == f"{self.name}/evaluate-{suite}")
        return stage.metrics[metric]

    def _keep(self, summary: SweepSummary) -> None:
        text = json.dumps(summary.model_dump(mode="json"), indent=2, ensure_ascii=False)
        write(self.folder / "sweep.json", text + "\n")
        write(self.folder / "report.html", sweep_page(summary))

    def _conclude(self, summary: SweepSummary) -> int:
        best = next((trial for trial in summary.trials if trial.number == summary.best), None)
        if self.arguments.format == "json":
            print(json.dumps(summary.model_dump(mode="json"), indent=2, ensure_ascii=False))
        elif best is not None:
            print(
                f"best of {len(summary.trials)} trials: {summary.metric} {best.objective:.6g}, trial {best.number + 1}"
            )
            words = " ".join(f"--set '{name}={json.dumps(value)}'" for name, value in best.values.items())
            print(f"  llmrecipe run {self.arguments.file} {words}")
            print(f"report: {self.folder / 'report.html'}")
        return 1 if best is None else 0
