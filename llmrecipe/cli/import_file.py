"""`llmrecipe import FILE`: a file of Axolotl, LLaMA-Factory or TRL -> a recipe, and what became of each key."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from llmrecipe import facts
from llmrecipe.cli import front
from llmrecipe.cli.exported import refused
from llmrecipe.cli.init import FOLDER, SCHEMA
from llmrecipe.diagnostics import Diagnostic
from llmrecipe.importing import TOOLS, Entry, Imported, Options, convert, dotted
from llmrecipe.importing.trl.method import KINDS
from llmrecipe.printers import amount, text
from llmrecipe.store import RunError

FATES = {"mapped": "mapped", "dropped": "knowingly dropped", "blocking": "blocking"}


def configure(parser: argparse.ArgumentParser) -> None:
    """The file, where the recipe goes, and what the file cannot say."""
    parser.add_argument("file", metavar="FILE", help="a YAML configuration of Axolotl, LLaMA-Factory or TRL")
    parser.add_argument("--from", dest="tool", choices=tuple(TOOLS), help="whose it is (default: seen by its keys)")
    parser.add_argument("-o", "--output", metavar="RECIPE", help="write the recipe there (default: print it)")
    parser.add_argument("--force", action="store_true", help="overwrite RECIPE")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how the report is printed")
    parser.add_argument("--method", choices=KINDS, help="which command of TRL it is for (default: seen by its keys)")
    parser.add_argument("--accelerator", metavar="NAME", help="what it runs on, as `hardware.accelerator` names it")
    parser.add_argument("--num-accelerators", metavar="N", type=_count, help="devices of one machine")


def run(arguments: argparse.Namespace) -> int:
    """Write or print the recipe, and the report; 1 when something blocks or the recipe has errors."""
    known = facts.accelerators()
    if arguments.accelerator is not None and arguments.accelerator not in known:
        raise front.UsageError(f"there is no accelerator `{arguments.accelerator}`; write one of {', '.join(known)}")
    output = Path(arguments.output) if arguments.output is not None else None
    if output is not None and (output.is_dir() or (output.exists() and not arguments.force)):
        hint = "give the path of a file" if output.is_dir() else "--force overwrites it; or give another path"
        return refused(RunError(f"{output} is there already", hint))
    options = Options(arguments.accelerator, arguments.num_accelerators, arguments.method, output)
    found = convert(arguments.file, arguments.tool, options)
    if output is not None:
        try:
            _write(output, found.text)
        except OSError as error:
            return refused(RunError(f"{output} cannot be written: {error.strerror}", "give a folder that is yours"))
    if arguments.format == "json":
        print(json.dumps(as_json(found, output), indent=2, ensure_ascii=False))
    else:
        _print(found, output)
    return int(any(one.severity == "error" for one in (*found.diagnostics, *found.findings)))


def _count(value: str) -> int:
    found = int(value)
    if found < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return found


def _write(output: Path, recipe: str) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(recipe, "utf-8")
    schema = output.with_name(SCHEMA)
    if not schema.exists():
        schema.write_bytes((FOLDER / SCHEMA).read_bytes())


def _print(found: Imported, output: Path | None) -> None:
    """The report goes where the recipe does not."""
    if output is None:
        print(found.text, end="")
    stream = sys.stderr if output is None else sys.stdout
    color = stream.isatty() and "NO_COLOR" not in os.environ
    print(report(found, output, color), file=stream)


def report(found: Imported, output: Path | None, color: bool = False) -> str:
    """What became of each key, what is implied, and what is wrong."""
    parts = ["\n".join(_fate(found.entries, fate)) for fate in FATES]
    parts.append("\n".join(_implied(found)))
    blocks = [text(found.diagnostics, color), _findings(found.findings, color)]
    parts += [block for block in blocks if block]
    parts.append(_summary(found, output))
    return "\n\n".join(part for part in parts if part)


def _fate(entries: Sequence[Entry], fate: str) -> Iterator[str]:
    chosen = [entry for entry in entries if entry.fate == fate]
    if not chosen:
        return
    yield f"{FATES[fate]}:"
    for _, group in groupby(chosen, lambda one: (one.path[0], one.to, one.because)):
        same = list(group)
        first = same[0]
        key = dotted(first.path) if len(same) == 1 else f"{dotted(first.path)} .. {dotted(same[-1].path)}"
        value = f": {_short(first.value)}" if len(same) == 1 else ""
        target = f" -> {', '.join(first.to)}" if first.to else ""
        target += "" if first.became is None or isinstance(first.became, dict | list) else f": {_short(first.became)}"
        because = f"  ({first.because})" if first.because else ""
        yield f"  {first.span.line:>4}  {key}{value}{target}{because}"


def _implied(found: Imported) -> Iterator[str]:
    if found.implied:
        yield f"implied, what {found.tool.title} does without being told:"
    for one in found.implied:
        yield f"        {one.path}: {_short(one.value)}  ({one.because})"


def _short(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    shown = " ".join(shown.split())
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _findings(findings: Sequence[Diagnostic], color: bool) -> str:
    if not findings:
        return ""
    return f"llmrecipe validate says of the recipe:\n\n{text(findings, color)}"


def _summary(found: Imported, output: Path | None) -> str:
    counts = {fate: sum(entry.fate == fate for entry in found.entries) for fate in FATES}
    numbers = ", ".join(f"{count} {FATES[fate]}" for fate, count in counts.items())
    errors = sum(one.severity == "error" for one in found.findings)
    valid = "the recipe is valid" if not errors else f"the recipe has {amount(errors, 'error')}"
    where = f"; wrote {output}" if output is not None else ""
    return f"{found.tool.title}: {numbers}; {len(found.implied)} implied; {valid}{where}"


def as_json(found: Imported, output: Path | None) -> dict[str, Any]:
    """The report as one JSON document."""
    return {
        "tool": found.tool.name,
        "recipe": found.text,
        "output": None if output is None else str(output),
        "keys": [
            {
                "key": dotted(entry.path),
                "value": entry.value,
                "line": entry.span.line,
                "fate": entry.fate,
                "to": list(entry.to),
                "became": entry.became,
                "because": entry.because,
                "help": entry.help,
            }
            for entry in found.entries
        ],
        "implied": [{"path": one.path, "value": one.value, "because": one.because} for one in found.implied],
        "diagnostics": [one.as_dict() for one in found.diagnostics],
        "findings": [one.as_dict() for one in found.findings],
    }
