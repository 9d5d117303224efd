"""What a check is: one documented function from a case to findings, and the table of all of them."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmrecipe.diagnostics import Severity
from llmrecipe.document import Document
from llmrecipe.lint import Finding
from llmrecipe.lint.figures import first
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.data import Hub
from llmrecipe.remote.named import Named
from llmrecipe.remote.repository import Answers, Question, Refusal, Repository, Space
from llmrecipe.source import Path as Location
from llmrecipe.vocabulary import RecipeReference


@dataclass(frozen=True)
class Case:
    """What a check looks at: one document, and what the Hub says of all that this call asked about."""

    document: Document
    named: Sequence[Named]
    """What this document names."""
    answers: Answers
    space: Space
    recipes: Mapping[str, Recipe]
    """The recipes that this one may refer to, by name."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of the document."""
        return self.document.recipe

    @property
    def base(self) -> Repository | None:
        """The base of the recipe, when it is a repository that can be read."""
        return next((found for one, found in self.models() if one.at == ("model", "base")), None)

    @property
    def origin(self) -> Repository | None:
        """The published model that the recipe begins with: through other recipes, and of a merge the first."""
        recipe, seen = self.recipe, set[str]()
        while isinstance(base := first(recipe), RecipeReference):
            if base.name in seen or base.name not in self.recipes:
                return None
            seen.add(base.name)
            recipe = self.recipes[base.name]
        if not isinstance(base, str):
            return None
        revision = recipe.model.revision if isinstance(recipe.model.base, str) else None
        found = self.answers.get(Question("model", base, revision))
        return found if isinstance(found, Repository) else None

    def refusals(self) -> Iterator[tuple[Named, Refusal]]:
        """What cannot be read."""
        for one in self.named:
            if isinstance(found := self.answers[one.question], Refusal):
                yield one, found

    def repositories(self) -> Iterator[tuple[Named, Repository]]:
        """What can be read."""
        for one in self.named:
            if isinstance(found := self.answers[one.question], Repository):
                yield one, found

    def models(self) -> Iterator[tuple[Named, Repository]]:
        """Models that can be read."""
        return ((one, found) for one, found in self.repositories() if one.question.kind == "model")

    def datasets(self) -> Iterator[tuple[Named, Hub, Repository]]:
        """Datasets that can be read, with the sources that name them."""
        for one, found in self.repositories():
            if isinstance(one.source, Hub):
                yield one, one.source, found


@dataclass(frozen=True)
class Sound:
    """What a rule may believe to be wrong, by its tables, and is not."""

    at: str | Location


Judge = Callable[[Case], Iterator[Finding | Sound]]


@dataclass(frozen=True)
class Check:
    """A check with its manual page."""

    code: str
    name: str
    severity: Severity
    instead_of: tuple[str, ...]
    """Rules that judge the same by tables of published models. Where the check has judged, they have nothing to say."""
    judge: Judge

    @property
    def page(self) -> str:
        """What it does, why that is bad, an example and its mend: Markdown."""
        return inspect.cleandoc(self.judge.__doc__ or "")


CHECKS: dict[str, Check] = {}
"""By code; `llmrecipe.remote.checks` fills it."""


def check(code: str, severity: Severity = "error", instead_of: tuple[str, ...] = ()) -> Callable[[Judge], Judge]:
    """Enter a function in the table. Its name, with hyphens, is the name of the check; its docstring is its page."""

    def enter(judge: Judge) -> Judge:
        assert code not in CHECKS, f"{code} is taken"
        CHECKS[code] = Check(code, judge.__name__.replace("_", "-"), severity, instead_of, judge)
        return judge

    return enter
