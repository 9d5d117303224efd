"""`model.base.merge`: a base that is made of several models."""

from typing import Annotated, Literal

from pydantic import Field

from llmrecipe.schema import Section
from llmrecipe.vocabulary import ModelReference


class Part(Section):
    """One of the models."""

    model: ModelReference
    """A model of the same shape and tokenizer as the others. Of a recipe that exports an adapter alone, that adapter on
    its base."""


class WeightedPart(Part):
    """One of the models, and what it counts."""

    weight: float = 1.0
    """What it counts in the sum."""


class SparsePart(WeightedPart):
    """One of the models, what it counts, and how much of it is kept."""

    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the numbers of its difference to `base` that are kept."""


class LinearMerge(Section):
    """The weighted mean of all weights. Source: https://arxiv.org/abs/2203.05482"""

    kind: Literal["linear"]
    models: Annotated[list[WeightedPart], Field(min_length=2)]
    """What is merged, in this order."""
    normalize: bool = True
    """Divide by the sum of the weights."""


class SlerpMerge(Section):
    """Along the arc between two models, tensor by tensor, so that lengths are kept.

    Source: https://doi.org/10.1145/325334.325242
    """

    kind: Literal["slerp"]
    models: Annotated[list[Part], Field(min_length=2, max_length=2)]
    """What is merged, in this order."""
    t: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How far to go: 0 is the first model, 1 the second."""


class TaskArithmetic(Section):
    """The base and a weighted sum of what each model has learned since. Source: https://arxiv.org/abs/2212.04089"""

    kind: Literal["task_arithmetic"]
    base: ModelReference
    """The model that all others were trained from."""
    models: Annotated[list[WeightedPart], Field(min_length=1)]
    """What is merged, in this order."""
    normalize: bool = False
    """Divide by the sum of the weights."""


class TIES(Section):
    """Only the largest differences, and of these only where the models agree on the sign.

    Source: https://arxiv.org/abs/2306.01708
    """

    kind: Literal["ties"]
    base: ModelReference
    """The model that all others were trained from."""
    models: Annotated[list[SparsePart], Field(min_length=2)]
    """What is merged, in this order."""
    normalize: bool = True
    """Divide each number by the weights of the models that it is from."""


class DARELinear(Section):
    """Differences of which a random part is dropped and the rest is scaled up. Source: https://arxiv.org/abs/2311.03099"""

    kind: Literal["dare_linear"]
    base: ModelReference
    """The model that all others were trained from."""
    models: Annotated[list[SparsePart], Field(min_length=1)]
    """What is merged, in this order."""
    normalize: bool = False
    """Divide by the sum of the weights."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of what is dropped."""


class DARETIES(Section):
    """As `dare_linear`, and only where the models agree on the sign. Source: https://arxiv.org/abs/2311.03099"""

    kind: Literal["dare_ties"]
    base: ModelReference
    """The model that all others were trained from."""
    models: Annotated[list[SparsePart], Field(min_length=2)]
    """What is merged, in this order."""
    normalize: bool = False
    """Divide each number by the weights of the models that it is from."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of what is dropped."""


MergeMethod = Annotated[
    LinearMerge | SlerpMerge | TaskArithmetic | TIES | DARELinear | DARETIES, Field(discriminator="kind")
]


class Combination(Section):
    """A model that is made of several models, in float32, tensor by tensor."""

    merge: MergeMethod

    def parts(self) -> dict[str, ModelReference]:
        """Every model that it is made of, by its place: `base`, `models.0`, `models.1`, ..."""
        found: dict[str, ModelReference] = {}
        if not isinstance(self.merge, LinearMerge | SlerpMerge):
            found["base"] = self.merge.base
        return found | {f"models.{i}": part.model for i, part in enumerate(self.merge.models)}
