"""`llmrecipe validate FILES...`: every problem of the recipes at once."""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from llmrecipe import printers
from llmrecipe.cli import front
from llmrecipe.cli.pages import pages
from llmrecipe.diagnostics import Diagnostic
from llmrecipe.lint import lint
from llmrecipe.resolve import OverrideError, gather
from llmrecipe.validate import check

FORMATS = ("text", "concise", "json", "github", "sarif")

_RECIPE = [re.compile(rf"^({keys}):", re.MULTILINE) for keys in ("version", "name", "model|extends")]
"""A file without a name is one that others extend."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Files, format, strictness and overrides."""
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="recipes; FILE#NAME; or folders, with all recipes below"
    )
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--strict", action="store_true", help="warnings too make the exit code 1")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="change a value of the one FILE, parsed as YAML; NAME:PATH=VALUE in a file of several documents",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 when there are errors, with `--strict` also for warnings."""
    files = list(dict.fromkeys(_files(arguments.files)))
    if arguments.overrides and len(files) > 1:
        raise front.UsageError(f"--set changes one recipe, and there are {len(files)}")
    found: list[Diagnostic] = []
    for file in files:
        found += _findings(file, arguments.overrides)
    findings = list(dict.fromkeys(found))
    output = _formatted(findings, len(files), arguments)
    if output:
        print(output)
    return int(any(one.severity == "error" or arguments.strict for one in findings))


def _files(given: Iterable[str]) -> Iterator[str]:
    for path in given:
        if not Path(path).is_dir():
            yield path
            continue
        found = sorted(_recipes(path))
        if not found:
            raise front.UsageError(f"there is no recipe in the folder `{path}`")
        yield from found


def _recipes(folder: str) -> Iterator[str]:
    """Files below a folder that look like recipes; hidden folders are passed over."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.normpath(os.path.join(parent, name))  # noqa: PTH118
            if name.endswith((".yaml", ".yml")) and Path(path).is_file():
                text = Path(path).read_text("utf-8", "replace")
                if all(pattern.search(text) for pattern in _RECIPE):
                    yield path


def _findings(file: str, overrides: Sequence[str]) -> list[Diagnostic]:
    """What is wrong with one file and what it refers to; rules are for recipes without errors."""
    try:
        sources, problems = gather(file, overrides)
    except OverrideError as error:
        raise front.UsageError(str(error)) from None
    documents, wrong = check(sources)
    errors = sorted([*problems, *wrong], key=lambda one: (one.span.file, one.span.line, one.span.column))
    return errors or lint(documents)


def _formatted(findings: Sequence[Diagnostic], files: int, arguments: argparse.Namespace) -> str:
    match arguments.format:
        case "json":
            return printers.as_json(findings, files)
        case "sarif":
            return printers.sarif(findings, pages())
        case "github":
            return printers.github(findings)
        case "concise":
            return printers.concise(findings)
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    parts = [printers.text(findings, color, arguments.overrides), _counted(findings, files)]
    return "\n\n".join(part for part in parts if part)


def _counted(findings: Sequence[Diagnostic], files: int) -> str:
    errors = sum(one.severity == "error" for one in findings)
    numbers = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in _counts(errors, len(findings) - errors)]
    return f"{files} file{'' if files == 1 else 's'}: {', '.join(numbers) or 'no problems'}"


def _counts(errors: int, warnings: int) -> list[tuple[int, str]]:
    return [(count, noun) for count, noun in ((errors, "error"), (warnings, "warning")) if count]
