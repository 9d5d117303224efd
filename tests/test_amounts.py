"""Rows and tokens of files, judged by their sizes: the truth is in the range, and what is not known is not guessed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrecipe.document import Document
from llmrecipe.estimate.compute import Amount
from llmrecipe.lint import lint
from llmrecipe.lint.amounts import written
from llmrecipe.lint.rule import Case

RECIPE = """\
version: 1
name: style
model: {base: Qwen/Qwen3-0.6B}
data: DATA
method: {kind: sft}
"""
Asked = Callable[..., Amount | None]


@pytest.fixture
def asked(read: Callable[..., list[Document]], tmp_path: Path) -> Asked:
    rows = [json.dumps({"prompt": f"question {i}", "completion": "word " * (5 + i % 40)}) for i in range(5000)]
    (tmp_path / "many.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "few.jsonl").write_text("\n".join(rows[:50]) + "\n\n")
    (tmp_path / "text.txt").write_text("a line of text\nanother\n\n" * 100)
    (tmp_path / "rows.jsonl.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "empty.jsonl").write_text("")

    def ask(files: str, more: str = "", of_source: str = "", form: str = "prompt_completion") -> Amount | None:
        source = f"{{kind: files, paths: [{files}], format: {form}{of_source}}}"
        (document,) = read(RECIPE.replace("DATA", f"{{train: [{source}]{more}}}"))
        return written(Case(document, {}, locked=False))

    return ask


def within(values: tuple[float, float], truth: float) -> bool:
    return values[0] <= truth <= values[1]


def test_rows_of_a_file_that_is_read_whole_are_counted(asked: Asked) -> None:
    found = asked("few.jsonl")
    assert found is not None
    assert found.rows == (50, 50)


def test_rows_and_tokens_of_a_long_file_lie_within_the_range(asked: Asked) -> None:
    found = asked("many.jsonl")
    assert found is not None
    assert within(found.rows, 5000)
    words = sum(2 + 5 + i % 40 for i in range(5000))
    assert within(found.tokens, words)


@pytest.mark.parametrize(("way", "rows"), [("document", 1), ("paragraph", 100), ("line", 200)])
def test_rows_of_a_text_are_those_of_its_way(asked: Asked, way: str, rows: int) -> None:
    found = asked("text.txt", of_source=f", sample_by: {way}", form="text")
    assert found is not None
    assert found.rows == (rows, rows)


def test_held_out_rows_and_a_limit_are_taken_off(asked: Asked) -> None:
    held, limited = (
        asked("few.jsonl", ", validation: {fraction: 0.2}"),
        asked("few.jsonl", of_source=", max_samples: 10"),
    )
    assert held is not None
    assert limited is not None
    assert held.rows == (40, 40)
    assert limited.rows == (10, 10)
    all_of_them = asked("few.jsonl")
    assert all_of_them is not None
    assert limited.tokens[1] == pytest.approx(all_of_them.tokens[1] / 5)


def test_what_is_filtered_may_be_half(asked: Asked) -> None:
    found = asked("few.jsonl", ", prepare: [{kind: filter, min_words: 3}]")
    assert found is not None
    assert found.rows == (25, 50)


@pytest.mark.parametrize("files", ["rows.jsonl.gz", "empty.jsonl", "not-there.jsonl", "'s3://bucket/rows.jsonl'"])
def test_what_says_nothing_is_not_guessed(asked: Asked, files: str) -> None:
    assert asked(files) is None


def test_weighted_sources_are_not_guessed(asked: Asked) -> None:
    assert asked("few.jsonl", of_source=", weight: 1.0") is None


def test_a_budget_is_held_against_epochs(read: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("words of a text\n" * 500_000)
    text = RECIPE.replace("DATA", "{train: [{kind: files, paths: [text.txt], format: text, sample_by: line}]}")
    text = text.replace("Qwen3-0.6B", "Qwen3-0.6B-Base").replace("kind: sft", "kind: pretrain")
    text += "hardware: {accelerator: h100-80gb, price_per_hour: 1000, budget: BUDGET}\n"
    text += "training: {gradient_checkpointing: true, per_device_train_batch_size: 1}\n"
    (found,) = [d for d in lint(read(text.replace("BUDGET", "1"))) if d.code == "LR422"]
    assert found.severity == "error"
    assert "these epochs cost" in found.message
    assert not [d for d in lint(read(text.replace("BUDGET", "100000"))) if d.code == "LR422"]
