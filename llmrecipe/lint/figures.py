"""What is known of a base model without opening a file: its own words, the table of published models, other recipes."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmrecipe import estimate
from llmrecipe.facts import models
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.combination import Combination
from llmrecipe.recipe.model import FromScratch
from llmrecipe.recipe.tokenizer import TrainTokenizer
from llmrecipe.vocabulary import Dtype, RecipeReference


@dataclass(frozen=True)
class Figures:
    """Figures that rules compare with options."""

    family: str
    """Its Transformers `model_type`."""
    layers: int
    """Decoder layers."""
    heads: int
    key_value_heads: int
    positions: int
    """Longest sequence in tokens; 0 when it is not known."""
    tied: bool
    parameters: int | None
    dtype: Dtype | None
    """Type of the published weights."""


def figures(recipe: Recipe, recipes: Mapping[str, Recipe]) -> Figures | None:
    """Figures of the base of a recipe; through references to the recipe that begins the chain."""
    seen: set[str] = set()
    while isinstance(base := first(recipe), RecipeReference):
        name = base.name
        if name in seen or name not in recipes:
            return None
        seen.add(name)
        recipe = recipes[name]
    if isinstance(base, FromScratch):
        return _from_scratch(recipe, base)
    assert isinstance(base, str)
    facts = models().get(base)
    if facts is None:
        return None
    return Figures(
        family=facts.family,
        layers=facts.num_hidden_layers,
        heads=facts.num_attention_heads,
        key_value_heads=facts.num_key_value_heads,
        positions=facts.max_position_embeddings or 0,
        tied=facts.tie_word_embeddings,
        parameters=facts.parameters,
        dtype=facts.dtype,
    )


def first(recipe: Recipe) -> str | RecipeReference | FromScratch:
    """The base of a recipe; of a merge its first model, whose shape all have."""
    base = recipe.model.base
    return base.merge.models[0].model if isinstance(base, Combination) else base


def embeddings(base: str | RecipeReference | FromScratch, recipes: Mapping[str, Recipe]) -> int | None:
    """Rows of the embeddings of a published model, or of one that recipes make of it; None where nobody says it."""
    seen: set[str] = set()
    while isinstance(base, RecipeReference):
        if base.name in seen or base.name not in recipes:
            return None
        seen.add(base.name)
        base = first(recipes[base.name])
    facts = models().get(base) if isinstance(base, str) else None
    return None if facts is None else facts.vocab_size


def _from_scratch(recipe: Recipe, base: FromScratch) -> Figures:
    shape = base.architecture
    positions = shape.max_position_embeddings or recipe.training.max_length
    parameters = None
    if isinstance(recipe.tokenizer, TrainTokenizer):
        filled = shape.model_copy(update={"max_position_embeddings": positions})
        parameters = estimate.parameters(filled, recipe.tokenizer.vocab_size)
    return Figures(
        family=shape.family,
        layers=shape.num_hidden_layers,
        heads=shape.num_attention_heads,
        key_value_heads=shape.num_key_value_heads or shape.num_attention_heads,
        positions=positions,
        tied=shape.tie_word_embeddings,
        parameters=parameters,
        dtype=None,
    )
