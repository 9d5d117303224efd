"""`evaluation`: suites to run and gates to pass."""

from typing import Annotated, Literal

from pydantic import Field

from llmrecipe.recipe.data import Source
from llmrecipe.schema import Name, PositiveInt, Section
from llmrecipe.vocabulary import Gate, ModelReference, RewardFunction


class Perplexity(Section):
    """Perplexity over `data.validation`, with the number of tokens it is over."""

    kind: Literal["perplexity"]
    name: Name = "perplexity"
    """First part of the metrics' names."""
    batch_size: PositiveInt = 8
    """Rows measured at a time."""


class MaskedAccuracy(Section):
    """How many hidden tokens of `data.validation` a masked language model guesses, beside the best constant guess."""

    kind: Literal["masked_accuracy"]
    name: Name = "masked"
    """First part of the metrics' names."""
    mlm_probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the tokens that are hidden, always the same ones; all of them behind the mask token."""
    batch_size: PositiveInt = 8
    """Rows measured at a time."""


class Generation(Section):
    """Generate answers greedily and compare them with references: exact match and token F1 (as SQuAD defines it).

    Source: https://arxiv.org/abs/1606.05250, section 6.1
    """

    kind: Literal["generation"]
    name: Name = "generation"
    """First part of the metrics' names."""
    sources: Annotated[list[Source], Field(min_length=1)]
    """Questions and references: `prompt_completion`, `messages` (the last turn is the reference) or `instruction`."""
    max_new_tokens: PositiveInt = 64
    """Longest answer, in tokens."""
    batch_size: PositiveInt = 16
    """Questions answered at a time."""
    stop: list[str] = []
    """Cut the answer before the first of these strings."""


class Rewards(Section):
    """Answer prompts greedily and score the answers: the mean of the weighted sum, and of each function."""

    kind: Literal["reward"]
    name: Name = "reward"
    """First part of the metrics' names."""
    sources: Annotated[list[Source], Field(min_length=1)]
    """Prompts, of the format `prompt`."""
    reward_model: ModelReference | None = None
    """A model that scores answers. Without this and `reward_functions`, both are those of the method."""
    reward_model_weight: float = 1.0
    """What its score counts in the sum."""
    reward_functions: list[RewardFunction] = []
    """Functions that score answers."""
    max_new_tokens: PositiveInt = 256
    """Longest answer, in tokens."""
    batch_size: PositiveInt = 16
    """Prompts answered at a time."""


class PreferenceAccuracy(Section):
    """How often the chosen answer is ahead of the rejected one, and by how much.

    For a reward model by its score, for a language model by the log-probability of the whole answer.
    """

    kind: Literal["preference_accuracy"]
    name: Name = "preferences"
    """First part of the metrics' names."""
    sources: Annotated[list[Source], Field(min_length=1)]
    """Held-out pairs, of the format `preference`."""
    batch_size: PositiveInt = 16
    """Pairs measured at a time."""


Suite = Annotated[Perplexity | MaskedAccuracy | Generation | Rewards | PreferenceAccuracy, Field(discriminator="kind")]


class Evaluation(Section):
    """How the model is judged."""

    suites: Annotated[list[Suite], Field(min_length=1)]
    gates: list[Gate] = []
    """Bounds on the metrics; when one does not hold, the run fails before the export."""
