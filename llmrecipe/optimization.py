"""How weights change: optimizers, schedules, averages, and when training ends, in the words of recipe and plan."""

from typing import Annotated, Literal

from pydantic import Field

from llmrecipe.schema import PositiveInt, Section

# -- optimizers --


class _Bits(Section):
    bits: Literal[32, 8] = 32
    """Bits of each number of the optimizer's state. Source: https://arxiv.org/abs/2110.02861"""
    paged: bool = False
    """Let the state move to host memory when the accelerator's is full."""


class AdamW(_Bits):
    """Adam with decoupled weight decay. Source: https://arxiv.org/abs/1711.05101"""

    kind: Literal["adamw"]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the mean of the gradients."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the mean of their squares."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the denominator of every update."""


class Muon(Section):
    """Orthogonalised momentum for hidden matrices, AdamW for embeddings, head, norms and biases.

    Source: https://kellerjordan.github.io/posts/muon/
    """

    kind: Literal["muon"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Decay of the mean of the gradients of hidden matrices."""
    nesterov: bool = True
    """Look one step ahead with the momentum."""
    ns_steps: Annotated[int, Field(ge=1, le=20)] = 5
    """Newton-Schulz iterations."""
    adjust_lr_fn: Literal["original", "match_rms_adamw"] = "match_rms_adamw"
    """How the step is scaled to the shape of a matrix; `match_rms_adamw` lets both parts share a learning rate.

    Source: https://arxiv.org/abs/2502.16982
    """
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """First-moment decay of the AdamW part."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Second-moment decay of the AdamW part."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the denominators of both parts."""


class Adafactor(Section):
    """Factored second moments, little memory. Source: https://arxiv.org/abs/1804.04235"""

    kind: Literal["adafactor"]
    beta1: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay of the mean of the gradients; without it there is no such mean, and no memory for it."""
    decay_rate: Annotated[float, Field(gt=-1, lt=0)] = -0.8
    """How the mean of the squares forgets: after step t it keeps `1 - t^decay_rate`."""
    clip_threshold: Annotated[float, Field(gt=0)] = 1.0
    """Updates are scaled down to this root mean square."""


class Lion(_Bits):
    """The sign of a momentum, half the memory of Adam. Source: https://arxiv.org/abs/2302.06675

    Its steps are larger: use a learning rate of a third to a tenth of Adam's.
    """

    kind: Literal["lion"]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Weight of the momentum in an update."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the momentum."""


class AdEMAMix(_Bits):
    """AdamW with a second, slow mean of the gradients. Source: https://arxiv.org/abs/2409.03137"""

    kind: Literal["ademamix"]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the fast mean of the gradients."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the mean of their squares."""
    beta3: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    """Decay of the slow mean."""
    alpha: Annotated[float, Field(gt=0)] = 5.0
    """Weight of the slow mean."""
    ramp_steps: PositiveInt | None = None
    """Optimizer steps over which `alpha` and `beta3` rise to their values. Left out: they have them from the start."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the denominator of every update."""


class ScheduleFree(Section):
    """AdamW over an average of its own steps instead of a falling learning rate. Source: https://arxiv.org/abs/2405.15682

    Validations, the best checkpoint and the trained model are the average. Its schedule is `constant`.
    """

    kind: Literal["schedule_free"]
    beta1: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """How near to the average gradients are taken."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the mean of the squared gradients."""
    weight_lr_power: Annotated[float, Field(ge=0)] = 2.0
    """Steps enter the average with their learning rate to this power."""
    r: Annotated[float, Field(ge=0)] = 0.0
    """Steps enter the average with their number to this power."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the denominator of every update."""


class SGD(Section):
    """Stochastic gradient descent."""

    kind: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the sum of the gradients."""
    nesterov: bool = False
    """Look one step ahead with the momentum."""


Optimizer = Annotated[AdamW | Muon | Adafactor | Lion | AdEMAMix | ScheduleFree | SGD, Field(discriminator="kind")]

OwnOptimizer = Annotated[Muon | Adafactor, Field(discriminator="kind")]
"""What the configuration classes of the trainers cannot name, or not with its options."""


# -- schedules --


class _Schedule(Section):
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """Optimizer steps over which the learning rate rises linearly from zero."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | None = None
    """The same as a share of all steps; write one of the two."""


