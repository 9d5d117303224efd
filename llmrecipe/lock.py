"""Pins of what comes from outside: hashes of local files, commits of the Hub, versions of packages."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from llmrecipe import __version__
from llmrecipe.diagnostics import Diagnostic, RecipeError
from llmrecipe.document import Document
from llmrecipe.hashing import file_sha256, folder_sha256
from llmrecipe.methods.online import OnlineMethod
from llmrecipe.paths import expand, folder, is_url, portable, suffix
from llmrecipe.plan import OPTIONAL_PACKAGES, PACKAGES, PinnedFile
from llmrecipe.recipe.combination import Combination
from llmrecipe.recipe.data import ByPerplexity, Files, Hub
from llmrecipe.recipe.data import Source as DataSource
from llmrecipe.recipe.evaluation import Generation, PreferenceAccuracy, Rewards
from llmrecipe.schema import Section
from llmrecipe.source import Path as Location
from llmrecipe.source import Span
from llmrecipe.vocabulary import JSONSchema, ModelReference, PythonFunction, RewardFunction, is_path

RepoKind = Literal["model", "dataset"]
Commit = Callable[[RepoKind, str, str | None], str]
"""(kind, repository, revision) -> commit: 40 hexadecimal digits. Raises ValueError when the Hub does not say."""


FIND = "check the path and the folder that it starts from"


class Lock(Section):
    """Everything that a plan takes from outside. `FILE.lock` is this object as JSON.

    Keys of `files`, `folders` and `texts` are places in the recipe: `sft:data.train.0`.
    """

    version: Literal[1] = 1
    packages: dict[str, str]
    """Versions of the packages that make artifacts."""
    files: dict[str, list[PinnedFile]]
    folders: dict[str, str]
    """SHA-256 over the names and bytes of the files of a local model."""
    texts: dict[str, str]
    """Chat templates that stand in files of their own."""
    commits: dict[str, str]
    """`model OWNER/NAME` or `dataset OWNER/NAME`, with `@REVISION` when the recipe has one -> commit."""
    unpinned: list[str]
    """What nothing pins: Hub ids without a commit, files behind URLs."""


def key(document: Document, location: Location) -> str:
    """A place in a recipe, as a lock writes it."""
    return f"{document.recipe.name}:{'.'.join(map(str, location))}"


def hub_key(kind: RepoKind, repo: str, revision: str | None) -> str:
    """A Hub repository, as a lock writes it."""
    return f"{kind} {repo}@{revision}" if revision else f"{kind} {repo}"


def pin(documents: Sequence[Document], root: Path, known: Lock | None = None, commit: Commit | None = None) -> Lock:
    """What the documents take from outside, as it is now; paths are written from `root`.

    With `known` (a lock that was read) the commits are taken from it, and everything else must be equal. With `commit`
    the Hub is asked.

    Raises:
        RecipeError: something cannot be read, or `known` is stale.
    """
    pins = _Pins(root, known, commit)
    for document in documents:
        pins.add(document)
    if pins.problems:
        raise RecipeError(pins.problems)
    lock = pins.lock()
    if known is not None and (stale := list(_stale(lock, known, documents))):
        raise RecipeError(stale)
    return lock


def sources(document: Document) -> Iterator[tuple[Location, DataSource]]:
    """Every data source of a recipe and where it stands."""
    recipe = document.recipe
    if recipe.data is not None:
        yield from ((("data", "train", i), source) for i, source in enumerate(recipe.data.train))
        if recipe.data.validation is not None:
            held_out = recipe.data.validation.sources or []
            yield from ((("data", "validation", "sources", i), source) for i, source in enumerate(held_out))
    if recipe.training.ewc is not None:
        yield from ((("training", "ewc", "data", i), source) for i, source in enumerate(recipe.training.ewc.data))
    for i, suite in enumerate(recipe.evaluation.suites if recipe.evaluation else []):
        if isinstance(suite, Generation | Rewards | PreferenceAccuracy):
            yield from ((("evaluation", "suites", i, "sources", j), source) for j, source in enumerate(suite.sources))


def rewards(document: Document) -> Iterator[tuple[Location, RewardFunction]]:
    """Every reward function of a recipe and where it stands."""
    recipe = document.recipe
    if isinstance(recipe.method, OnlineMethod):
        yield from ((("method", "reward_functions", i), each) for i, each in enumerate(recipe.method.reward_functions))
    for i, suite in enumerate(recipe.evaluation.suites if recipe.evaluation else []):
        if isinstance(suite, Rewards):
            at = ("evaluation", "suites", i, "reward_functions")
            yield from (((*at, j), each) for j, each in enumerate(suite.reward_functions))


def models(document: Document) -> Iterator[tuple[Location, ModelReference]]:
    """Every model that the method or a suite needs beside the trained one, and where it stands."""
    recipe = document.recipe
    if isinstance(recipe.model.base, Combination):
        for place, reference in recipe.model.base.parts().items():
            yield part_at(place), reference
    if recipe.method is not None:
        yield from ((("method", role), reference) for role, reference in recipe.method.models().items())
    if recipe.data is not None and isinstance(recipe.data.curriculum, ByPerplexity):
        yield ("data", "curriculum", "model"), recipe.data.curriculum.model
    for i, suite in enumerate(recipe.evaluation.suites if recipe.evaluation else []):
        if isinstance(suite, Rewards) and suite.reward_model is not None:
            yield ("evaluation", "suites", i, "reward_model"), suite.reward_model


def part_at(place: str) -> Location:
    """Where a part of a merge is written, by its place: `base` or `models.0`."""
    kind, _, number = place.partition(".")
    return ("model", "base", "merge", kind, *((int(number), "model") if number else ()))


class _Pins:
    """Collects pins and problems while it goes through the documents."""

    def __init__(self, root: Path, known: Lock | None, commit: Commit | None) -> None:
        self.root, self.known, self.commit = root, known, commit
        self.files: dict[str, list[PinnedFile]] = {}
        self.folders: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.commits: dict[str, str] = {}
        self.unpinned: list[str] = []
        self.problems: list[Diagnostic] = []

    def lock(self) -> Lock:
        return Lock(
            packages=installed(),
            files=self.files,
            folders=self.folders,
            texts=self.texts,
            commits=self.commits,
            unpinned=sorted(set(self.unpinned)),
        )

    def add(self, document: Document) -> None:
        for location, source in sources(document):
            match source:
                case Files():
                    self._files(document, location, source)
                case Hub():
                    self._repo(document, (*location, "dataset"), "dataset", (source.dataset, source.revision))
        self._model(document)
        for location, function in rewards(document):
            self._reward(document, location, function)
        template = document.recipe.tokenizer.chat_template
        if template not in (None, "chatml"):
            self._text(document, ("tokenizer", "chat_template"), template)

    def _files(self, document: Document, location: Location, source: Files) -> None:
        pinned = self.files.setdefault(key(document, location), [])
        for i, pattern in enumerate(source.paths):
            at = (*location, "paths", i)
            if is_url(pattern):
                digest = hashlib.sha256(pattern.encode()).hexdigest()
                pinned.append(PinnedFile(path=pattern, suffix=suffix(pattern), size=0, sha256=digest))
                self.unpinned.append(pattern)
                continue
            found = expand(pattern, folder(document, at))
            if not found:
                self._problem("LR791", "unreadable-input", f"no file matches `{pattern}`", document.source.at(at), FIND)
            for path in found:
                with self._reading(path, document.source.at(at)):
                    name = portable(pattern, path, self.root)
                    size, digest = path.stat().st_size, file_sha256(path)
                    pinned.append(PinnedFile(path=name, suffix=suffix(name), size=size, sha256=digest))

    def _model(self, document: Document) -> None:
        self._weights(document, ("model", "base"), document.recipe.model.base, document.recipe.model.revision)
        for location, reference in models(document):
            self._weights(document, location, reference, None)

    def _weights(self, document: Document, at: Location, base: object, revision: str | None) -> None:
        """Pin a model that another recipe does not make."""
        if not isinstance(base, str):
            return
        if not is_path(base):
            self._repo(document, at, "model", (base, revision))
            return
        start = folder(document, at) / Path(base).expanduser()
        if not start.is_dir():
            self._problem("LR791", "unreadable-input", f"there is no folder `{base}`", document.source.at(at), FIND)
            return
        with self._reading(start, document.source.at(at)):
            self.folders[key(document, at)] = folder_sha256(start)

    def _text(self, document: Document, at: Location, path: str) -> None:
        with self._reading(Path(path), document.source.at(at)):
            self.texts[key(document, at)] = (folder(document, at) / Path(path).expanduser()).read_text("utf-8")

    def _reward(self, document: Document, at: Location, function: RewardFunction) -> None:
        """Pin the file that a reward function stands in. Its code is read, and never run."""
        match function:
            case PythonFunction():
                at = (*at, "path")
                path = folder(document, at) / Path(function.path).expanduser()
                with self._reading(Path(function.path), document.source.at(at)):
                    name = portable(function.path, path, self.root)
                    file = PinnedFile(path=name, suffix=".py", size=path.stat().st_size, sha256=file_sha256(path))
                    self.files[key(document, at)] = [file]
            case JSONSchema(json_schema=str() as written):
                at = (*at, "json_schema")
                self._text(document, at, written)
                text = self.texts.get(key(document, at))
                if text is not None and not _is_json_object(text):
                    message = f"`{written}` is not a JSON schema"
                    self._problem("LR791", "unreadable-input", message, document.source.at(at), "it is one JSON object")

    def _repo(self, document: Document, at: Location, kind: RepoKind, repo: tuple[str, str | None]) -> None:
        name = hub_key(kind, *repo)
        if is_commit(repo[1]):
            return
        if self.known is not None and name in self.known.commits:
            self.commits[name] = self.known.commits[name]
        elif self.commit is not None:
            try:
                self.commits.setdefault(name, self.commit(kind, *repo))
            except ValueError as error:
                help_ = (
                    "check the name, the network and your token (HF_TOKEN); or write a commit as `revision`, "
                    "or lock without the Hub: --offline"
                )
                self._problem("LR793", "hub-does-not-answer", str(error), document.source.at(at), help_)
        else:
            self.unpinned.append(name)

    @contextmanager
    def _reading(self, path: Path, span: Span) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            help_ = "check its permissions" if isinstance(error, PermissionError) else FIND
            self._problem("LR791", "unreadable-input", f"`{path}` cannot be read: {error.strerror}", span, help_)
        except UnicodeDecodeError:
            self._problem("LR791", "unreadable-input", f"`{path}` is not UTF-8 text", span, "save it as UTF-8")

    def _problem(self, code: str, name: str, message: str, span: Span, help_: str | None = None) -> None:
        self.problems.append(Diagnostic(code, name, message, span, help_))


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit hash, which never moves."""
    return revision is not None and len(revision) == 40 and set(revision) <= set("0123456789abcdef")


