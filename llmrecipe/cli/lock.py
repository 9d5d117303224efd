"""`llmrecipe lock`: pin revisions, hashes and versions into FILE.lock."""

import argparse
import importlib
import sys
from pathlib import Path

from llmrecipe.cli import front
from llmrecipe.diagnostics import RecipeError
from llmrecipe.lint import lint
from llmrecipe.lock import Commit, Lock, dump, lock_file, pin


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    front.add_recipe(parser)
    parser.add_argument(
        "--offline", action="store_true", help="do not ask the Hub; its repositories stay without a commit"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the lock; the Hub is asked only when the recipe names something of it."""
    file = front.recipe_file(arguments.file)
    documents = front.documents(arguments.file, arguments.overrides)
    errors = [finding for finding in lint(documents) if finding.severity == "error"]
    if errors:
        raise RecipeError(errors)
    lock = pin(documents, file.parent)
    if not arguments.offline and any(name.startswith(("model ", "dataset ")) for name in lock.unpinned):
        lock = pin(documents, file.parent, commit=_hub())
    path = lock_file(file)
    _write(path, dump(lock))
    print(f"{path}: {_counts(lock)}")
    for name in lock.unpinned:
        print(f"  not pinned: {name}", file=sys.stderr)
    return 0


def _hub() -> Commit:
    try:
        commit: Commit = importlib.import_module("llmrecipe.hub").commit
    except ModuleNotFoundError as error:
        raise front.UsageError(
            f"{error.name} is not installed: `pip install 'llmrecipe[hub]'`, or lock with --offline"
        ) from None
    return commit


def _write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(path)
    except OSError as error:
        raise front.UsageError(f"{path} cannot be written: {error.strerror}") from None


def _counts(lock: Lock) -> str:
    counts = {
        "file": sum(len(files) for files in lock.files.values()),
        "model": len(lock.folders),
        "commit": len(lock.commits),
        "package": len(lock.packages),
    }
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
