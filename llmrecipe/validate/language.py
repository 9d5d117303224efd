"""What the language accepts where: the types behind a field, and the way from an error of pydantic to a place."""

import types
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import Tag
from pydantic.fields import FieldInfo

from llmrecipe.recipe import Recipe
from llmrecipe.schema import Section
from llmrecipe.source import Path


class Alternative(NamedTuple):
    """One type that a value may have."""

    type: Any
    """A section, `str`, `int`, `float`, `bool`, `list[...]`, `dict[...]`, a Literal, or JsonValue."""
    bounds: tuple[Any, ...] = ()
    tag: str | None = None

    @property
    def section(self) -> type[Section] | None:
        """The type, when it is a section."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, Section) else None

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a Literal."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def kind(self) -> str | None:
        """The `kind` of a section that has one."""
        return kind_of(self.section) if self.section else None


Alternatives = tuple[Alternative, ...]


class Place(NamedTuple):
    """Where an error is, and what could stand there."""

    path: Path
    owner: type[Section] | None
    """The section that has the last key of the path."""
    siblings: Alternatives
    """The other kinds of that section."""
    expected: Alternatives
    union: Path | None
    """The path at which one of several types that no `kind` tells apart was tried."""


def kind_of(section: type[Section]) -> str | None:
    """The `kind` that a section has, if it is one of several."""
    field = section.model_fields.get("kind")
    return str(get_args(field.annotation)[0]) if field else None


@cache
def field_types(section: type[Section], name: str) -> Alternatives:
    """What a field may be; nothing when there is no such field."""
    info = section.model_fields.get(name)
    return tuple(_alternatives(info.annotation, tuple(info.metadata))) if info else ()


def required(section: type[Section]) -> list[str]:
    """Fields that must be written, in their order."""
    return [name for name, info in section.model_fields.items() if info.is_required()]


def locate(location: Sequence[str | int]) -> Place:
    """The place of an error of pydantic, whose locations name the kinds of unions between the keys."""
    path: Path = ()
    union: Path | None = None
    owner: type[Section] | None = None
    siblings: Alternatives = ()
    now: Alternatives = (Alternative(Recipe),)
    of_owner: Alternatives = ()
    for element in location:
        chosen = _tagged(now, element) if len(now) > 1 else None
        if chosen is not None:
            siblings, union = now, union if _told_apart(now) else path
            now = (chosen,)
            continue
        path = (*path, element)
        section = now[0].section if now else None
        owner, of_owner = section, siblings
        now, siblings = _inside(now[0], element) if now else (), ()
    if len(now) == 1 and now[0].tag and not now[0].section:
        now = siblings  # a value that is no mapping could have been any of them
    return Place(path, owner, of_owner, now, union)


def _inside(outer: Alternative, element: str | int) -> Alternatives:
    if outer.section:
        return field_types(outer.section, str(element))
    parts = get_args(outer.type)
    if get_origin(outer.type) is list:
        return tuple(_alternatives(parts[0]))
    return tuple(_alternatives(parts[1])) if get_origin(outer.type) is dict else ()


def _tagged(alternatives: Alternatives, tag: str | int) -> Alternative | None:
    """The alternative that pydantic calls by `tag`: its kind, its Tag, or its type."""
    for alternative in alternatives:
        if tag in (alternative.kind, alternative.tag):
            return alternative
        origin = get_origin(alternative.type)
        if isinstance(tag, str) and origin in (list, dict, Literal) and alternative.tag is None:
            name = "literal" if origin is Literal else origin.__name__
            if tag.startswith(f"{name}[") and (origin is not Literal or repr(alternative.choices[0]) in tag):
                return alternative
    return None


def _told_apart(alternatives: Alternatives) -> bool:
    return all(alternative.section or alternative.tag for alternative in alternatives)


def _alternatives(annotation: Any, bounds: tuple[Any, ...] = (), tag: str | None = None) -> Iterator[Alternative]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *notes = get_args(annotation)
        for note in notes:
            if isinstance(note, FieldInfo):
                bounds = (*bounds, *note.metadata)
            elif isinstance(note, Tag):
                tag = note.tag
        yield from _alternatives(inner, bounds, tag)
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            if part is not types.NoneType:
                yield from _alternatives(part, bounds, tag)
    else:
        yield Alternative(annotation, bounds, tag)


@cache
def owners() -> dict[str, list[str]]:
    """Key -> the sections that have it: `r` -> `model.adapter`. Items of lists are written `[]`."""
    found: dict[str, list[str]] = {}
    waiting: list[tuple[str, type[Section]]] = [("", Recipe)]
    while waiting:
        where, section = waiting.pop(0)
        for name in section.model_fields:
            homes = found.setdefault(name, [])
            if where not in homes:
                homes.append(where)
            waiting += _sections(f"{where}.{name}" if where else name, field_types(section, name))
    return found


def _sections(where: str, alternatives: Alternatives) -> Iterator[tuple[str, type[Section]]]:
    for alternative in alternatives:
        if alternative.section:
            yield where, alternative.section
        elif get_origin(alternative.type) is list:
            yield from _sections(f"{where}[]", _inside(alternative, 0))


def dotted(path: Path) -> str:
    """A path as messages write it: `data.train[0].format`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
