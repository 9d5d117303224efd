"""The action, the hooks and the catalog entry do what they say, as far as this machine can tell."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema import Draft7Validator
from stand_in_hub import MEMBER, WORLD, allow_asking, stand_in

from llmrecipe.cli import parser

ROOT = Path(__file__).parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
WRONG = "version: 1\nname: a\nmodel: {base: ./base, adaptor: {kind: lora}}\n"


def validate(folder: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The step of the action that validates, as a runner calls it, and the file of its outputs."""
    (step,) = [step for step in ACTION["runs"]["steps"] if step.get("id") == "validate"]
    given = {name: value.get("default", "") for name, value in ACTION["inputs"].items()} | inputs
    outputs = folder / "outputs"
    outputs.write_text("")
    variables = {
        name: given[text.removeprefix("${{ inputs.").removesuffix(" }}")] for name, text in step["env"].items()
    }
    environment = {**os.environ, **variables, "RUNNER_TEMP": str(folder), "GITHUB_OUTPUT": str(outputs)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True), outputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recipe that has a mistake."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    (tmp_path / "recipe.yaml").write_text(WRONG)
    return tmp_path


def test_the_action_is_one_by_the_schema_of_actions() -> None:
    faults = [
        fault.message for fault in Draft7Validator(get_builtin_schema("vendor.github-actions")).iter_errors(ACTION)
    ]
    assert faults == []


def test_the_action_annotates_fails_and_hands_over_a_log(folder: Path) -> None:
    done, outputs = validate(folder, sarif="true")
    assert done.returncode == 1
    assert done.stdout.startswith("::error file=recipe.yaml,line=3,")
    name, _, path = outputs.read_text().strip().partition("=")
    assert name == "sarif-file"
    assert json.loads(Path(path).read_text())["runs"][0]["results"][0]["ruleId"] == "LR003"


def test_the_action_is_content_with_a_right_recipe_unless_it_is_strict(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(WRONG.replace("./base, adaptor: {kind: lora}", "owner/name"))
    done, outputs = validate(folder, paths="recipe.yaml base")
    assert done.returncode == 2  # no recipe in the folder `base`
    assert validate(folder, paths="recipe.yaml", format="text")[0].returncode == 0
    assert validate(folder, paths="recipe.yaml", strict="true")[0].returncode == 1
    assert outputs.read_text() == ""


def test_the_action_asks_the_hub_with_the_token_of_a_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "recipe.yaml").write_text(WRONG.replace("./base, adaptor: {kind: lora}", "house/private"))
    allow_asking(monkeypatch)
    with stand_in(dict(WORLD)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(folder / "home"))
        done, _ = validate(folder, paths="recipe.yaml", online="true", sarif="true")
        assert (done.returncode, "LR921" in done.stdout) == (1, True)
        assert validate(folder, paths="recipe.yaml", online="true", **{"hf-token": MEMBER})[0].returncode == 0


def test_the_hooks_call_commands_that_exist() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert [hook["id"] for hook in hooks] == ["llmrecipe-validate", "llmrecipe-fix"]
    for hook in hooks:
        command, *words = hook["entry"].split()
        assert command == "llmrecipe"
        assert parser(words[0]).parse_args([*words, "a.yaml", "b.yaml"]).files == ["a.yaml", "b.yaml"]


def test_the_catalog_entry_has_what_catalogs_ask_for() -> None:
    (entry,) = json.loads((ROOT / "schemas" / "catalog.json").read_text("utf-8"))["schemas"]
    assert set(entry) == {"name", "description", "fileMatch", "url"}
    assert all(pattern.endswith((".yaml", ".yml")) and pattern != "*.yaml" for pattern in entry["fileMatch"])
