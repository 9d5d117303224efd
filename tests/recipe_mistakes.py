"""Mistakes that are planted in recipes from a seed, each with the line on which it stands."""

import contextlib
import difflib
import random
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

from recipe_variants import Data, lines

from llmrecipe import facts
from llmrecipe.mending import CannotEditError, Drop, Text, fix, replaced
from llmrecipe.source import parse

Path = tuple[str | int, ...]


class Mistake(NamedTuple):
    """A recipe with one mistake."""

    what: str
    text: str
    lines: frozenset[int]
    """Where it may be reported: the line itself, for a whole section any of its lines."""
    codes: tuple[str, ...]
    """What it may be called."""


FREE = ("metadata", "extra", "columns", "parameters", "json_schema", "rank_pattern")
"""Mappings whose keys are free, or checked by rules."""


def mistakes(recipe: Data, choose: random.Random, kind: str) -> Mistake | None:
    """The recipe with a mistake of a kind, where it has a place for one."""
    return KINDS[kind](deepcopy(recipe), choose)


# -- places --


def _entries(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        if key not in FREE:
            yield (*path, key), item
            yield from _entries(item, (*path, key))


def _at(data: Data, path: Path) -> Any:
    found: Any = data
    for part in path:
        found = found[part]
    return found


def _known(path: Path, data: Data) -> Mapping[str, Any] | None:
    """What the reference says of the field at a path, of the kind that its section has."""
    name = ".".join(part for part in path if isinstance(part, str))
    section = _at(data, path[:-1])
    kind = section.get("kind") if isinstance(section, dict) else None
    entries = facts.recipe_fields().get(name, ())
    return next((entry for entry in entries if "kinds" not in entry or kind in entry["kinds"]), None)


def _one(data: Data, choose: random.Random, fits: Callable[[Path, Any, Mapping[str, Any]], bool]) -> Path | None:
    found = []
    for path, value in _entries(data):
        entry = _known(path, data) if isinstance(path[-1], str) else None
        if entry is not None and fits(path, value, entry):
            found.append(path)
    return choose.choice(found) if found else None


def _with(data: Data, path: Path, value: Any, what: str, *codes: str) -> Mistake:
    _at(data, path[:-1])[path[-1]] = value
    text, places = lines(data)
    return Mistake(f"{what} {'.'.join(map(str, path))}: {value!r}", text, frozenset({places[path]}), codes)


# -- kinds of mistakes --


def _misspelt_key(data: Data, choose: random.Random) -> Mistake | None:
    path = _one(data, choose, lambda path, value, entry: len(str(path[-1])) > 3 and path[-1] != "kind")
    if path is None:
        return None
    key, section = str(path[-1]), _at(data, path[:-1])
    at = choose.randrange(1, len(key) - 1)
    wrong = choose.choice((key[:at] + key[at + 1 :], key[:at] + key[at] + key[at:], f"{key}s", key.replace("_", "-")))
    if wrong == key or wrong in section or ".".join([*map(str, path[:-1]), wrong]) in facts.recipe_fields():
        return None
    renamed = {wrong if name == key else name: value for name, value in section.items()}
    section.clear()
    section.update(renamed)
    text, places = lines(data)
    return Mistake(f"key {wrong}", text, frozenset({places[*path[:-1], wrong]}), ("LR003",))


def _wrong_type(data: Data, choose: random.Random) -> Mistake | None:
    swaps = {
        "integer": ["many", "12", 2.5, [1], True, {"a": 1}],
        "number": ["little", "1e-3", [0.1], True],
        "boolean": ["yes", "no", "True", 1, 0],
        "string": [5, True, ["a"], {"a": 1}],
        "list of strings": ["one", 7, {"a": 1}],
        "section": ["something", 5, [1]],
    }
    path = _one(data, choose, lambda path, value, entry: entry["type"] in swaps and "choices" not in entry)
    if path is None:
        return None
    entry = _known(path, data)
    assert entry is not None
    wrong = choose.choice(swaps[entry["type"]])
    return _with(data, path, wrong, "type", "LR006", "LR004", "LR005", "LR009")


def _wrong_kind(data: Data, choose: random.Random) -> Mistake | None:
    path = _one(data, choose, lambda path, value, entry: path[-1] == "kind")
    if path is None:
        return None
    value = str(_at(data, path))
    return _with(data, path, choose.choice((value[:-1] + "x", f"{value}2", "nonsense", "auto")), "kind", "LR004")


def _wrong_choice(data: Data, choose: random.Random) -> Mistake | None:
    path = _one(data, choose, lambda path, value, entry: "choices" in entry and path[-1] not in ("kind", "version"))
    if path is None:
        return None
    value = str(_at(data, path))
    wrong = choose.choice((value[:-1] + "x", "nonsense", value.upper() + "!"))
    return _with(data, path, wrong, "choice", "LR008", "LR006", "LR401")


def _out_of_range(data: Data, choose: random.Random) -> Mistake | None:
    path = _one(data, choose, lambda path, value, entry: "bounds" in entry and isinstance(value, int | float))
    if path is None:
        return None
    entry = _known(path, data)
    assert entry is not None
    bound = re.match(r"(>=?|<=?) (-?[0-9.e+]+)", entry["bounds"])
    assert bound is not None
    number = float(bound[2])
    wrong = number - 1 if bound[1].startswith(">") else number + 1
    return _with(data, path, int(wrong) if entry["type"] == "integer" else wrong, "range", "LR007")


def _missing_key(data: Data, choose: random.Random) -> Mistake | None:
    path = _one(data, choose, lambda path, value, entry: bool(entry.get("required")) and len(path) > 1)
    if path is None:
        return None
    section = _at(data, path[:-1])
    if len(section) < 2:
        return None
    del section[path[-1]]
    text, places = lines(data)
    above = {places[path[:depth]] for depth in range(1, len(path))}
    return Mistake(f"missing {path}", text, frozenset({max(above), *_inside(places, path[:-1])}), ("LR005", "LR004"))


def _inside(places: Mapping[Path, int], path: Path) -> set[int]:
    return {line for place, line in places.items() if place[:-1] == path}


def _written_twice(data: Data, choose: random.Random) -> Mistake | None:
    text, places = lines(data)
    written = text.split("\n")
    path = choose.choice([p for p in places if isinstance(p[-1], str) and not written[places[p] - 1].endswith(":")])
    line = written[places[path] - 1]
    at = places[path]
    written.insert(at, line.replace("- ", "  ", 1) if line.lstrip().startswith("- ") else line)
    return Mistake(f"twice {path}", "\n".join(written), frozenset({at + 1}), ("LR010",))


def _of_another_kind(data: Data, choose: random.Random) -> Mistake | None:
    """An option that only other kinds of the section have."""
    places = [path[:-1] for path, value in _entries(data) if path[-1] == "kind"]
    section_path = choose.choice(places)
    section = _at(data, section_path)
    prefix = ".".join(part for part in section_path if isinstance(part, str))
    foreign = [
        name.rpartition(".")[2]
        for name, entries in facts.recipe_fields().items()
        if name.rpartition(".")[0] == prefix
        and all("kinds" in entry and section["kind"] not in entry["kinds"] for entry in entries)
    ]
    foreign = [name for name in foreign if name not in section and name != "kind"]
    if not foreign:
        return None
    return _with(data, (*section_path, choose.choice(foreign)), 1, "foreign", "LR003")


KINDS: dict[str, Callable[[Data, random.Random], Mistake | None]] = {
    "misspelt key": _misspelt_key,
    "wrong type": _wrong_type,
    "wrong kind": _wrong_kind,
    "wrong choice": _wrong_choice,
    "out of range": _out_of_range,
    "missing key": _missing_key,
    "written twice": _written_twice,
    "of another kind": _of_another_kind,
}


def of_page(code: str, broken: str, mended: str) -> Mistake:
    """The failing example of a rule; its mistake stands on the lines that the mended one has otherwise."""
    old, new = broken.split("\n"), mended.split("\n")
    wrong: set[int] = set()
    for tag, start, end, _, _ in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "insert":  # Something is missing: said at the section, which begins above, or at what follows.
            wrong |= {start, start + 1}
        elif tag != "equal":
            wrong |= set(range(start + 1, end + 1))
    return Mistake(f"page {code}", broken, frozenset(wrong), (code,))


def without_line(text: str, file: str, line: int) -> Iterator[str]:
    """The recipe without what is written on a line: the entry, then the sections around it."""
    for source in parse(text, file):
        paths = [path for path, span in {**source.values, **source.keys}.items() if path and span.line == line]
        for path in sorted(paths, key=len, reverse=True):
            for depth in range(len(path), 0, -1):
                change = fix(source, Drop(path[:depth]))
                if change is None:
                    continue
                page = Text(text)
                with contextlib.suppress(CannotEditError):
                    yield replaced(text, [page.replacement(edit) for edit in change.edits])
