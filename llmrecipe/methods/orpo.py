"""Odds ratio preference optimization: instruction and preference in one step, without a reference model."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.base import BaseMethod
from llmrecipe.vocabulary import Objective, RowKind


class ORPO(BaseMethod):
    """Instruction and preference in one step: the likelihood of the chosen answer, and its odds against the other.

    Source: https://arxiv.org/abs/2403.07691
    """

    trainer: ClassVar[str] = "trl.experimental.orpo:ORPOTrainer"
    config: ClassVar[str] = "trl.experimental.orpo:ORPOConfig"
    rows: ClassVar[tuple[RowKind, ...]] = ("preference",)
    objective: ClassVar[Objective] = "preference"
    learning_rate: ClassVar[float] = 8e-6
    experimental: ClassVar[str | None] = (
        "its trainer lives in `trl.experimental.orpo`, which may change or vanish with any version of TRL"
    )

    kind: Literal["orpo"]
    beta: Annotated[float, Field(gt=0)] = 0.1
    """Weight of the odds ratio beside the likelihood; lambda in the paper."""

    def options(self) -> dict[str, JsonValue]:
        return {"beta": self.beta}
