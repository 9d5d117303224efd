"""`validate --online`: what the Hub says of the recipes of a call, beside what rules say of them."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmrecipe.cli import front
from llmrecipe.cli.verdicts import Verdict
from llmrecipe.diagnostics import Diagnostic, RecipeError
from llmrecipe.document import Document
from llmrecipe.remote import Answers, Refusal, answers, judge, named

ONCE = ("LR920", "LR923")
"""What is said of the Hub or the token, and not of a place: once in a call is enough."""


def asked(hub: Any, found: Mapping[str, Verdict], overrides: Sequence[str]) -> tuple[dict[str, Verdict], str]:
    """Verdicts of files, with what the Hub says; and how many repositories it was asked about, in words.

    Files that hold no recipe are left as they are: nobody knows what they name.
    """
    read = {file: _documents(file, overrides) for file in found}
    questions = {one.question for documents in read.values() for each in documents for one in named(each)}
    said = answers(sorted(questions, key=str), hub.ask)
    space, result, told = hub.space(), dict(found), set[tuple[str, str]]()
    for file, documents in read.items():
        judged = judge(documents, said, space)
        judged.findings = [one for one in judged.findings if one.code not in ONCE or _is_new(one, told)]
        result[file] = replace(found[file], findings=tuple(judged.instead_of(found[file].findings)))
    return result, _counted(said)


def the_hub() -> Any:
    """The module that asks.

    Raises:
        UsageError: the network is forbidden, or the package that asks is not there.
    """
    try:
        hub = importlib.import_module("llmrecipe.hub")
    except ModuleNotFoundError as error:
        raise front.UsageError(
            f"{error.name} is not installed, and --online asks the Hub: `pip install 'llmrecipe[hub]'`"
        ) from None
    if (variable := hub.offline()) is not None:
        raise front.UsageError(
            f"--online asks the Hub, and {variable} forbids it: {variable} wins. Unset it, or leave out --online"
        )
    return hub


def _documents(file: str, overrides: Sequence[str]) -> list[Document]:
    try:
        return front.documents(file, overrides)
    except RecipeError:
        return []  # The verdict has what is wrong.


def _is_new(found: Diagnostic, told: set[tuple[str, str]]) -> bool:
    """Whether nothing of the kind was said in this call; from now on it was."""
    key = (found.code, found.message)
    new = key not in told
    told.add(key)
    return new


def _counted(said: Answers) -> str:
    heard = sum(not (isinstance(one, Refusal) and one.reason == "silent") for one in said.values())
    return f"asked the Hub about {heard} {'repository' if heard == 1 else 'repositories'}"
