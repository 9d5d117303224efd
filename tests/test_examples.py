import json
import random
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmrecipe.cli import main
from llmrecipe.lint import lint
from llmrecipe.resolve import resolve
from llmrecipe.validate import validate

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").rglob("recipe.yaml"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
QUICKSTART = ROOT / "examples" / "quickstart"
DATA = QUICKSTART / "data"

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(page.read_text("utf-8")) if name == language]


def recipes(page: Path) -> list[str]:
    return [text for text in blocks(page, "yaml") if re.search(r"^version: 1$", text, re.M)]


def write_data(recipe: str, folder: Path) -> None:
    """Files for every path that the recipe speaks of."""
    for path in re.findall(r"paths: \[([^\]]+)\]", recipe):
        file = folder / path.replace("*", "some")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("something\n", "utf-8")


def in_the_pages() -> Iterator[Any]:
    for page in PAGES:
        for i, text in enumerate(recipes(page)):
            if "mesages" not in text:  # the README's mistake
                yield pytest.param(page, text, id=f"{page.stem}-{i}")


@pytest.mark.parametrize(("page", "text"), list(in_the_pages()))
def test_a_recipe_in_the_documentation_is_clean(page: Path, text: str, tmp_path: Path) -> None:
    for other in recipes(page):
        name = re.findall(r"^name: (.*)$", other, re.M)[-1]
        (tmp_path / f"{name}.yaml").write_text(other, "utf-8")
        write_data(other, tmp_path)
    (tmp_path / "recipe.yaml").write_text(text, "utf-8")
    assert lint(validate(resolve(str(tmp_path / "recipe.yaml"), ()))) == []


def test_the_mistake_in_the_readme_is_reported_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = next(text for text in recipes(PAGES[0]) if "mesages" in text)
    (tmp_path / "recipe.yaml").write_text(wrong, "utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["validate", "recipe.yaml"]) == 1
    assert capsys.readouterr().out in blocks(PAGES[0], "")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.stem)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_is_clean_and_has_its_data(path: Path) -> None:
    assert lint(validate(resolve(str(path), ()))) == []


def test_the_world_is_what_its_script_makes(tmp_path: Path) -> None:
    runpy.run_path(str(QUICKSTART / "world.py"))["main"](tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in DATA.iterdir()
    }


def turns(name: str) -> list[tuple[str, str]]:
    rows = [json.loads(line)["messages"] for line in (DATA / name).read_text("utf-8").splitlines()]
    return [(row[i]["content"], row[i + 1]["content"]) for row in rows for i in range(0, len(row), 2)]


def test_no_held_out_question_is_in_the_dialogues_or_in_the_text() -> None:
    held, taught = turns("questions.jsonl"), turns("dialogues.jsonl")
    text = (DATA / "text.txt").read_text("utf-8")
    assert len(held) >= 80
    assert not {question for question, _ in held} & {question for question, _ in taught}
    assert [question for question, _ in held if question in text] == []


def test_every_held_out_fact_is_asked_for_in_other_words() -> None:
    world = runpy.run_path(str(QUICKSTART / "world.py"))
    facts = world["world"](random.Random(world["SEED"]))
    taught = set(turns("dialogues.jsonl"))
    assert all((question, fact.answer) in taught for fact in facts for question in fact.asked)
    assert all(len(fact.asked) == len(fact.questions) - (fact.held_out is not None) for fact in facts)


def test_the_data_of_the_quickstart_is_small() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 600_000
