"""The shape of a model in numbers: of an architecture, a published model, or the recipe that a chain begins with."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmrecipe.facts import ModelFacts, models
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.combination import Combination
from llmrecipe.recipe.model import FromScratch
from llmrecipe.recipe.tokenizer import TrainTokenizer
from llmrecipe.vocabulary import Architecture, Dtype, RecipeReference


@dataclass(frozen=True)
class Shape:
    """What sizes follow from. Derived values are filled in."""

    family: str
    """The Transformers `model_type`."""
    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    intermediate: int
    """Width of the feed-forward block; of a mixture, of a block that all tokens pass, 0 where there is none."""
    vocabulary: int
    tied: bool
    positions: int | None = None
    """Longest sequence; of families with a table of positions, its rows."""
    experts: int = 0
    """Feed-forward blocks of a layer of a mixture; 0 without one."""
    chosen: int = 0
    """Experts that compute for a token."""
    expert_width: int = 0
    """Width of one expert."""
    dtype: Dtype = "float32"
    """Type of the weights as they are published; new ones are float32."""

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all key heads together; that of the values, too."""
        return self.key_value_heads * self.head_dim


def of_architecture(architecture: Architecture, vocabulary: int) -> Shape:
    """The shape of a model from scratch; what the architecture leaves out is derived as its fields say."""
    hidden, heads = architecture.hidden_size, architecture.num_attention_heads
    mixture = architecture.family == "qwen3_moe"
    chosen = (architecture.num_experts_per_tok or 2) if mixture else 0
    return Shape(
        family=architecture.family,
        hidden=hidden,
        layers=architecture.num_hidden_layers,
        heads=heads,
        key_value_heads=architecture.num_key_value_heads or heads,
        head_dim=architecture.head_dim or hidden // heads,
        intermediate=0 if mixture else architecture.intermediate_size or 4 * hidden,
        vocabulary=vocabulary,
        tied=architecture.tie_word_embeddings,
        positions=architecture.max_position_embeddings,
        experts=(architecture.num_experts or 8) if mixture else 0,
        chosen=chosen,
        expert_width=(architecture.moe_intermediate_size or 4 * hidden // chosen) if mixture else 0,
    )


def of_facts(facts: ModelFacts) -> Shape:
    """The shape of a published model."""
    return Shape(
        family=facts.family,
        hidden=facts.hidden_size,
        layers=facts.num_hidden_layers,
        heads=facts.num_attention_heads,
        key_value_heads=facts.num_key_value_heads,
        head_dim=facts.head_dim,
        intermediate=facts.intermediate_size,
        vocabulary=facts.vocab_size,
        tied=facts.tie_word_embeddings,
        positions=facts.max_position_embeddings,
        experts=facts.num_experts,
        chosen=facts.num_experts_per_tok,
        expert_width=facts.moe_intermediate_size,
        dtype=facts.dtype,
    )


def of_recipe(recipe: Recipe, recipes: Mapping[str, Recipe]) -> Shape | None:
    """The shape of the base of a recipe, through references; None where nothing offline says it.

    That a chain of recipes trained it makes its weights float32 or what their `model.dtype` says: see `Setting`.
    """
    seen: set[str] = set()
    while isinstance(base := _first(recipe), RecipeReference):
        if base.name in seen or base.name not in recipes:
            return None
        seen.add(base.name)
        recipe = recipes[base.name]
    if isinstance(base, FromScratch):
        if not isinstance(recipe.tokenizer, TrainTokenizer):
            return None
        positions = base.architecture.max_position_embeddings or recipe.training.max_length
        filled = base.architecture.model_copy(update={"max_position_embeddings": positions})
        return of_architecture(filled, recipe.tokenizer.vocab_size)
    assert isinstance(base, str)
    facts = models().get(base)
    return None if facts is None else of_facts(facts)


def of_reference(reference: str | RecipeReference, recipes: Mapping[str, Recipe]) -> Shape | None:
    """The shape of another model that a method names."""
    if isinstance(reference, RecipeReference):
        return of_recipe(recipes[reference.name], recipes) if reference.name in recipes else None
    facts = models().get(reference)
    return None if facts is None else of_facts(facts)


def _first(recipe: Recipe) -> str | RecipeReference | FromScratch:
    base = recipe.model.base
    return base.merge.models[0].model if isinstance(base, Combination) else base
