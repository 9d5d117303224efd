"""Reward functions on answers: one number for each."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from llmrecipe.stages.place import StageError

RewardFunction = Callable[..., Sequence[float | None]]
"""`f(prompts, completions, completion_ids, **columns)`: a number for each answer, or None where it does not apply."""


class Scorer:
    """Several reward functions with weights."""

    def __init__(self, functions: Sequence[RewardFunction], weights: Sequence[float] | None, tokenizer: Any) -> None:
        """
        Raises:
            ValueError: there is no function, or not one weight for each.
        """
        self.functions = list(functions)
        self.weights = list(weights) if weights is not None else [1.0] * len(self.functions)
        self.tokenizer = tokenizer
        if not self.functions or len(self.functions) != len(self.weights):
            raise ValueError(f"{len(self.functions)} reward functions have {len(self.weights)} weights")
        names = [_name(function) for function in self.functions]
        self.names = [name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)]

    def __call__(self, rows: Sequence[Mapping[str, Any]], completions: Sequence[list[int]]) -> list[list[float]]:
        """What each function gives to each answer: [answers][functions], not a number where one does not apply.

        Args:
            rows: of the dataset: `prompt`, `prompt_ids` and any other columns, which the functions get by name.
            completions: token ids of the answers, one for each row.

        Raises:
            StageError: a function gives another number of rewards, or one that is not finite.
        """
        columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "prompt_ids")}
        prompts = [row["prompt"] for row in rows]
        texts = self.tokenizer.batch_decode(completions, skip_special_tokens=True)
        answers = [
            text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        given = {"prompts": prompts, "completions": answers, "completion_ids": list(completions), **columns}
        by_function = [
            _checked(name, function(**given), len(rows))
            for name, function in zip(self.names, self.functions, strict=True)
        ]
        return [list(row) for row in zip(*by_function, strict=True)]

    def total(self, rewards: torch.Tensor) -> torch.Tensor:
        """The weighted sum over the functions that apply: [answers, functions] -> [answers].

        Raises:
            StageError: to some answer none applies.
        """
        if rewards.isnan().all(1).any():
            raise StageError(
                "no reward function applies to some answer", "let at least one return a number for every row"
            )
        return (rewards * torch.tensor(self.weights, dtype=rewards.dtype, device=rewards.device)).nansum(1)


def _name(function: RewardFunction) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _checked(name: str, rewards: Sequence[float | None], count: int) -> list[float]:
    if len(rewards) != count:
        raise StageError(
            f"the reward function `{name}` returned {len(rewards)} rewards for {count} answers", "return one for each"
        )
    found = [math.nan if reward is None else float(reward) for reward in rewards]
    for given, number in zip(rewards, found, strict=True):
        if given is not None and not math.isfinite(number):
            raise StageError(
                f"the reward function `{name}` returned {given}",
                "return a finite number, or None where it does not apply",
            )
    return found
