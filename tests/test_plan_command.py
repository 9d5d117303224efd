"""`llmrecipe plan` and `llmrecipe lock`, as a user calls them."""

import json

import pytest

from llmrecipe.cli import main
from llmrecipe.plan import Plan

RECIPE = """
version: 1
name: tiny
model: {base: {architecture: {family: qwen3, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2}}}
tokenizer: {kind: train, vocab_size: 400}
data: {train: [{kind: files, paths: [text.txt], format: text}]}
method: {kind: pretrain}
training: {max_steps: 5, learning_rate: 1e-3}
"""


@pytest.fixture
def recipe(write):
    write("text.txt", "some words of a text")
    return str(write("recipe.yaml", RECIPE))


def test_it_lists_the_stages_and_what_was_derived(recipe, capsys):
    assert main(["plan", recipe]) == 0
    told = capsys.readouterr().out
    assert "tiny/train" in told
    assert "pretrain, full, 5 steps" in told
    assert "training.global_batch_size" in told
    assert "no lock" in told


def test_the_json_is_the_plan_and_nothing_else(recipe, capsys):
    assert main(["plan", recipe, "--format", "json"]) == 0
    told = capsys.readouterr().out
    assert Plan.model_validate_json(told).name == "tiny"


def test_a_store_of_another_version_is_refused(recipe, write, tmp_path, capsys):
    write("store/store.json", json.dumps({"version": 99}))
    assert main(["plan", recipe, "--store", str(tmp_path / "store")]) == 1
    assert "has version 99" in capsys.readouterr().err


def test_a_lock_is_written_and_holds_until_a_file_changes(recipe, write, capsys):
    assert main(["lock", recipe]) == 0
    assert "1 file, 0 models, 0 commits" in capsys.readouterr().out
    assert main(["plan", recipe]) == 0
    assert "no lock" not in capsys.readouterr().out
    write("text.txt", "other words")
    assert main(["plan", recipe]) == 1
    assert "error[LR790]: `text.txt` has changed since it was locked" in capsys.readouterr().err
    assert main(["lock", recipe]) == 0
    assert main(["plan", recipe]) == 0


def test_an_unreachable_hub_is_told_and_no_lock_is_written(write, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    text = RECIPE.replace("{kind: files, paths: [text.txt], format: text}", "{kind: hub, dataset: a/b, format: text}")
    recipe = str(write("recipe.yaml", text))
    assert main(["lock", recipe]) == 1
    told = capsys.readouterr().err
    assert "error[LR793]: dataset `a/b` cannot be pinned: HF_HUB_OFFLINE is set" in told
    assert not (tmp_path / "recipe.yaml.lock").exists()
    assert main(["lock", recipe, "--offline"]) == 0
    assert "not pinned: dataset a/b" in capsys.readouterr().err


def test_held_out_rows_of_another_kind_are_told_how_to_be_written(recipe, write, capsys):
    write("chat.jsonl", '{"messages": []}')
    held_out = "data.validation.sources=[{kind: files, paths: [chat.jsonl], format: messages}]"
    assert main(["plan", recipe, "--set", held_out]) == 1
    assert "write the held-out rows as the training rows are: text" in capsys.readouterr().err
