"""What happens between steps: the training log, progress, a stop at a broken loss or at a signal."""

import json
import math
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback

from llmrecipe.stages.place import Interrupted, Place, StageError

UNLOGGED = (
    "total_flos", "train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second",
    "eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_num_tokens", "num_input_tokens_seen",
)  # fmt: skip
"""What trainers log about themselves: totals of one process, which a resumed run would tell differently."""
SECONDS_BETWEEN_EVENTS = 0.5
SAME_SIGNAL = 1.0
"""Seconds in which two signals mean one thing."""
WATCHED = ("loss", "grad_norm", "eval_loss", "entropy", "eval_entropy", "kl", "objective/kl", "objective/entropy")
"""What of a log must be finite."""
DIVERGED = (
    "lower `training.learning_rate`, lengthen the warm-up or set `training.precision: float32`; nothing was saved "
    "after the last good checkpoint"
)
"""What to do when numbers stop being finite."""


class TrainingLog(TrainerCallback):  # type: ignore[misc]
    """Keeps `log.jsonl` and the progress events, and stops when the loss or a gradient is no number any more.

    The log is always the history of the trainer's state, so that it continues after a resume as if nothing had been.
    """

    def __init__(self, path: Path, place: Place, evaluates: bool) -> None:
        self.path = path
        self.place = place
        self.evaluates = evaluates
        self.last_event = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the history so far: empty, or that of the checkpoint."""
        self.write(state)
        self.place.event(event="progress", done=state.global_step, total=state.max_steps, unit="steps")

    def write(self, state: Any) -> None:
        """Write the whole log anew."""
        if state.is_world_process_zero:
            lines = [entry for history in state.log_history if (entry := _entry(history))]
            self.path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See that every checkpoint is preceded by a log line and the last one by an evaluation."""
        if control.should_save:
            control.should_log = True
        if self.evaluates and state.global_step >= state.max_steps:
            control.should_evaluate = True
        now = time.monotonic()
        if now - self.last_event > SECONDS_BETWEEN_EVENTS and not control.should_log:
            self.last_event = now
            self.place.event(event="progress", done=state.global_step, total=state.max_steps, unit="steps")

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Append one line.

        Raises:
            StageError: loss or gradient norm is not finite. Nothing of it was saved: the log comes before the save.
        """
        history = state.log_history[-1]
        if "loss" in history:  # TRL's own count starts at zero again after a resume.
            history["num_tokens"] = state.num_input_tokens_seen
        entry = _entry(history)
        if not entry:
            return
        _check_finite(entry, half=bool(args.fp16))
        if state.is_world_process_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        shown = {name: entry[name] for name in ("loss", "learning_rate", "grad_norm", "tokens_per_second", "eval_loss")
                 if name in entry}  # fmt: skip
        self.last_event = time.monotonic()
        self.place.event(event="progress", done=state.global_step, total=state.max_steps, unit="steps", **shown)

    def warn(self, state: Any, rule: str, message: str, help_: str) -> None:
        """Say something in the log, the history of the trainer, which a resumed run goes on with, and the events."""
        line = {"epoch": state.epoch or 0.0, "step": state.global_step, "warning": rule, "message": message}
        state.log_history.append(line | {"help": help_})
        if state.is_world_process_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_entry(state.log_history[-1])) + "\n")
        self.place.event(event="warning", rule=rule, message=message, help=help_, done=state.global_step)


def _entry(history: dict[str, Any]) -> dict[str, Any]:
    """One line of the log: step and epoch first. Empty for what is no measurement of training."""
    entry = {name: value for name, value in history.items() if name not in UNLOGGED}
    place = {"step": entry.pop("step"), "epoch": entry.pop("epoch", 0.0)}
    return place | entry if entry else {}


def _check_finite(entry: dict[str, Any], half: bool) -> None:
    for name in WATCHED:
        value = entry.get(name, 0.0)
        if name == "grad_norm" and half:  # fp16 skips steps that overflow.
            continue
        if not math.isfinite(value):
            raise StageError(
                f"`{name}` became {value} at step {entry['step']}: training has diverged",
                DIVERGED,
            )


class StopOnSignal(TrainerCallback):  # type: ignore[misc]
    """SIGTERM or SIGINT: finish the step, save, stop. A second signal after a second stops at once.

    Schedulers of clusters tell every process, and the runner tells its stages: what comes within a second is one.

    A context: signals are answered this way inside of it. All ranks stop after the same step.
    """

    def __init__(self) -> None:
        self.received = False
        self.stopped = False
        self.when = 0.0

    def __enter__(self) -> "StopOnSignal":
        self.before = {number: signal.signal(number, self._receive) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received and time.monotonic() - self.when > SAME_SIGNAL:
            raise Interrupted
        if not self.received:
            self.received, self.when = True, time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop when any rank was told to."""
        if self._any(args) and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = control.should_training_stop = True

    def _any(self, args: Any) -> bool:
        if args.world_size == 1:
            return self.received
        told = torch.tensor(int(self.received), device=args.device)
        torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
        return bool(told)
