"""`sweep`: a search over fields of the recipe, its objective, and when a trial is given up."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from llmrecipe.schema import PositiveInt, Section


class FloatRange(Section):
    """Any number between two bounds."""

    kind: Literal["float"]
    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Search the orders of magnitude evenly, as suits a learning rate."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError("`low` must be below `high`")
        if self.log and self.low <= 0:
            raise ValueError("`log` needs `low` above 0")
        return self


class IntRange(Section):
    """Whole numbers between two bounds."""

    kind: Literal["int"]
    low: int
    """Smallest value."""
    high: int
    """Largest value."""
    step: PositiveInt = 1
    """Distance between two values."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError("`low` must be below `high`")
        return self


class Choice(Section):
    """One of some values, which may be whole sections."""

    kind: Literal["choice"]
    values: Annotated[list[JsonValue], Field(min_length=2)]
    """What is tried."""


Parameter = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class TPE(Section):
    """Tree-structured Parzen estimator: try more often what resembles the good trials.

    Source: https://arxiv.org/abs/2304.11127
    """

    kind: Literal["tpe"]
    startup_trials: PositiveInt = 10
    """Trials at random before the estimator chooses."""


class RandomSearch(Section):
    """Independent draws. Source: https://www.jmlr.org/papers/v13/bergstra12a.html"""

    kind: Literal["random"]


class Grid(Section):
    """Every combination once, in the order in which they are written."""

    kind: Literal["grid"]


Sampler = Annotated[TPE | RandomSearch | Grid, Field(discriminator="kind")]


class Objective(Section):
    """What a good trial is."""

    metric: Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9_]+$")]
    """A metric of a suite of this recipe, as in a gate: `perplexity/loss`."""
    direction: Literal["minimize", "maximize"]
    """Which way is better."""


class MedianPruning(Section):
    """Give a trial up whose validation loss is worse than the median of the others at the same step.

    Source: https://arxiv.org/abs/1907.10902, section 3.2
    """

    kind: Literal["median"]
    startup_trials: PositiveInt = 4
    """Trials that run to their end before any is given up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps that every trial may do."""


class Sweep(Section):
    """A search over fields: `llmrecipe sweep FILE` runs its trials, each of them an ordinary run."""

    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    """Field -> what is tried, written as for `--set`: `training.learning_rate`, or `NAME:training.learning_rate`."""
    objective: Objective
    trials: PositiveInt = 20
    """Trials in all; a grid ends with its last combination."""
    sampler: Sampler = TPE(kind="tpe")
    pruning: MedianPruning | None = None
    """When trials are given up before their end. Left out: never."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the sampler. With the same seed, an interrupted search tries what an uninterrupted one does."""
