"""This machine: the stages of a plan that the store lacks, each in fresh processes."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from llmrecipe import launch, unfinished
from llmrecipe.accelerating import taken_back
from llmrecipe.ending import before, ending
from llmrecipe.folder import RunFolder
from llmrecipe.jobs import Jobs
from llmrecipe.launch import Start
from llmrecipe.plan import Plan, Stage, Train
from llmrecipe.processes import Events, Running, Stopping
from llmrecipe.ranks import Leader
from llmrecipe.store import Holder, RunError, Store
from llmrecipe.summary import StageSummary, Summary
from llmrecipe.unfinished import Answer

INTERVAL = 0.1
"""Seconds between two looks at a running stage; its end is noticed at once."""

Status = Literal["running", "complete", "failed", "interrupted"]


class Examiner(Protocol):
    """Who looks at what is to be trained, before the first of it is."""

    def __call__(self, stages: list[Stage], stopped: Callable[[], bool]) -> tuple[str, str] | None:
        """What keeps these trainings from being done, and what to do about it; None when nothing does.

        Args:
            stages: the training stages that the store lacks.
            stopped: whether the run was asked to stop; then an answer no longer matters.
        """


class Watcher(Protocol):
    """Who shows how a run goes on."""

    def began(self, plan: Plan, stages: list[StageSummary]) -> None:
        """A run of these stages begins."""

    def changed(self, stage: StageSummary) -> None:
        """A stage was found in the store, has started, or has ended."""

    def event(self, stage: str, event: dict[str, Any]) -> None:
        """A line of the stage's `events.jsonl`."""

    def waits(self, stage: str, holder: Holder) -> None:
        """Another process runs that stage, and is waited for."""


@dataclass(frozen=True)
class Options:
    """How to run a plan."""

    root: Path
    """Folder of the recipe, from which its relative paths start."""
    folder: RunFolder
    allow_code: bool = False
    """Whether code that the recipe points to may run."""
    until: str | None = None
    """Do only this stage and what it needs: `STAGE` or `RECIPE/STAGE`."""
    examiner: Examiner | None = None
    """Who looks at the trainings before the first of them begins."""
    interrupted: Answer = "refuse"
    """What to do where a training would begin anew that was interrupted under another recipe."""


def run(plan: Plan, store: Store, options: Options, watcher: Watcher, leader: Leader | None = None) -> Summary:
    """Do what the store lacks, in order, until all is there, something fails, or it is asked to stop.

    Args:
        plan: what to do.
        store: where artifacts go.
        options: how.
        watcher: who is told.
        leader: the ranks of a launcher around us, over which training is spread.

    Raises:
        RunError: something of this machine, the store or the options keeps it from being done.
    """
    selected(plan, options.until)
    store.create()
    options.folder.create()
    return _Run(plan, store, options, watcher, leader).go()


def selected(plan: Plan, until: str | None) -> list[Stage]:
    """The stages to do.

    Raises:
        RunError: there is nothing to do, or `until` names no stage, or several.
    """
    if not plan.stages:
        raise RunError(f"`{plan.name}` has nothing to run", "add `data` and `method`")
    if until is None:
        return plan.stages
    found = [stage for stage in plan.stages if until in (stage.name, stage.name.partition("/")[2])]
    if len(found) == 1:
        return list(plan.closure(found[0]))
    names = ", ".join(stage.name for stage in found or plan.stages)
    message = f"several stages are named `{until}`" if found else f"there is no stage `{until}`"
    raise RunError(message, f"one of: {names}")


class _StopWaiting(Exception):  # noqa: N818 - it is no error
    pass


