"""What values of other tools are, and the small rules that most keys need: one per way of being understood."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from llmrecipe.importing.case import Case, Rule, UnfitError
from llmrecipe.source import Path

Convert = Callable[[Any], Any]

# -- values --


def boolean(value: Any) -> bool:
    """`true` or `false`; the words in quotes too, as pydantic and argparse read them."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if str(value).lower() in words:
        return words[str(value).lower()]
    raise UnfitError(f"must be `true` or `false`, not `{value}`")


def number(value: Any) -> float | int:
    """A finite number; text such as `2e-5` too, which YAML 1.1 does not call a number and the tools do."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if isinstance(value, str):
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if math.isfinite(found):
            return found
    raise UnfitError(f"must be a number, not `{value}`")


def decimal(value: Any) -> float:
    """A number, written with a decimal point."""
    return float(number(value))


def whole(value: Any) -> int:
    """A whole number."""
    found = number(value)
    if found != int(found):
        raise UnfitError(f"must be a whole number, not `{value}`")
    return int(found)


def positive(value: Any) -> int:
    """A whole number from 1."""
    found = whole(value)
    if found < 1:
        raise UnfitError(f"must be at least 1, not {found}")
    return found


def text(value: Any) -> str:
    """A text that is not empty."""
    if isinstance(value, str) and value.strip():
        return value
    raise UnfitError(f"must be a text, not `{value}`")


def texts(value: Any) -> list[str]:
    """A list of texts; one alone is a list of one."""
    items = value if isinstance(value, list) else [value]
    return [text(item) for item in items]


def numbers(value: Any) -> list[float]:
    """A list of numbers; texts between commas too."""
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    return [decimal(item) for item in items]


def word(value: Any) -> str:
    """What is compared with words of a closed set: a text, or what YAML made of one."""
    return str(value) if isinstance(value, str | bool | int | float) else ""


def names(value: Any) -> list[str]:
    """Texts between commas, or a list of texts."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return texts(value)


# -- rules --


def to(target: str, convert: Convert, how: str = "") -> Rule:
    """The key has another name, or another type, and the same meaning."""

    def rule(case: Case, path: Path, _: Any) -> None:
        found = case.read(path, convert)
        if found is not None:
            case.map(path, target, found, how or _as_number(case.get(path), found))

    return rule


def drop(because: str) -> Rule:
    """The key is not needed, whatever it says."""

    def rule(case: Case, path: Path, _: Any) -> None:
        case.drop(path, because)

    return rule


def only(allowed: Any, because: str, message: str, help_: str) -> Rule:
    """One value (or one of a tuple) is not needed, and no other can be said."""
    values = allowed if isinstance(allowed, tuple) else (allowed,)

    def rule(case: Case, path: Path, value: Any) -> None:
        if any(_same(value, each) for each in values):
            case.drop(path, because)
        else:
            case.block(path, message, help_)

    return rule


def off(message: str, help_: str) -> Rule:
    """The key may be off (false, empty or zero); what it switches on cannot be said."""

    def rule(case: Case, path: Path, value: Any) -> None:
        if _is_off(value):
            case.drop(path, "it is off, and there is nothing to switch off here")
        else:
            case.block(path, message, help_)

    return rule


def belongs(switch: str, on: tuple[Any, ...], rule: Rule) -> Rule:
    """The key belongs to another one, and is passed over unless that has one of some values."""

    def of_switch(case: Case, path: Path, value: Any) -> None:
        if any(_same(case.get(switch), each) for each in on):
            rule(case, path, value)
        else:
            case.drop(path, f"it belongs to `{switch}`, which does not ask for it")

    return of_switch


def never(message: str, help_: str) -> Rule:
    """The key cannot be said, whatever it says."""

    def rule(case: Case, path: Path, _: Any) -> None:
        case.block(path, message, help_)

    return rule


def one_of(target: str, choices: Mapping[Any, Any], help_: str) -> Rule:
    """The key takes words; some of them have another name here, and some have none."""

    def rule(case: Case, path: Path, value: Any) -> None:
        if isinstance(value, str | int | float) and value in choices:
            found = choices[value]
            case.map(path, target, found, "" if found == value else f"`{value}` is called `{found}` here")
        else:
            case.block(path, f"`{value}` has no equal here", help_)

    return rule


def _as_number(value: Any, found: Any) -> str:
    if isinstance(value, str) and isinstance(found, int | float):
        return f"`{value}` is text to YAML 1.1, which the tool turns into a number"
    return ""


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _is_off(value: Any) -> bool:
    return value in (False, 0, "", "no", "none", "None", "false") or value == [] or value == {}
