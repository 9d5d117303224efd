"""`llmrecipe explain`: codes, names, fields, options of others, and what it says of none of these."""

import re
from pathlib import Path

import pytest

import llmrecipe
from llmrecipe import facts
from llmrecipe.cli import main
from llmrecipe.cli.explain import explanation
from llmrecipe.command_errors import COMMAND_ERRORS
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.lint import RULES
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.remote import CHECKS as REMOTE_CHECKS


def test_every_code_that_the_package_reports_has_a_page_under_its_name() -> None:
    named = re.compile(r'(?<!rule\()(?<!check\()"(LR\d{3})",\s*"([a-z0-9-]+)"')
    pages = {error.code: error.name for error in (*DOCUMENT_ERRORS, *COMMAND_ERRORS)}
    pages |= {rule.code: rule.name for rule in (*RULES.values(), *CHECKS.values())}
    pages |= {check.code: check.name for check in REMOTE_CHECKS.values()}
    files = Path(llmrecipe.__file__).parent.rglob("*.py")
    reported = {match for file in files for match in named.findall(file.read_text("utf-8"))}
    assert len(pages) == sum(map(len, (DOCUMENT_ERRORS, COMMAND_ERRORS, RULES, CHECKS, REMOTE_CHECKS)))
    assert {(code, name) for code, name in reported if pages.get(code) != name} == set()
    for code, name in pages.items():
        assert explanation(code).startswith(f"# {code} {name}\n")
        assert explanation(name) == explanation(code)


@pytest.mark.parametrize("path", sorted(facts.recipe_fields()))
def test_every_field_is_explained_with_its_type_and_description(path: str) -> None:
    text = explanation(path)
    assert text.startswith(f"# {path}\n\nType: ")
    assert all(entry["description"] in text and entry["description"] for entry in facts.recipe_fields()[path])


@pytest.mark.parametrize(
    ("topic", "lines"),
    [
        ("training.max_length", ["Type: integer > 0", "Default: 1024"]),
        ("data.train.0.format", ["# data.train.format", "Under `kind`: files, hub", "Required."]),
        ("data.train[].paths", ["# data.train.paths", "Under `kind`: files"]),
        ("lr311", ["# LR311 two-lengths-of-training"]),
        ("beta", ["# method.beta", "Under `kind`: dpo, kto"]),
        ("method.loss_type", ["Choices: nll, dft", "Choices: sigmoid, hinge, ipo, simpo"]),
        ("model.base.architecture.hidden_size", ["Type: integer > 0"]),
        ("hardware.accelerator", ["Presets:"]),
        ("training", ["Keys:"]),
        ("serving.extra.enforce_eager", ["Type: bool", "Default: false"]),
        ("data.train.format", ["Methods that learn from each:", "  unpaired_preference  kto"]),
        ("training.max_steps", ["Rules that speak of it:", "  LR311  two-lengths-of-training"]),
        ("method.beta", ["  LR305  unusual-beta"]),
        ("training.extra.adam_beta1", ["`sft` (trl.SFTConfig): float; default 0.9"]),
    ],
)
def test_a_topic_is_explained_in_these_words(topic: str, lines: list[str]) -> None:
    assert set(lines) <= set(explanation(topic).splitlines())


@pytest.mark.parametrize(
    ("topic", "hint"),
    [
        ("training.max_lenght", "did you mean `training.max_length`?"),
        ("LR3111", "did you mean `LR311`?"),
        ("max_lengt", "did you mean `training.max_length`?"),
        ("kind", "`kind` is a field of several sections"),
        ("zzzzzz", "write a code such as LR311"),
    ],
)
def test_an_unknown_topic_is_a_usage_error_with_a_hint(
    topic: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", topic]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert hint in err


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "LR311"]) == 0
    assert capsys.readouterr().out.startswith("# LR311 two-lengths-of-training\n")


RECIPE = """\
extends: [base.yaml]
version: 1
name: style
data:
  train:
    - {kind: files, paths: [chats.jsonl], format: messages}
    - {kind: files, paths: [more.jsonl], format: conversations}
method: {kind: sft}
training: {max_steps: 5}
---
version: 1
name: served
model: {base: {recipe: style}}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recipe of two documents that extends a file."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    Path("base.yaml").write_text("model: {base: ./base}\ntraining:\n  max_length: 64\n")
    return "recipe.yaml"


@pytest.mark.parametrize(
    ("topic", "values"),
    [
        ("training.max_length", ["style: training.max_length: 64  (base.yaml:3)"]),
        ("max_steps", ["style: training.max_steps: 5  (recipe.yaml:9)"]),
        ("training.seed", ["style: training.seed: 42  (default)"]),
        ("data.train.1.format", ["style: data.train.1.format: conversations  (recipe.yaml:7)"]),
        ("data.train[1].format", ["style: data.train.1.format: conversations  (recipe.yaml:7)"]),
        (
            "data.train.format",
            [
                "style: data.train.0.format: messages  (recipe.yaml:6)",
                "style: data.train.1.format: conversations  (recipe.yaml:7)",
            ],
        ),
        ("model.base", ["style: model.base: ./base  (base.yaml:1)"]),
        ("serving.port", ["it is in no section that the recipe has"]),
        ("data.train.7.format", ["it is in no section that the recipe has"]),
    ],
)
def test_a_recipe_says_what_it_has_at_a_field_and_where_that_was_written(
    topic: str, values: list[str], file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", topic, file]) == 0
    shown = capsys.readouterr().out.split(f"\nIn {file}:\n")[1].splitlines()
    assert [line.strip() for line in shown if not line.startswith("  served")] == values


def test_one_document_of_a_file_is_shown_without_its_name(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "training.max_length", f"{file}#style"]) == 0
    assert capsys.readouterr().out.endswith("  training.max_length: 64  (base.yaml:3)\n")


def test_a_code_has_no_value_in_a_recipe(file: str) -> None:
    assert main(["explain", "LR311", file]) == 2
    assert main(["explain", "training.max_length", "missing.yaml"]) == 1
