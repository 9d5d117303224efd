"""`llmrecipe report RUN`: the run as one HTML page."""

import argparse
import sys
from pathlib import Path

from llmrecipe.cli import front, planning
from llmrecipe.cli.exported import refused
from llmrecipe.report import page, read
from llmrecipe.store import RunError, Store


def configure(parser: argparse.ArgumentParser) -> None:
    """The run, and where the page goes."""
    parser.add_argument("run", metavar="RUN", help="runs/NAME, or the recipe whose run it is")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where the page goes (default: RUN/report.html; - prints it)"
    )
    planning.add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page of a run, finished or not."""
    try:
        folder = _folder(arguments)
        text = page(read(folder, Store(planning.store_root(arguments, folder.absolute().parent.parent))))
    except RunError as error:
        return refused(error)
    if arguments.output == "-":
        sys.stdout.write(text)
        return 0
    output = Path(arguments.output or folder / "report.html")
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise front.UsageError(f"{output} cannot be written: {error.strerror}") from None
    print(output)
    return 0


def _folder(arguments: argparse.Namespace) -> Path:
    path = Path(arguments.run)
    if path.is_dir():
        return path
    name = front.documents(arguments.run)[-1].recipe.name
    return planning.runs_root(arguments, front.recipe_file(arguments.run).parent) / name
