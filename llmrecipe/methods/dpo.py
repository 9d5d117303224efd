"""Direct preference optimization: prefer the chosen answer to the rejected one."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.reference import Divergence, ReferenceMethod
from llmrecipe.schema import Section
from llmrecipe.vocabulary import Objective, RowKind

Loss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
]
"""The losses of TRL's trainer, by their names there."""


class WeightedLoss(Section):
    """One part of a mixture of losses."""

    loss: Loss
    """Which loss."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """What it counts in the sum."""


class DPO(ReferenceMethod):
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
    loss_type: Loss | Annotated[list[WeightedLoss], Field(min_length=1)] = "sigmoid"
    """One loss, or a list of `{loss, weight}` that is summed.

    `sigmoid`: as in the paper; `sigmoid_norm`: the same per token; `hinge`: a margin (https://arxiv.org/abs/2305.10425);
    `ipo`: a squared loss, for sure preferences (https://arxiv.org/abs/2310.12036); `robust`: for preferences of which
    a share of `label_smoothing` is wrong (https://arxiv.org/abs/2403.00409); `exo_pair` (https://arxiv.org/abs/2402.00856);
    `nca_pair` (https://arxiv.org/abs/2402.05369); `bco_pair` (https://arxiv.org/abs/2404.04656); `sppo_hard`
    (https://arxiv.org/abs/2405.00675); `aot`, `aot_unpaired`: over sorted batches (https://arxiv.org/abs/2406.05882);
    `apo_zero`, `apo_down`: for chosen answers that are better, or worse, than the model's own
    (https://arxiv.org/abs/2408.06266); `discopop` (https://arxiv.org/abs/2406.08414); `sft`: the log-likelihood of the
    chosen answer, for mixtures (https://arxiv.org/abs/2411.10442).
    """
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of preferences that are wrong: of `robust`, `exo_pair` (1e-3 is usual), `aot` and `aot_unpaired`."""
    f_divergence_type: Divergence = "reverse_kl"
    """How the distance to the reference is measured. Source: https://arxiv.org/abs/2309.16240"""
    f_alpha_divergence_coef: float | None = None
    """The exponent of `alpha_divergence`; 0.5 when left out."""
    discopop_tau: Annotated[float, Field(gt=0)] | None = None
    """The temperature of `discopop`; 0.05 when left out."""
    ld_alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    """What tokens count that stand beyond the length of the shorter answer; all the same when left out (LD-DPO).

    Source: https://arxiv.org/abs/2409.06411
    """
    use_weighting: bool = False
    """Weigh pairs by how likely the policy itself would give them (WPO). Source: https://arxiv.org/abs/2406.11827"""

    @property
    def losses(self) -> list[WeightedLoss]:
        """The mixture; one loss is a mixture of one."""
        return [WeightedLoss(loss=self.loss_type)] if isinstance(self.loss_type, str) else self.loss_type

    def options(self) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {
            "beta": self.beta,
            "loss_type": [part.loss for part in self.losses],
            "label_smoothing": self.label_smoothing,
            "f_divergence_type": self.f_divergence_type,
            "use_weighting": self.use_weighting,
        }
        if isinstance(self.loss_type, list):
            found["loss_weights"] = [part.weight for part in self.losses]
        written: dict[str, JsonValue] = {
            "f_alpha_divergence_coef": self.f_alpha_divergence_coef,
            "discopop_tau": self.discopop_tau,
            "ld_alpha": self.ld_alpha,
        }
        found |= {name: value for name, value in written.items() if value is not None}
        return found | self.reference_options()
