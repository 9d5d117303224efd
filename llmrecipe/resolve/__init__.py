"""A recipe file, what its documents extend, refer to and are overridden by -> documents, dependencies first."""

from collections.abc import Mapping, Sequence

from llmrecipe.diagnostics import Diagnostic, RecipeError
from llmrecipe.resolve.files import Files
from llmrecipe.resolve.graph import Graph
from llmrecipe.resolve.overrides import OverrideError, parse_overrides
from llmrecipe.source import Source

__all__ = ["OverrideError", "gather", "resolve"]


def resolve(path: str, overrides: Sequence[str] = ()) -> list[Source]:
    """The documents of a file and those that they refer to, each once, dependencies first.

    `path` may end in `#NAME`, which takes one document and what it needs. What documents extend is merged, and each
    `PATH=VALUE` (`NAME:PATH=VALUE` in a file of several documents) is merged last.

    Raises:
        RecipeError: a file cannot be read, or documents do not fit together; carries all that is wrong.
        OverrideError: an override cannot be meant as it is written.
    """
    sources, problems = gather(path, overrides)
    if problems:
        raise RecipeError(problems)
    return sources


def gather(
    path: str, overrides: Sequence[str] = (), texts: Mapping[str, str] | None = None
) -> tuple[list[Source], list[Diagnostic]]:
    """As `resolve`, but what is wrong is returned beside the documents that can be read all the same.

    `texts` are files (by their absolute path) that are not read from the disk.

    Raises:
        OverrideError: an override cannot be meant as it is written.
    """
    file, _, name = path.partition("#")
    graph = Graph(Files(texts or {}), parse_overrides(overrides))
    sources = graph.collect(file, name or None)
    problems = dict.fromkeys(graph.problems)
    return sources, sorted(problems, key=lambda found: (found.span.file, found.span.line, found.span.column))
