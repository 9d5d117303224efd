"""The command line: a table of commands, one file each; the only place that parses arguments, prints and exits."""

import argparse
import importlib
import platform
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from llmrecipe import __version__
from llmrecipe.cli import usage
from llmrecipe.diagnostics import RecipeError

COMMANDS: dict[str, str] = {
    "init": "a new recipe from a template",
    "import": "a configuration of another tool -> a recipe, with a report",
    "validate": "every problem of the recipes at once",
    "show": "the resolved recipe",
    "explain": "what a diagnostic or a field means",
    "preflight": "what tokenizer, rows and a tiny model tell before training",
    "plan": "stages, what is cached, derived values",
    "lock": "pin revisions, hashes and versions into FILE.lock",
    "compile": "files for other machines and engines",
    "run": "do what is missing; resume what was interrupted",
    "sweep": "the search that a recipe describes, resumable",
    "serve": "the exported model on this machine, as an OpenAI-compatible server",
    "chat": "talk to the exported model in the terminal",
    "report": "the run as one HTML page",
    "diff": "what differs in meaning, and which stages that re-runs",
}
"""Command -> its help. The module `llmrecipe.cli.COMMAND` has `configure(parser)` and `run(arguments) -> exit code`."""

_MODULES = {"import": "import_file"}
"""Commands whose name cannot be that of a module."""

CLEAN, FINDINGS, USAGE, BUG, PREEMPTED, INTERRUPTED = 0, 1, 2, 3, 75, 130
"""75 is EX_TEMPFAIL of sysexits.h: everything is saved, and the same command goes on from here."""


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of everything; of `command` alone it knows the options, so that only its module is imported."""
    top = argparse.ArgumentParser(
        prog="llmrecipe", description="One YAML recipe for the whole life of a language model.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"llmrecipe {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
        if name == command:
            _module(name).configure(sub)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 clean, 1 findings, 2 usage, 3 a bug of ours, 75 stopped by SIGTERM with everything saved, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    arguments = parser(command).parse_args(words)
    try:
        code: int = _module(str(command)).run(arguments)
    except RecipeError as error:
        usage.show(error.diagnostics, vars(arguments).get("overrides", ()))
        return FINDINGS
    except usage.UsageError as error:
        print(f"llmrecipe {command}: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return CLEAN
    except Exception:
        _report_bug(words)
        return BUG
    return code


def _module(command: str) -> Any:
    return importlib.import_module(f"llmrecipe.cli.{_MODULES.get(command, command)}")


def _report_bug(words: Sequence[str]) -> None:
    traceback.print_exc()
    print(
        f"\nThis is a bug in llmrecipe, not in your recipe. Please report it with everything above and these lines:\n"
        f"  llmrecipe {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"  llmrecipe {' '.join(words)}",
        file=sys.stderr,
    )
