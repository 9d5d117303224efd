"""A trainer of Transformers or TRL as the training stage runs it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from transformers.integrations.deepspeed import deepspeed_load_checkpoint

from llmrecipe.optimization import Best, OwnOptimizer
from llmrecipe.stages import checkpoints
from llmrecipe.stages.place import StageError
from llmrecipe.trainers import optimizers, sharded
from llmrecipe.trainers.best import best_step
from llmrecipe.trainers.callbacks import DIVERGED
from llmrecipe.trainers.changed import optimizer_options, set_optimizer_options
from llmrecipe.trainers.loraplus import split_groups
from llmrecipe.trainers.telemetry import Telemetry


class Staged:
    """What every trainer gets in addition: rows are tokens already, checkpoints are sealed, tokens are counted.

    A mixin before the trainer's class. The attributes below are set between construction and `train()`.
    """

    args: Any
    state: Any
    model: Any
    model_wrapped: Any
    accelerator: Any
    optimizer: Any
    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool
    lr_scheduler: Any
    gather_function: Any

    own_optimizer: OwnOptimizer | None = None
    """Optimizer instead of the one that the arguments name."""
    loraplus: float | None = None
    """How much faster the second matrices of an adapter learn."""
    best: Best | None = None
    """Which validation is the best one; its checkpoint is kept."""
    save_total_limit: int = 1
    """Complete checkpoints kept. The trainer's own rotation would count one that is not complete yet."""

    training_record: JsonValue = None
    """What checkpoints belong to."""
    changed: bool = False
    """Whether the checkpoint to go on from was written under other options, which are not to come back with it."""

    measured_seconds: float = 0.0
    """Time of training that the line which is being logged is about."""
    _counted: torch.Tensor | int = 0
    """Tokens since the last log on this process; a tensor on the device, so that counting does not wait for it."""
    _seconds: float = 0.0
    """Time of training since the last log, up to `_clock`."""
    _clock: float | None = None
    """When the running stretch of training began; None before the first step."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the export writes the card."""

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimizer that the arguments cannot name, else the one that they name."""
        if self.own_optimizer is None or self.optimizer is not None:
            new, optimizer = self.optimizer is None, super().create_optimizer(model)  # type: ignore[misc]
            if new and self.loraplus is not None:
                split_groups(optimizer, self.model, self.loraplus)
            return optimizer
        decayed = set(self.get_decay_parameter_names(self.model))  # type: ignore[attr-defined]
        self.optimizer = optimizers.build(self.own_optimizer, self.model, self.args, decayed)
        return self.optimizer

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The trainer's own loss; counts the tokens of training batches on the way."""
        tokens = inputs.pop("num_tokens", None)
        if self._clock is None:
            self._clock = time.perf_counter()
        if self.model.training:
            self._counted = self._counted + (inputs["attention_mask"].sum() if tokens is None else tokens)
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add `tokens_per_second` over all processes since the last log, without evaluations and saves."""
        if "loss" in logs:
            counted = torch.as_tensor(self._counted, device=self.args.device)
            tokens = int(self.accelerator.reduce(counted, "sum")) // self.sharing()
            self.state.num_input_tokens_seen += tokens
            with self._untimed():
                logs["tokens_per_second"] = tokens / self._seconds
            self.measured_seconds = self._seconds
            self._counted, self._seconds = 0, 0.0
        super().log(logs, *args, **kwargs)  # type: ignore[misc]

    def sharing(self) -> int:
        """Processes that see the same rows, next to each other by rank."""
        return int(self.get_tp_size() * self.get_cp_size())  # type: ignore[attr-defined]

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """The trainer's own, which takes what every process finds for that of other rows."""
        if self.sharing() > 1:
            self.gather_function = self._of_different_rows  # The trainer puts its own back at the end.
        return super().evaluation_loop(*args, **kwargs)  # type: ignore[misc]

    def _of_different_rows(self, losses: torch.Tensor) -> torch.Tensor:
        """Losses [rows of a process] of all processes, each row once, as `gather_for_metrics` would give them."""
        found: torch.Tensor = self.accelerator.gather(losses)
        found = found.view(-1, self.sharing(), len(losses)).mean(1).flatten()
        state = self.accelerator.gradient_state
        return found[: state.remainder] if state.end_of_dataloader and state.remainder > 0 else found

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """The trainer's own evaluation, outside of the measured time."""
        with self._untimed():
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        folder = Path(self.args.output_dir) / f"checkpoint-{step}"
        self._check_weights(step)
        with self._untimed(), checkpoints.writing(f"the checkpoint of step {step}", folder):
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoints.seal(folder, self.training_record)
                best = best_step(self.state.log_history, self.best) if self.best is not None else None
                checkpoints.keep_newest(folder.parent, self.save_total_limit, best)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The trainer's own; after a change, the options of the recipe stay and only the state is taken over."""
        if not self.changed:
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
            return
        options = optimizer_options(self.optimizer)
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        set_optimizer_options(self.optimizer, self.lr_scheduler, options)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The trainer's own, with each tied weight once: what is gathered for it has all of its names."""
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        if state_dict is not None:
            state_dict = {name: tensor for name, tensor in state_dict.items() if name not in tied}
        super()._save(output_dir, state_dict)  # type: ignore[misc]

    def _check_weights(self, step: int) -> None:
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not torch.isfinite(sharded.here(parameter)).all():
                raise StageError(
                    f"the weight `{name}` is no finite number after step {step}: training has diverged", DIVERGED
                )

    @contextmanager
    def _untimed(self) -> Iterator[None]:
        if self._clock is not None:
            self._seconds += time.perf_counter() - self._clock
        yield
        self._clock = time.perf_counter()

    def restore(self, checkpoint: Path) -> None:
        """Take over weights and history of a checkpoint after which nothing is left to train."""
        state = type(self.state).load_from_json(str(checkpoint / "trainer_state.json"))
        # The first process has written it, about itself.
        state.is_local_process_zero = self.is_local_process_zero()  # type: ignore[attr-defined]
        state.is_world_process_zero = self.is_world_process_zero()  # type: ignore[attr-defined]
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # Shares can only be read by a model that is spread.
            rows = self.get_train_dataloader()  # type: ignore[attr-defined]
            self._prepare_for_training(state.max_steps, rows, str(checkpoint))  # type: ignore[attr-defined]
        else:
            self.load_weights(checkpoint)
        self.state = state

    def load_weights(self, checkpoint: Path) -> None:
        """Take over the weights of a checkpoint, once the model is as it is trained."""
        if self.is_deepspeed_enabled:
            adapted = hasattr(self.model, "peft_config")
            deepspeed_load_checkpoint(self.model_wrapped, str(checkpoint), load_module_strict=not adapted)
        else:
            self._load_from_checkpoint(str(checkpoint))  # type: ignore[attr-defined]


def staged(trainer: type, *mixins: type) -> Callable[..., Any]:
    """The trainer with what `Staged` and further mixins add; its name stays."""
    return type(trainer.__name__, (Staged, Telemetry, *mixins, trainer), {})
