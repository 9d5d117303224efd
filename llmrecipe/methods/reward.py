"""Reward modelling: one number for a whole text, higher for the answer that people chose."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.base import BaseMethod
from llmrecipe.vocabulary import Head, Objective, RowKind, TooLong


class Reward(BaseMethod):
    """A reward model: one number for a whole text, higher for the chosen answer (Bradley-Terry).

    Rows of which an answer is longer than `training.max_length` are left out, since a score is read at their end.

    Source: https://arxiv.org/abs/2203.02155, section 3.5
    """

    trainer: ClassVar[str] = "trl:RewardTrainer"
    config: ClassVar[str] = "trl:RewardConfig"
    rows: ClassVar[tuple[RowKind, ...]] = ("preference",)
    objective: ClassVar[Objective] = "preference"
    too_long: ClassVar[TooLong] = "drop"
    learning_rate: ClassVar[float] = 1e-5
    head: ClassVar[Head] = "reward"

    kind: Literal["reward"]
    center_rewards_coefficient: Annotated[float, Field(gt=0)] | None = None
    """Weight of a term that holds the mean of the scores at zero; 0.01 is usual.

    Source: https://arxiv.org/abs/2312.09244, equation 2
    """

    def options(self) -> dict[str, JsonValue]:
        return {"center_rewards_coefficient": self.center_rewards_coefficient}
