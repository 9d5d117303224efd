"""What must hold of `llmrecipe run`: what it prints where, its exit code, and the files beside the artifacts."""

import json
import os
import shutil
from pathlib import Path

import pytest

from llmrecipe.cli import main
from llmrecipe.summary import Summary

RECIPES = Path(__file__).with_name("recipes")
FEW = ("--until", "prepare-data")


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> str:
    shutil.copytree(RECIPES / "data", tmp_path / "data")
    shutil.copy(RECIPES / "scratch.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return "scratch.yaml"


def test_text_tells_of_every_stage_and_where_things_are(recipe, capsys):
    assert main(["run", recipe, *FEW]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "scratch: 1 stage, 0 of them cached"
    assert lines[-1] == "summary: runs/scratch/summary.json"
    assert Path("runs/scratch/scratch/prepare-data/report/report.json").is_file()


def test_json_is_the_summary_and_nothing_else(recipe, capsys):
    assert main(["run", recipe, *FEW, "--format", "json"]) == 0
    found = Summary.model_validate_json(capsys.readouterr().out)
    assert found.status == "complete"
    assert found == Summary.model_validate_json(Path("runs/scratch/summary.json").read_bytes())


def test_the_compiled_files_are_kept_and_can_be_executed(recipe):
    main(["run", recipe, *FEW])
    assert os.access("runs/scratch/compiled/run.sh", os.X_OK)
    assert json.loads(Path("runs/scratch/compiled/plan.json").read_text())["name"] == "scratch"


@pytest.mark.parametrize("where", ["option", "variable"])
def test_the_store_and_the_runs_can_be_elsewhere(recipe, where, monkeypatch):
    options = ["--store", "a/store"]
    if where == "variable":
        options = []
        monkeypatch.setenv("LLMRECIPE_STORE", "a/store")
    assert main(["run", recipe, *FEW, "--runs", "b", *options]) == 0
    assert Path("b/scratch/scratch/prepare-data").resolve().parent == Path("a/store/artifacts").resolve()
    assert not Path(".llmrecipe").exists()
    assert not Path("runs").exists()


def test_a_failed_stage_is_an_error_with_help_and_log(recipe, capsys):
    assert main(["run", recipe, *FEW, "--set", "data.prepare=[{kind: filter, min_words: 1000}]"]) == 1
    error = capsys.readouterr().err
    assert "error: scratch/prepare-data failed: " in error
    assert "  = help: " in error
    assert "  = log: runs/scratch/logs/scratch/prepare-data.log" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("files", "options", "message", "help_"),
    [
        ({".llmrecipe/store.json": '{"version": 2}'}, [], "has version 2; this llmrecipe works with 1", "--store DIR"),
        ({".llmrecipe": ""}, [], "the store cannot be written: ", "--store DIR"),
        ({"runs": ""}, [], "the folder of the run cannot be written: ", "--runs DIR"),
        ({}, ["--until", "no-such-stage"], "there is no stage `no-such-stage`", "one of: scratch/prepare-data"),
    ],
)
def test_what_keeps_a_run_from_beginning_is_said(recipe, capsys, files, options, message, help_):
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    assert main(["run", recipe, *FEW, *options]) == 1
    error = capsys.readouterr().err
    assert f"error: {message}" in error.replace(str(Path.cwd()), "").replace("the store /.llmrecipe ", "")
    assert help_ in error.partition("  = help: ")[2]


def test_ranks_without_a_launcher_are_said(recipe, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["run", recipe]) == 1
    assert "no launcher of PyTorch stands behind it" in capsys.readouterr().err


def test_a_launcher_that_is_gone_is_said(recipe, capsys, monkeypatch):
    def gone(*_: object) -> None:
        raise ConnectionError("the launcher that keeps the ranks together is gone: broken pipe")

    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("llmrecipe.ranks.connect", lambda variables: None)
    monkeypatch.setattr("llmrecipe.ranks.follow", gone)
    assert main(["run", recipe]) == 1
    assert "error: the launcher that keeps the ranks together is gone" in capsys.readouterr().err


def test_a_disk_that_is_full_is_said(recipe, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "runs/scratch/summary.json.partial")

    monkeypatch.setattr("llmrecipe.folder.write", full)
    assert main(["run", recipe, *FEW]) == 1
    told = capsys.readouterr().err
    assert "error: runs/scratch/summary.json.partial cannot be written: No space left on device\n" in told
    assert "  = help: make room and run again" in told


def test_the_ways_on_after_a_changed_recipe_exclude_each_other(recipe, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", recipe, "--start-anew", "--resume-changed"])
    assert "not allowed with argument" in capsys.readouterr().err
