"""Trackers: what they write into the folder of the run, and what is said when one cannot be used."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from safetensors.torch import load_file

from llmrecipe.stages import train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers import trackers
from llmrecipe.watching import MLflow, TensorBoard, Tracker, Tracking, WandB


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What trackers set for their process does not outlive a test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def place(folder: Path, rank: int = 0) -> Place:
    made = small.place(folder, dataset=folder / "data", tokenizer=folder / "tokenizer")
    return Place(
        made.inputs, made.output, made.work, made.root, rank=rank, name="house-style/train", run=folder / "run"
    )


def trained(folder: Path, *tracked: Tracker) -> Place:
    small.tokenizer().save_pretrained(folder / "tokenizer")
    small.dataset(folder / "data", list(small.packed_rows(20)), list(small.packed_rows(3, seed=9)))
    here = place(folder)
    train.run(small.train_spec(tracking=Tracking(trackers=list(tracked))), here)
    return here


def test_tensorboard_gets_every_number_of_the_log_and_changes_no_weight(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    here, alone = trained(tmp_path / "a", TensorBoard(kind="tensorboard")), trained(tmp_path / "b")
    found = accumulator.EventAccumulator(str(tmp_path / "a/run/tracking/tensorboard/house-style-train")).Reload()
    losses = {event.step: event.value for event in found.Scalars("train/loss")}
    assert losses == pytest.approx({line["step"]: line["loss"] for line in small.log(here) if "loss" in line})
    assert {"train/entropy", "train/memory_gib", "eval/loss"} <= set(found.Tags()["scalars"])
    assert not list((alone.run or tmp_path).glob("tracking"))
    weights = [load_file(p.output / "model/model.safetensors") for p in (here, alone)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_mlflow_writes_a_database_in_the_folder_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    here = trained(tmp_path, MLflow(kind="mlflow"))
    with sqlite3.connect(tmp_path / "run/tracking/mlflow.db") as database:
        losses = dict(database.execute("select step, value from metrics where key = 'loss'"))
        names = [name for (name,) in database.execute("select name from experiments")]
    assert losses == pytest.approx({line["step"]: line["loss"] for line in small.log(here) if "loss" in line})
    assert "house-style" in names


def test_wandb_stays_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    trained(tmp_path, WandB(kind="wandb"))
    assert list((tmp_path / "run/tracking/wandb").glob("offline-run-*/run-*.wandb"))


ALONE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_trackers
from llmrecipe.watching import Trackio
test_trackers.trained(Path(sys.argv[2]), Trackio(kind="trackio"))
"""


@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_stays_on_this_machine(tmp_path: Path) -> None:
    """In a process of its own: trackio reads where it writes to when it is imported."""
    command = [sys.executable, "-c", ALONE, str(Path(__file__).parent), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert list((tmp_path / "run/tracking/trackio").glob("house-style*.db"))


@pytest.mark.parametrize("tracker", [TensorBoard(kind="tensorboard"), WandB(kind="wandb")])
def test_a_package_that_is_missing_is_named_with_its_extra(
    tracker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(StageError, match=f"the package `{tracker.kind}` is not installed") as caught:
        trackers.callbacks([tracker], place(tmp_path))
    assert caught.value.help == f"pip install 'llmrecipe[tracking-{tracker.kind}]'"


def test_other_ranks_report_nothing(tmp_path: Path) -> None:
    assert trackers.callbacks([TensorBoard(kind="tensorboard")], place(tmp_path, rank=1)) == []


def test_a_secret_that_is_not_set_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    monkeypatch.delenv("TEAM_KEY", raising=False)
    with pytest.raises(StageError, match="environment variable TEAM_KEY, and it is not set"):
        trackers.callbacks([WandB(kind="wandb", api_key="${env:TEAM_KEY}")], place(tmp_path))
