"""Contrastive preference optimization and SimPO: preferences without a reference model."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.base import BaseMethod
from llmrecipe.vocabulary import Objective, RowKind


class CPO(BaseMethod):
    """Prefer the chosen answer without a reference model; with `loss_type: simpo`, SimPO.

    Sources: https://arxiv.org/abs/2401.08417, https://arxiv.org/abs/2405.14734
    """

    trainer: ClassVar[str] = "trl.experimental.cpo:CPOTrainer"
    config: ClassVar[str] = "trl.experimental.cpo:CPOConfig"
    rows: ClassVar[tuple[RowKind, ...]] = ("preference",)
    objective: ClassVar[Objective] = "preference"
    learning_rate: ClassVar[float] = 1e-6
    experimental: ClassVar[str | None] = (
        "its trainer lives in `trl.experimental.cpo`, which may change or vanish with any version of TRL"
    )

    kind: Literal["cpo"]
    loss_type: Literal["sigmoid", "hinge", "ipo", "simpo"] = "sigmoid"
    """`sigmoid`: as in the paper; `hinge`: a margin; `ipo`: a squared loss over mean log-probabilities; `simpo`: mean
    log-probabilities and a margin of `simpo_gamma`."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """Temperature of the preference; SimPO uses 2 to 2.5."""
    cpo_alpha: Annotated[float, Field(ge=0)] | None = None
    """Weight of the log-likelihood of the chosen answer. Left out: 1, and 0 for `simpo`, as in the papers."""
    simpo_gamma: Annotated[float, Field(ge=0)] | None = None
    """By how much the chosen answer of `simpo` should be ahead; 0.5 when left out."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of preferences that are wrong: of `sigmoid` and `simpo`."""

    def options(self) -> dict[str, JsonValue]:
        alpha = (0.0 if self.loss_type == "simpo" else 1.0) if self.cpo_alpha is None else self.cpo_alpha
        found: dict[str, JsonValue] = {
            "loss_type": self.loss_type,
            "beta": self.beta,
            "cpo_alpha": alpha,
            "label_smoothing": self.label_smoothing,
        }
        return found if self.simpo_gamma is None else found | {"simpo_gamma": self.simpo_gamma}
