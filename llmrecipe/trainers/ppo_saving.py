"""What PPO keeps: the plain policy where models are saved; value, KL coefficient and rollout in checkpoints too."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers.trainer import TRAINING_ARGS_NAME

from llmrecipe.trainers.ppo_math import KLController
from llmrecipe.trainers.ppo_meters import Meters
from llmrecipe.trainers.ppo_rollout import Rollout

VALUE = "value.safetensors"
STATE = "ppo.pt"


class Saving:
    """Saving and loading of a trainer whose model is a policy with its value; a mixin before the trainer's class."""

    args: Any
    model: Any
    accelerator: Any
    processing_class: Any
    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool
    controller: KLController
    meters: Meters
    rollout: Rollout | None
    state: Any

    _in_checkpoint: bool = False

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the policy as a model or adapter that libraries load; in a checkpoint the value beside it."""
        self._in_checkpoint = _internal_call
        super().save_model(output_dir, _internal_call)  # type: ignore[misc]

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        policy = None if state_dict is None else _under("policy.", state_dict)
        model.policy.save_pretrained(folder, state_dict=policy)
        self.processing_class.save_pretrained(folder)
        torch.save(self.args, folder / TRAINING_ARGS_NAME)
        if self._in_checkpoint:
            value = model.value.state_dict() if state_dict is None else _under("value.", state_dict)
            save_file({name: tensor.contiguous() for name, tensor in value.items()}, folder / VALUE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:  # The whole module is one checkpoint there.
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        super()._load_from_checkpoint(resume_from_checkpoint, self.model.policy)  # type: ignore[misc]
        self.model.value.load_state_dict(load_file(Path(resume_from_checkpoint) / VALUE))

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_best_model()  # type: ignore[misc]
        else:
            self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        meters = self.meters.reduced(self.accelerator)
        if not self.args.should_save or self.args.save_only_model:
            return
        state = {
            "kl_coef": self.controller.coefficient,
            "meters": meters,
            "rollout": None if self.rollout is None else self.rollout.state(),
        }
        folder = self._get_output_dir(trial=trial)  # type: ignore[attr-defined]
        torch.save(state, Path(folder) / f"checkpoint-{self.state.global_step}" / STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is None:
            return
        state = torch.load(Path(checkpoint) / STATE, map_location="cpu", weights_only=True)
        self.controller.coefficient = state["kl_coef"]
        self.meters.restore(state["meters"], here=self.args.process_index == 0)
        if state["rollout"] is not None:
            self.rollout = Rollout.restored(state["rollout"], self.args.device)


def _under(prefix: str, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of one part, by their names in it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state_dict.items() if name.startswith(prefix)}
