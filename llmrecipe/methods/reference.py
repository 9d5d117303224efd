"""What methods have in common that hold a policy to a reference model."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.base import BaseMethod
from llmrecipe.schema import PositiveInt, Section
from llmrecipe.vocabulary import ModelReference

Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]


class SyncReference(Section):
    """The reference follows the policy. Source: https://arxiv.org/abs/2404.09656"""

    every_steps: PositiveInt = 512
    """Optimizer steps between two moves."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Share of the policy in the new reference."""


class ReferenceMethod(BaseMethod):
    """Holds a policy to a reference model."""

    ref_model: ModelReference | None = None
    """The model that the policy is held to. Left out: the policy as it is before training; under an adapter that is the
    base with the adapter switched off, and no second copy."""
    precompute_ref_log_probs: bool = False
    """Ask the reference about every row once, before training, so that it need not be held in memory."""
    sync_ref_model: SyncReference | None = None
    """Let the reference follow the policy; only where every weight is trained."""

    def models(self) -> dict[str, ModelReference]:
        return {} if self.ref_model is None else {"ref_model": self.ref_model}

    def reference_options(self) -> dict[str, JsonValue]:
        """The part of `options` that is about the reference."""
        found: dict[str, JsonValue] = {"precompute_ref_log_probs": self.precompute_ref_log_probs}
        if self.sync_ref_model is not None:
            found |= {
                "sync_ref_model": True,
                "ref_model_sync_steps": self.sync_ref_model.every_steps,
                "ref_model_mixup_alpha": self.sync_ref_model.alpha,
            }
        return found
