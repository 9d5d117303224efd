"""Values and types in the words of messages, and what to write instead of a value of another type."""

from collections.abc import Iterable, Sequence
from typing import Any, get_origin

from llmrecipe.source.scalars import scalar
from llmrecipe.validate.foreign import KINDS
from llmrecipe.validate.language import Alternative, Alternatives, required

_NAMES: dict[Any, str] = {str: "a string", int: "a whole number", float: "a number", bool: "`true` or `false`"}


def shown(value: object) -> str:
    """A value as YAML would write it, in few characters."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return value if len(value) <= 40 else f"{value[:39]}…"
        case dict():
            return "{...}" if value else "{}"
        case list():
            return "[...]" if value else "[]"
    return str(value)


def described(value: object) -> str:
    """A value with what it is: `the string "1024"`."""
    match value:
        case None:
            return "empty"
        case bool():
            return f"`{shown(value)}`"
        case str():
            return f'the string "{shown(value)}"' if value else "an empty string"
        case dict():
            return "a mapping"
        case list():
            return "a list"
    return f"the number {value}"


def choices(alternatives: Alternatives) -> list[Any]:
    """All values that the Literals among the alternatives allow."""
    return [choice for alternative in alternatives for choice in alternative.choices]


def kinds(alternatives: Alternatives) -> list[str]:
    """The kinds of the sections among the alternatives."""
    return [alternative.kind for alternative in alternatives if alternative.kind]


def listed(values: Iterable[object], last: str = "or") -> str:
    """`a`, `b` or `c`."""
    quoted = [f"`{shown(value)}`" for value in values]
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}" if len(quoted) > 1 else "".join(quoted)


def expected(alternatives: Alternatives) -> str:
    """What a value must be: `a whole number`, "`sdpa` or `eager`", `a list of strings`."""
    if any(alternative.tag == "architecture" for alternative in alternatives):
        return "a Hub id, a path, `{recipe: NAME}` or `{architecture: {...}}`"
    parts = [_type(alternative) for alternative in alternatives if not alternative.choices]
    allowed = choices(alternatives)
    return " or ".join(dict.fromkeys([*([listed(allowed)] if allowed else []), *parts])) or "something else"


def _type(alternative: Alternative) -> str:
    if alternative.section:
        return "a mapping"
    if get_origin(alternative.type) is list:
        inner = _NAMES.get(alternative.type.__args__[0])
        return f"a list of {inner.removeprefix('a ').removeprefix('whole ')}s" if inner else "a list"
    if get_origin(alternative.type) is dict:
        return "a mapping"
    return _NAMES.get(alternative.type, "a value")


def template(alternatives: Alternatives) -> str:
    """What a value looks like, with its gaps."""
    names, allowed = kinds(alternatives), choices(alternatives)
    if names:
        return "{kind: ...}"
    if allowed:
        return shown(allowed[0]) if len(allowed) == 1 else "..."
    first = alternatives[0] if alternatives else None
    if first and first.section:
        return f"{{{', '.join(f'{name}: ...' for name in required(first.section))}}}"
    return "[...]" if first and get_origin(first.type) is list else "..."


def remedy(value: object, alternatives: Alternatives, key: str, needed: bool) -> str:
    """What to write instead of a value of the wrong type."""
    plain = [alternative.type for alternative in alternatives]
    if value is None:
        return f"write `{_entry(key)} {template(alternatives)}`" if needed else f"remove `{key}`, or write its value"
    if isinstance(value, str):
        return _instead_of_text(value, alternatives, plain, key)
    if str in plain and isinstance(value, int | float):
        return f'write it in quotes: `"{shown(value)}"`'
    if int in plain and isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"write `{int(value)}`"
    if any(get_origin(kind) is list for kind in plain):
        return "begin each item with `- `" if isinstance(value, dict) else f"write a list: `[{shown(value)}]`"
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict | list):
        return f"write `{shown(value[0])}` without brackets"
    return _as_section(alternatives, key)


def _instead_of_text(value: str, alternatives: Alternatives, plain: Sequence[Any], key: str) -> str:
    if bool in plain:
        word = value.strip().lower()
        meant = "true" if word in ("true", "yes", "on", "y", "1") else "false"
        known = word in ("true", "yes", "on", "y", "1", "false", "no", "off", "n", "0")
        return f"write `{meant}`" + (" without quotes" if word == meant else "") if known else "write `true` or `false`"
    if int in plain or float in plain:
        number = _number(value)
        if number is None:
            return f"write {expected(alternatives)}"
        if float not in plain and isinstance(number, float):
            return f"write `{int(number)}`" if number.is_integer() else "write a whole number"
        return f"write `{value.strip()}` without quotes"
    if any(get_origin(kind) is list for kind in plain):
        return f"write a list: `[{shown(value)}]`"
    return _as_section(alternatives, key, value)


def _as_section(alternatives: Alternatives, key: str, value: str | None = None) -> str:
    names = kinds(alternatives)
    if names:
        meant = value if value in names else KINDS.get(str(value).lower())
        return f"write `{_entry(key)} {{kind: {meant if meant in names else names[0]}}}`"
    section = alternatives[0].section if alternatives else None
    if section is None:
        return f"write {expected(alternatives)}"
    if value is None and not required(section):
        return f"write its keys below `{_entry(key)}`"
    keys = required(section) or list(section.model_fields)[:1]
    inside = shown(value) if value and len(keys) == 1 and field_is_text(section, keys[0]) else "..."
    return f"write `{_entry(key)} {{{', '.join(f'{name}: {inside}' for name in keys)}}}`"


def field_is_text(section: Any, name: str) -> bool:
    """Whether a string may stand in a field."""
    info = section.model_fields[name]
    return info.annotation is str or str in getattr(info.annotation, "__args__", ()) or name == "base"


def _entry(key: str) -> str:
    return key if key == "-" else f"{key}:"


def _number(text: str) -> int | float | None:
    try:
        value = scalar(text.strip()) if text.strip() else None
    except OverflowError:
        return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
