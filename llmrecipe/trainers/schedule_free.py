"""Schedule-free training ends with the average of its steps, not with the last one."""

from typing import Any


class ScheduleFreeEnd:
    """A mixin before the trainer's class: the checkpoint of the last step holds the average, as validations see it.

    Earlier ones hold whichever of the two is in the model, and the optimizer knows which, so that a resumed run goes on
    bit for bit. Source: https://github.com/facebookresearch/schedule_free, section "How to Use"
    """

    state: Any
    optimizer: Any

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            self.optimizer.eval()
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
