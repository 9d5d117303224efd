import argparse

import pytest

from llmrecipe.cli import main, planning
from llmrecipe.cli.exported import add_model, exported, require
from llmrecipe.store import RunError, Store

RECIPE = """
version: 1
name: base
model: {base: ./start}
data: {train: [{kind: files, paths: [text.txt], format: text}]}
method: {kind: pretrain}
training: {max_steps: 10}
---
version: 1
name: chat
model: {base: {recipe: base}}
data: {train: [{kind: files, paths: [chat.jsonl], format: messages}]}
method: {kind: sft}
training: {max_steps: 5}
serving: {kind: transformers, port: 8765}
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "config.json").write_text("{}")
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "chat.jsonl").write_text('{"messages": []}\n')
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_model(parser)
    return parser.parse_args([str(word) for word in words])


def export(recipe, name):
    """Put an artifact where the export of a recipe of the file belongs."""
    plan = planning.understand(parsed(recipe)).plan
    folder = Store(recipe.parent / ".llmrecipe").artifact(plan.addresses()[f"{name}/export"]) / "model"
    folder.mkdir(parents=True)
    return folder


def test_the_model_of_a_recipe_is_the_one_at_its_address(recipe):
    base, chat = export(recipe, "base"), export(recipe, "chat")
    found = exported(parsed(recipe))
    assert (found.name, found.folder, found.service.port) == ("chat", chat, 8765)
    found = exported(parsed(f"{recipe}#base"))
    assert (found.name, found.folder, found.service) == ("base", base, None)


def test_a_model_of_another_recipe_is_not_taken_for_this_one(recipe):
    export(recipe, "chat")
    with pytest.raises(RunError, match="`chat` has not been exported yet") as refused:
        exported(parsed(recipe, "--set", "chat:training.max_steps=6"))
    assert refused.value.help == f"llmrecipe run {recipe}"


def test_a_store_of_another_version_is_not_searched(recipe):
    export(recipe, "chat")
    (recipe.parent / ".llmrecipe" / "store.json").write_text('{"version": 2}')
    with pytest.raises(RunError, match="has version 2; this llmrecipe works with 1"):
        exported(parsed(recipe))


def test_the_model_of_the_last_run_can_still_be_named(recipe):
    last = recipe.parent / "runs" / "chat"
    (last / "model").mkdir(parents=True)
    (last / "model" / "config.json").write_text("{}")
    with pytest.raises(RunError) as refused:
        exported(parsed(recipe))
    assert str(last) in refused.value.help
    found = exported(parsed(last))
    assert (found.name, found.folder) == ("chat", last / "model")


def test_another_store_is_looked_into(recipe, tmp_path):
    export(recipe, "chat")
    (recipe.parent / ".llmrecipe").rename(tmp_path / "elsewhere")
    assert exported(parsed(recipe, "--store", tmp_path / "elsewhere")).folder.is_dir()


@pytest.mark.parametrize("command", ["chat", "serve"])
def test_a_model_that_is_not_there_is_told_with_what_to_do(recipe, command, capsys):
    assert main([command, str(recipe)]) == 1
    shown = capsys.readouterr().err
    assert "error: the model of `chat` has not been exported yet" in shown
    assert f"= help: llmrecipe run {recipe}" in shown


@pytest.mark.parametrize("command", ["chat", "serve", "report", "diff"])
def test_a_recipe_that_is_not_there_is_a_diagnostic(command, tmp_path, capsys):
    words = [str(tmp_path / "no.yaml")] * (2 if command == "diff" else 1)
    assert main([command, *words]) == 1
    shown = capsys.readouterr().err
    assert "no.yaml" in shown
    assert "Traceback" not in shown


def test_a_missing_package_is_told_with_its_extra():
    require("json", "train")
    with pytest.raises(RunError, match="`no_such_package` is not installed here"):
        require("no_such_package", "train")
