"""Looks at a training while it goes on: stops it with a diagnosis where it has gone wrong, or says so and goes on."""

import faulthandler
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from llmrecipe.plan import Outcome
from llmrecipe.stages.outcome import outcome_file, write_outcome
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.alarms import Alarm, LogRule, log_rules
from llmrecipe.trainers.audit import TrainedTensors
from llmrecipe.trainers.callbacks import TrainingLog
from llmrecipe.trainers.heartbeat import Heartbeat, where
from llmrecipe.watching import Watchdog

GRACE = 2.0
"""Seconds in which other processes, which wait as long, can write down where they are."""


class Watcher(TrainerCallback):  # type: ignore[misc]
    """The rules of `training.watchdog`. It reads and never writes what is trained, and takes no random number."""

    def __init__(self, settings: Watchdog, place: Place, log: TrainingLog) -> None:
        """
        Args:
            settings: what to do about what.
            place: of the stage.
            log: where warnings are written; it has to come before this callback.
        """
        self.settings = settings
        self.place = place
        self.log = log
        self.audit = TrainedTensors(settings.audit.share) if settings.audit.action != "off" else None
        self.rules: dict[str, LogRule] = {}
        self.warned: set[str] = set()
        self.state: Any = None
        hang = settings.hang
        self.heart = Heartbeat(hang.minutes * 60, hang.times, self._hangs) if hang.action != "off" else None

    # -- what the trainer calls --

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember what the log of an interrupted run said, and begin to listen for steps."""
        self.state = state
        config = getattr(kwargs.get("model"), "config", None)
        vocabulary = getattr(config.get_text_config(), "vocab_size", None) if config is not None else None
        self.rules = log_rules(self.settings, vocabulary, args.get_warmup_steps(state.max_steps))
        self.warned = {line["warning"] for line in state.log_history if "warning" in line}
        for line in state.log_history:
            for rule in self.rules.values():
                rule.look(line)
        if self.heart is not None:
            self.heart.start()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """Listen no more: what comes now takes as long as it takes."""
        if self.heart is not None:
            self.heart.stop()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.audit is not None:
            self.audit.begin_step(kwargs["model"])

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.audit is not None:
            self._heed("audit", self.audit.gradients(kwargs["model"], kwargs.get("optimizer")), state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.heart is not None:
            self.heart.step()
        if self.audit is not None:
            self._heed("audit", self.audit.end_step(kwargs["model"], kwargs.get("optimizer")), state)

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._beat()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._beat()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._beat()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the new line.

        Raises:
            StageError: a rule with `action: stop` has found something.
        """
        self._beat()
        line = state.log_history[-1]
        for name, rule in self.rules.items():
            self._heed(name, rule.look(line), state)
        if self.settings.device_memory.action != "off" and args.device.type == "cuda":
            self._heed("device_memory", _device_memory(args.device, self.settings.device_memory.above), state)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See that there is room for the next checkpoints."""
        self._beat()
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self.settings.free_disk.action != "off" and checkpoint.is_dir():
            self._heed("free_disk", _free_disk(checkpoint, self.settings.free_disk.checkpoints), state)

    # -- what is done about it --

    def _beat(self) -> None:
        if self.heart is not None:
            self.heart.beat()

    def _heed(self, rule: str, alarm: Alarm | None, state: Any) -> None:
        """Stop or warn; a warning is given once."""
        if alarm is None:
            return
        if getattr(self.settings, rule).action == "stop":
            self.stop()
            raise StageError(alarm.message, f"{alarm.help}; `training.watchdog.{rule}` says when this stops a run")
        if rule not in self.warned:
            self.warned.add(rule)
            self.log.warn(state, rule, alarm.message, alarm.help)

    def _hangs(self, seconds: float, limit: float) -> None:
        """Nothing moves. Called in the thread of the heartbeat, while the training stands still somewhere."""
        step = self.state.global_step
        message = (
            f"no step has ended for {seconds:.0f} s after step {step} ({limit:.0f} s are allowed); process "
            f"{self.place.rank} stands in {where(threading.main_thread())}"
        )
        print(f"{message}; what its threads are doing:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(all_threads=True)
        if self.settings.hang.action == "warn":
            self.place.event(event="warning", rule="hang", message=message, done=step)
            return
        help_ = (
            "the log has the stacks of all threads: see whether another process has died or waits elsewhere, whether "
            "data can still be read, and whether a step may take so long (`training.watchdog.hang`); run again to go "
            "on from the last complete checkpoint"
        )
        file = outcome_file(self.place)
        if file.exists():
            write_outcome(file, Outcome(status="failed", message=message, help=help_))
        time.sleep(GRACE)
        os._exit(1)


def _device_memory(device: torch.device, above: float) -> Alarm | None:
    peak, total = torch.cuda.max_memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
    if peak <= above * total:
        return None
    return Alarm(
        f"{peak / 2**30:.1f} of {total / 2**30:.1f} GiB of the device were in use at the peak",
        "lower `training.per_device_train_batch_size` (accumulation makes up for it) or set "
        "`training.gradient_checkpointing: true`",
    )


def _free_disk(checkpoint: Path, checkpoints: int) -> Alarm | None:
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    free = shutil.disk_usage(checkpoint).free
    if free >= checkpoints * size:
        return None
    return Alarm(
        f"{free / 1e6:,.0f} MB are free on the disk, and a checkpoint takes {size / 1e6:,.0f} MB",
        "make room, or lower `training.checkpoints.save_total_limit`",
    )