class Constant(_Schedule):
    """The same learning rate after warm-up."""

    kind: Literal["constant"]


class Linear(_Schedule):
    """A straight line to zero."""

    kind: Literal["linear"]


class Cosine(_Schedule):
    """Half a cosine to `min_lr_ratio` of the peak."""

    kind: Literal["cosine"]
    min_lr_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Where the curve ends, as a share of `learning_rate`."""


class InverseSqrt(_Schedule):
    """Falls with the square root of the steps since warm-up, and knows no end. Source: https://arxiv.org/abs/2106.04560"""

    kind: Literal["inverse_sqrt"]
    timescale: PositiveInt | None = None
    """Optimizer steps after warm-up until it has fallen to 0.71 of its peak. Left out: those of the warm-up."""


class WarmupStableDecay(_Schedule):
    """Warm-up, a plateau, and a short decay. Source: https://arxiv.org/abs/2404.06395"""

    kind: Literal["warmup_stable_decay"]
    decay_steps: PositiveInt
    """Optimizer steps of the decay, at the end."""
    decay_type: Literal["linear", "cosine", "1-sqrt"] = "1-sqrt"
    """Shape of the decay."""
    min_lr_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Where the decay ends, as a share of `learning_rate`."""


Schedule = Annotated[Constant | Linear | Cosine | InverseSqrt | WarmupStableDecay, Field(discriminator="kind")]


# -- averages of weights --


class EMA(Section):
    """An exponential moving average of the weights. Source: https://arxiv.org/abs/1703.01780, section 2"""

    kind: Literal["ema"]
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Share of the average that a step keeps. In the first steps it keeps less: `(1 + t) / (10 + t)` at most."""


class SWA(Section):
    """The mean of the weights at regular steps toward the end of training. Source: https://arxiv.org/abs/1803.05407"""

    kind: Literal["swa"]
    start_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.75
    """Share of all steps after which averaging begins."""
    every_steps: PositiveInt = 10
    """Optimizer steps between weights that enter the mean; the last step always enters."""


Averaging = Annotated[EMA | SWA, Field(discriminator="kind")]


# -- ends --


class Best(Section):
    """What makes one validation better than another."""

    metric: Annotated[str, Field(pattern=r"^eval_[a-z0-9_/]+$")] = "eval_loss"
    """What of a validation counts, as the log names it."""
    greater_is_better: bool = False
    """Whether it should rise."""


class EarlyStopping(Best):
    """End training when validations get no better."""

    patience: PositiveInt = 3
    """Validations without a better value after which training ends."""
    threshold: Annotated[float, Field(ge=0)] = 0.0
    """How much better a value must be to count."""


# -- the order of rows --


class Sorted(Section):
    """Every row once, the easy ones first. Source: https://doi.org/10.1145/1553374.1553380"""

    kind: Literal["sorted"]
    epochs: PositiveInt | None = None
    """Passes over the rows in this order, later ones are shuffled. Left out: all."""


class Competence(Section):
    """Rows by chance among the easiest, of which there are more and more. Source: https://arxiv.org/abs/1903.09848"""

    kind: Literal["competence"]
    start_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the rows, the easiest, with which training begins. It grows with the root of the time."""
    full_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the training after which all rows are among them."""


Pacing = Annotated[Sorted | Competence, Field(discriminator="kind")]


class RowOrder(Section):
    """By what rows are ordered, and how that order is gone through."""

    by: Literal["length", "column", "perplexity"]
    descending: bool = False
    """Whether the largest value is the easiest."""
    pacing: Pacing = Sorted(kind="sorted")


class Elastic(Section):
    """Hold weights near their beginning, the more the more an old task needs them.

    Source: https://arxiv.org/abs/1612.00796
    """

    ewc_lambda: Annotated[float, Field(gt=0)]
    """Weight of the penalty: half of it times the sum of Fisher information times squared distance."""
