"""Trainings that go wrong are stopped with a diagnosis; those that go well end with the same weights as unwatched."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small
import torch
from safetensors.torch import load_file

from llmrecipe.plan import Outcome
from llmrecipe.stages import train
from llmrecipe.stages.outcome import outcome_file, write_outcome
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers import watchdog
from llmrecipe.trainers.alarms import EvenGuess
from llmrecipe.trainers.callbacks import TrainingLog
from llmrecipe.trainers.watchdog import Watcher
from llmrecipe.watching import Audit, FreeDisk, Hang, NoSignal, Overfitting, UniformOutput, Watchdog

OFF = Watchdog(**{
    name: field.annotation(action="off") for name, field in Watchdog.model_fields.items()
})  # fmt: skip


def place(folder: Path, rows: list[dict[str, Any]], validation: list[dict[str, Any]] | None = None) -> Place:
    small.tokenizer().save_pretrained(folder / "tokenizer")
    small.dataset(folder / "dataset", rows, validation or [])
    return small.place(folder, dataset=folder / "dataset", tokenizer=folder / "tokenizer")


def weights(place: Place) -> dict[str, torch.Tensor]:
    return load_file(place.output / "model/model.safetensors")


def warnings(place: Place) -> list[dict[str, Any]]:
    return [line for line in small.log(place) if "warning" in line]


def test_watching_changes_no_bit_of_what_is_trained(tmp_path: Path) -> None:
    rows = list(small.packed_rows(20))
    watched, alone = place(tmp_path / "a", rows), place(tmp_path / "b", rows)
    train.run(small.train_spec(accelerator="l4-24gb"), watched)
    train.run(small.train_spec(watchdog=OFF), alone)
    assert all(torch.equal(weights(watched)[name], tensor) for name, tensor in weights(alone).items())
    assert warnings(watched) == []
    trained = [line for line in small.log(watched) if "loss" in line]
    assert all(0 < line["mfu"] < 1 and line["memory_gib"] > 0.1 for line in trained)
    assert all(0 <= line["data_loading_share"] < 0.9 for line in trained)


def test_rows_without_a_label_stop_the_run(tmp_path: Path) -> None:
    rows = [{"input_ids": row["input_ids"], "labels": [-100] * len(row["labels"])} for row in small.padded_rows(20)]
    here = place(tmp_path, rows)
    with pytest.raises(StageError, match="`loss` has been exactly 0 in 3 logs, up to step 5") as caught:
        train.run(small.train_spec(packed=False, watchdog=Watchdog(audit=Audit(action="off"))), here)
    assert "supervised tokens" in str(caught.value.help)
    assert "`training.watchdog.no_signal`" in str(caught.value.help)


def test_preferences_that_are_alike_stop_the_run(tmp_path: Path) -> None:
    rows = [row | {"rejected_ids": row["chosen_ids"]} for row in small.preference_rows(20)]
    arguments = {"loss_type": ["sigmoid"], "logging_steps": 1, "learning_rate": 1e-3, "max_steps": 8}
    spec = small.train_spec(
        "dpo", packed=False, arguments=arguments,
        watchdog=Watchdog(no_signal=NoSignal(action="off"), audit=Audit(action="off")),
    )  # fmt: skip
    with pytest.raises(StageError, match=r"the loss is 0\.693147 \(ln 2\) with a gradient norm .* at step 5"):
        train.run(spec, place(tmp_path, rows))


def test_a_model_that_guesses_evenly_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A last norm that leaves nothing, and a rate that is too low to mend it."""
    monkeypatch.setattr(EvenGuess, "FEWEST", 0)
    here = place(tmp_path, list(small.packed_rows(20)))
    model = small.model()
    torch.nn.init.zeros_(model.model.norm.weight)
    model.save_pretrained(tmp_path / "model")
    small.tokenizer().save_pretrained(tmp_path / "model")
    here.inputs["model"] = tmp_path / "model"
    arguments = {"learning_rate": 1e-9, "logging_steps": 1, "warmup_steps": 0}
    quiet = Watchdog(no_signal=NoSignal(action="off"), uniform_output=UniformOutput(logs=6), audit=Audit(action="off"))
    with pytest.raises(StageError, match=r"an even guess over 300 tokens has 5\.7038"):
        train.run(small.train_spec(model=small.INPUT, arguments=arguments, watchdog=quiet), here)


