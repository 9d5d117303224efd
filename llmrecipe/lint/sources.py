"""The data sources of a recipe and where they stand, for rules."""

from collections.abc import Iterator

from llmrecipe.paths import suffix
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.data import Files, Source
from llmrecipe.recipe.evaluation import Generation, PreferenceAccuracy, Rewards
from llmrecipe.vocabulary import ROW_KIND, RowKind

Located = tuple[str, Source]
"""A source and its place: `data.train.0`."""


def training_sources(recipe: Recipe) -> list[Located]:
    """Sources of `data.train`."""
    return [(f"data.train.{i}", source) for i, source in enumerate(recipe.data.train)] if recipe.data else []


def validation_sources(recipe: Recipe) -> list[Located]:
    """Sources of `data.validation.sources`."""
    validation = recipe.data.validation if recipe.data else None
    written = validation.sources if validation else None
    return [(f"data.validation.sources.{i}", source) for i, source in enumerate(written or [])]


def evaluation_sources(recipe: Recipe) -> list[Located]:
    """Sources of the suites that have their own."""
    return [
        (f"evaluation.suites.{i}.sources.{j}", source)
        for i, suite in enumerate(recipe.evaluation.suites if recipe.evaluation else [])
        if isinstance(suite, Generation | Rewards | PreferenceAccuracy)
        for j, source in enumerate(suite.sources)
    ]


def all_sources(recipe: Recipe) -> list[Located]:
    """Every source of a recipe."""
    return training_sources(recipe) + validation_sources(recipe) + evaluation_sources(recipe)


def patterns(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Every path, glob and URL with its place."""
    for at, source in all_sources(recipe):
        if isinstance(source, Files):
            yield from ((f"{at}.paths.{i}", pattern) for i, pattern in enumerate(source.paths))


def extension(path: str) -> str:
    """How the rows of a file are written, whether it is compressed or not: `.jsonl` of `a.jsonl.gz`."""
    return suffix(path).removesuffix(".gz")


def row_kind(recipe: Recipe) -> RowKind | None:
    """Kind of the rows that the recipe learns from; that of the first source."""
    return ROW_KIND[recipe.data.train[0].format] if recipe.data else None
