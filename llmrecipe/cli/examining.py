"""Preflight checks of a planned recipe, made in a process of their own, as diagnostics at its lines."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmrecipe import launch, lint, tether
from llmrecipe.cli.planning import Planned
from llmrecipe.diagnostics import Diagnostic
from llmrecipe.document import Document
from llmrecipe.lint.rule import location
from llmrecipe.plan import Stage
from llmrecipe.preflight.check import Tier
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.preflight.job import Answer, Examination, Examined, Found
from llmrecipe.store import RunError, Store, write

ALL: tuple[Tier, ...] = ("rows", "model", "trial", "machine")
INTERVAL = 0.1
TAIL = 8
"""Last lines of the log that are shown of a process that died."""


@dataclass(frozen=True)
class Looking:
    """How closely to look."""

    tiers: Sequence[Tier] = ALL
    show: int = 0
    allow_code: bool = False


def examine(
    planned: Planned,
    store: Store,
    stages: Sequence[Stage],
    looking: Looking,
    stopped: Callable[[], bool] = lambda: False,
) -> Answer:
    """Look at trainings.

    Args:
        planned: the recipe.
        store: where what is complete lies, and results are kept.
        stages: the trainings.
        looking: how closely.
        stopped: asked again and again; when it says so, an empty answer is given.

    Raises:
        RunError: the process ended without an answer.
    """
    with tempfile.TemporaryDirectory(prefix="llmrecipe-preflight-") as scratch:
        folder = Path(scratch)
        job = Examination(
            plan=planned.plan,
            stages=[stage.name for stage in stages],
            store=str(store.root),
            root=str(planned.root.absolute()),
            scratch=str(folder / "scratch"),
            tiers=list(looking.tiers),
            allow_code=looking.allow_code,
            show=looking.show,
        )
        write(folder / "job.json", job.model_dump_json())
        code = _run(folder, stopped)
        if code is None:
            return Answer(examined=[])
        try:
            return Answer.model_validate_json((folder / "answer.json").read_bytes())
        except FileNotFoundError:
            lines = (folder / "log").read_text("utf-8", "replace").splitlines()[-TAIL:]
            told = "\n".join(f"  | {line}" for line in lines)
            raise RunError(
                f"the preflight process ended with exit code {code} and no answer\n{told}",
                "`llmrecipe run --no-preflight` goes without; please report the lines above",
            ) from None


def _run(folder: Path, stopped: Callable[[], bool]) -> int | None:
    """The exit code of the process; None when it was stopped."""
    variables = {**launch.alone(os.environ, 1), tether.VARIABLE: str(os.getpid()), "TOKENIZERS_PARALLELISM": "false"}
    words = [sys.executable, "-m", "llmrecipe.preflight", str(folder / "job.json"), str(folder / "answer.json")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            words,
            env=variables,
            cwd=folder,  # A folder of the user's project that is called like a package could hide that package.
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(INTERVAL)
            if stopped():
                return None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def diagnostics(answer: Answer, documents: Sequence[Document]) -> list[Diagnostic]:
    """The findings at their lines, without those that the recipe silences."""
    by_name = {document.recipe.name: document for document in documents}
    found = []
    for examined in answer.examined:
        document = by_name[examined.stage.partition("/")[0]]
        found += [one for one in _of(examined, document) if not lint.silenced(one, document)]
    return sorted(found, key=lambda one: (one.span.file, one.span.line, one.span.column, one.code))


def unused_silences(answer: Answer, documents: Sequence[Document]) -> list[Diagnostic]:
    """Silences of what was looked for everywhere and not found.

    What all rows would tell is known only where no sample was taken, what a trial would where it was made; what a
    machine decides is never known.
    """
    unused: list[Diagnostic] = []
    for document in documents:
        own = [one for one in answer.examined if one.stage.partition("/")[0] == document.recipe.name]
        if not own:
            continue
        asked: set[Tier] = {"model"}
        if all(one.sampled is False for one in own):
            asked.add("rows")
        if not any(one.untried for one in own):
            asked.add("trial")
        topics = {topic for check in CHECKS.values() if check.tier in asked for topic in (check.code, check.name)}
        unused += lint.unused_silences(document, topics, [found for one in own for found in _of(one, document)])
    return unused


def _of(examined: Examined, document: Document) -> Iterator[Diagnostic]:
    for finding in examined.findings:
        yield _diagnostic(finding, document)


def _diagnostic(finding: Found, document: Document) -> Diagnostic:
    span = document.source.at(location(finding.at))
    return Diagnostic(finding.code, CHECKS[finding.code].name, finding.message, span, finding.help, finding.severity)
