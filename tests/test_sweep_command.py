"""What must hold of `llmrecipe sweep`: each trial is an ordinary run, and a killed search goes on where it was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmrecipe.cli import main
from llmrecipe.report import sweep_page
from llmrecipe.summary import Summary, SweepSummary, TrialSummary

RECIPES = Path(__file__).with_name("recipes")
SWEEP = """
sweep:
  parameters:
    training.learning_rate: {kind: choice, values: [1e-3, 1e-2, 0.9]}
  objective: {metric: perplexity/loss, direction: minimize}
  sampler: {kind: grid}
"""

HOLDER = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> str:
    shutil.copytree(RECIPES / "data", tmp_path / "data")
    text = (RECIPES / "scratch.yaml").read_text("utf-8")
    (tmp_path / "scratch.yaml").write_text(text + SWEEP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return "scratch.yaml"


def summary() -> SweepSummary:
    return SweepSummary.model_validate_json(Path("runs/scratch.sweep/sweep.json").read_bytes())


@pytest.mark.slow
def test_a_killed_search_goes_on_and_every_trial_is_a_run(recipe, capsys):
    study = Path("runs/scratch.sweep")
    process = subprocess.Popen([sys.executable, "-m", "llmrecipe", "sweep", recipe], start_new_session=True)
    second = study / "trial-0001" / "summary.json"
    while process.poll() is None and not second.exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert [trial.number for trial in summary().trials] == [0]

    assert main(["sweep", recipe, "--format", "json"]) == 0
    found = SweepSummary.model_validate_json(capsys.readouterr().out)
    assert found == summary()
    assert [trial.values["training.learning_rate"] for trial in found.trials] == [1e-3, 1e-2, 0.9]
    for trial in found.trials:
        run = Summary.model_validate_json((study / trial.run / "summary.json").read_bytes())
        assert run.status == "complete"
        stage = next(s for s in run.stages if s.name == "scratch/evaluate-perplexity")
        assert trial.objective == stage.metrics["loss"]
        assert (study / trial.run / "model" / "config.json").is_file()
        cached = [s.name for s in run.stages if s.cached]
        assert trial.number == 0 or "scratch/tokenize" in cached
    losses = [trial.objective for trial in found.trials]
    assert found.best == losses.index(min(losses))
    assert main(["report", str(study), "-o", "-"]) == 0
    assert capsys.readouterr().out == (study / "report.html").read_text("utf-8")

    assert main(["sweep", recipe]) == 0
    out, error = capsys.readouterr()
    assert "trial" not in error
    best = found.trials[found.best].values["training.learning_rate"]
    assert f"llmrecipe run {recipe} --set 'training.learning_rate={json.dumps(best)}'" in out


def test_a_sweep_needs_to_be_described(recipe, capsys):
    assert main(["sweep", str(RECIPES / "scratch.yaml")]) == 2
    assert "`scratch` has no `sweep`" in capsys.readouterr().err


def test_a_search_that_cannot_be_run_ends_after_some_trials(recipe, capsys):
    overrides = ["--set", "data.prepare=[{kind: filter, min_words: 1000}]"]
    assert main(["sweep", recipe, *overrides]) == 1
    assert "3 trials failed one after the other, the last: scratch/prepare-data: " in capsys.readouterr().err
    assert [trial.status for trial in summary().trials] == ["failed"] * 3


def test_one_process_searches_at_a_time(recipe, capsys):
    Path("runs/scratch.sweep").mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, "runs/scratch.sweep/lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        assert main(["sweep", recipe]) == 1
        other.stdin.close()
    assert "another process runs the sweep" in capsys.readouterr().err


def test_a_launcher_around_a_sweep_is_refused(recipe, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["sweep", recipe]) == 1
    assert "run `llmrecipe sweep` alone" in capsys.readouterr().err


def test_the_page_shows_the_best_first_and_reads_nothing_as_markup():
    values = [{"model.adapter.r": 8, "x": "<b>"}, {"model.adapter.r": 16, "x": {"kind": "muon"}}]
    trials = [
        TrialSummary(number=0, status="complete", values=values[0], objective=2.0, seconds=3.0, run="trial-0000"),
        TrialSummary(number=1, status="complete", values=values[1], objective=1.0, seconds=3.0, run="trial-0001"),
        TrialSummary(number=2, status="failed", values=values[0], message="no <i>data</i>", run="trial-0002"),
    ]
    sweep = SweepSummary(name="a", metric="p/loss", direction="minimize", planned=4, trials=trials, best=1)
    page = sweep_page(sweep)
    assert page.index("trial-0001") < page.index("trial-0000") < page.index("no &lt;i&gt;data")
    assert "&lt;b&gt;" in page
    assert "3 of 4 trials: 2 complete, 1 failed; minimize p/loss" in page
    page = sweep_page(sweep.model_copy(update={"direction": "maximize", "best": 0}))
    assert page.index("trial-0000") < page.index("trial-0001")
    nothing = sweep.model_copy(update={"trials": [trials[2]], "best": None})
    assert "1 of 4 trials: 1 failed" in sweep_page(nothing)
