"""Pretraining: predict the next token of plain text."""

from typing import ClassVar, Literal

from llmrecipe.methods.base import BaseMethod
from llmrecipe.vocabulary import Objective, RowKind


class Pretrain(BaseMethod):
    """Predict the next token of plain text, from scratch or continued."""

    trainer: ClassVar[str] = "transformers:Trainer"
    config: ClassVar[str] = "transformers:TrainingArguments"
    rows: ClassVar[tuple[RowKind, ...]] = ("text",)
    objective: ClassVar[Objective] = "causal"
    learning_rate: ClassVar[float] = 5e-4

    kind: Literal["pretrain"]
