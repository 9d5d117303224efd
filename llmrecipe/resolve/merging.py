"""Two documents -> one: mappings merge, everything else is replaced, and every span keeps its file."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llmrecipe.source import Path, Source, Span

OVERRIDE = "--set"
"""What spans of overrides have as their file. Its text is all overrides, one after the other, each on its own line."""


class MissingItemError(ValueError):
    """An override names an item that its list does not have."""


class _View(NamedTuple):
    """A part of a document."""

    source: Source
    path: Path
    data: Any

    def child(self, key: str | int) -> "_View":
        return _View(self.source, (*self.path, key), self.data[key])


@dataclass(slots=True)
class _Merged:
    """The spans of the document that is being put together."""

    keys: dict[Path, Span] = field(default_factory=dict)
    values: dict[Path, Span] = field(default_factory=dict)

    def copy(self, part: _View, path: Path) -> Any:
        self.values[path] = part.source.at(part.path)
        if isinstance(part.data, dict):
            for key in part.data:
                self.copy_entry(part, key, path)
        elif isinstance(part.data, list):
            for index in range(len(part.data)):
                self.copy(part.child(index), (*path, index))
        return part.data

    def copy_entry(self, part: _View, key: str, path: Path) -> Any:
        self.keys[(*path, key)] = part.source.keys[(*part.path, key)]
        return self.copy(part.child(key), (*path, key))

    def combine(self, base: _View, top: _View, path: Path) -> Any:
        if not isinstance(top.data, dict) or not isinstance(base.data, dict | list):
            return self.copy(top, path)
        if isinstance(base.data, list):
            return self.change_items(base, top, path) if _names_items(top.data) else self.copy(top, path)
        if _is_another_thing(base.data, top.data):
            return self.copy(top, path)
        outer = base if top.source.at(top.path).file == OVERRIDE else top  # an override changes what is in a mapping
        self.values[path] = outer.source.at(outer.path)
        merged: dict[str, Any] = {}
        for key in base.data:
            if key in top.data:
                named = outer if isinstance(base.data[key], dict) and isinstance(top.data[key], dict) else top
                self.keys[(*path, key)] = named.source.keys[(*named.path, key)]
                merged[key] = self.combine(base.child(key), top.child(key), (*path, key))
            else:
                merged[key] = self.copy_entry(base, key, path)
        for key in top.data:
            if key not in base.data:
                merged[key] = self.copy_entry(top, key, path)
        return merged

    def change_items(self, base: _View, top: _View, path: Path) -> list[Any]:
        """The list of `base` with the items that an override names by their numbers."""
        for key in top.data:
            if int(key) >= len(base.data):
                where = ".".join(str(part) for part in path)
                raise MissingItemError(
                    f"`{where}` has {len(base.data)} item(s), counted from 0; there is no {int(key)}"
                )
        self.values[path] = base.source.at(base.path)
        changed = {int(key): key for key in top.data}
        return [
            self.combine(base.child(index), top.child(changed[index]), (*path, index))
            if index in changed
            else self.copy(base.child(index), (*path, index))
            for index in range(len(base.data))
        ]


def _names_items(data: dict[str, Any]) -> bool:
    return bool(data) and all(key.isascii() and key.isdigit() and len(key) < 10 for key in data)


def _is_another_thing(base: dict[str, Any], top: dict[str, Any]) -> bool:
    """Whether an option of `base` means nothing in `top`: another `kind`, or a reference on one side."""
    if "kind" in base and "kind" in top:
        return bool(base["kind"] != top["kind"])
    return is_reference(base) or is_reference(top)


def is_reference(data: object) -> bool:
    """Whether a value is `{recipe: NAME}`."""
    return isinstance(data, dict) and len(data) == 1 and isinstance(data.get("recipe"), str)


def merge(base: Source, top: Source) -> Source:
    """`top` over `base`, as the document that `top` is.

    Mappings merge; lists and scalars are replaced; so is a mapping whose `kind` is another.

    Raises:
        MissingItemError: `top` is an override and names an item that a list does not have.
    """
    merged = _Merged()
    data = merged.combine(_View(base, (), base.data), _View(top, (), top.data), ())
    return Source(top.file, data, merged.keys, merged.values)


def without(source: Source, key: str) -> Source:
    """The document without one of its top-level keys."""
    return Source(
        source.file,
        {name: value for name, value in source.data.items() if name != key},
        {path: span for path, span in source.keys.items() if path[0] != key},
        {path: span for path, span in source.values.items() if path[:1] != (key,)},
    )
