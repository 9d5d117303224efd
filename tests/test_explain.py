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


def test_every_code_that_the_package_reports_has_a_page_under_its_name() -> None:
    named = re.compile(r'(?<!rule\()"(LR\d{3})",\s*"([a-z0-9-]+)"')
    pages = {error.code: error.name for error in (*DOCUMENT_ERRORS, *COMMAND_ERRORS)}
    pages |= {rule.code: rule.name for rule in RULES.values()}
    files = Path(llmrecipe.__file__).parent.rglob("*.py")
    reported = {match for file in files for match in named.findall(file.read_text("utf-8"))}
    assert len(pages) == len(DOCUMENT_ERRORS) + len(COMMAND_ERRORS) + len(RULES)
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
