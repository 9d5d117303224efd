"""Errors of pydantic -> diagnostics in the words of the language."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmrecipe.diagnostics import Diagnostic, Fix
from llmrecipe.document_errors import document_error
from llmrecipe.mending import Put, Rename, fix, nearest
from llmrecipe.source import Path, Source, Span
from llmrecipe.validate.foreign import KINDS, SAME, VALUES
from llmrecipe.validate.language import Place, dotted, kind_of, locate
from llmrecipe.validate.retyping import retyped
from llmrecipe.validate.unknown import key_help, key_message, kind_help, renamed
from llmrecipe.validate.words import choices, described, expected, kinds, listed, remedy, shown, template

Error = Mapping[str, Any]

PATTERNS: dict[str, tuple[str, str]] = {
    r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$": ("be lower-case letters, digits and hyphens", "house-style"),
    r"^\$\{env:[A-Za-z_][A-Za-z0-9_]*\}$": ("name an environment variable that holds the secret", "${env:API_KEY}"),
    r"^/.*$": ("be an absolute path", "/local_nvme"),
    r"^[A-Za-z_][A-Za-z0-9_]*$": ("be the name of a class", "Qwen3DecoderLayer"),
    r"^[0-9]+(MB|GB)$": ("be a whole number with its unit, MB or GB", "5GB"),
    r"^[0-9]+(Mi|Gi|Ti)$": ("be a whole number with its unit, Mi, Gi or Ti", "64Gi"),
    r"^[0-9]+(Mi|Gi)$": ("be a whole number with its unit, Mi or Gi", "80Gi"),
    r"^[a-z][a-z0-9_]*$": ("be lower-case letters, digits and underscores", "polite"),
    r"^[a-z_][a-z0-9_]*$": ("be the name of a function", "polite"),
    r"^eval_[a-z0-9_/]+$": ("be a measure of validations as the log names it", "eval_loss"),
    r"^[a-z0-9-]+/[a-z0-9_]+$": ("be the name of a suite, `/` and a metric", "perplexity/perplexity"),
}
"""Pattern of a string -> what it must do, and an example."""

_BOUNDS: dict[str, str] = {
    "gt": "greater than {}",
    "ge": "at least {}",
    "lt": "less than {}",
    "le": "at most {}",
}


def diagnostics(errors: Iterable[Error], source: Source) -> Iterator[Diagnostic]:
    """One diagnostic per mistake, wherever several types were tried for one value."""
    tried: dict[Path, list[tuple[Place, Error]]] = {}
    for error in errors:
        if isinstance(error["input"], float) and not math.isfinite(error["input"]):
            continue  # said once for all floats, those that no section checks included
        place = locate(error["loc"])
        if place.union is None:
            yield _diagnostic(place, error, source)
        else:
            tried.setdefault(place.union, []).append((place, error))
    for path, group in tried.items():
        inside = [(place, error) for place, error in group if len(place.path) > len(path)]
        for place, error in inside:
            yield _diagnostic(place, error, source)
        if not inside:
            yield _neither(group, source)


def _diagnostic(place: Place, error: Error, source: Source) -> Diagnostic:
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(place, source)
        case "missing":
            return _missing(place, source)
        case "union_tag_not_found":
            return _missing_kind(place, error["input"], source)
        case "union_tag_invalid":
            return _unknown_kind(place.path, error["input"]["kind"], kinds(place.expected), source)
        case "literal_error" if place.path[-1:] == ("kind",):
            return _unknown_kind(place.path[:-1], error["input"], choices(place.expected), source)
        case "literal_error":
            return _unknown_choice(place, error["input"], source)
        case "string_pattern_mismatch":
            return _ill_written(place, error, source)
        case "value_error":
            message = f"the keys of {_subject(place.path)} do not fit together"
            return document_error("invalid-value", message, _section(place.path, source), str(error["ctx"]["error"]))
        case kind if kind.startswith(("greater_than", "less_than", "finite")):
            return _out_of_range(place, error, source)
        case "too_short" | "too_long" | "string_too_short" | "string_too_long":
            return _ill_sized(place, error, source)
    return _wrong_type(place, error["input"], source)


def _unknown_key(place: Place, source: Source) -> Diagnostic:
    assert place.owner is not None
    message = key_message(place.path, place.owner, kind_of(place.owner))
    hint = key_help(place.path, place.owner, place.siblings)
    name = renamed(place.path, place.owner, place.siblings)
    mended = fix(source, Rename(place.path, name[0]), safe=name[1]) if name else None
    return document_error("unknown-key", message, source.key_at(place.path), hint, mended)


def _missing(place: Place, source: Source) -> Diagnostic:
    *above, key = place.path
    if key == "kind":
        hint = f"write `kind: {choices(place.expected)[0]}`"
    else:
        hint = f"add `{key}: {template(place.expected)}`"
        allowed = choices(place.expected) or kinds(place.expected)
        if len(allowed) > 1:
            hint += f", one of {listed(allowed)}"
        elif not allowed and not _is_section(place):
            hint += f": {expected(place.expected)}"
    message = f"{_subject(tuple(above))} needs `{key}`"
    return document_error("missing-key", message, _section(tuple(above), source), hint)


def _is_section(place: Place) -> bool:
    return bool(place.expected) and place.expected[0].section is not None


def _missing_kind(place: Place, given: Mapping[str, Any], source: Source) -> Diagnostic:
    message = f"{_subject(place.path)} needs `kind`"
    sections = [option.section for option in place.expected if option.section]
    fitting = [str(kind_of(section)) for section in sections if set(given) <= set(section.model_fields)]
    hint = f"add `kind`: {listed(fitting or kinds(place.expected))}"
    return document_error("missing-key", message, _section(place.path, source), hint)


def _unknown_kind(path: Path, kind: object, allowed: Sequence[str], source: Source) -> Diagnostic:
    message = f"`{shown(kind)}` is not a kind of `{dotted(path)}`"
    at = (*path, "kind")
    text = str(kind).lower().replace("-", "_")
    elsewhere = KINDS.get(text)  # Much the same elsewhere: not for us to choose.
    name, sure = (elsewhere, False) if elsewhere in allowed else nearest(text, allowed, 0.6)
    mended = fix(source, Put(at, name), safe=sure and elsewhere is None) if name else None
    return document_error("unknown-kind", message, source.at(at), kind_help(kind, allowed), mended)


def _unknown_choice(place: Place, value: object, source: Source) -> Diagnostic:
    allowed = choices(place.expected)
    same = [choice for choice in allowed if str(choice) == str(value)]
    if same:
        return _wrong_type(place, value, source, f"write `{shown(same[0])}` without quotes", Put(place.path, same[0]))
    message = f"`{dotted(place.path)}` cannot be {_quoted(value)}"
    hint, mended = _nearest(value, allowed), _chosen(place.path, value, allowed, source)
    return document_error("unknown-choice", message, source.at(place.path), hint, mended)


def _chosen(path: Path, value: object, allowed: Sequence[object], source: Source) -> Fix | None:
    """A choice that is misspelt, or that has another name elsewhere."""
    names = {str(choice): choice for choice in allowed}
    text = shown(value).lower().replace("-", "_") if isinstance(value, str) else ""
    meant = VALUES.get(text)
    if meant in names:
        return fix(source, Put(path, names[meant]), safe=text in SAME)
    name, sure = nearest(text, names, 0.6)
    return fix(source, Put(path, names[name]), safe=sure) if name else None


def _nearest(value: object, allowed: Sequence[object]) -> str:
    names = [str(choice) for choice in allowed]
    text = shown(value).lower() if isinstance(value, str | bool) else ""
    meant = VALUES.get(text, text)
    near = [meant] if meant in names else difflib.get_close_matches(text, names, 1)
    return f"did you mean `{near[0]}`?" if near else f"write {listed(allowed)}"


def _ill_written(place: Place, error: Error, source: Source) -> Diagnostic:
    must, example = PATTERNS.get(error["ctx"]["pattern"], ("match " + error["ctx"]["pattern"], ""))
    value = str(error["input"])
    secret = example.startswith("${")
    message = f"`{dotted(place.path)}` {'' if secret else f'is `{shown(value)}`; it '}must {must}"
    plain = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
    hint = f"write `{plain[:40].strip('-')}`" if example == "house-style" and plain else f"for example `{example}`"
    return document_error("invalid-value", message, source.at(place.path), hint)


def _out_of_range(place: Place, error: Error, source: Source) -> Diagnostic:
    bounds = {
        name: getattr(bound, name)
        for alternative in place.expected
        for bound in alternative.bounds
        for name in _BOUNDS
        if hasattr(bound, name)
    }
    words = [_BOUNDS[name].format(_number(bound)) for name, bound in bounds.items()] or ["finite"]
    message = f"`{dotted(place.path)}` is {shown(error['input'])}; it must be {' and '.join(words)}"
    whole = any(alternative.type is int for alternative in place.expected)
    hint = f"write a {'whole ' if whole else ''}number that is {' and '.join(words)}"
    return document_error("out-of-range", message, source.at(place.path), hint)


def _number(bound: float) -> str:
    return f"{bound:,}".replace(",", "") if isinstance(bound, int) or not bound.is_integer() else str(int(bound))


def _ill_sized(place: Place, error: Error, source: Source) -> Diagnostic:
    context, key = error["ctx"], place.path[-1]
    what = "character" if error["type"].startswith("string") else "item"
    least = "min_length" in context
    bound = context["min_length"] if least else context["max_length"]
    has = len(error["input"])
    message = f"`{dotted(place.path)}` has {has or 'no'} {what}{'' if has == 1 else 's'}; it must have "
    message += f"at {'least' if least else 'most'} {bound}"
    hint = f"write a shorter `{key}`" if what == "character" else f"keep {bound} of them"
    if least:
        hint = f"write a value for `{key}`, or remove it"
    return document_error("out-of-range", message, source.at(place.path), hint)


def _wrong_type(
    place: Place, value: object, source: Source, hint: str | None = None, change: Put | None = None
) -> Diagnostic:
    must = "a mapping" if kinds(place.expected) or not place.path else expected(place.expected)
    message = f"{_subject(place.path)} must be {must}, not {described(value)}"
    if value is None:
        message = f"{_subject(place.path)} is empty; it must be {must}"
    key = str(place.path[-1]) if place.path else "version"
    if place.path and isinstance(place.path[-1], int):
        key = "-"
    needed = place.owner is not None and key in place.owner.model_fields and place.owner.model_fields[key].is_required()
    if hint is None:
        hint = remedy(value, place.expected, key, needed) if place.path else "write `version: 1`, `name: ...` and so on"
        change = retyped(place.path, value, place.expected)
    mended = fix(source, change, safe=_is_as_shown(change.value, source.at(place.path))) if change else None
    return document_error("wrong-type", message, _begin(place.path, value, source), hint, mended)


def _begin(path: Path, value: object, source: Source) -> Span:
    """Where a value is looked for: at its key, when it is a section that begins further down."""
    key, span = source.key_at(path), source.at(path)
    return key if isinstance(value, dict | list) and key.line != span.line else span


def _is_as_shown(value: object, span: Span) -> bool:
    """Whether a number that becomes text is written as it would be shown: `1.10` is not."""
    same_line = span.line == span.end_line
    return not isinstance(value, str) or (same_line and span.end_column - span.column == len(value))


def _neither(group: Sequence[tuple[Place, Error]], source: Source) -> Diagnostic:
    """No type of several fits: one diagnostic that names all of them."""
    first, error = group[0]
    alternatives = tuple(dict.fromkeys(option for place, _ in group for option in place.expected))
    place = Place(first.path, first.owner, first.siblings, alternatives, first.union)
    allowed, value = choices(alternatives), error["input"]
    if allowed and isinstance(value, str):
        message = f"`{dotted(place.path)}` cannot be `{shown(value)}`"
        hint = _nearest(value, allowed) if len(allowed) > 1 else f"write {expected(alternatives)}"
        mended = _chosen(place.path, value, allowed, source)
        return document_error("unknown-choice", message, source.at(place.path), hint, mended)
    return _wrong_type(place, value, source, f"write {expected(alternatives)}")


def _quoted(value: object) -> str:
    return f"`{shown(value)}`" if isinstance(value, str | int | float) else described(value)


def _subject(path: Path) -> str:
    return f"`{dotted(path)}`" if path else "the recipe"


def _section(path: Path, source: Source) -> Span:
    """Where a section is named; for the whole recipe the name it has, or its first key."""
    if path:
        return source.key_at(path)
    if ("name",) in source.values:
        return source.at(("name",))
    own = [span for place, span in source.keys.items() if len(place) == 1 and span.file == source.file]
    return min(own, key=lambda span: (span.line, span.column)) if own else source.at(())
