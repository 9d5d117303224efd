"""Many recipes made from seeds: of 300 right ones none has an error, and planted mistakes are found on their line."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from recipe_mistakes import KINDS, Mistake, mistakes, of_page, without_line
from recipe_variants import lines, variants, write_files
from test_lint import BLOCK, write_texts

from llmrecipe import facts
from llmrecipe.cli.verdicts import findings
from llmrecipe.diagnostics import Diagnostic
from llmrecipe.lint import RULES
from llmrecipe.source import load, parse

SEED, RIGHT, OF_EACH = 4, 300, 38


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with what the recipes read, and a lock."""
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)
    write_files(tmp_path)
    Path("recipe.yaml.lock").write_text("{}")
    return tmp_path


def found(text: str) -> list[Diagnostic]:
    Path("recipe.yaml").write_text(text)
    return findings("recipe.yaml")


def planted() -> Iterator[Mistake]:
    """As many mistakes of each kind."""
    for number, kind in enumerate(KINDS):
        made = (
            mistakes(data, random.Random(f"{SEED} {kind} {i}"), kind) for i, data in enumerate(variants(number, 99))
        )
        yield from [mistake for mistake in made if mistake is not None][:OF_EACH]


def test_no_right_recipe_has_an_error() -> None:
    wrong = [
        f"{data['name']}: {one.code} {one.message}"
        for data in variants(SEED, RIGHT)
        for one in found(lines(data)[0])
        if one.severity == "error"
    ]
    assert wrong == []


def test_the_right_recipes_have_every_kind_of_every_section() -> None:
    seen: set[tuple[str, str]] = set()

    def collect(value: object, path: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("kind"), str):
                seen.add((".".join(path), value["kind"]))
            for key, item in value.items():
                collect(item, (*path, key))
        elif isinstance(value, list):
            for item in value:
                collect(item, path)

    for data in variants(SEED, RIGHT):
        collect(data, ())
    of_a_source = ("data.validation", "training.ewc", "evaluation.suites.sources", "evaluation.suites.reward_functions")
    known = {
        (path.removesuffix(".kind"), kind)
        for path, entries in facts.recipe_fields().items()
        if path.endswith(".kind") and not path.startswith(of_a_source)
        for entry in entries
        for kind in entry["choices"]
    }
    defaults = {("model.adapter", "full"), ("model.quantization", "none"), ("tokenizer", "reuse")}
    defaults |= {("distributed", "single"), ("sweep.pruning", "median")}
    assert known - seen - defaults == set()


def test_planted_mistakes_are_found_on_their_line() -> None:
    made = list(planted())
    missed = [
        (mistake.what, sorted(mistake.lines), [(one.code, one.span.line) for one in reported])
        for mistake in made
        for reported in [found(mistake.text)]
        if not any(one.code in mistake.codes and one.span.line in mistake.lines for one in reported)
    ]
    assert len(made) >= 300
    assert len(missed) <= 0.02 * len(made), missed


def takes_part(code: str, line: int, text: str) -> bool:
    """Whether the recipe is right without what is written on a line."""
    return any(
        not any(one.code == code or one.code.startswith("LR0") for one in found(less))
        for less in without_line(text, "recipe.yaml", line)
    )


def test_what_rules_say_of_their_examples_stands_on_a_line_that_takes_part() -> None:
    """The line is one that the mended example has otherwise, or one without which the mistake is gone."""
    elsewhere = []
    for code in sorted(RULES.keys() - {"LR701"}):
        broken, mended = BLOCK.findall(RULES[code].page)
        mistake = of_page(code, broken, mended)
        reported = [one.span.line for one in found(broken) if one.severity]
        if not (mistake.lines & set(reported) or any(takes_part(code, line, broken) for line in reported)):
            elsewhere.append((code, sorted(mistake.lines), reported))
    assert len(elsewhere) <= 0.02 * len(RULES), elsewhere


# -- what editors check with --

ROOT = Path(__file__).parent.parent
SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas" / "recipe.json").read_text("utf-8")))
SHIPPED = [*sorted((ROOT / "recipes").glob("*.yaml")), *sorted((ROOT / "examples").rglob("*.yaml"))]


def test_the_schema_takes_every_shipped_recipe_and_every_right_one() -> None:
    shipped = [source.data for path in SHIPPED for source in load(str(path)) if "name" in source.data]
    made = list(variants(SEED, 60))
    assert len(shipped) > 40
    assert [fault.message for data in [*shipped, *made] for fault in SCHEMA.iter_errors(data)] == []


def test_the_schema_refuses_every_planted_key_that_the_language_does_not_know() -> None:
    planted = [m for m in (mistakes(d, random.Random(i), "misspelt key") for i, d in enumerate(variants(7, 60))) if m]
    assert len(planted) > 30
    assert [mistake.what for mistake in planted if SCHEMA.is_valid(parse(mistake.text, "recipe.yaml")[0].data)] == []
