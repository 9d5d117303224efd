"""Proximal policy optimization: answers that earn more than was expected of them become likelier."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.online import OnlineMethod
from llmrecipe.schema import PositiveInt, Section
from llmrecipe.vocabulary import ModelReference

VALUE_MODEL = "value_model"
"""Role of the reward model from which the value function begins."""


class FixedKL(Section):
    """`kl_coef` stays what it is."""

    kind: Literal["fixed"]


class AdaptiveKL(Section):
    """`kl_coef` grows while the KL is above a target, and shrinks while it is below.

    Source: https://arxiv.org/abs/1909.08593, section 2.2
    """

    kind: Literal["adaptive"]
    target_kl: Annotated[float, Field(gt=0)] = 6.0
    """KL of one answer to the model before training, in nats."""
    horizon: PositiveInt = 10_000
    """Answers in which the coefficient changes by about 20 % at most."""


class PPO(OnlineMethod):
    """Proximal policy optimization: answers that earn more than a learned value function expects become likelier.

    One optimizer step takes `training.global_batch_size` answers. `num_mini_batches` times as many are generated at
    once, a rollout, and learned from `num_ppo_epochs` times.

    Sources: https://arxiv.org/abs/1707.06347, https://arxiv.org/abs/1909.08593, https://arxiv.org/abs/2203.02155
    """

    trainer: ClassVar[str] = "llmrecipe.trainers.ppo:PPOTrainer"
    config: ClassVar[str] = "llmrecipe.trainers.ppo:PPOConfig"

    kind: Literal["ppo"]
    num_ppo_epochs: PositiveInt = 4
    """Times that each answer is learned from."""
    num_mini_batches: PositiveInt = 1
    """Optimizer steps of one pass over a rollout."""
    value_backbone: Literal["shared", "separate"] = "shared"
    """What predicts the reward of an answer while it is written.

    `shared`: it is read off the hidden states of the trained model. `separate`: a backbone of its own, trained
    likewise; twice the memory, and neither disturbs the other. Under an adapter, it gets an adapter of its own.
    """
    value_model: ModelReference | None = None
    """A reward model from which a separate value begins, as the method `reward` trains it. Left out: a copy of the
    base, with a value of zero everywhere."""
    kl_coef: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the KL to the model before training, which is taken from the reward of every token."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """How that KL is estimated from the token that was drawn: `k1` is the difference of log-probabilities, `k2` half
    its square, `k3` is unbiased like `k1` and never negative.

    Source: http://joschu.net/blog/kl-approx.html
    """
    kl_control: Annotated[FixedKL | AdaptiveKL, Field(discriminator="kind")] = FixedKL(kind="fixed")
    """How `kl_coef` moves."""
    cliprange: Annotated[float, Field(gt=0)] = 0.2
    """How far the probability ratio counts from 1, on either side."""
    cliprange_value: Annotated[float, Field(gt=0)] = 0.2
    """How far a value counts from what it was when the answer was generated."""
    vf_coef: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the loss of the value."""
    entropy_coef: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the entropy, which is made greater: it keeps answers diverse."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount of later rewards."""
    lam: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Lambda of generalized advantage estimation: below 1, the value stands in for some of the reward to come.

    Source: https://arxiv.org/abs/1506.02438
    """
    whiten_advantages: bool = True
    """Bring the advantages of a rollout to mean 0 and standard deviation 1."""
    whiten_rewards: bool = False
    """Bring the rewards of all tokens of a rollout to standard deviation 1."""
    reward_clip: Annotated[float, Field(gt=0)] | None = None
    """Hold the reward of an answer between minus this and this."""
    missing_eos_penalty: Annotated[float, Field(ge=0)] | None = None
    """Taken from the reward of an answer that reached `max_completion_length` without coming to its end."""
    min_completion_length: Annotated[int, Field(ge=0)] = 0
    """Tokens before an answer may end."""
    local_rollout_forward_batch_size: PositiveInt = 64
    """Answers that one process generates, or scores, at once."""

    def models(self) -> dict[str, ModelReference]:
        found = super().models()
        return found if self.value_model is None else found | {VALUE_MODEL: self.value_model}

    def options(self) -> dict[str, JsonValue]:
        names = (
            "num_ppo_epochs", "num_mini_batches", "kl_coef", "kl_estimator", "cliprange", "cliprange_value", "vf_coef",
            "entropy_coef", "gamma", "lam", "whiten_advantages", "whiten_rewards", "reward_clip", "missing_eos_penalty",
            "min_completion_length", "local_rollout_forward_batch_size", "value_backbone",
        )  # fmt: skip
        found: dict[str, JsonValue] = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if isinstance(self.kl_control, AdaptiveKL):
            found |= {"target_kl": self.kl_control.target_kl, "horizon": self.kl_control.horizon}
        return self.generation_options() | found
