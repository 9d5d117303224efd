"""Masked language modelling: guess hidden tokens from what stands on both sides."""

from typing import ClassVar, Literal

from llmrecipe.methods.base import BaseMethod
from llmrecipe.vocabulary import Head, Masking, Objective, RowKind


class MLM(BaseMethod, Masking):
    """Guess hidden tokens from what stands on both sides. Source: https://arxiv.org/abs/1810.04805"""

    trainer: ClassVar[str] = "transformers:Trainer"
    config: ClassVar[str] = "transformers:TrainingArguments"
    rows: ClassVar[tuple[RowKind, ...]] = ("text",)
    objective: ClassVar[Objective] = "masked"
    learning_rate: ClassVar[float] = 5e-4
    head: ClassVar[Head] = "masked"

    kind: Literal["mlm"]

    def masking(self) -> Masking | None:
        return Masking(**self.model_dump(exclude={"kind"}))
