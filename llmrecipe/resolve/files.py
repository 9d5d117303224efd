"""The files of a run, each read once, and what their documents extend."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from llmrecipe import looking
from llmrecipe.diagnostics import Diagnostic
from llmrecipe.document_errors import document_error
from llmrecipe.mending import Put, fix
from llmrecipe.resolve.merging import merge, without
from llmrecipe.source import Problem, Source, SourceError, Span, load, parse

MAX_EXTENDED = 32  # files in one `extends`, and files that extend each other


_FATAL = ("unreadable-file", "invalid-yaml", "document-too-large", "empty-document")


class File(NamedTuple):
    """A file that was read."""

    path: str
    """As messages show it."""
    sources: tuple[Source, ...]
    problems: tuple[Problem, ...]

    @property
    def key(self) -> str:
        """The same for every spelling of the path."""
        return os.path.abspath(self.path)  # noqa: PTH100  `Path.absolute` keeps `..`

    @property
    def complete(self) -> bool:
        """Whether all of its documents could be read."""
        return not any(problem.name in _FATAL for problem in self.problems)

    @property
    def names(self) -> list[str]:
        """What the documents call themselves."""
        return [str(source.data["name"]) for source in self.sources if is_named(source)]

    def label(self, index: int) -> str:
        """What messages call a document: the file, and its name where there are several."""
        source = self.sources[index]
        return f"{self.path}#{source.data['name']}" if len(self.sources) > 1 and is_named(source) else self.path


def is_named(source: Source) -> bool:
    """Whether the document has a name that can be referred to."""
    return isinstance(source.data, dict) and isinstance(source.data.get("name"), str)


class Extended(NamedTuple):
    """A document with all that it extends, and what is wrong with that."""

    source: Source
    problems: tuple[Diagnostic, ...] = ()
    complete: bool = True
    """Whether nothing of what it extends is missing."""


@dataclass(slots=True)
class Files:
    """Reads files and merges what their documents extend."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """Files, by their absolute path, that are not read from the disk."""
    _read: dict[str, File] = field(default_factory=dict)
    _extended: dict[tuple[str, int], Extended] = field(default_factory=dict)

    def read(self, path: str) -> File:
        """The file at a path; one that cannot be read has no documents and a problem."""
        key = os.path.abspath(path)  # noqa: PTH100
        if key not in self._read:
            try:
                self._read[key] = File(path, tuple(self._load(path, key)), ())
            except SourceError as error:
                self._read[key] = File(path, error.sources, error.problems)
        return self._read[key]

    def _load(self, path: str, key: str) -> list[Source]:
        if key not in self.texts:
            return load(path)
        looking.read(key, self.texts[key].encode())
        return parse(self.texts[key], path)

    def extended(self, file: File, index: int, below: tuple[tuple[str, int], ...] = ()) -> Extended:
        """A document merged over all that it extends; `below` are the documents that extend it."""
        place = (file.key, index)
        if place not in self._extended:
            source = file.sources[index]
            if isinstance(source.data, dict) and "extends" in source.data:
                self._extended[place] = self._merge(file, source, (*below, place))
            else:
                self._extended[place] = Extended(source)
        return self._extended[place]

    def _merge(self, file: File, source: Source, chain: tuple[tuple[str, int], ...]) -> Extended:
        problems = list(_shape(source, len(chain)))
        complete = not problems
        merged: Source | None = None
        for position, reference in enumerate(source.data["extends"] if complete else []):
            base = self._base(file, reference, source.at(("extends", position)), chain)
            problems += base.problems
            complete = complete and base.complete
            if base.source.data is not None:
                merged = base.source if merged is None else merge(merged, base.source)
        own = without(source, "extends")
        return Extended(own if merged is None else merge(merged, own), tuple(problems), complete)

    def _base(self, file: File, reference: str, span: Span, chain: tuple[tuple[str, int], ...]) -> Extended:
        """One document that is extended; without data where it cannot be."""
        path, _, name = reference.rpartition("#") if "#" in reference else (reference, "", "")
        base = self.read(beside(file.path, path)) if path else file
        problems = list(problems_of(base, span))
        chosen = [index for index, source in enumerate(base.sources) if not name or _is(source, name)]
        place = (base.key, chosen[0] if chosen else -1)
        if len(chosen) != 1:
            problems += [_ambiguous(base, name, reference, span)] if base.complete else []
        elif place in chain:
            problems.append(self._cycle(chain[chain.index(place) :], place, span))
        else:
            found = self.extended(base, place[1], chain)
            if isinstance(found.source.data, dict):
                return Extended(found.source, (*problems, *found.problems), found.complete)
            message = f"`{reference}` is no mapping, so that nothing of it can be taken over"
            problems.append(document_error("invalid-extends", message, span, "write `key: value` in it"))
        return Extended(Source(file.path, None, {}, {(): span}), tuple(problems), complete=False)

    def _cycle(self, chain: Iterable[tuple[str, int]], again: tuple[str, int], span: Span) -> Diagnostic:
        labels = [self._read[key].label(index) for key, index in (*chain, again)]
        message = f"these extend each other: {' -> '.join(labels)}"
        return document_error(
            "extends-cycle", message, span, "move what they share to a file that extends none of them"
        )


def beside(file: str, path: str) -> str:
    """A path that was written in `file`, from the current folder."""
    return os.path.normpath(os.path.join(os.path.dirname(file), path))  # noqa: PTH118, PTH120  `pathlib` keeps `..`


def problems_of(file: File, asked: Span | None = None) -> Iterable[Diagnostic]:
    """What is wrong with a file; that it cannot be opened is wrong where another file asks for it."""
    for problem in file.problems:
        place = asked if asked and problem.name == "unreadable-file" else problem.span
        yield document_error(problem.name, problem.message, place, problem.help)


def _is(source: Source, name: str) -> bool:
    return is_named(source) and source.data["name"] == name


def _shape(source: Source, depth: int) -> Iterable[Diagnostic]:
    """What is wrong with `extends` itself."""
    given, span = source.data["extends"], source.at(("extends",))
    if isinstance(given, str):
        hint, mended = f"write `extends: [{given}]`", fix(source, Put(("extends",), [given]))
        yield document_error("invalid-extends", "`extends` is a list of files", span, hint, mended)
    elif not isinstance(given, list) or not all(isinstance(item, str) and item for item in given):
        hint = "write `extends: [base.yaml]`, or `extends: ['base.yaml#NAME']` for one of several documents"
        yield document_error("invalid-extends", "`extends` is a list of files", span, hint)
    elif len(given) > MAX_EXTENDED or depth > MAX_EXTENDED:
        message = f"more than {MAX_EXTENDED} files extend each other"
        yield document_error("document-too-large", message, span, "merge some of them")


def _ambiguous(base: File, name: str, reference: str, span: Span) -> Diagnostic:
    names = ", ".join(f"`{found}`" for found in base.names) or "none"
    if not name:
        message = f"`{reference}` has {len(base.sources)} documents"
        hint = f"choose one: write `'{reference}#NAME'`; it has {names}"
    else:
        number = "several documents" if name in base.names else "no document"
        message, hint = f"`{base.path}` has {number} named `{name}`", f"its documents: {names}"
    return document_error("invalid-extends", message, span, hint)
