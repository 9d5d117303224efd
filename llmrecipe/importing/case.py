"""One conversion: the keys of a file of another tool, what becomes of each, and the recipe that grows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Literal, TypeVar

from llmrecipe.importing.reading import Configuration, leaves
from llmrecipe.source import Path, Span

Fate = Literal["mapped", "dropped", "blocking"]
Problem = Literal["no-equal-in-recipes", "unknown-imported-key", "unfit-imported-value", "missing-for-import"]
T = TypeVar("T")
Key = str | Path
"""A key of the top level, or the path of a value."""


class UnfitError(ValueError):
    """A value is not what its key takes; the message says what it must be."""


@dataclass(frozen=True)
class Entry:
    """What becomes of one value of the input."""

    path: Path
    value: Any
    span: Span
    fate: Fate
    to: tuple[str, ...] = ()
    """Paths of the recipe that say it."""
    became: Any = None
    """What stands at the first of them; nothing where several keys make up one value."""
    because: str = ""
    """How it was changed, or why it is left out, or why it cannot be said."""
    help: str | None = None
    problem: Problem = "no-equal-in-recipes"


@dataclass(frozen=True)
class Implied:
    """A value of the recipe that the file does not say: the tool does it without being told."""

    path: str
    value: Any
    because: str


@dataclass(frozen=True)
class Difference:
    """A value that was mapped, and means something slightly different here."""

    span: Span
    message: str
    help: str


@dataclass(frozen=True)
class Options:
    """What the file cannot say and the command line may."""

    accelerator: str | None = None
    num_accelerators: int | None = None
    method: str | None = None
    """Of TRL, whose files do not name it."""
    output: FilePath | None = None
    """Where the recipe is to be written; relative paths start from its folder."""


@dataclass
class Case:
    """One conversion."""

    configuration: Configuration
    tool: str
    """How the tool is called in messages."""
    options: Options = field(default_factory=Options)
    recipe: dict[str, Any] = field(default_factory=dict)
    entries: dict[Path, Entry] = field(default_factory=dict)
    implied: list[Implied] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    lacking: list[Difference] = field(default_factory=list)
    """What a recipe needs and the file does not say."""

    @property
    def data(self) -> dict[str, Any]:
        """The whole file."""
        found: dict[str, Any] = self.configuration.source.data
        return found

    # -- asking --

    def get(self, key: Key, default: Any = None) -> Any:
        """The value of a key, whatever it is; the default where it is missing or null."""
        value: Any = self.data
        for part in _path(key):
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return default
        return default if value is None else value

    def has(self, key: Key) -> bool:
        """Whether a key has a value other than null."""
        return self.get(key) is not None

    def read(self, key: Key, convert: Callable[[Any], T]) -> T | None:
        """A value of the right type; nothing where there is none, or none that fits, which then blocks."""
        value = self.get(key)
        if value is None:
            return None
        try:
            return convert(value)
        except UnfitError as error:
            self.block(key, f"`{dotted(_path(key))}` {error}", "correct it", "unfit-imported-value")
            return None

    def open(self, key: Key = ()) -> list[Path]:
        """The values below a key of which nothing has been said yet."""
        path = _path(key)
        if path and path not in self.configuration.source.values:
            return []
        value = self.data if not path else self._at(path)
        return [leaf for leaf in leaves(value, path) if leaf not in self.entries]

    # -- telling --

    def put(self, to: str, value: Any) -> None:
        """Write a value into the recipe."""
        section = self.recipe
        *parents, last = to.split(".")
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value

    def map(self, key: Key, to: str | tuple[str, ...], value: Any = None, how: str = "") -> None:
        """Say that a key has become `to`, and write it there if a value is given."""
        targets = (to,) if isinstance(to, str) else to
        if value is not None:
            self.put(targets[0], value)
        self._tell(key, "mapped", to=targets, because=how)

    def drop(self, key: Key, because: str) -> None:
        """Say that a key is knowingly left out."""
        self._tell(key, "dropped", because=because)

    def block(self, key: Key, message: str, help_: str, problem: Problem = "no-equal-in-recipes") -> None:
        """Say that a key cannot be said in a recipe."""
        self._tell(key, "blocking", because=message, help=help_, problem=problem)

    def imply(self, to: str, value: Any, because: str) -> None:
        """Write what the tool does without being told."""
        self.put(to, value)
        self.implied.append(Implied(to, value, because))

    def implied_section(self, to: str, section: dict[str, Any], because: str) -> None:
        """As `imply`, of a section that is completed and written later."""
        self.implied.append(Implied(to, dict(section), because))

    def differ(self, key: Key, message: str, help_: str) -> None:
        """Say that what was mapped does not do exactly what it did."""
        self.differences.append(Difference(self.configuration.source.at(_path(key)), message, help_))

    def lack(self, message: str, help_: str, key: Key = ()) -> None:
        """Say that something is missing without which nothing can be run."""
        self.lacking.append(Difference(self.configuration.source.at(_path(key)), message, help_))

    def written(self, to: str) -> Any:
        """What stands at a path of the recipe; nothing where there is no such path."""
        value: Any = self.recipe
        for part in to.split("."):
            if isinstance(value, list):
                value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
            else:
                value = value.get(part) if isinstance(value, dict) else None
        return value

    def _tell(self, key: Key, fate: Fate, **more: Any) -> None:
        path = _path(key)
        source = self.configuration.source
        if path not in source.values:  # Its absence was the reason; there is nothing to account for.
            return
        for leaf in leaves(self._at(path), path):
            if leaf not in self.entries:
                span = source.at(leaf) if fate == "mapped" else source.key_at(leaf)
                self.entries[leaf] = Entry(leaf, self._at(leaf), span, fate, **more)

    def _at(self, path: Path) -> Any:
        value: Any = self.data
        for part in path:
            value = value[part]
        return value

    # -- paths of files --

    def local(self, path: str) -> str | None:
        """A file or folder of this machine, as the recipe writes it; nothing when it is not there.

        Tools start relative paths from where they are called: that folder is tried, then the folder of the file.
        """
        target = FilePath(self.options.output or "recipe.yaml").resolve().parent
        for start in (FilePath.cwd(), FilePath(self.configuration.source.file).resolve().parent):
            found = start / FilePath(path).expanduser()
            if found.exists():
                if FilePath(path).expanduser().is_absolute():
                    return path
                return _relative(found.resolve(), target)
        return None


Rule = Callable[[Case, Path, Any], None]
"""Tells what becomes of a key, given its path and its value, which is not null."""


@dataclass(frozen=True)
class Step:
    """Keys that mean something together."""

    keys: tuple[str, ...]
    convert: Callable[[Case], None]


@dataclass(frozen=True)
class Tool:
    """A tool whose files are understood: plain tables and small functions."""

    name: str
    title: str
    signs: Mapping[str, int]
    """Keys that tell its files from those of others, with their weight."""
    steps: tuple[Step, ...]
    """In the order in which they run."""
    rules: Mapping[str, Rule]
    """Keys that mean something alone."""
    twice: str | None = None
    """Why a key that is written twice is refused; left out, the last one holds."""
    trainer_fields: bool = False
    """Whether all fields of the trainer's configuration class are keys of it."""

    @property
    def keys(self) -> frozenset[str]:
        """Every key that it takes, as far as is known here."""
        return frozenset(self.rules) | {key for step in self.steps for key in step.keys}


def dotted(path: Path) -> str:
    """`datasets[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _path(key: Key) -> Path:
    return (key,) if isinstance(key, str) else key


def _relative(found: FilePath, start: FilePath) -> str:
    up = 0
    while not found.is_relative_to(start):
        start = start.parent
        up += 1
    return "../" * up + found.relative_to(start).as_posix()
