"""A recipe as data -> YAML text in the style of the project, with a comment where the other tool said nothing."""

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from llmrecipe.recipe import Recipe
from llmrecipe.recipe.data import Data
from llmrecipe.recipe.model import Model
from llmrecipe.recipe.training import Training

MODELINE = "# yaml-language-server: $schema=recipe.schema.json"
WIDTH, LONGEST = 100, 120

_PLAIN = re.compile(r"[A-Za-z_./~$][\w./~+$-]*( [\w./+-]+)*")
_WORDS = re.compile(r"(?i)true|false|null|yes|no|on|off|y|n|~|\.inf|\.nan")
_SECTIONS: dict[str, type[BaseModel]] = {"model": Model, "data": Data, "training": Training}
"""Sections that are written line by line, however short they are, in the order of the language."""


def write(recipe: Mapping[str, Any], header: Sequence[str], implied: Mapping[str, str]) -> str:
    """The text of a recipe; `implied` are paths that the other tool did not say, with the reason."""
    lines = [MODELINE, *(f"# {line}" for line in header)]
    for key in _ordered(recipe, Recipe):
        value = recipe[key]
        if key in _SECTIONS:
            value = {name: value[name] for name in _ordered(value, _SECTIONS[key])}
        lines += _entry(key, value, key, implied)
    return "\n".join(lines) + "\n"


def _ordered(section: Mapping[str, Any], cls: type[BaseModel]) -> list[str]:
    return [key for key in cls.model_fields if key in section]


def _entry(key: str, value: Any, path: str, implied: Mapping[str, str]) -> Iterator[str]:
    depth = path.count(".")
    start = f"{'  ' * depth}{_text(key, flow=False)}:"
    line = f"{start} {flow(value)}"
    if isinstance(value, dict) and value and (path in _SECTIONS or len(line) > WIDTH):
        yield from _commented(start, [path], implied)
        for name, each in value.items():
            yield from _entry(name, each, f"{path}.{name}", implied)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        yield start
        for each in value:
            yield from _item(each, "  " * (depth + 1))
    else:
        below = [path, *(name for name in implied if name.startswith(f"{path}."))]
        scalar = line if isinstance(value, dict | list) else f"{start} {_scalar(value, flow=False)}"
        yield from _commented(scalar, below, implied)


def _item(value: Any, indent: str) -> Iterator[str]:
    line = f"{indent}- {flow(value)}"
    if len(line) <= WIDTH + 20 or not isinstance(value, dict):
        yield line
        return
    for number, (key, each) in enumerate(value.items()):
        yield f"{indent}{'- ' if number == 0 else '  '}{_text(key, flow=False)}: {flow(each)}"


def _commented(line: str, paths: Sequence[str], implied: Mapping[str, str]) -> Iterator[str]:
    told = [path for path in paths if path in implied]
    reasons = [implied[path] if path == paths[0] and len(told) == 1 else path.rpartition(".")[2] for path in told]
    comment = f"# implied: {', '.join(dict.fromkeys(reasons))}"
    if not reasons:
        yield line
    elif len(line) + len(comment) + 2 <= LONGEST:
        yield f"{line}  {comment}"
    else:
        indent = " " * (len(line) - len(line.lstrip()))
        yield from textwrap.wrap(comment, LONGEST, initial_indent=indent, subsequent_indent=f"{indent}# ")
        yield line


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(str(key), flow=True)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(each) for each in value) + "]"
    return _scalar(value, flow=True)


def _scalar(value: Any, flow: bool) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return _number(value)
        case str():
            return _text(value, flow)
    return str(value)


def _number(value: float) -> str:
    """`2e-4` rather than 0.0002; whole numbers keep their point."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if value and not 1e-3 <= abs(value) < 1e16:
        mantissa, exponent = f"{value:.15e}".split("e")
        return f"{float(mantissa):g}".removesuffix(".0") + f"e{int(exponent)}" if _exact(value) else repr(value)
    return repr(value)


def _exact(value: float) -> bool:
    return float(f"{value:g}") == value


def _text(value: str, flow: bool) -> str:
    plain = _PLAIN.fullmatch(value) and not _WORDS.fullmatch(value)
    return value if plain else json.dumps(value, ensure_ascii=False)
