"""GRPO and RLOO of TRL as the training stage runs them: prompts, counted tokens, and checkpoints with every answer."""

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.utils import RepeatSampler

from llmrecipe.stages.place import StageError

TRAINERS = ("trl:GRPOTrainer", "trl:RLOOTrainer")


def prompts(dataset: Dataset) -> Dataset:
    """Rows whose `prompt` is a string or messages; it is stored as JSON text."""

    def decoded(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {**rows, "prompt": [json.loads(text) for text in rows["prompt"]]}

    return dataset.with_transform(decoded)


class ResumableRepeatSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's order of prompts, in which each pass depends on its number alone and not on the passes before it."""

    def set_epoch(self, epoch: int) -> None:
        """Say which pass comes next."""
        if self.shuffle:
            self.generator.manual_seed(self.seed + epoch)


class Grouped:
    """A mixin before the trainer's class.

    Answers that were generated and not yet learned from are part of a checkpoint: the trainer alone would generate
    them anew after a resume, with other weights, and count from there.
    """

    args: Any
    state: Any
    model: Any
    train_dataset: Any
    num_generations: int
    num_iterations: int
    shuffle_dataset: bool
    _step: int
    _buffered_inputs: Any

    def take_over(self) -> None:
        """See that there are prompts enough for one generation.

        Raises:
            StageError: there are not; the trainer would do nothing and end.
        """
        at_once = self.args.generation_batch_size // self.num_generations
        if len(self.train_dataset) < at_once:
            raise StageError(
                f"{len(self.train_dataset)} prompts are too few: {at_once} are answered at once",
                "add data, raise `method.num_generations`, or lower `training.global_batch_size`",
            )

    def _get_train_sampler(self, dataset: Any = None) -> ResumableRepeatSampler:
        return ResumableRepeatSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
        )

    def _prepare_inputs(self, batch: Any) -> dict[str, Any]:
        """One batch with its tokens counted; a new mapping, since the answers may be learned from again."""
        inputs = super()._prepare_inputs(batch)  # type: ignore[misc]
        return {**inputs, "num_tokens": inputs["prompt_mask"].sum() + inputs["completion_mask"].sum()}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        waiting = self._step % (self.args.steps_per_generation * self.num_iterations) != 0
        content = {"step": self._step, "inputs": self._buffered_inputs if waiting else None}
        torch.save(content, self._answers(folder))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None:
            content = torch.load(self._answers(Path(checkpoint)), map_location=self.args.device, weights_only=True)
            self._step, self._buffered_inputs = content["step"], content["inputs"]

    def _answers(self, folder: Path) -> Path:
        return folder / f"answers-{self.args.process_index}.pt"
