"""What of the files and folders on the command line is a recipe."""

from pathlib import Path

import pytest

from llmrecipe.cli import main
from llmrecipe.cli.recipe_files import looks_like_a_recipe, recipe_files

RECIPE = "version: 1\nname: {name}\nmodel: {{base: ./base}}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a recipe that extends a file, and files of others."""
    monkeypatch.chdir(tmp_path)
    files = {
        "a.yaml": RECIPE.format(name="a") + "extends: [shared.yaml]\n",
        "deep/b.yml": RECIPE.format(name="b").replace("./base", "../base"),
        "shared.yaml": "export: {license: mit}\n",
        "compose.yaml": "version: '3'\nname: x\nservices: {}\n",
        ".hidden/c.yaml": RECIPE.format(name="c"),
        "base/config.json": "{}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("version: 1\nname: a\n", True),  # and its model is missing
        ("name: a\nversion: 1 # of the language\n", True),
        ("extends: [b.yaml]\nversion: '1'\nname: a\n", True),
        ("# yaml-language-server: $schema=recipe.schema.json\nmodel: {}\n", True),
        ("# yaml-language-server: $schema=../schemas/recipe.json\n", True),
        ("# yaml-language-server: $schema=compose-spec.json\n", False),
        ("version: '3'\nname: x\nservices: {}\n", False),
        ("apiVersion: v2\nname: chart\nversion: 0.1.0\n", False),
        ("model: {base: x}\n", False),
        ("  version: 1\n  name: a\n", False),
    ],
)
def test_what_looks_like_a_recipe(text: str, is_one: bool) -> None:
    assert looks_like_a_recipe(text) == is_one


def test_of_a_folder_the_recipes_are_taken_and_others_are_named() -> None:
    assert recipe_files(["."]) == (["a.yaml", "deep/b.yml"], ["compose.yaml", "shared.yaml"])
    assert recipe_files(["deep", "a.yaml", "deep/b.yml"]).files == ["deep/b.yml", "a.yaml"]


def test_a_file_that_is_named_is_a_recipe_whatever_it_holds() -> None:
    assert recipe_files(["compose.yaml"]) == (["compose.yaml"], [])


def test_others_are_passed_over_where_that_is_asked_for() -> None:
    given = ["compose.yaml", "deep/b.yml", "missing.yaml"]
    assert recipe_files(given, skip_others=True) == (["deep/b.yml", "missing.yaml"], ["compose.yaml"])


def test_a_file_that_is_extended_stands_for_the_recipes_beside_it() -> None:
    assert recipe_files(["shared.yaml"], skip_others=True).files == ["a.yaml"]


def test_the_last_line_counts_and_names_what_was_skipped_but_not_what_was_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["validate", "."]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 files: no problems; no recipe, skipped: compose.yaml"
    assert main(["validate", "compose.yaml", "--skip-others"]) == 0
    assert capsys.readouterr().out == "0 files: no problems; no recipe, skipped: compose.yaml\n"
