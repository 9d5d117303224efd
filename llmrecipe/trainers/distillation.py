"""Distillation on written answers and on the student's own, over TRL's trainer, which knows the latter alone."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler
from trl import DistillationConfig as OnPolicyConfig
from trl import DistillationTrainer as OnPolicyTrainer
from trl.trainer.utils import RepeatSampler

IGNORED = -100


@dataclass
class DistillationConfig(OnPolicyConfig):  # type: ignore[misc]
    """TRL's, with the share of steps that are on the student's own answers."""

    lmbda: float = field(default=1.0, metadata={"help": "Share of steps on answers that the student has just given."})


class DistillationTrainer(OnPolicyTrainer):  # type: ignore[misc]
    """Matches the teacher's distribution over next tokens, on `lmbda` of the steps after answers of the student.

    Rows hold `input_ids` and `labels` of one length. What precedes the first label is the prompt that the student
    answers; the written answer is what follows, and the loss is over its labels. Validations are over written answers.

    Source: https://arxiv.org/abs/2306.13649, algorithm 1
    """

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        sampler: RepeatSampler = super()._get_train_sampler(dataset)
        return ResumableSampler(sampler, self)

    def _generate_and_score_completions(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        if not self.model.training or not self._answers_itself():
            return self._written(inputs)
        prompts = [{"prompt": row["input_ids"][: _start(row)].tolist()} for row in inputs]
        seen = self.state.num_input_tokens_seen
        found: dict[str, Any] = super()._generate_and_score_completions(prompts)
        self.state.num_input_tokens_seen = seen  # Tokens are counted once, as they are learned from.
        return found

    def _answers_itself(self) -> bool:
        """Whether this step is on the student's answers; the same on every process, and after a resume."""
        share: float = self.args.lmbda
        return random.Random(f"{self.args.seed}/{self.state.global_step}").random() < share

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}

    def _written(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch that `_generate_and_score_completions` makes, of written answers [rows, longest].

        `tool_mask` says which of their tokens the loss is over.
        """
        device, pad = self.accelerator.device, self._tokenizer.pad_token_id
        starts = [max(1, _start(row)) for row in inputs]
        ids = [torch.as_tensor(np.asarray(row["input_ids"], dtype=np.int64)) for row in inputs]
        learned = [torch.as_tensor(np.asarray(row["labels"]) != IGNORED).long() for row in inputs]
        prompts = [row[:start] for row, start in zip(ids, starts, strict=True)]
        answers = [row[start:] for row, start in zip(ids, starts, strict=True)]
        masks = [row[start:] for row, start in zip(learned, starts, strict=True)]
        tool_mask = pad_sequence(masks, batch_first=True)
        return {
            "prompt_ids": pad_sequence(prompts, True, pad, padding_side="left").to(device),
            "prompt_mask": pad_sequence([torch.ones_like(p) for p in prompts], True, 0, padding_side="left").to(device),
            "completion_ids": pad_sequence(answers, True, pad).to(device),
            "completion_mask": pad_sequence([torch.ones_like(a) for a in answers], True).to(device),
            "tool_mask": tool_mask.to(device),
            "num_items_in_batch": self.accelerator.gather(tool_mask.sum().to(device)).sum(),
        }

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
        return inputs | {"num_tokens": inputs["prompt_mask"].sum() + inputs["completion_mask"].sum()}


def _start(row: Mapping[str, Any]) -> int:
    """Where the first label stands; the end of a row without one."""
    learned = np.flatnonzero(np.asarray(row["labels"]) != IGNORED)
    return int(learned[0]) if len(learned) else len(row["labels"])


class ResumableSampler(Sampler[int]):  # type: ignore[misc]
    """TRL's sampler with an order that follows from seed and epoch alone, so that a resumed run meets the same rows."""

    def __init__(self, sampler: RepeatSampler, trainer: Any) -> None:
        self.sampler, self.trainer = sampler, trainer

    def __iter__(self) -> Iterator[int]:
        if self.sampler.shuffle:  # The state knows the epoch before the first row is asked for, resumed or not.
            self.sampler.generator.manual_seed(self.sampler.seed + int(self.trainer.state.epoch or 0))
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)