def test_steps_that_change_nothing_stop_the_run(tmp_path: Path) -> None:
    here = place(tmp_path, list(small.packed_rows(20)))
    arguments = {"learning_rate": 1e-8, "warmup_steps": 0, "weight_decay": 0.0}
    with pytest.raises(StageError, match="tensors that are to be trained have not changed in 5 steps"):
        train.run(small.train_spec(arguments=arguments, dtype="bfloat16"), here)


def test_rows_learned_by_heart_are_warned_of_in_log_events_and_after_a_resume(tmp_path: Path) -> None:
    rows, other = list(small.packed_rows(4)), list(small.packed_rows(4, seed=7))
    here = place(tmp_path, rows, other)
    arguments = {"max_steps": 40, "eval_strategy": "steps", "eval_steps": 4, "save_steps": 40, "learning_rate": 3e-3}
    train.run(small.train_spec(arguments=arguments, watchdog=Watchdog(overfitting=Overfitting(evaluations=2))), here)
    found = warnings(here)
    assert [line["warning"] for line in found] == ["overfitting"]
    assert found[0].keys() == {"step", "epoch", "warning", "message", "help"}
    events = [json.loads(line) for line in (here.work / "events.jsonl").read_text().splitlines()]
    assert [event["rule"] for event in events if event["event"] == "warning"] == ["overfitting"]
    state = json.loads((here.work / "checkpoints/checkpoint-40/trainer_state.json").read_text())
    assert any("warning" in line for line in state["log_history"])


def test_a_disk_without_room_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(tmp_path, list(small.packed_rows(20)))
    usage = SimpleNamespace(free=10)
    monkeypatch.setattr(watchdog.shutil, "disk_usage", lambda path: usage)
    train.run(small.train_spec(), here)
    found = warnings(here)
    assert [line["warning"] for line in found] == ["free_disk"]
    assert "0 MB are free on the disk, and a checkpoint takes" in found[0]["message"]
    stopped = place(tmp_path / "stopped", list(small.packed_rows(20)))
    with pytest.raises(StageError, match="are free on the disk"):
        train.run(small.train_spec(watchdog=Watchdog(free_disk=FreeDisk(action="stop"))), stopped)


def test_what_the_log_of_an_interrupted_run_said_is_remembered(tmp_path: Path) -> None:
    here = small.place(tmp_path)
    watcher = Watcher(Watchdog(), here, TrainingLog(tmp_path / "log.jsonl", here, evaluates=False))
    history = [{"loss": 1.0, "grad_norm": 0.0, "step": step} for step in (1, 2)]
    state = SimpleNamespace(log_history=history, max_steps=9, global_step=2)
    args = SimpleNamespace(get_warmup_steps=lambda steps: 0, device=torch.device("cpu"))
    watcher.on_train_begin(args, state, None)
    history.append({"loss": 1.0, "grad_norm": 0.0, "step": 3})
    with pytest.raises(StageError, match="`grad_norm` has been exactly 0 in 3 logs, up to step 3"):
        watcher.on_log(args, state, None)


def test_memory_near_the_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 95 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=100 * 2**30))
    alarm = watchdog._device_memory(torch.device("cuda"), 0.92)
    assert alarm is not None
    assert alarm.message.startswith("95.0 of 100.0 GiB")
    assert watchdog._device_memory(torch.device("cuda"), 0.96) is None


