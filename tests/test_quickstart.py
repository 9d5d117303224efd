"""The quickstart as the README promises it: minutes long, so that it runs with the slow tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "quickstart"

pytestmark = pytest.mark.slow


def llmrecipe(*words: str, cwd: Path) -> str:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "llmrecipe", *words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, run."""
    copy = tmp_path_factory.mktemp("quickstart") / "quickstart"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns(".llmrecipe", "runs"))
    llmrecipe("run", "recipe.yaml", "--format", "json", cwd=copy)
    return copy


@pytest.fixture(scope="module")
def stages(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "runs" / "chat" / "summary.json").read_text("utf-8"))
    return {stage["name"]: stage for stage in summary["stages"]}


def test_it_learns_to_answer_questions_that_it_never_saw(stages: dict[str, Any]) -> None:
    before = stages["pretrain/evaluate-questions"]["metrics"]["exact_match"]
    after = stages["chat/evaluate-questions"]["metrics"]["exact_match"]
    assert before < 0.10
    assert after >= 0.90


def test_it_is_a_model_of_one_to_seven_million_parameters(stages: dict[str, Any]) -> None:
    assert 1e6 <= stages["chat/train"]["metrics"]["parameters"] <= 7e6


def test_a_second_run_has_nothing_to_do(folder: Path, stages: dict[str, Any]) -> None:
    again = json.loads(llmrecipe("run", "recipe.yaml", "--format", "json", cwd=folder))
    assert all(stage["cached"] for stage in again["stages"])
    assert {stage["name"]: stage["address"] for stage in again["stages"]} == {
        name: stage["address"] for name, stage in stages.items()
    }


@pytest.mark.usefixtures("stages")
def test_the_chat_answers(folder: Path) -> None:
    said = llmrecipe("chat", "recipe.yaml", "--once", "What is the day after Tuesday?", cwd=folder)
    assert said.strip() == "It is Wednesday."


@pytest.mark.usefixtures("stages")
def test_the_page_of_the_run_shows_both_figures(folder: Path) -> None:
    llmrecipe("report", "recipe.yaml", cwd=folder)
    page = (folder / "runs" / "chat" / "report.html").read_text("utf-8")
    assert "pretrain/evaluate-questions" in page
    assert "chat/evaluate-questions" in page
