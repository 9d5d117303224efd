"""A value of the wrong type -> the value that was meant, where only one can be."""

from typing import Any, get_args, get_origin

from llmrecipe.mending import Put
from llmrecipe.source import Path
from llmrecipe.source.scalars import scalar
from llmrecipe.validate.language import Alternatives
from llmrecipe.validate.words import choices, kinds, shown

_TRUE = ("true", "yes", "on", "y")
_FALSE = ("false", "no", "off", "n")


def retyped(path: Path, value: object, alternatives: Alternatives) -> Put | None:
    """The same value in the type of its key; nothing where that is left open."""
    plain = [alternative.type for alternative in alternatives]
    if not path or value is None:
        return None
    meant = _of_text(value, plain, alternatives) if isinstance(value, str) else _of_number(value, plain)
    if meant is None and not isinstance(value, list | dict):
        meant = _in_a_list(value, plain)
    return None if meant is None else Put(path, meant)


def _of_text(value: str, plain: list[Any], alternatives: Alternatives) -> object:
    word = value.strip().lower()
    if bool in plain and word in (*_TRUE, *_FALSE):
        return word in _TRUE
    if (int in plain or float in plain) and word:
        return _number(value.strip(), whole=float not in plain)
    if same := [choice for choice in choices(alternatives) if str(choice) == value]:
        return same[0]
    if value in kinds(alternatives) and str not in plain:
        return {"kind": value}
    return None


def _number(text: str, whole: bool) -> int | float | None:
    try:
        number = scalar(text)
    except OverflowError:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float):
        return None
    return _as_whole(number) if whole and isinstance(number, float) else number


def _of_number(value: object, plain: list[Any]) -> object:
    if isinstance(value, bool):
        return None
    if int in plain and isinstance(value, float):
        return _as_whole(value)
    if plain == [str] and isinstance(value, int | float):
        return shown(value)
    return None


def _as_whole(value: float) -> int | None:
    return int(value) if value.is_integer() and abs(value) < 1e15 else None


def _in_a_list(value: object, plain: list[Any]) -> object:
    """`[value]`, where the key takes a list of such values and nothing else."""
    lists = [kind for kind in plain if get_origin(kind) is list]
    fitting = [kind for kind in lists if get_args(kind) and get_args(kind)[0] is type(value)]
    return [value] if len(fitting) == 1 == len(plain) else None
