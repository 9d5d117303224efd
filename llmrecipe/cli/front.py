"""What every command begins with: a file -> documents; and how it tells what is wrong."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from llmrecipe.cli.usage import UsageError, show
from llmrecipe.document import Document
from llmrecipe.resolve import OverrideError, resolve
from llmrecipe.validate import validate

__all__ = ["UsageError", "add_recipe", "documents", "recipe_file", "show"]


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
