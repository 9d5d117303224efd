import json

import pytest

from llmrecipe.cli import main
from llmrecipe.difference import ABSENT, compare

BASE = """
version: 1
name: base
model:
  base:
    architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
tokenizer: {kind: train, vocab_size: 400}
data:
  train: [{kind: files, paths: [text.txt], format: text}]
  validation: {fraction: 0.1}
method: {kind: pretrain}
training: {max_steps: 10, global_batch_size: 32, max_length: 128}
evaluation: {suites: [{kind: perplexity}]}
"""
CHAT = """
---
version: 1
name: chat
model: {base: {recipe: base}}
data: {train: [{kind: files, paths: [chat.jsonl], format: messages}]}
method: {kind: sft}
training: {max_steps: 5, max_length: 128}
"""


@pytest.fixture
def recipes(tmp_path):
    """Two recipe files side by side, which begin equal."""
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "chat.jsonl").write_text('{"messages": []}\n')

    def write(old, new):
        for name, text in (("old.yaml", old), ("new.yaml", new)):
            (tmp_path / name).write_text(text)
        return [str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")]

    return write


@pytest.fixture
def diff(recipes, capsys):
    """The difference of two texts, as JSON."""

    def diff(old, new):
        assert main(["diff", *recipes(old, new), "--format", "json"]) == 0
        return json.loads(capsys.readouterr().out)

    return diff


def effects(found):
    return {stage["stage"]: stage["effect"] for stage in found["stages"]}


def fields(found):
    return {
        change["field"]: tuple(side and side["value"] for side in (change["old"], change["new"]))
        for change in found["fields"]
    }


def test_order_and_comments_are_no_difference(diff):
    found = diff(BASE, BASE.replace("version: 1\nname: base", "# Why.\nname: base\nversion: 1"))
    assert not found["differs"]
    assert set(effects(found).values()) == {"same"}


def test_a_default_that_is_written_is_no_difference_to_the_model(diff):
    found = diff(BASE, BASE.replace("max_length: 128", "max_length: 128, weight_decay: 0.0"))
    assert found["fields"] == []
    assert effects(found)["base/train"] == "same"


def test_a_change_is_shown_with_its_default_and_re_runs_what_depends_on_it(diff):
    found = diff(BASE, BASE.replace("max_steps: 10", "max_steps: 10, weight_decay: 0.1"))
    assert found["fields"] == [
        {
            "recipe": "base",
            "field": "training.weight_decay",
            "old": {"value": 0.0, "default": True},
            "new": {"value": 0.1, "default": False},
        }
    ]
    assert effects(found) == {
        "base/prepare-data": "same",
        "base/train-tokenizer": "same",
        "base/tokenize": "same",
        "base/train": "runs again",
        "base/evaluate-perplexity": "runs again",
        "base/export": "runs again",
    }
    because = {stage["stage"]: stage["because"] for stage in found["stages"]}
    assert because["base/train"] == ["arguments.weight_decay"]
    assert because["base/evaluate-perplexity"] == ["base/train"]


def test_serving_and_hardware_re_run_nothing(diff):
    found = diff(BASE, BASE + "serving: {kind: transformers}\nhardware: {memory: 4Gi}\n")
    assert set(fields(found)) == {"serving", "hardware.memory"}
    assert set(effects(found).values()) == {"same"}


def test_another_kind_has_other_fields(diff):
    found = diff(BASE, BASE.replace("max_steps: 10", "max_steps: 10, optimizer: {kind: muon}"))
    assert fields(found)["training.optimizer.kind"] == ("adamw", "muon")
    assert fields(found)["training.optimizer.momentum"] == (None, 0.95)
    assert [c["old"] for c in found["fields"] if c["field"] == "training.optimizer.momentum"] == [None]


def test_items_of_lists_are_compared_one_by_one(diff):
    found = diff(BASE, BASE.replace("{fraction: 0.1}", "{fraction: 0.1}\n  prepare: [{kind: deduplicate}]"))
    assert fields(found)["data.prepare[0]"][1]["kind"] == "deduplicate"


def test_recipes_of_several_documents_are_matched_by_name(diff):
    found = diff(BASE, BASE + CHAT)
    assert {change["recipe"] for change in found["fields"]} == {"chat"}
    assert effects(found)["base/train"] == "same"
    assert effects(found)["chat/train"] == "new"
    assert effects(diff(BASE + CHAT, BASE))["chat/train"] == "gone"


def test_a_renamed_recipe_is_compared_with_what_it_was_and_keeps_its_artifacts(diff):
    found = diff(BASE, BASE.replace("name: base", "name: first"))
    assert fields(found) == {"name": ("base", "first")}
    assert effects(found)["first/train"] == "same"


def test_one_document_of_a_file_can_be_compared(recipes, capsys):
    old, new = recipes(BASE, BASE + CHAT)
    assert main(["diff", old, f"{new}#base", "--exit-code"]) == 0
    assert "No difference" in capsys.readouterr().out


def test_changed_data_is_a_difference_that_no_field_shows(recipes, tmp_path, capsys):
    old, _ = recipes(BASE, BASE)
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.yaml").write_text(BASE)
    (other / "text.txt").write_text("another text")
    assert main(["diff", old, str(other / "recipe.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "no field differs" in shown
    assert "runs again  (train[0].origin.files[0].sha256)" in shown


def test_the_exit_code_tells_only_when_asked(recipes):
    files = recipes(BASE, BASE.replace("max_steps: 10", "max_steps: 11"))
    assert main(["diff", *files]) == 0
    assert main(["diff", *files, "--exit-code"]) == 1


def test_the_text_shows_old_and_new_values(recipes, capsys):
    main(["diff", *recipes(BASE, BASE.replace("max_steps: 10", "max_steps: 11"))])
    shown = capsys.readouterr().out
    assert "base: training.max_steps\n  - 10\n  + 11\n" in shown
    assert "  base/train                runs again  (arguments.max_steps)" in shown


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": 1}, {}, [("a", 1, ABSENT)]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1]}}, [("a.b[1]", 2, ABSENT)]),
        ({"a": [1]}, {"a": {"b": 1}}, [("a", [1], {"b": 1})]),
        ({"a": None}, {"a": []}, [("a", None, [])]),
    ],
)
def test_plain_values_are_compared_leaf_by_leaf(old, new, changes):
    assert [(change.path, change.old.value, change.new.value) for change in compare(old, new)] == changes
