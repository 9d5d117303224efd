"""What most commands begin with: a file -> documents -> findings -> a plan."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmrecipe.diagnostics import Diagnostic, RecipeError
from llmrecipe.document import Document
from llmrecipe.lint import lint
from llmrecipe.lock import Lock, locked, pin
from llmrecipe.lower import LoweringError, lower
from llmrecipe.plan import Plan
from llmrecipe.printers import text
from llmrecipe.resolve import OverrideError, resolve
from llmrecipe.validate import validate


class UsageError(ValueError):
    """The command was called in a way that cannot be meant; exit code 2."""


@dataclass(frozen=True)
class Front:
    """A recipe file, understood."""

    file: Path
    documents: list[Document]
    warnings: list[Diagnostic]
    lock: Lock
    plan: Plan

    @property
    def root(self) -> Path:
        """The folder of the recipe, from which relative paths start."""
        return self.file.parent


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The arguments FILE and --set."""
    parser.add_argument("file", metavar="FILE", help="a recipe; FILE#NAME takes one document and what it needs")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="change a value, parsed as YAML; NAME:PATH=VALUE in a file of several documents",
    )


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


def recipe_file(file: str) -> Path:
    """The path in `FILE` or `FILE#NAME`."""
    return Path(file.partition("#")[0])


def documents(file: str, overrides: Sequence[str] = ()) -> list[Document]:
    """The documents of a file and those that they need, dependencies first.

    Raises:
        RecipeError: something in them is wrong.
        UsageError: an override cannot be meant as it is written.
    """
    try:
        return validate(resolve(file, overrides))
    except OverrideError as error:
        raise UsageError(str(error)) from None


def understand(arguments: argparse.Namespace, world_size: int | None = None) -> Front:
    """File, overrides and lock -> a plan. Errors of rules are raised, warnings are kept.

    Raises:
        RecipeError: something in the recipe is wrong, or its lock is stale.
    """
    file = recipe_file(arguments.file)
    found = documents(arguments.file, arguments.overrides)
    findings = lint(found)
    if any(finding.severity == "error" for finding in findings):
        raise RecipeError(findings)
    pins = pin(found, file.parent, locked(file))
    return Front(file, found, findings, pins, _lower(found, pins, world_size))


def _lower(documents: Sequence[Document], lock: Lock, world_size: int | None) -> Plan:
    try:
        return lower([document.recipe for document in documents], lock, world_size)
    except LoweringError as error:
        source = next(document.source for document in documents if document.recipe.name == error.recipe)
        span = source.at(error.location)
        raise RecipeError([Diagnostic("LR490", "batch-does-not-divide", error.message, span, error.help)]) from None


def show(findings: Sequence[Diagnostic]) -> None:
    """Print findings for people, on standard error."""
    print(text(findings, color=sys.stderr.isatty()), file=sys.stderr)
