"""`llmrecipe chat FILE`: talk to the exported model in the terminal."""

import argparse
import os
import sys

from llmrecipe.cli.exported import Exported, add_model, exported, refused, require
from llmrecipe.store import RunError


def configure(parser: argparse.ArgumentParser) -> None:
    """The model, and how it answers."""
    add_model(parser)
    parser.add_argument("--once", metavar="QUESTION", help="answer this and leave")
    parser.add_argument("--system", metavar="TEXT", help="tell the model who it is")
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="sample; 0, the default, takes the likeliest token"
    )
    parser.add_argument("--max-new-tokens", type=int, default=512, metavar="N", help="longest answer (default: 512)")


def run(arguments: argparse.Namespace) -> int:
    """Hand the terminal to a process that has the model; what is returned is why there is none to talk to."""
    try:
        require("torch", "train")
        require("transformers", "train")
        words = command(exported(arguments), arguments)
    except RunError as error:
        return refused(error)
    sys.stdout.flush()
    return os.execv(sys.executable, words)


def command(model: Exported, arguments: argparse.Namespace) -> list[str]:
    """The process that talks."""
    words = [sys.executable, "-P", "-m", "llmrecipe.stages.chat", str(model.folder), "--name", model.name]
    words += ["--temperature", str(arguments.temperature), "--max-new-tokens", str(arguments.max_new_tokens)]
    for option in ("once", "system"):
        value = getattr(arguments, option)
        words += [f"--{option}={value}"] if value is not None else []
    return words
