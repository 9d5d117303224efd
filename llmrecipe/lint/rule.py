"""What a rule is: one documented function from a recipe to findings, and the table of all of them."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llmrecipe import paths
from llmrecipe.diagnostics import Severity
from llmrecipe.document import Document
from llmrecipe.facts import ArchitectureFacts, architectures
from llmrecipe.lint import local
from llmrecipe.lint.comments import Silence
from llmrecipe.lint.figures import Figures, figures, first
from llmrecipe.mending import Change, Drop, Put, Rename, Swap, location
from llmrecipe.recipe import Recipe
from llmrecipe.source import Path as Location
from llmrecipe.source import Span
from llmrecipe.vocabulary import is_path

__all__ = ["RULES", "Case", "Change", "Check", "Drop", "Finding", "Put", "Rename", "Rule", "Swap", "location", "rule"]


@dataclass(frozen=True)
class Finding:
    """What a rule found: where, what is so, what to do."""

    at: str | Location | Span
    """`data.train.0.paths.1`, the same as a tuple where a key may hold a dot, or a place of the text."""
    message: str
    help: str
    severity: Severity | None = None
    """When it is not that of the rule."""
    on_key: bool = False
    """Whether the key is what is wrong, and not its value."""
    fix: Change | tuple[Change, ...] = ()
    """The smallest change of the document that mends it."""
    safe: bool = True
    """Whether the fix changes nothing that was meant, so that `validate --fix` may apply it unasked."""


@dataclass(frozen=True)
class Case:
    """What a rule looks at: one document, and the recipes that it may refer to."""

    document: Document
    recipes: Mapping[str, Recipe]
    locked: bool
    """Whether a lock stands beside the recipe file."""
    silences: Sequence[Silence] = ()
    """What the document silences, in comments and under `lint`."""
    unused: Sequence[Silence] = ()
    """Those that silenced nothing; known when all other rules have been asked."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of the document."""
        return self.document.recipe

    @cached_property
    def figures(self) -> Figures | None:
        """What is known of the model before training, without opening a file."""
        return figures(self.recipe, self.recipes)

    @cached_property
    def family(self) -> str | None:
        """The Transformers `model_type` of the base: as its figures, or the `config.json` of its folder, say.

        None where nothing offline says it, and where code that comes with the model may say anything.
        """
        if self.figures is not None:
            return self.figures.family
        named = self._own_configuration.get("model_type")
        return named if isinstance(named, str) else None

    @cached_property
    def tied(self) -> bool:
        """Whether the base is known to have one matrix for its embedding and its output head."""
        if self.figures is not None:
            return self.figures.tied
        default = self.architecture is not None and self.architecture.tied
        return self._own_configuration.get("tie_word_embeddings", default) is True

    @cached_property
    def _own_configuration(self) -> Mapping[str, Any]:
        """The `config.json` of a base that is a folder and brings no code."""
        base = first(self.recipe)
        if not isinstance(base, str) or not is_path(base) or self.recipe.model.trust_remote_code:
            return {}
        return self.configuration(base, "model.base")

    def configuration(self, folder: str, at: str) -> Mapping[str, Any]:
        """The `config.json` of a model folder that is named at `at`; empty where there is none that can be read."""
        found = local.files(f"{folder}/config.json", self.folder(at))
        return _object(local.text(str(found[0]))) if found else {}

    @cached_property
    def architecture(self) -> ArchitectureFacts | None:
        """What Transformers' classes of that family say."""
        return architectures().get(self.family) if self.family is not None else None

    def folder(self, at: str) -> Path:
        """The folder from which a relative path that is written at `at` starts."""
        return paths.folder(self.document, location(at))


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


Check = Callable[[Case], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A rule with its manual page."""

    code: str
    name: str
    severity: Severity
    check: Check

    @property
    def page(self) -> str:
        """What it does, why that is bad, an example and its mend: Markdown."""
        return inspect.cleandoc(self.check.__doc__ or "")


RULES: dict[str, Rule] = {}
"""By code."""


def rule(code: str, severity: Severity = "error") -> Callable[[Check], Check]:
    """Enter a function in the table. Its name, with hyphens, is the rule's name; its docstring is the manual page."""

    def enter(check: Check) -> Check:
        assert code not in RULES, f"{code} is taken"
        RULES[code] = Rule(code, check.__name__.replace("_", "-"), severity, check)
        return check

    return enter
