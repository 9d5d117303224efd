"""Kahneman-Tversky optimization: learn from answers of which each is called good or bad."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.reference import ReferenceMethod
from llmrecipe.vocabulary import Objective, RowKind


class KTO(ReferenceMethod):
    """Learn from answers of which each is called good or bad. Preferences become two answers each.

    Rows are mixed once, by the seed; every epoch has the same batches, since the KL is estimated from answers to other
    prompts of the batch.

    Source: https://arxiv.org/abs/2402.01306
    """

    trainer: ClassVar[str] = "trl:KTOTrainer"
    config: ClassVar[str] = "trl:KTOConfig"
    rows: ClassVar[tuple[RowKind, ...]] = ("unpaired_preference", "preference")
    objective: ClassVar[Objective] = "unpaired_preference"
    learning_rate: ClassVar[float] = 1e-6

    kind: Literal["kto"]
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How strongly the policy is held to the reference model."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """`kto`: as in the paper; `apo_zero_unpaired`: without the KL, for good answers that are better than its own.

    Source: https://arxiv.org/abs/2408.06266
    """
    desirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """What a good answer counts. With fewer good answers than bad ones, raise it by their ratio."""
    undesirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """What a bad answer counts."""

    def options(self) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {
            "beta": self.beta,
            "loss_type": self.loss_type,
            "desirable_weight": self.desirable_weight,
            "undesirable_weight": self.undesirable_weight,
        }
        return found | self.reference_options()
