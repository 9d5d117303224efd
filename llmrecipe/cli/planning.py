"""What commands begin with that go beyond the text: documents -> findings -> pins -> a plan."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmrecipe.accelerating import Launched, LauncherError, settled
from llmrecipe.cli import front
from llmrecipe.diagnostics import Diagnostic, RecipeError
from llmrecipe.document import Document
from llmrecipe.lint import STRATEGY_RULES, lint
from llmrecipe.lock import Lock, locked, pin
from llmrecipe.lower import LoweringError, lower
from llmrecipe.plan import Plan


@dataclass(frozen=True)
class Planned:
    """A recipe file and what it comes to."""

    file: Path
    documents: list[Document]
    warnings: list[Diagnostic]
    lock: Lock
    plan: Plan

    @property
    def root(self) -> Path:
        """The folder of the recipe, from which relative paths start."""
        return self.file.parent


def add_store(parser: argparse.ArgumentParser) -> None:
    """The arguments --store and --runs."""
    parser.add_argument("--store", metavar="DIR", help="where artifacts live (default: .llmrecipe beside the recipe)")
    parser.add_argument("--runs", metavar="DIR", help="where runs are gathered (default: runs beside the recipe)")


def store_root(arguments: argparse.Namespace, root: Path) -> Path:
    """The store that the command works on: `--store`, LLMRECIPE_STORE, or `.llmrecipe` beside the recipe."""
    return Path(arguments.store or os.environ.get("LLMRECIPE_STORE") or root / ".llmrecipe")


def runs_root(arguments: argparse.Namespace, root: Path) -> Path:
    """The folder of runs: `--runs`, or `runs` beside the recipe."""
    return Path(arguments.runs or root / "runs")


def understand(arguments: argparse.Namespace, launched: Launched | None = None) -> Planned:
    """File, overrides and lock -> a plan. Errors of rules are raised, warnings are kept.

    Under a launcher, what rules find of the recipe counts where it holds with the launcher's strategy and devices, too.

    Raises:
        RecipeError: something in the recipe is wrong, or its lock is stale.
    """
    file = front.recipe_file(arguments.file)
    found = front.documents(arguments.file, arguments.overrides)
    findings = lint(found)
    if launched is not None:
        found, warnings = _under(found, launched)
        still = {(finding.code, finding.span) for finding in lint(found)}  # Of what is said of the recipe alone.
        findings = [*(finding for finding in findings if (finding.code, finding.span) in still), *warnings]
    if any(finding.severity == "error" for finding in findings):
        raise RecipeError(findings)
    pins = pin(found, file.parent, locked(file))
    return Planned(file, found, findings, pins, _lower(found, pins, launched))


def _under(found: list[Document], launched: Launched) -> tuple[list[Document], list[Diagnostic]]:
    """The documents with the strategies that hold under a launcher, and warnings where that is not the launcher's.

    A recipe that writes no strategy and cannot have the launcher's is spread by `ddp`.

    Raises:
        RecipeError: recipe and launcher say different ones, or one that the recipe writes in part cannot be.
    """
    documents, warnings = list(found), list[Diagnostic]()
    for i, document in enumerate(found):
        documents[i] = _launched(document, launched)
        others = [*found[:i], documents[i], *found[i + 1 :]]
        problems = [problem for problem in lint(others) if problem.code in STRATEGY_RULES]
        if problems and "distributed" in document.recipe.model_fields_set:
            raise RecipeError(problems)
        for problem in problems:
            message = f"`{document.recipe.name}` trains with `ddp`, and not as the launcher says: {problem.message}"
            span, help_ = problem.span, problem.help
            warnings.append(Diagnostic("LR492", "launcher-not-followed", message, span, help_, "warning"))
            documents[i] = _launched(document, replace(launched, strategy=None))
    return documents, warnings


def _launched(document: Document, launched: Launched) -> Document:
    """The document with the strategy and the devices that hold under a launcher.

    Raises:
        RecipeError: recipe and launcher say different ones.
    """
    recipe = document.recipe
    written = "distributed" in recipe.model_fields_set
    if recipe.method is None:
        return document
    try:
        strategy = settled(recipe.distributed, launched, written)
    except LauncherError as error:
        span = document.source.at(("distributed",))
        raise RecipeError([Diagnostic("LR491", "launcher-says-otherwise", error.message, span, error.help)]) from None
    devices = {"num_nodes": launched.nodes, "num_accelerators": launched.processes}
    update = {"distributed": strategy, "hardware": recipe.hardware.model_copy(update=devices)}
    return replace(document, recipe=recipe.model_copy(update=update))


def _lower(documents: Sequence[Document], lock: Lock, launched: Launched | None) -> Plan:
    try:
        return lower([document.recipe for document in documents], lock, launched)
    except LoweringError as error:
        source = next(document.source for document in documents if document.recipe.name == error.recipe)
        span = source.at(error.location)
        raise RecipeError([Diagnostic("LR490", "batch-does-not-divide", error.message, span, error.help)]) from None
