"""`llmrecipe compile`: the files with which other machines and engines run and serve a recipe."""

import argparse
import os
import sys
from pathlib import Path

from llmrecipe.cli import front, planning
from llmrecipe.cli.compiled_folder import CompiledFolder, Written
from llmrecipe.diagnostics import Diagnostic, RecipeError
from llmrecipe.document import Document
from llmrecipe.lock import lock_file
from llmrecipe.targets import TARGETS, Files, TargetError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    front.add_recipe(parser)
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="folder of the files; it holds nothing else"
    )
    parser.add_argument(
        "--target",
        action="append",
        choices=list(TARGETS),
        help="what to write files for; may be repeated (default: local)",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; print what differs, exit 1 if anything")


def run(arguments: argparse.Namespace) -> int:
    """Write the files, or compare them with those that are there."""
    found = planning.understand(arguments)
    if found.warnings:
        front.show(found.warnings, arguments.overrides)
    output = Path(arguments.output)
    files = render(found, arguments.target or ["local"], output)
    folder = CompiledFolder(output)
    if arguments.check:
        return _check(folder, files)
    written = folder.write(files)
    _tell(found, output, files, written)
    return 0


def render(found: planning.Planned, targets: list[str], output: Path) -> Files:
    """The files of all targets.

    Raises:
        RecipeError: the recipe does not have what a target is about.
    """
    root = Path(os.path.relpath(found.root.absolute(), output.absolute())).as_posix()
    files: Files = {}
    problems = []
    for name in dict.fromkeys(targets):
        try:
            files |= TARGETS[name].render(found.plan, root)
        except TargetError as error:
            problems.append(_diagnostic(error, found.documents))
    if problems:
        raise RecipeError(problems)
    return files


def _diagnostic(error: TargetError, documents: list[Document]) -> Diagnostic:
    document = next((d for d in documents if d.recipe.name == error.recipe), documents[-1])
    span = document.source.at(error.at) if error.at else document.source.key_at(("name",))
    return Diagnostic("LR690", "unfit-for-target", error.message, span, error.help)


def _check(folder: CompiledFolder, files: Files) -> int:
    lines = list(folder.differences(files))
    sys.stdout.writelines(lines)
    if lines:
        print(f"{folder.path} differs from the recipe; compile again without --check", file=sys.stderr)
    return 1 if lines else 0


def _tell(found: planning.Planned, output: Path, files: Files, written: Written) -> None:
    print(f"{output}: {len(files)} files, {len(written.written)} of them changed")
    for name in written.removed:
        print(f"  removed: {name}")
    for name in written.kept:
        print(f"  no longer made, but kept since it was edited: {name}", file=sys.stderr)
    for name in found.plan.unpinned:
        print(f"  not pinned: {name}; `llmrecipe lock` pins it", file=sys.stderr)
    if not lock_file(found.file).exists():
        print("  no lock: hashes and versions are those of now; `llmrecipe lock` writes them down", file=sys.stderr)
