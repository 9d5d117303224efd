"""Two recipes or plans -> what differs in meaning: fields with their values, and stages whose artifacts differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from llmrecipe.plan import Plan, Stage
from llmrecipe.schema import PLACEMENT

ABSENT = object()
"""The value of a field that one side does not have."""


@dataclass(frozen=True)
class Side:
    """The value of a field on one side."""

    value: Any
    """Plain data, or `ABSENT`."""
    default: bool = False
    """Whether the recipe leaves it to the language."""


@dataclass(frozen=True)
class Change:
    """A field that says something else."""

    path: str
    old: Side
    new: Side


Effect = Literal["same", "runs again", "new", "gone"]


@dataclass(frozen=True)
class StageChange:
    """What becomes of a stage."""

    name: str
    effect: Effect
    because: tuple[str, ...] = ()
    """Fields of its specification, inputs, or packages that differ."""


def compare(old: object, new: object, placed: bool = True) -> list[Change]:
    """Every leaf in which two sections differ; defaults are values like others, and only kinds make fields absent.

    Args:
        old: a section.
        new: another.
        placed: whether fields that only say where things lie count.
    """
    return list(_walk("", Side(old), Side(new), placed))


def compare_stages(old: Plan, new: Plan, renamed: Mapping[str, str]) -> list[StageChange]:
    """What becomes of every stage of both plans, in the order of the new one.

    Args:
        renamed: recipe name in the old plan -> its name in the new one; both sides are shown by the new name.
    """
    before = {_renamed(stage.name, renamed): stage for stage in old.stages}
    old_addresses, new_addresses = old.addresses(), new.addresses()
    found = []
    for stage in new.stages:
        match = before.pop(stage.name, None)
        if match is None:
            found.append(StageChange(stage.name, "new"))
        elif old_addresses[match.name] == new_addresses[stage.name]:
            found.append(StageChange(stage.name, "same"))
        else:
            again = {change.name for change in found if change.effect == "runs again"}
            because = tuple(dict.fromkeys([*_reasons(match, stage, again), *_packages(old, new)]))
            found.append(StageChange(stage.name, "runs again", because))
    return [*found, *(StageChange(name, "gone") for name in before)]


def _renamed(stage: str, renamed: Mapping[str, str]) -> str:
    recipe, _, rest = stage.partition("/")
    return f"{renamed.get(recipe, recipe)}/{rest}"


def _reasons(old: Stage, new: Stage, again: set[str]) -> Iterator[str]:
    yield from (change.path for change in _walk("", Side(old.spec), Side(new.spec), placed=False))
    for name in sorted({*old.inputs, *new.inputs}):
        origin = new.inputs.get(name, "").partition(".")[0]
        if (name in old.inputs) != (name in new.inputs):
            yield f"input {name}"
        elif origin in again:
            yield origin


def _packages(old: Plan, new: Plan) -> Iterator[str]:
    for name in sorted({*old.packages, *new.packages}):
        if old.packages.get(name) != new.packages.get(name):
            yield f"{name} {old.packages.get(name)} -> {new.packages.get(name)}"


def _walk(path: str, old: Side, new: Side, placed: bool) -> Iterator[Change]:
    """Differences below `path`; `placed` says whether fields that only say where things lie count."""
    left, right = _parts(old.value, placed), _parts(new.value, placed)
    if _shape(old.value) is not _shape(new.value) or left is None or right is None:
        a, b = _plain(old.value), _plain(new.value)
        if a != b:
            yield Change(path, Side(a, old.default), Side(b, new.default))
        return
    for name in dict.fromkeys([*left, *right]):
        below = f"{path}{name}" if name.startswith("[") else f"{path}.{name}".lstrip(".")
        yield from _walk(below, left.get(name, Side(ABSENT)), right.get(name, Side(ABSENT)), placed)


def _shape(value: object) -> type | None:
    return next((shape for shape in (BaseModel, Mapping, list) if isinstance(value, shape)), None)


def _parts(value: object, placed: bool) -> dict[str, Side] | None:
    """What a section, a mapping or a list consists of; nothing for a leaf."""
    if isinstance(value, BaseModel):
        written, fields = value.model_fields_set, type(value).model_fields
        names = (name for name in fields if placed or PLACEMENT not in fields[name].metadata)
        return {name: Side(getattr(value, name), name not in written) for name in names}
    if isinstance(value, Mapping):
        return {str(name): Side(item) for name, item in value.items()}
    if isinstance(value, list):
        return {f"[{index}]": Side(item) for index, item in enumerate(value)}
    return None


def _plain(value: object) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
