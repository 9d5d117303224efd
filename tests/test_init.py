from pathlib import Path

import pytest

from llmrecipe.cli import main
from llmrecipe.cli.init import FOLDER, SCHEMA, TEMPLATES
from llmrecipe.lint import lint
from llmrecipe.resolve import resolve
from llmrecipe.validate import validate

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_recipe_is_valid_at_once(template: str, tmp_path: Path) -> None:
    assert main(["init", template, str(tmp_path / "new")]) == 0
    assert lint(validate(resolve(str(tmp_path / "new" / "recipe.yaml"), ()))) == []


@pytest.mark.parametrize("template", TEMPLATES)
def test_editors_find_the_schema(template: str, tmp_path: Path) -> None:
    main(["init", template, str(tmp_path)])
    first = (tmp_path / "recipe.yaml").read_text("utf-8").partition("\n")[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA}"
    assert (tmp_path / SCHEMA).read_bytes() == (ROOT / "schemas" / "recipe.json").read_bytes()


def test_every_file_of_the_folder_belongs_to_a_template() -> None:
    samples = {name for names in TEMPLATES.values() for name in names}
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.yaml" for name in TEMPLATES} | samples | {SCHEMA}


def test_a_recipe_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text("mine", "utf-8")
    assert main(["init", "dpo", str(tmp_path)]) == 1
    assert "recipe.yaml is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    assert (tmp_path / "recipe.yaml").read_text("utf-8") == "mine"


def test_data_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "chats.jsonl").write_text("mine", "utf-8")
    assert main(["init", "sft-lora", str(tmp_path)]) == 0
    assert (tmp_path / "data" / "chats.jsonl").read_text("utf-8") == "mine"


def test_an_unknown_template_gets_a_suggestion_and_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "sft-lra", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "did you mean `sft-lora`?" in said
    assert all(name in said for name in TEMPLATES)
    assert list(tmp_path.iterdir()) == []


def test_without_a_template_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(TEMPLATES)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file", "utf-8")
    assert main(["init", "dpo", str(tmp_path / "taken" / "new")]) == 1
    assert "cannot be written" in capsys.readouterr().err