def installed() -> dict[str, str]:
    """Versions of the installed packages that make artifacts."""
    names = sorted({name for names in PACKAGES.values() for name in names} | {*OPTIONAL_PACKAGES})
    found = {"llmrecipe": __version__}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


# -- the file --


def lock_file(recipe: Path) -> Path:
    """`FILE.lock` of a recipe file."""
    return recipe.with_name(recipe.name + ".lock")


def locked(recipe: Path) -> Lock | None:
    """The lock beside a recipe file, or nothing when there is none.

    Raises:
        RecipeError: it cannot be read.
    """
    path = lock_file(recipe)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"the lock cannot be read: {error.strerror}"
        raise RecipeError([_lock_problem("LR792", "unreadable-lock", message, path)]) from None
    except UnicodeDecodeError:
        raise RecipeError([_lock_problem("LR792", "unreadable-lock", "the lock is not UTF-8 text", path)]) from None
    try:
        return Lock.model_validate_json(text)
    except ValidationError:
        message = "this is not a lock of this version of llmrecipe"
        raise RecipeError([_lock_problem("LR792", "unreadable-lock", message, path)]) from None


def dump(lock: Lock) -> str:
    """The text of `FILE.lock`."""
    return json.dumps(lock.model_dump(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _lock_problem(code: str, name: str, message: str, path: Path) -> Diagnostic:
    help_ = f"write it again with `llmrecipe lock {path.name.removesuffix('.lock')}`"
    return Diagnostic(code, name, message, Span(str(path), 1, 1, 1, 1), help_)


def _stale(now: Lock, known: Lock, documents: Sequence[Document]) -> Iterator[Diagnostic]:
    """What the lock says and the world no longer does."""
    spans = {
        key(document, location): document.source.at(location)
        for document in documents
        for location in (
            *(at for at, _ in sources(document)),
            *((*at, name) for at, _ in rewards(document) for name in ("path", "json_schema")),
            *(at for at, _ in models(document)),
            ("model", "base"),
            ("tokenizer", "chat_template"),
        )
    }
    recipe = documents[-1].source
    help_ = f"if that is meant, write the lock again: `llmrecipe lock {recipe.file}`"

    def stale(message: str, span: Span) -> Diagnostic:
        return Diagnostic("LR790", "stale-lock", message, span, help_)

    for place, files in now.files.items():
        if place not in known.files:
            yield stale(f"the lock does not know the files of `{place}`", spans[place])
        elif changed := _changed(files, known.files[place]):
            yield stale(f"{changed} since it was locked", spans[place])
    for place, found in (now.folders | now.texts).items():
        if (known.folders | known.texts).get(place) != found:
            yield stale(f"`{place}` has changed since it was locked", spans[place])
    start = recipe.at(())
    for name in now.unpinned:
        if name not in known.unpinned:
            yield stale(f"the lock has no commit of {name}", start)
    for package in sorted(now.packages.keys() & known.packages.keys()):
        if now.packages[package] != known.packages[package]:
            message = f"{package} is {now.packages[package]} here and {known.packages[package]} in the lock"
            yield stale(message, start)


def _changed(now: Sequence[PinnedFile], known: Sequence[PinnedFile]) -> str | None:
    before, after = ({file.path: file.sha256 for file in files} for files in (known, now))
    if before == after and [file.path for file in now] == [file.path for file in known]:
        return None
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            return f"`{path}` is gone"
        if path not in before:
            return f"`{path}` is new"
        if before[path] != after[path]:
            return f"`{path}` has changed"
    return "the order of the files has changed"
