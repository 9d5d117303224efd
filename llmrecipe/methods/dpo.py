"""Direct preference optimization: prefer the chosen answer to the rejected one."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.base import BaseMethod
from llmrecipe.vocabulary import Objective, RowKind


class DPO(BaseMethod):
    """Direct preference optimization: prefer the chosen answer to the rejected one.

    Source: https://arxiv.org/abs/2305.18290
    """

    trainer: ClassVar[str] = "trl:DPOTrainer"
    config: ClassVar[str] = "trl:DPOConfig"
    rows: ClassVar[tuple[RowKind, ...]] = ("preference",)
    objective: ClassVar[Objective] = "preference"
    learning_rate: ClassVar[float] = 1e-6

    kind: Literal["dpo"]
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How strongly the policy is held to the reference model."""
    loss_type: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """`sigmoid`: as in the paper; `hinge`: a margin instead; `ipo`: a squared loss, for sure preferences.

    Sources: https://arxiv.org/abs/2305.10425, https://arxiv.org/abs/2310.12036
    """

    def options(self) -> dict[str, JsonValue]:
        return {"beta": self.beta, "loss_type": [self.loss_type]}
