"""A recipe -> the repositories of the Hub that it names, and what each is used as."""

from collections.abc import Iterator
from dataclasses import dataclass

from llmrecipe.document import Document
from llmrecipe.lock import models, sources
from llmrecipe.methods.online import REWARD_MODEL
from llmrecipe.recipe.data import Hub, Source
from llmrecipe.remote.repository import Question
from llmrecipe.source import Path as Location
from llmrecipe.vocabulary import Head, is_path


@dataclass(frozen=True)
class Named:
    """A repository where a recipe names it."""

    at: Location
    """Of its name."""
    question: Question
    head: Head | None = None
    """What a model ends in when it is loaded; none of a dataset."""
    new_head: bool = False
    """Whether a head that the checkpoint lacks begins with random weights."""
    source: Source | None = None
    """The entry of `data` that a dataset stands in."""

    @property
    def beside(self) -> Location:
        """The section that names it."""
        return self.at[:-1]


def named(document: Document) -> list[Named]:
    """Every repository that a document names, in the order in which training needs them."""
    return [*_models(document), *_datasets(document)]


def _models(document: Document) -> Iterator[Named]:
    model, method = document.recipe.model, document.recipe.method
    head: Head = method.head if method is not None else "causal"
    if isinstance(model.base, str) and not is_path(model.base):
        new = method is not None and method.head == "reward"
        yield Named(("model", "base"), Question("model", model.base, model.revision), head, new)
    for at, reference in models(document):
        if isinstance(reference, str) and not is_path(reference):
            merged = at[:2] == ("model", "base")
            of_role: Head = head if merged else "reward" if at[-1] == REWARD_MODEL else "causal"
            yield Named(at, Question("model", reference), of_role, merged and head == "reward")


def _datasets(document: Document) -> Iterator[Named]:
    for at, source in sources(document):
        if isinstance(source, Hub):
            yield Named((*at, "dataset"), Question("dataset", source.dataset, source.revision), source=source)
