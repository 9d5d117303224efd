"""`llmrecipe preflight`: what the tokenizer, a sample of the rows and a tiny model tell before a device is rented."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from llmrecipe import printers
from llmrecipe.cli import examining, front, planning
from llmrecipe.cli.exported import refused
from llmrecipe.cli.pages import pages
from llmrecipe.diagnostics import Diagnostic
from llmrecipe.plan import Train
from llmrecipe.preflight.job import Answer, Examined, ShownRow
from llmrecipe.store import RunError, Store

LEARNED, SEEN = "bold green", "dim"
OPEN, CLOSE = "⟦", "⟧"
"""What stands around learned tokens where there is no colour."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    front.add_recipe(parser)
    planning.add_store(parser)
    parser.add_argument("--show", metavar="N", type=int, default=0, help="print N rows as the model will see them")
    parser.add_argument("--allow-code", action="store_true", help="let Python code of models and rewards run")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument(
        "--format",
        choices=["text", "concise", "json", "github", "sarif"],
        default="text",
        help="json has the rows of --show as well",
    )


def run(arguments: argparse.Namespace) -> int:
    """Look at every training of a recipe: 0 clean, 1 findings."""
    if arguments.show < 0:
        raise front.UsageError("--show takes the number of rows to print")
    planned = planning.understand(arguments)
    store = Store(planning.store_root(arguments, planned.root))
    stages = [stage for stage in planned.plan.stages if isinstance(stage.spec, Train)]
    looking = examining.Looking(examining.ALL, arguments.show, arguments.allow_code)
    try:
        store.check()
        answer = examining.examine(planned, store, stages, looking) if stages else Answer(examined=[])
    except RunError as error:
        return refused(error)
    found = examining.diagnostics(answer, planned.documents)
    found += examining.unused_silences(answer, planned.documents)
    _print(found, answer, arguments)
    return 1 if any(one.severity == "error" for one in found) or (found and arguments.strict) else 0


def _print(found: Sequence[Diagnostic], answer: Answer, arguments: argparse.Namespace) -> None:
    match arguments.format:
        case "json":
            report = json.loads(printers.as_json(found, 1))
            report["trainings"] = [each.model_dump(exclude={"findings"}) for each in answer.examined]
            print(json.dumps(report, indent=2, ensure_ascii=False))
        case "sarif":
            print(printers.sarif(found, pages()))
        case "github" | "concise":
            formatted = {"github": printers.github, "concise": printers.concise}[arguments.format](found)
            print(formatted, end="\n" if formatted else "")
        case _:
            _text(found, answer, arguments.overrides)


def _text(found: Sequence[Diagnostic], answer: Answer, overrides: Sequence[str]) -> None:
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    console = Console(highlight=False, soft_wrap=True, no_color=not color)
    for examined in answer.examined:
        for number, row in enumerate(examined.rows, 1):
            _show(console, examined, number, row, color)
    if found:
        print(printers.text(found, color, overrides), end="\n\n")
    for examined in answer.examined:
        print(_line(examined))
    print(printers.counted(found))


def _line(examined: Examined) -> str:
    """One line about what was looked at."""
    rows = {True: "a sample of the rows", False: "all rows", None: "no rows"}[examined.sampled]
    size = "" if examined.size is None else f", {examined.size.trainable:,} of {examined.size.total:,} weights trained"
    kept = "; known from before" if examined.cached else f"; {examined.seconds:.1f} s"
    untried = "".join(f"; {reason}" for reason in examined.untried)
    return f"{examined.stage}: {rows}{size}{untried}{kept}"


def _show(console: Console, examined: Examined, number: int, row: ShownRow, color: bool) -> None:
    """A row as the model will see it; what is learned from stands out."""
    note = f", {row.note}" if row.note else ""
    learned = sum(len(stretch.tokens) for stretch in row.stretches if stretch.learned)
    console.print(f"{examined.stage}, {row.split} row {number}{note}: {row.length} tokens, {learned} learned from")
    text = Text()
    for stretch in row.stretches:
        if color:
            text.append(stretch.text, LEARNED if stretch.learned else SEEN)
        else:
            text.append(f"{OPEN}{stretch.text}{CLOSE}" if stretch.learned else stretch.text)
    console.print(text)
    console.print()
