"""Validations compared: which one is the best, and when there is no use in going on."""

from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback

from llmrecipe.optimization import Best, EarlyStopping
from llmrecipe.stages.place import StageError

History = Sequence[dict[str, Any]]
"""The log of a trainer's state, which its checkpoints hold."""


def best_step(history: History, best: Best) -> int | None:
    """The step of the best validation, the first of equal ones; None before the first."""
    found = _validations(history, best)
    if not found:
        return None
    sign = -1 if best.greater_is_better else 1
    return min(found, key=lambda each: (sign * each[1], each[0]))[0]


def exhausted(history: History, stopping: EarlyStopping) -> bool:
    """Whether so many validations in turn were no better than the best before them."""
    reached, waited = None, 0
    for _, value in _validations(history, stopping):
        value = -value if stopping.greater_is_better else value
        if reached is None or value < reached - stopping.threshold:
            reached, waited = value, 0
        else:
            waited += 1
        if waited >= stopping.patience:
            return True
    return False


def _validations(history: History, best: Best) -> list[tuple[int, float]]:
    """Step and value of every validation."""
    return [(entry["step"], entry[best.metric]) for entry in history if best.metric in entry]


class Judge(TrainerCallback):  # type: ignore[misc]
    """Saves the best validation, and ends training when the last ones were no better.

    It looks at nothing but the log, so that a resumed run decides as the uninterrupted one.
    """

    def __init__(self, best: Best | None, stopping: EarlyStopping | None) -> None:
        self.best = best
        self.stopping = stopping

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A validation may end in a checkpoint, and a checkpoint is preceded by a line of the log."""
        if control.should_evaluate:
            control.should_log = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compare.

        Raises:
            StageError: validations of this method do not have the metric.
        """
        measured = {name for entry in state.log_history for name in entry if name.startswith("eval_")}
        for judged in (self.best, self.stopping):
            if judged is not None and judged.metric not in measured:
                raise StageError(
                    f"validations do not measure `{judged.metric}`",
                    f"they measure {', '.join(f'`{name}`' for name in sorted(measured))}",
                )
        if self.best is not None and best_step(state.log_history, self.best) == state.global_step:
            control.should_save = True
        if self.stopping is not None and exhausted(state.log_history, self.stopping):
            control.should_save = control.should_training_stop = True
