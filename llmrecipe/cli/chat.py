"""`llmrecipe chat FILE`: talk to the exported model in the terminal."""

import argparse
import math
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
        "--temperature",
        type=_temperature,
        default=0.0,
        metavar="T",
        help="sample; 0, the default, takes the likeliest token",
    )
    parser.add_argument(
        "--max-new-tokens", type=_length, default=512, metavar="N", help="longest answer (default: 512)"
    )


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError("a temperature is a number from 0 on")
    return value


def _length(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("a length is a whole number of tokens from 1 on")
    return int(text)


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
