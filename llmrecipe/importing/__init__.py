"""Configurations of other tools -> one recipe, and what has become of every key."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from llmrecipe.command_errors import command_error
from llmrecipe.diagnostics import Diagnostic, RecipeError
from llmrecipe.importing.axolotl import AXOLOTL
from llmrecipe.importing.case import Case, Entry, Implied, Options, Tool, dotted
from llmrecipe.importing.extra import extra_field, extra_fields
from llmrecipe.importing.llamafactory import LLAMAFACTORY
from llmrecipe.importing.reading import Configuration, Leaf, read
from llmrecipe.importing.trl import TRL
from llmrecipe.importing.writing import write
from llmrecipe.lint import lint
from llmrecipe.source import Path, SourceError, Span
from llmrecipe.source import parse as parse_recipe
from llmrecipe.validate import check

TOOLS: dict[str, Tool] = {tool.name: tool for tool in (AXOLOTL, LLAMAFACTORY, TRL)}

__all__ = ["TOOLS", "Entry", "Implied", "Imported", "Options", "convert", "detect", "dotted"]


@dataclass(frozen=True)
class Imported:
    """A recipe, and how it came about."""

    tool: Tool
    text: str
    """The recipe as YAML."""
    entries: tuple[Entry, ...]
    """What becomes of each value of the file, in its order."""
    implied: tuple[Implied, ...]
    """What the tool does without being told, written out."""
    diagnostics: tuple[Diagnostic, ...]
    """What blocks, at its line of the file, and what means something slightly different here."""
    findings: tuple[Diagnostic, ...]
    """What `llmrecipe validate` says of the recipe."""


def convert(file: str, tool: str | None = None, options: Options | None = None) -> Imported:
    """The recipe of a configuration.

    Raises:
        RecipeError: the file cannot be read, or is of no tool that is known.
    """
    configuration = read(file)
    found = TOOLS[tool] if tool is not None else detect(configuration)
    case = Case(configuration, found.title, options or Options())
    _nothing_said(case, found)
    for step in found.steps:
        step.convert(case)
    _alone(case, found)
    again = [_again(case, leaf, found) for leaf in configuration.overwritten]
    told = [replace(one, became=case.written(one.to[0])) if one.to else one for one in case.entries.values()]
    entries = tuple(sorted([*told, *again], key=lambda one: (one.span.line, one.span.column)))
    header = [f"Imported from {FilePath(file).name} of {found.title} by `llmrecipe import`."]
    text = write({"version": 1, **case.recipe}, header, {one.path: one.because for one in case.implied})
    diagnostics = (*_blocking(entries), *_lacking(case), *_differences(case), *_surprises(case))
    return Imported(found, text, entries, tuple(case.implied), diagnostics, tuple(findings(text, case.options.output)))


def detect(configuration: Configuration) -> Tool:
    """The tool that has most of the keys.

    Raises:
        RecipeError: none has any of them.
    """
    keys = configuration.source.data
    score = {tool.name: sum(weight for key, weight in tool.signs.items() if key in keys) for tool in TOOLS.values()}
    best = max(score, key=lambda name: score[name])
    if score[best] == 0:
        tools = ", ".join(f"`--from {name}`" for name in TOOLS)
        message = "this is no configuration of Axolotl, LLaMA-Factory or TRL by any of its keys"
        span = Span(configuration.source.file, 1, 1, 1, 1)
        raise RecipeError([command_error("unrecognized-configuration", message, span, f"say what it is: {tools}")])
    return TOOLS[best]


def findings(text: str, output: FilePath | None) -> list[Diagnostic]:
    """What `llmrecipe validate` says of a recipe that is to be written to `output`."""
    try:
        sources = parse_recipe(text, str(output) if output is not None else "<recipe>")
    except SourceError as error:
        raise AssertionError(f"the written recipe cannot be read: {error}") from None
    documents, problems = check(sources)
    return problems or lint(documents)


def _nothing_said(case: Case, tool: Tool) -> None:
    """Null is as if the key were not written, for all three tools."""
    for leaf in case.open():
        if case.get(leaf) is None and leaf[0] in tool.keys:
            case.drop(leaf, "it is empty, as if it were not written")


def _alone(case: Case, tool: Tool) -> None:
    """What no step has accounted for."""
    extra = extra_fields(case) if tool.trainer_fields else {}
    for key, value in case.data.items():
        if value is not None and key in tool.rules and case.open((key,)):
            tool.rules[key](case, (key,), value)
        elif key in extra and key not in tool.keys:
            extra_field(case, key, extra[key])
        for leaf in case.open((key,)):
            _unaccounted(case, leaf, tool, [*tool.keys, *extra])


def _unaccounted(case: Case, leaf: Path, tool: Tool, known: list[str]) -> None:
    key = str(leaf[0])
    if key in tool.keys:
        message = f"`{dotted(leaf)}` is not understood as it is written"
        help_ = f"correct it so that {tool.title} takes it, or remove it"
        case.block(leaf, message, help_, "unfit-imported-value")
        return
    near = difflib.get_close_matches(key, known, 1, 0.7)
    help_ = f"did you mean `{near[0]}`?" if near else "remove it, or write what it does into the recipe by hand"
    message = f"`{key}` is no key of {tool.title} that is known here"
    case.block(leaf, message, help_, "unknown-imported-key")


def _again(case: Case, leaf: Leaf, tool: Tool) -> Entry:
    """What becomes of a value whose key is written once more further down."""
    line = case.configuration.source.key_at(leaf.path).line
    if tool.twice is None:
        return Entry(leaf.path, leaf.value, leaf.span, "dropped", because=f"written again on line {line}, which holds")
    message = f"`{dotted(leaf.path)}` is written again on line {line}: {tool.twice}"
    return Entry(
        leaf.path, leaf.value, leaf.span, "blocking", because=message, help="keep one", problem="unfit-imported-value"
    )


def _blocking(entries: tuple[Entry, ...]) -> Iterator[Diagnostic]:
    seen: set[tuple[str, int]] = set()
    for entry in entries:
        if entry.fate == "blocking" and (entry.because, entry.span.line) not in seen:
            seen.add((entry.because, entry.span.line))
            yield command_error(entry.problem, entry.because, entry.span, entry.help)


def _lacking(case: Case) -> Iterator[Diagnostic]:
    for one in case.lacking:
        yield command_error("missing-for-import", one.message, one.span, one.help)


def _differences(case: Case) -> Iterator[Diagnostic]:
    for one in case.differences:
        yield command_error("imported-with-a-difference", one.message, one.span, one.help, "warning")


def _surprises(case: Case) -> Iterator[Diagnostic]:
    source = case.configuration.source
    for path, message in case.configuration.surprises.items():
        help_ = "put it in quotes if it is meant as text"
        yield command_error("surprising-yaml", f"`{dotted(path)}`: {message}", source.at(path), help_, "warning")