class _Run:
    def __init__(self, plan: Plan, store: Store, options: Options, watcher: Watcher, leader: Leader | None) -> None:
        self._plan, self._store, self._folder = plan, store, options.folder
        self._watcher, self._leader = watcher, leader
        self._options = options
        self._stages = selected(plan, options.until)
        self._addresses = plan.addresses()
        self._jobs = Jobs(store, self._addresses, options.root, options.allow_code, options.folder.path, plan.packages)
        self._stopping = Stopping()
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._done: dict[str, StageSummary] = {}
        self._looked = False
        """Whether the trainings were looked at."""

    def go(self) -> Summary:
        self._look_for_interrupted()
        self._folder.keep_links({link: folder for stage in self._plan.stages for link, folder in self._links(stage)})
        self._watcher.began(self._plan, [self._found(stage) or self._waiting(stage) for stage in self._stages])
        status: Status = "complete"
        with self._stopping.handled():
            for stage in self._stages:
                if self._stopping.requested:
                    status = "interrupted"
                    break
                done = self._done[stage.name] = self._stage(stage)
                self._watcher.changed(done)
                if done.status != "complete":
                    status = "failed" if done.status == "failed" else "interrupted"
                    break
                for link, folder in self._links(stage):
                    self._folder.link(link, folder)
                self._folder.write(self._summary("running"))
        summary = self._summary(status)
        self._folder.write(summary)
        return summary

    def _look_for_interrupted(self) -> None:
        """Before anything is done, see that no training silently begins anew.

        Raises:
            RunError: one would, and nobody said what to do about it.
        """
        for stage in self._stages:
            if not isinstance(stage.spec, Train) or self._store.has(self._addresses[stage.name]):
                continue
            job = self._jobs.job(stage)
            found = unfinished.find(self._store, job)
            if found is None:
                continue
            if self._options.interrupted == "anew":
                unfinished.leave(found)
            elif self._options.interrupted == "refuse" or unfinished.obstacles(found.job, job):
                raise unfinished.refusal(found, job)

    # -- one stage --

    def _stage(self, stage: Stage) -> StageSummary:
        """Have the artifact of a stage: it is there, another process makes it, or this one does."""
        address = self._addresses[stage.name]
        found = self._found(stage)
        if found is not None and not self._store.has_leftovers(address):
            return found
        waited = False

        def wait(holder: Holder) -> None:
            nonlocal waited
            if not waited:
                self._watcher.waits(stage.name, holder)
            waited = True
            time.sleep(INTERVAL)
            if self._stopping.requested:
                raise _StopWaiting

        try:
            with self._store.locked(address, wait) as lock:
                done = self._found(stage) or self._examined(stage) or self._do(stage, lock)
                if done.status == "complete":
                    self._store.clean(address)
                return done
        except _StopWaiting:
            return StageSummary(name=stage.name, address=address, status="interrupted")

    def _examined(self, stage: Stage) -> StageSummary | None:
        """Before the first training, have all of them looked at: the summary of this one if it is not to be begun."""
        if self._options.examiner is None or self._looked or not isinstance(stage.spec, Train):
            return None
        missing = [
            each
            for each in self._stages
            if isinstance(each.spec, Train) and not self._store.has(self._addresses[each.name])
        ]
        refused = self._options.examiner(missing, lambda: self._stopping.requested)
        self._looked = True
        if self._stopping.requested:
            return self._waiting(stage).model_copy(update={"status": "interrupted"})
        if refused is None:
            return None
        return self._waiting(stage).model_copy(update={"status": "failed", "message": refused[0], "help": refused[1]})

    def _do(self, stage: Stage, lock: BinaryIO) -> StageSummary:
        """Do a stage, under its lock."""
        address = self._addresses[stage.name]
        log, work = self._folder.log(stage.name), self._store.work(address)
        work.mkdir(exist_ok=True)
        self._take_over(stage)
        was = before(work, log)
        running = self._waiting(stage).model_copy(update={"status": "running", "log": self._folder.relative(log)})
        self._done[stage.name] = running
        self._watcher.changed(running)
        self._folder.write(self._summary("running"))
        if self._leader is not None and stage.launcher == "accelerate":
            code = self._lead(stage, self._leader, log, lock)
        else:
            code = self._attend(stage, self._jobs.start(stage), log, lock)
        found = self._found(stage)
        if found is not None:
            return found.model_copy(update={"cached": False, "log": running.log})
        outcome, tail = ending(was, code, self._stopping.requested)
        return running.model_copy(update=outcome.model_dump(exclude={"metrics"}) | {"tail": tail})

    def _take_over(self, stage: Stage) -> None:
        """Go on from the checkpoint of an interrupted training, if somebody said so."""
        (self._store.work(self._addresses[stage.name]) / unfinished.LEFT).unlink(missing_ok=True)
        if not isinstance(stage.spec, Train) or self._options.interrupted != "continue":
            return
        job = self._jobs.job(stage)
        if (found := unfinished.find(self._store, job)) is not None:
            unfinished.take_over(found, job)

    def _attend(self, stage: Stage, start: Start, log: Path, lock: BinaryIO) -> int:
        """Start a stage, tell the watcher what it says, and return the exit code of its first process."""
        work = self._store.work(self._addresses[stage.name])
        events = Events(work)
        running = Running(start, log, work, lock)
        with self._stopping.reaching(running):
            while True:
                code = running.wait(INTERVAL)
                for event in events.new():
                    self._watcher.event(stage.name, event)
                if code is not None:
                    return code
                if self._stopping.requested:
                    running.stop()
                if self._leader is not None and self._leader.lost():
                    running.kill()

    def _lead(self, stage: Stage, leader: Leader, log: Path, lock: BinaryIO) -> int:
        """Do a stage with all ranks of the launcher around us, this one being rank 0."""
        job = self._jobs.write(stage)
        changed = taken_back(stage.spec.distributed) if isinstance(stage.spec, Train) else {}
        code = self._attend(stage, launch.process(job, leader.begin(job, log, changed)), log, lock)
        leader.finish(code)
        return code

    # -- what is told --

    def _waiting(self, stage: Stage) -> StageSummary:
        return StageSummary(name=stage.name, address=self._addresses[stage.name], status="waiting")

    def _found(self, stage: Stage) -> StageSummary | None:
        """The summary of a stage that the store has."""
        address = self._addresses[stage.name]
        if not self._store.has(address):
            return None
        record = self._store.record(address)
        return self._waiting(stage).model_copy(
            update={
                "status": "complete",
                "cached": True,
                "seconds": record.seconds,
                "metrics": record.metrics,
                "packages": record.packages,
            }
        )

    def _links(self, stage: Stage) -> list[tuple[str, Path]]:
        """Links in the folder of the run -> where they lead when the stage is complete."""
        artifact = self._store.artifact(self._addresses[stage.name])
        exports = [other.name for other in self._plan.stages if other.spec.kind == "export"]
        if exports and stage.name == exports[-1]:
            return [(stage.name, artifact), ("model", artifact / "model")]
        return [(stage.name, artifact)]

    def _summary(self, status: Status) -> Summary:
        model = self._folder.path / "model"
        return Summary(
            name=self._plan.name,
            status=status,
            preempted=status == "interrupted" and self._stopping.preempted,
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._clock, 3),
            stages=[self._done.get(stage.name) or self._waiting(stage) for stage in self._stages],
            model="model" if model.is_dir() else None,
            environment={
                "python": platform.python_version(),
                "platform": platform.platform(),
                "machine": platform.machine(),
                "cores": launch.cores(),
            },
            plan=self._plan,
        )
