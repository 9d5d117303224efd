"""`model`: the base, its numbers, and what of it is trained."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from llmrecipe.recipe.combination import Combination
from llmrecipe.schema import Section
from llmrecipe.vocabulary import (
    Adapter,
    Architecture,
    Attention,
    Dtype,
    Full,
    Quantization,
    RecipeReference,
    Unquantized,
)


class FromScratch(Section):
    """A model with random weights."""

    architecture: Architecture


def _base(value: object) -> str:
    if isinstance(value, Combination) or (isinstance(value, dict) and "merge" in value):
        return "merge"
    if isinstance(value, RecipeReference) or (isinstance(value, dict) and "recipe" in value):
        return "recipe"
    if isinstance(value, FromScratch | dict):
        return "architecture"
    return "id or path"


Base = Annotated[
    Annotated[str, Field(min_length=1), Tag("id or path")]
    | Annotated[RecipeReference, Tag("recipe")]
    | Annotated[FromScratch, Tag("architecture")]
    | Annotated[Combination, Tag("merge")],
    Discriminator(_base),
]


class Model(Section):
    """Where the model comes from and what of it is trained."""

    base: Base
    """A Hub id, a path (`./`, `../`, `~` or `/` first), `{recipe: NAME}`, `{architecture: ...}` from scratch, or
    `{merge: ...}` of several models."""
    revision: str | None = None
    """Branch, tag or commit of a Hub model; `llmrecipe lock` pins the commit."""
    dtype: Literal["auto"] | Dtype = "auto"
    """Type of the weights while training. `auto`: `float32` when every weight is trained, else the checkpoint's."""
    attention: Attention = "sdpa"
    """How attention is computed."""
    adapter: Adapter = Full(kind="full")
    """What is trained: every weight, or a low-rank adapter."""
    quantization: Quantization = Unquantized(kind="none")
    """How the frozen base is held in memory while an adapter is trained; it is merged and served unquantized."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Needs `llmrecipe run --allow-code`."""
