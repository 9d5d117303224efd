"""Many recipes made from seeds: of 300 right ones none has an error, and planted mistakes are found on their line."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from recipe_mistakes import KINDS, Mistake, mistakes, of_page, without_line
from recipe_variants import lines, variants, write_files
from test_lint import BLOCK, write_texts

from llmrecipe import facts
from llmrecipe.cli.verdicts import findings
from llmrecipe.diagnostics import Diagnostic
from llmrecipe.lint import RULES

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
