"""References between documents -> an order in which each comes after what it needs."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmrecipe.diagnostics import Diagnostic
from llmrecipe.document_errors import document_error
from llmrecipe.mending import Put, fix
from llmrecipe.resolve.files import File, Files, beside, is_named, problems_of
from llmrecipe.resolve.merging import OVERRIDE, MissingItemError, is_reference, merge
from llmrecipe.resolve.overrides import Override, OverrideError, combined
from llmrecipe.source import Path, Source, Span

Place = tuple[str, int]
"""A file and the number of a document in it."""


class _Node(NamedTuple):
    """A document that is complete: extended and overridden."""

    place: Place
    source: Source
    problems: tuple[Diagnostic, ...]
    complete: bool

    @property
    def name(self) -> str | None:
        return _name(self.source)


@dataclass(slots=True)
class Graph:
    """Collects the documents that a run needs; what is wrong gathers in `problems`."""

    files: Files
    overrides: Sequence[Override]
    problems: list[Diagnostic] = field(default_factory=list)
    _nodes: dict[Place, _Node] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _only: Place | None = None
    """The document that overrides without a name are for."""

    def collect(self, path: str, name: str | None) -> list[Source]:
        """The documents of a file, or one of them, and all that they need; dependencies first.

        Raises:
            OverrideError: an override names no document, or leaves open which one it is for.
        """
        file = self.files.read(path)
        self.problems += problems_of(file)
        roots = self._roots(file, name)
        if len(roots) == 1:
            self._only = roots[0]
        elif roots and any(override.document is None for override in self.overrides):
            names = ", ".join(file.names)
            raise OverrideError(f"`{path}` has several documents: write NAME:PATH=VALUE, where NAME is one of {names}")
        order = self._order(file, roots)
        if not self.problems:
            self._require_used(order)
        self.problems += _duplicates(order)
        return [node.source for node in order if node.complete]

    def _roots(self, file: File, name: str | None) -> list[Place]:
        places = [(file.key, index) for index in range(len(file.sources))]
        if name is None:
            return places
        chosen = [place for place in places if _name(self.files.extended(file, place[1]).source) == name]
        if not chosen and file.complete:
            start = Span(file.path, 1, 1, 1, 1)
            message = f"`{file.path}` has no document named `{name}`"
            self.problems.append(document_error("unknown-recipe", message, start, _names_of(file, name)))
        return chosen

    def _node(self, file: File, place: Place) -> _Node:
        if place not in self._nodes:
            extended = self.files.extended(file, place[1])
            source = self._overridden(extended.source, place)
            self._nodes[place] = _Node(place, source, extended.problems, extended.complete)
        return self._nodes[place]

    def _overridden(self, source: Source, place: Place) -> Source:
        name = _name(source)
        own = [
            override
            for override in self.overrides
            if (override.document == name if override.document is not None else place == self._only)
        ]
        if not own or not isinstance(source.data, dict):
            return source
        self._used.update(override.text for override in own)
        try:
            change = combined(own)
            return merge(source, Source(source.file, change.data, change.keys, change.values))
        except MissingItemError as error:
            raise OverrideError(f"`--set {own[-1].text}`: {error}") from None

    def _order(self, file: File, roots: Sequence[Place]) -> list[_Node]:
        """Depth first, without recursion: a file may hold a chain of thousands of documents."""
        done: dict[Place, _Node] = {}
        for root in roots:
            path: list[tuple[_Node, Iterator[tuple[_Node, Span]]]] = []
            if root not in done:
                path.append(self._enter(self._node(file, root)))
            while path:
                node, targets = path[-1]
                following = next(targets, None)
                if following is None:
                    done[node.place] = node
                    path.pop()
                    continue
                target, span = following
                places = [entered.place for entered, _ in path]
                if target.place in places:
                    cycle = [entered for entered, _ in path[places.index(target.place) :]]
                    self.problems.append(_cycle([*cycle, target], span))
                elif target.place not in done:
                    path.append(self._enter(target))
        return list(done.values())

    def _enter(self, node: _Node) -> tuple[_Node, Iterator[tuple[_Node, Span]]]:
        self.problems += node.problems
        return node, self._targets(node)

    def _targets(self, node: _Node) -> Iterator[tuple[_Node, Span]]:
        for path, _ in _references(node.source.data):
            span = node.source.at((*path, "recipe"))
            for target in self._find(node, (*path, "recipe"), span):
                yield target, span

    def _find(self, node: _Node, at: Path, span: Span) -> list[_Node]:
        """The documents that the reference at a path names: one, unless something is wrong."""
        reference: str = _value_at(node.source.data, at)
        written = node.source.file if span.file == OVERRIDE else span.file
        path, _, name = reference.rpartition("#")
        file = self.files.read(beside(written, path) if path else written)
        self.problems += problems_of(file, span)
        nodes = [self._node(file, (file.key, index)) for index in range(len(file.sources))]
        found = [candidate for candidate in nodes if candidate.name == name]
        if not found and file.complete:
            where = f"`{file.path}`" if path else "this file"
            message = f"{where} has no document named `{name}`"
            near = difflib.get_close_matches(name, file.names, 2, 0.75)
            mended = fix(node.source, Put(at, f"{path}#{near[0]}" if path else near[0])) if len(near) == 1 else None
            self.problems.append(document_error("unknown-recipe", message, span, _names_of(file, name), mended))
        return found

    def _require_used(self, order: Sequence[_Node]) -> None:
        for override in self.overrides:
            if override.text not in self._used:
                names = ", ".join(node.name for node in order if node.name)
                raise OverrideError(
                    f"`--set {override.text}`: no document is named `{override.document}`, only {names}"
                )


def _name(source: Source) -> str | None:
    return source.data["name"] if is_named(source) else None


def _references(data: Any) -> Iterator[tuple[Path, str]]:
    """Every `{recipe: NAME}` and where it stands; `metadata` is free text."""
    waiting: list[tuple[Path, Any]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if is_reference(value):
            yield path, value["recipe"]
        elif isinstance(value, dict):
            waiting += [((*path, key), value[key]) for key in reversed(value) if (*path, key) != ("metadata",)]
        elif isinstance(value, list):
            waiting += [((*path, index), item) for index, item in reversed(list(enumerate(value)))]


def _value_at(data: Any, path: Path) -> Any:
    """What stands at a path."""
    for part in path:
        data = data[part]
    return data


def _names_of(file: File, wanted: str) -> str:
    """What to write instead of a name that is not there."""
    if wanted.endswith((".yaml", ".yml")):
        return f"to take a document of another file write `{wanted}#NAME`"
    near = difflib.get_close_matches(wanted, file.names, 1)
    if near:
        return f"did you mean `{near[0]}`?"
    names = ", ".join(f"`{name}`" for name in file.names)
    return f"its documents: {names}" if names else "none of its documents has a name"


def _cycle(nodes: Sequence[_Node], span: Span) -> Diagnostic:
    names = " -> ".join(node.name or node.source.file for node in nodes)
    hint = "one of them must begin with a model that is there already"
    return document_error("recipe-cycle", f"these recipes need each other: {names}", span, hint)


def _duplicates(order: Sequence[_Node]) -> Iterator[Diagnostic]:
    first: dict[str, Span] = {}
    written = sorted(order, key=lambda node: (node.source.file, node.place[1]))
    for node in written:
        span = node.source.at(("name",))
        if node.name in first:
            other = first[node.name]
            hint = f"line {other.line} of `{other.file}` has it already; each document needs a name of its own"
            yield document_error("duplicate-name", f"two documents are named `{node.name}`", span, hint)
        elif node.name is not None:
            first[node.name] = span
