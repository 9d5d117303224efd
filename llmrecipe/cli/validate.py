"""`llmrecipe validate FILES...`: every problem of the recipes at once, and with `--fix` fewer of them."""

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Sequence

from llmrecipe import printers
from llmrecipe.cli.recipe_files import RecipeFiles, recipe_files
from llmrecipe.cli.usage import UsageError
from llmrecipe.cli.verdict_cache import VerdictCache
from llmrecipe.cli.verdicts import Verdict, absolute, findings, together, verdicts
from llmrecipe.diagnostics import Diagnostic

FORMATS = ("text", "concise", "json", "github", "gitlab", "sarif")


def configure(parser: argparse.ArgumentParser) -> None:
    """Files, format, strictness, fixes and overrides."""
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="recipes; FILE#NAME; or folders, with all recipes below"
    )
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("--strict", action="store_true", help="warnings too make the exit code 1")
    parser.add_argument(
        "--fix", action="store_true", help="apply the fixes that are safe, in the files; comments and layout stay"
    )
    parser.add_argument("--diff", action="store_true", help="show what `--fix` would change, and change nothing")
    parser.add_argument(
        "--skip-others", action="store_true", help="pass over FILEs that are no recipes, for hooks that get all files"
    )
    parser.add_argument(
        "--online",
        action="store_true",
        help="ask the Hub about the models and datasets that the recipes name; downloads nothing but small files",
    )
    parser.add_argument(
        "--no-cache", action="store_true", help="check every file, even if nothing that it depends on has changed"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="change a value of the one FILE, parsed as YAML; NAME:PATH=VALUE in a file of several documents",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 for errors, with `--strict` for warnings too, with `--diff` also for changes."""
    chosen = recipe_files(arguments.files, arguments.skip_others)
    if arguments.overrides and len(chosen.files) > 1:
        raise UsageError(f"--set changes one recipe, and there are {len(chosen.files)}")
    if arguments.overrides and (arguments.fix or arguments.diff):
        raise UsageError("--fix changes files, and --set is in none; leave one of them out")
    if arguments.diff and arguments.online:
        raise UsageError("--diff shows what --fix would change, which needs no Hub; leave out --online")
    if arguments.diff:
        return _show_difference(chosen.files)
    online = importlib.import_module("llmrecipe.cli.asking") if arguments.online else None
    hub = online.the_hub() if online else None
    found, done = _fixed(chosen.files) if arguments.fix else (_verdicts(chosen.files, arguments), [])
    note = None
    if online:
        found, note = online.asked(hub, found, arguments.overrides)
    return _report(chosen, found, done, arguments, note)


def _verdicts(files: Sequence[str], arguments: argparse.Namespace) -> dict[str, Verdict]:
    if arguments.overrides:
        return {file: Verdict(tuple(findings(file, arguments.overrides)), frozenset()) for file in files}
    return verdicts(files, None if arguments.no_cache else VerdictCache())


def _fixed(files: Sequence[str]) -> tuple[dict[str, Verdict], list[Diagnostic]]:
    """What is left to report, and what was mended in the files."""
    fixing = importlib.import_module("llmrecipe.cli.fixing")
    state = fixing.fixed(files)
    try:
        fixing.write(state)
    except OSError as error:
        raise UsageError(f"`{error.filename}` was not written: {error.strerror}") from None
    return state.verdicts, state.done


def _show_difference(files: Sequence[str]) -> int:
    fixing = importlib.import_module("llmrecipe.cli.fixing")
    state = fixing.fixed(files)
    changes = fixing.difference(state)
    if changes:
        print(changes)
    left = together(state.verdicts.values())
    print(
        f"{printers.amount(len(state.done), 'fix', 'fixes')}; {_counted(left, len(files))} would be left",
        file=sys.stderr,
    )
    return int(bool(changes) or any(one.severity == "error" for one in left))


def _report(
    chosen: RecipeFiles,
    found: dict[str, Verdict],
    done: Sequence[Diagnostic],
    arguments: argparse.Namespace,
    note: str | None,
) -> int:
    left = together(found.values())
    read = frozenset().union(*(verdict.files for verdict in found.values()))
    skipped = [file for file in chosen.skipped if absolute(file) not in read]
    output = _formatted(left, done, len(chosen.files), arguments)
    if arguments.format == "text":
        last = "; ".join(part for part in (_last_line(left, done, len(chosen.files), skipped), note) if part)
        output = "\n\n".join(part for part in (output, last) if part)
    if output:
        print(output)
    if done and arguments.format not in ("text", "json"):
        print(_said(done), file=sys.stderr)
    return int(any(one.severity == "error" or arguments.strict for one in left))


def _formatted(
    left: Sequence[Diagnostic], done: Sequence[Diagnostic], files: int, arguments: argparse.Namespace
) -> str:
    match arguments.format:
        case "json":
            return printers.as_json(left, files, done if arguments.fix else None)
        case "sarif":
            return printers.sarif(left, importlib.import_module("llmrecipe.cli.pages").pages())  # seldom needed
        case "github":
            return printers.github(left)
        case "gitlab":
            return printers.gitlab(left)
        case "concise":
            return printers.concise(left)
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return "\n\n".join(part for part in (_said(done), printers.text(left, color, arguments.overrides)) if part)


def _said(done: Iterable[Diagnostic]) -> str:
    """What was fixed, one line each."""
    return "\n".join(
        f"fixed {one.span.file}:{one.span.line}: {one.fix.title} ({one.code})" for one in done if one.fix is not None
    )


def _last_line(left: Sequence[Diagnostic], done: Sequence[Diagnostic], files: int, skipped: Sequence[str]) -> str:
    parts = [_counted(left, files)]
    parts += [f"{len(done)} fixed"] if done else []
    fixable = sum(one.fix is not None and one.fix.safe for one in left)
    parts += [f"`--fix` mends {fixable}"] if fixable and not done else []
    if skipped:
        shown = ", ".join(skipped[:3]) + (f" and {len(skipped) - 3} more" if len(skipped) > 3 else "")
        parts.append(f"no recipe, skipped: {shown}")
    return "; ".join(parts)


def _counted(findings: Sequence[Diagnostic], files: int) -> str:
    return f"{printers.amount(files, 'file')}: {printers.counted(findings)}"
