"""Documents with spans -> typed recipes, or every reason why not."""

from collections.abc import Sequence

from pydantic import ValidationError

from llmrecipe.diagnostics import Diagnostic, RecipeError
from llmrecipe.document import Document
from llmrecipe.recipe import Recipe
from llmrecipe.source import Source
from llmrecipe.validate.checks import checks
from llmrecipe.validate.errors import diagnostics

__all__ = ["check", "validate"]


def validate(sources: Sequence[Source]) -> list[Document]:
    """The documents as typed recipes.

    Raises:
        RecipeError: at least one is no recipe; carries all that is wrong with all of them.
    """
    documents, problems = check(sources)
    if problems:
        raise RecipeError(problems)
    return documents


def check(sources: Sequence[Source]) -> tuple[list[Document], list[Diagnostic]]:
    """As `validate`, but what is wrong is returned beside the documents that are recipes."""
    documents: list[Document] = []
    problems: list[Diagnostic] = []
    for source in sources:
        found = list(checks(source))
        try:
            recipe = Recipe.model_validate(source.data)
        except ValidationError as error:
            found += diagnostics(error.errors(include_url=False), source)
        if found:
            problems += sorted(found, key=lambda one: (one.span.file, one.span.line, one.span.column))
        else:
            documents.append(Document(recipe, source))
    return documents, list(dict.fromkeys(problems))
