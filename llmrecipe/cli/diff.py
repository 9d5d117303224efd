"""`llmrecipe diff A B`: what differs in meaning, and which stages that re-runs."""

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from llmrecipe.cli import planning
from llmrecipe.difference import ABSENT, Change, Side, StageChange, compare, compare_stages
from llmrecipe.recipe import Recipe

WIDTH = 72
"""Characters of a value that the text shows; JSON has all of it."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Two recipes, the format, and whether the exit code tells."""
    parser.add_argument("old", metavar="A", help="a recipe; FILE#NAME takes one document and what it needs")
    parser.add_argument("new", metavar="B", help="the recipe to compare it with")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 when something differs")


def run(arguments: argparse.Namespace) -> int:
    """Print the differences; 0 unless `--exit-code` was given and there are some."""
    old, new = (
        planning.understand(argparse.Namespace(file=file, overrides=[])) for file in (arguments.old, arguments.new)
    )
    pairs, renamed = _pairs([d.recipe for d in old.documents], [d.recipe for d in new.documents])
    fields = {name: compare(a, b) for name, a, b in pairs}
    stages = compare_stages(old.plan, new.plan, renamed)
    differs = any(fields.values()) or any(stage.effect != "same" for stage in stages)
    if arguments.format == "json":
        print(json.dumps(_as_json(fields, stages, differs), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_as_text(fields, stages, differs)))
    return 1 if differs and arguments.exit_code else 0


def _pairs(old: Sequence[Recipe], new: Sequence[Recipe]) -> tuple[list[tuple[str, object, object]], dict[str, str]]:
    """Recipes to compare, by the name in the new file, and the names that changed.

    Recipes of one name belong together. When each side has one that the other lacks, it is one that was renamed.
    """
    before, after = {recipe.name: recipe for recipe in old}, {recipe.name: recipe for recipe in new}
    gone, came = [name for name in before if name not in after], [name for name in after if name not in before]
    renamed = {gone[0]: came[0]} if len(gone) == len(came) == 1 else {}
    origin = {new_name: old_name for old_name, new_name in renamed.items()}
    pairs = [(name, before.get(origin.get(name, name), ABSENT), recipe) for name, recipe in after.items()]
    return [*pairs, *((name, before[name], ABSENT) for name in gone if name not in renamed)], renamed


def _as_json(fields: dict[str, list[Change]], stages: Sequence[StageChange], differs: bool) -> dict[str, Any]:
    changes = [
        {"recipe": recipe, "field": change.path, "old": _side(change.old), "new": _side(change.new)}
        for recipe, found in fields.items()
        for change in found
    ]
    effects = [{"stage": stage.name, "effect": stage.effect, "because": list(stage.because)} for stage in stages]
    return {"differs": differs, "fields": changes, "stages": effects}


def _side(side: Side) -> dict[str, Any] | None:
    """The value and whether it is a default; null where there is no such field."""
    return None if side.value is ABSENT else {"value": side.value, "default": side.default}


def _as_text(fields: dict[str, list[Change]], stages: Sequence[StageChange], differs: bool) -> Iterator[str]:
    if not differs:
        yield "No difference in meaning; no stage runs again."
        return
    for recipe, found in fields.items():
        for change in found:
            yield from _change(recipe, change)
    if not any(fields.values()):
        yield "no field differs"
    width = max((len(stage.name) for stage in stages), default=0)
    yield "stages:"
    for stage in stages:
        because = f"  ({', '.join(stage.because)})" if stage.because else ""
        yield f"  {stage.name:<{width}}  {stage.effect}{because}"


def _change(recipe: str, change: Change) -> Iterator[str]:
    if not change.path:
        yield f"{recipe}: only in {'A' if change.new.value is ABSENT else 'B'}"
        return
    yield f"{recipe}: {change.path}"
    yield f"  - {_value(change.old)}"
    yield f"  + {_value(change.new)}"


def _value(side: Side) -> str:
    if side.value is ABSENT:
        return "(no such field)"
    text = json.dumps(side.value, ensure_ascii=False)
    shown = text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
    return f"{shown}  (default)" if side.default else shown
