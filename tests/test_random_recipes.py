"""Random recipes that no rule refuses run to their end: every stage, on tiny models."""

import json
import os
import random
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from random_recipes import LEARNS_FROM, Data, recipes, write_world

from llmrecipe import launch
from llmrecipe.cli import planning
from llmrecipe.cli.verdicts import findings
from llmrecipe.jobs import Jobs
from llmrecipe.store import Store

SEED, COUNT = 1, 6 * len(LEARNS_FROM)


def errors(recipe: Data) -> list[str]:
    """Codes of the errors that are found in a recipe."""
    Path("trial.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return [one.code for one in findings("trial.yaml") if one.severity == "error"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    random.seed(SEED)
    write_world(folder)
    return folder


@pytest.mark.slow
def test_what_no_rule_refuses_runs_to_its_end(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    store = Store(tmp_path / "store")
    store.create()
    jobs: dict[str, str] = {}
    for recipe in recipes(SEED, COUNT, errors):
        file = world / f"{recipe['name']}.yaml"
        file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        plan = planning.understand(Namespace(file=str(file), overrides=[])).plan
        made = Jobs(store, plan.addresses(), world, allow_code=True)
        for stage in plan.stages:
            store.work(made.addresses[stage.name]).mkdir(parents=True, exist_ok=True)
            jobs.setdefault(str(made.write(stage)), str(file))
    listed, results = tmp_path / "jobs.txt", tmp_path / "results.json"
    listed.write_text("\n".join(jobs), encoding="utf-8")
    with (tmp_path / "log").open("wb") as log:
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("support_jobs.py")), str(listed), str(results)],
            env=launch.alone(os.environ, 1) | {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1"},
            stdout=log, stderr=log, check=False, timeout=1500,
        )  # fmt: skip
    found = json.loads(results.read_text("utf-8"))
    failed = [f"{Path(file).read_text('utf-8')}{found.get(job, 'not reached')}"
              for job, file in jobs.items() if found.get(job) != "complete"]  # fmt: skip
    assert not failed, "\n\n".join(failed)