HANGING = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import small
from llmrecipe.plan import Outcome
from llmrecipe.stages import train
from llmrecipe.stages.outcome import outcome_file, write_outcome
from llmrecipe.stages.place import Place
from llmrecipe.strategies import DDP, Single
from llmrecipe.trainers import watchdog
from llmrecipe.trainers.alarms import EvenGuess
from llmrecipe.trainers.callbacks import TrainingLog
from llmrecipe.watching import Hang, Watchdog
folder, rank, world = Path(sys.argv[2]), int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
inputs = {name: folder / name for name in ("dataset", "tokenizer")}
here = Place(inputs, folder / "output", folder / "work", folder, rank=rank, world_size=world)
write_outcome(outcome_file(here), Outcome(status="started"))
watchdog.GRACE = 0.0 if world == 1 else 10.0
on_step_end = TrainingLog.on_step_end

def waits_for_ever(self, args, state, control, **kwargs):
    on_step_end(self, args, state, control, **kwargs)
    while state.global_step == 3 and rank == world - 1:
        time.sleep(0.1)

TrainingLog.on_step_end = waits_for_ever
strategy = Single(kind="single") if world == 1 else DDP(kind="ddp")
rules = Watchdog(hang=Hang(minutes=0.1, times=1.5))
train.run(small.train_spec(world_size=world, distributed=strategy, watchdog=rules), here)
"""


def test_a_training_that_hangs_ends_with_stacks_and_a_diagnosis(tmp_path: Path) -> None:
    here = place(tmp_path, list(small.packed_rows(20)))
    command = [sys.executable, "-c", HANGING, str(Path(__file__).parent), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert ended.returncode == 1
    outcome = Outcome.model_validate_json(outcome_file(here).read_bytes())
    assert outcome.status == "failed"
    assert "after step 2" in str(outcome.message) or "after step 3" in str(outcome.message)
    assert "in waits_for_ever" in str(outcome.message)
    assert "run again" in str(outcome.help)
    assert "most recent call first" in ended.stderr
    assert "waits_for_ever" in ended.stderr


def test_a_hang_that_is_to_be_warned_of_is_an_event(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    here = small.place(tmp_path)
    write_outcome(outcome_file(here), Outcome(status="started"))
    watcher = Watcher(Watchdog(hang=Hang(action="warn")), here, TrainingLog(tmp_path / "log", here, evaluates=False))
    watcher.state = SimpleNamespace(global_step=7)
    watcher._hangs(700.0, 600.0)
    assert "no step has ended for 700 s after step 7 (600 s are allowed)" in (here.work / "events.jsonl").read_text()
    assert "most recent call first" in capfd.readouterr().err
    assert Outcome.model_validate_json(outcome_file(here).read_bytes()).status == "started"


def test_evaluations_and_saves_are_no_silence(tmp_path: Path) -> None:
    here = small.place(tmp_path)
    watcher = Watcher(Watchdog(), here, TrainingLog(tmp_path / "log", here, evaluates=False))
    assert watcher.heart is not None
    args = SimpleNamespace(device=torch.device("cpu"), output_dir=str(tmp_path))
    state = SimpleNamespace(global_step=1, log_history=[{"step": 1}])
    for call in (
        watcher.on_prediction_step,
        watcher.on_evaluate,
        watcher.on_substep_end,
        watcher.on_save,
        watcher.on_log,
    ):
        before = watcher.heart._beats
        call(args, state, None)
        assert watcher.heart._beats == before + 1


@pytest.mark.slow
def test_two_processes_that_wait_for_each_other_both_say_where_they_stand(tmp_path: Path) -> None:
    here = place(tmp_path, list(small.packed_rows(20)))
    (tmp_path / "hang.py").write_text(HANGING)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*words, str(tmp_path / "hang.py"), str(Path(__file__).parent), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment, check=False)
    assert ended.returncode != 0
    first, second = (
        Outcome.model_validate_json((here.work / name).read_bytes()) for name in ("outcome.json", "outcome-1.json")
    )
    assert (first.status, second.status) == ("failed", "failed")
    assert "process 0 stands in" in str(first.message)
    assert "process 1 stands in" in str(second.message)
    assert "waits_for_ever" in str(second.message)
    assert "waits_for_ever" not in str(first.message)
