"""`evaluation`: suites to run and gates to pass."""

from typing import Annotated, Literal

from pydantic import Field

from llmrecipe.recipe.data import Source
from llmrecipe.schema import Name, PositiveInt, Section
from llmrecipe.vocabulary import Gate


class Perplexity(Section):
    """Perplexity over `data.validation`, with the number of tokens it is over."""

    kind: Literal["perplexity"]
    name: Name = "perplexity"
    """First part of the metrics' names."""
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


Suite = Annotated[Perplexity | Generation, Field(discriminator="kind")]


class Evaluation(Section):
    """How the model is judged."""

    suites: Annotated[list[Suite], Field(min_length=1)]
    gates: list[Gate] = []
    """Bounds on the metrics; when one does not hold, the run fails before the export."""
