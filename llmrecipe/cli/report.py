"""`llmrecipe report RUN`: the run as one HTML page."""

import argparse
import sys
from pathlib import Path

from llmrecipe.cli import front, planning
from llmrecipe.cli.exported import refused
from llmrecipe.report import page, read, sweep_page
from llmrecipe.store import RunError, Store
from llmrecipe.summary import SweepSummary


def configure(parser: argparse.ArgumentParser) -> None:
    """The run, and where the page goes."""
    parser.add_argument("run", metavar="RUN", help="runs/NAME, runs/NAME.sweep, or the recipe whose run it is")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where the page goes (default: RUN/report.html; - prints it)"
    )
    planning.add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page of a run, finished or not."""
    try:
        folder = _folder(arguments)
        text = _text(folder, Store(planning.store_root(arguments, folder.absolute().parent.parent)))
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


def _text(folder: Path, store: Store) -> str:
    """The page of a run, or that of a sweep when the folder is one's."""
    sweep = folder / "sweep.json"
    if sweep.is_file():
        return sweep_page(SweepSummary.model_validate_json(sweep.read_bytes()))
    return page(read(folder, store))


def _folder(arguments: argparse.Namespace) -> Path:
    path = Path(arguments.run)
    if path.is_dir():
        return path
    name = front.documents(arguments.run)[-1].recipe.name
    return planning.runs_root(arguments, front.recipe_file(arguments.run).parent) / name
