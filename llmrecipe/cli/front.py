"""What every command begins with: a file -> documents; and how it tells what is wrong."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from llmrecipe.diagnostics import Diagnostic
from llmrecipe.document import Document
from llmrecipe.printers import text
from llmrecipe.resolve import OverrideError, resolve
from llmrecipe.validate import validate


class UsageError(ValueError):
    """The command was called in a way that cannot be meant; exit code 2."""


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


def show(findings: Sequence[Diagnostic], overrides: Sequence[str] = ()) -> None:
    """Print findings for people, on standard error."""
    color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(text(findings, color, overrides), file=sys.stderr)
