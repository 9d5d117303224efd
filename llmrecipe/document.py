"""A recipe together with the text that it was read from."""

from dataclasses import dataclass

from llmrecipe.recipe import Recipe
from llmrecipe.source import Source


@dataclass(frozen=True)
class Document:
    """One document of a recipe file."""

    recipe: Recipe
    source: Source
