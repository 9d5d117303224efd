"""The examples of the methods: each runs as it stands, and its gates hold what it gains. Minutes long."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmrecipe.lint import lint
from llmrecipe.resolve import resolve
from llmrecipe.validate import validate

FOLDER = Path(__file__).parent.parent / "examples" / "methods"
EXAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "sweep")
"""A sweep is run by a command of its own, and has a test of its own."""
AT_MOST = {"qlora": ("perplexity/loss", "qlora", "lora", 1.05)}
"""Example -> metric, a recipe, another recipe, and how many times its value the first may have."""
LARGEST = 200_000
"""Bytes of a data file."""

each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def run(path: Path, folder: Path) -> dict[str, Any]:
    """The summary of the example, run in a copy of its folder."""
    copy = folder / "methods"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns(".llmrecipe", "runs", "__pycache__"))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "llmrecipe", "run", path.name, "--format", "json", "--allow-code"]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def measured(summary: dict[str, Any], metric: str) -> list[str]:
    """`recipe value` for every recipe of the file whose suite measures it, in their order."""
    suite, _, name = metric.partition("/")
    return [
        f"{stage['name'].partition('/')[0]} {stage['metrics'][name]:.4g}"
        for stage in summary["stages"]
        if stage["name"].endswith(f"/evaluate-{suite}") and name in stage["metrics"]
    ]


@pytest.mark.slow
@each_example
def test_an_example_ends_in_the_gain_that_its_gates_declare(path: Path, tmp_path: Path) -> None:
    summary = run(path, tmp_path)
    assert summary["status"] == "complete"
    gates = [gate for stage in summary["plan"]["stages"] if stage["spec"]["kind"] == "check_gates"
             for gate in stage["spec"]["gates"]]  # fmt: skip
    assert gates
    for gate in gates:
        print(f"{path.stem}: {gate['metric']}: {' -> '.join(measured(summary, gate['metric']))}")
    if path.stem in AT_MOST:
        metric, one, other, factor = AT_MOST[path.stem]
        values = {name: float(value) for name, value in (entry.split() for entry in measured(summary, metric))}
        assert values[one] <= factor * values[other]
    _check_kl(path, {stage["name"]: stage["metrics"] for stage in summary["stages"]})


def _check_kl(path: Path, metrics: dict[str, dict[str, float]]) -> None:
    """What learns from rewards stays as near to where it began as its `metadata` declares."""
    for document in validate(resolve(str(path), ())):
        bound = document.recipe.metadata.get("largest_kl")
        if isinstance(bound, float):
            found = metrics[f"{document.recipe.name}/train"]["kl"]
            print(f"{path.stem}: kl {found:.3g}, bound {bound}")
            assert found <= bound


@each_example
def test_an_example_is_clean_and_has_its_data(path: Path) -> None:
    assert lint(validate(resolve(str(path), ()))) == []


@each_example
def test_an_example_declares_its_gain_and_measures_where_it_began(path: Path) -> None:
    recipes = [document.recipe for document in validate(resolve(str(path), ()))]
    judged = [recipe.evaluation for recipe in recipes if recipe.evaluation is not None]
    gates = [gate for evaluation in judged for gate in evaluation.gates]
    assert gates
    for gate in gates:
        suite = gate.metric.partition("/")[0]
        measuring = [evaluation for evaluation in judged if suite in {suite.name for suite in evaluation.suites}]
        assert len(measuring) >= 2, f"only one document measures {gate.metric}"


@each_example
def test_an_example_opens_with_what_it_shows(path: Path) -> None:
    opening = path.read_text("utf-8").partition("version:")[0].splitlines()
    assert opening
    assert all(line.startswith("# ") and len(line) <= 120 for line in opening)


def test_the_table_names_every_example() -> None:
    rows = re.findall(r"^\| \[(\S+)\.yaml\]\((\S+)\.yaml\) \|", (FOLDER / "README.md").read_text("utf-8"), re.M)
    assert [row for row in sorted(rows) if row[0] != "sweep"] == [(path.stem, path.stem) for path in EXAMPLES]


def test_the_data_is_what_its_script_makes() -> None:
    subprocess.run([sys.executable, str(FOLDER / "make_data.py"), "--check"], check=True)


def test_the_data_is_small() -> None:
    assert [path.name for path in (FOLDER / "data").iterdir() if path.stat().st_size > LARGEST] == []
