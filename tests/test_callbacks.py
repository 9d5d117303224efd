"""What happens between steps."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small

from llmrecipe.stages.place import Interrupted, StageError
from llmrecipe.trainers import callbacks
from llmrecipe.trainers.callbacks import StopOnSignal, TrainingLog

ARGS = SimpleNamespace(world_size=1, fp16=False)


def state(*history: dict[str, Any], step: int = 4, max_steps: int = 10, tokens: int = 99) -> Any:
    return SimpleNamespace(
        log_history=list(history), global_step=step, max_steps=max_steps, num_input_tokens_seen=tokens,
        is_world_process_zero=True,
    )  # fmt: skip


def control(**flags: bool) -> Any:
    return SimpleNamespace(**({"should_save": False, "should_log": False, "should_evaluate": False,
                               "should_training_stop": False} | flags))  # fmt: skip


def recorder(folder: Path, evaluates: bool = True) -> TrainingLog:
    return TrainingLog(folder / "log.jsonl", small.place(folder), evaluates)


ENTRY = {"loss": 2.5, "grad_norm": 1.0, "learning_rate": 0.1, "epoch": 0.5, "step": 4}


def test_a_resumed_log_goes_on_after_the_checkpoint_and_forgets_what_came_later(tmp_path: Path) -> None:
    log = recorder(tmp_path)
    log.path.write_text('{"step": 4}\n{"step": 5}\n{"step": 6, "lo', encoding="utf-8")
    log.on_train_begin(ARGS, state(ENTRY), control())
    later = {**ENTRY, "step": 5}
    log.on_log(ARGS, state(ENTRY, later, step=5), control())
    assert [json.loads(line)["step"] for line in log.path.read_text(encoding="utf-8").splitlines()] == [4, 5]


def test_totals_of_one_process_are_not_part_of_the_log(tmp_path: Path) -> None:
    log = recorder(tmp_path)
    log.on_train_begin(ARGS, state(), control())
    log.on_log(ARGS, state({"train_runtime": 1.0, "train_loss": 2.0, "epoch": 1.0, "step": 4}), control())
    log.on_log(ARGS, state({"eval_loss": 2.0, "eval_runtime": 1.0, "epoch": 1.0, "step": 4}), control())
    assert log.path.read_text(encoding="utf-8") == '{"step": 4, "epoch": 1.0, "eval_loss": 2.0}\n'


def test_tokens_are_those_of_all_runs(tmp_path: Path) -> None:
    log = recorder(tmp_path)
    log.on_train_begin(ARGS, state(), control())
    log.on_log(ARGS, state({**ENTRY, "num_tokens": 3}), control())
    assert json.loads(log.path.read_text(encoding="utf-8"))["num_tokens"] == 99


@pytest.mark.parametrize("name", ["loss", "grad_norm", "eval_loss"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stops_training(name: str, value: float, tmp_path: Path) -> None:
    log = recorder(tmp_path)
    with pytest.raises(StageError, match=rf"`{name}` became (nan|inf) at step 4"):
        log.on_log(ARGS, state({**ENTRY, name: value}), control())
    assert not log.path.exists()


def test_half_precision_may_skip_a_step_whose_gradient_overflows(tmp_path: Path) -> None:
    log = recorder(tmp_path)
    log.on_log(SimpleNamespace(fp16=True), state({**ENTRY, "grad_norm": float("inf")}), control())


def test_every_save_is_logged_before_and_the_last_step_evaluated(tmp_path: Path) -> None:
    flags = control(should_save=True)
    recorder(tmp_path).on_step_end(ARGS, state(), flags)
    assert (flags.should_log, flags.should_evaluate) == (True, False)
    flags = control()
    recorder(tmp_path).on_step_end(ARGS, state(step=10), flags)
    assert flags.should_evaluate
    flags = control()
    recorder(tmp_path, evaluates=False).on_step_end(ARGS, state(step=10), flags)
    assert not flags.should_evaluate


def test_a_signal_stops_after_the_step_and_a_later_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopOnSignal() as stop:
        flags = control()
        stop.on_step_end(ARGS, state(), flags)
        assert not flags.should_training_stop
        os.kill(os.getpid(), signal.SIGTERM)
        stop.on_step_end(ARGS, state(), flags)
        assert flags.should_training_stop
        assert flags.should_save
        assert stop.stopped
        os.kill(os.getpid(), signal.SIGTERM)  # From the scheduler and from the runner.
        monkeypatch.setattr(callbacks, "SAME_SIGNAL", 0.0)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_in_the_last_step_changes_nothing() -> None:
    with StopOnSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        stop.on_step_end(ARGS, state(step=10), control())
        assert not stop.stopped
