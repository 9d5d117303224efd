"""`llmrecipe import`: where the recipe and the report go, and how the command ends."""

import json
from pathlib import Path

import pytest

from llmrecipe.cli import main

GOOD = """\
base_model: Qwen/Qwen3-0.6B
datasets: [{path: house/chats, type: chat_template}]
learning_rate: 2e-5
micro_batch_size: 2
gradient_accumulation_steps: 4
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "axolotl.yaml"
    path.write_text(GOOD, "utf-8")
    return path


def test_without_an_output_the_recipe_is_printed_and_the_report_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(file)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("# yaml-language-server:")
    assert "version: 1" in printed.out
    assert "learning_rate: 2e-5 -> training.learning_rate" in printed.err
    assert "implied, what Axolotl does without being told:" in printed.err
    assert printed.err.rstrip().endswith("the recipe is valid")


def test_with_an_output_the_recipe_and_its_schema_are_written(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = file.parent / "recipes/chat.yaml"
    assert main(["import", str(file), "-o", str(output)]) == 0
    assert output.read_text("utf-8").startswith("# yaml-language-server: $schema=recipe.schema.json\n")
    assert (output.parent / "recipe.schema.json").is_file()
    assert capsys.readouterr().out.rstrip().endswith(f"wrote {output}")
    assert main(["validate", str(output)]) == 0


def test_a_recipe_that_is_there_is_kept_unless_forced(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = file.parent / "recipe.yaml"
    output.write_text("mine", "utf-8")
    assert main(["import", str(file), "-o", str(output)]) == 1
    assert output.read_text("utf-8") == "mine"
    assert "--force" in capsys.readouterr().err
    assert main(["import", str(file), "-o", str(output), "--force"]) == 0
    assert output.read_text("utf-8") != "mine"


def test_what_blocks_makes_the_exit_code_1_and_the_recipe_is_written(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f"{GOOD}learning_rat: 3\n", "utf-8")
    assert main(["import", str(file), "-o", "recipe.yaml"]) == 1
    assert Path("recipe.yaml").is_file()
    printed = capsys.readouterr().out
    assert "error[LR911]" in printed
    assert f"{file}:6:1" in printed
    assert "did you mean `learning_rate`?" in printed


def test_the_report_as_json_is_one_document(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"{GOOD}rl: ebft\n", "utf-8")
    assert main(["import", str(file), "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["tool"] == "axolotl"
    assert report["recipe"].startswith("# yaml")
    by_key = {one["key"]: one for one in report["keys"]}
    assert by_key["rl"]["fate"] == "blocking"
    assert by_key["rl"]["line"] == 6
    assert by_key["datasets[0].path"]["to"] == ["data.train.0.dataset"]
    assert [one["code"] for one in report["diagnostics"] if one["severity"] == "error"] == ["LR912"]
    assert {"path", "value", "because"} == set(report["implied"][0])


@pytest.mark.parametrize(
    ("content", "code"),
    [("services: {web: {image: nginx}}\n", "LR914"), ("a: [1\n", "LR915"), ("a: !!python/name:os.system\n", "LR915")],
)
def test_what_is_no_configuration_is_told(
    file: Path, capsys: pytest.CaptureFixture[str], content: str, code: str
) -> None:
    file.write_text(content, "utf-8")
    assert main(["import", str(file)]) == 1
    assert f"error[{code}]" in capsys.readouterr().err


def test_a_file_that_is_missing_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "nowhere.yaml"]) == 1
    assert "error[LR915]" in capsys.readouterr().err


def test_an_unknown_accelerator_is_a_wrong_call(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(file), "--accelerator", "h100"]) == 2
    assert "h100-80gb" in capsys.readouterr().err


def test_what_the_file_cannot_say_can_be_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(file), "--accelerator", "l4-24gb", "--num-accelerators", "2"]) == 0
    printed = capsys.readouterr().out
    assert "hardware: {accelerator: l4-24gb, num_accelerators: 2}" in printed
    assert "global_batch_size: 16" in printed
    assert "distributed: {kind: ddp}" in printed


def test_the_tool_can_be_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(file), "--from", "trl"]) == 1
    assert "`base_model` is no key of TRL" in capsys.readouterr().err
