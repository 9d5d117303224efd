"""Preparation steps: each takes a uniform row and gives it back, changed or not, or drops it with a reason.

A step is built from its section of the plan, holds no file and looks at one row at a time, so that any executor can run
it over any shard; only `deduplicate` remembers what it saw.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from json import dumps
from typing import Any

from llmrecipe.stages.rows.record import Row
from llmrecipe.vocabulary import Deduplicate, Filter, Normalize, PrepareStep


@dataclass(frozen=True, slots=True)
class Drop:
    """The row is left out; the reason is counted."""

    reason: str


Step = Callable[[Row], Row | Drop]

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
BLANKS_AT_LINE_END = re.compile(r"[ \t]+(?=\n|$)")
EMPTY_LINES = re.compile(r"\n{4,}")
SYMBOL = re.compile(r"[^\w\s]|_")


def build(step: PrepareStep) -> Step:
    """The function that does a step."""
    match step:
        case Normalize():
            return partial(normalize, step)
        case Filter():
            return partial(keep, step)
        case Deduplicate():
            return FirstOfEqual(step)


def texts(row: Row) -> Iterator[str]:
    """Every text of a row: its strings and the contents of its messages."""
    for value in row.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for turn in value:
                yield turn["content"]


def digest(row: Row) -> bytes:
    """16 bytes that are equal for equal rows."""
    content = dumps(row, ensure_ascii=False, separators=(",", ":"))
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def normalize(step: Normalize, row: Row) -> Row:
    """The row with every text made uniform."""
    return _map(row, partial(_normalize_text, step))


def keep(step: Filter, row: Row) -> Row | Drop:
    """The row if it keeps every bound. Measures are over all its texts, joined by line ends."""
    whole = "\n".join(texts(row))
    reason = _length_reason(step, whole) or _content_reason(step, whole)
    return Drop(reason) if reason else row


class FirstOfEqual:
    """Keeps the first of equal rows: 16 bytes of memory for the content of each, and what a Python set adds."""

    def __init__(self, step: Deduplicate) -> None:
        self._ignore_case = step.ignore_case
        self._seen: set[bytes] = set()

    def __call__(self, row: Row) -> Row | Drop:
        key = digest(_map(row, _loose) if self._ignore_case else row)
        if key in self._seen:
            return Drop("deduplicate: equal to an earlier row")
        self._seen.add(key)
        return row


def check(row: Row) -> Row | Drop:
    """The last step of every preparation: drops rows from which nothing can be learned."""
    whole = "".join(texts(row))
    if not whole.isascii() and any("\ud800" <= character <= "\udfff" for character in whole):
        return Drop("not valid Unicode: half of a surrogate pair")
    if any(not answer.strip() for answer in _answers(row)):
        return Drop("empty")
    if "chosen" in row and row["chosen"] == row["rejected"]:
        return Drop("chosen and rejected are equal")
    return row


def _answers(row: Row) -> Iterator[str]:
    """The texts that must not be empty: a text, the assistant's turns, a completion, a chosen answer, a prompt."""
    for column in ("text", "completion", "chosen"):
        value = row.get(column, [])
        if isinstance(value, str):
            yield value
        else:
            yield from (turn["content"] for turn in value)
    if "reference" in row:  # A prompt alone: what is answered must be there.
        yield row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]
    turns = row.get("messages", [])
    yield from (turn["content"] for turn in turns if turn["role"] == "assistant")
    if turns and not any(turn["content"].strip() for turn in turns):
        yield ""


def _map(row: Row, change: Callable[[str], str]) -> Row:
    def mapped(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, bool | float):
            return value
        return [{"role": turn["role"], "content": change(turn["content"])} for turn in value]

    return {column: mapped(value) for column, value in row.items()}


def _normalize_text(step: Normalize, text: str) -> str:
    if step.unicode != "none" and not text.isascii():
        text = unicodedata.normalize(step.unicode, text)
    if step.whitespace:
        text = text.replace("\r\n", "\n")
    if step.strip_control:
        text = CONTROL.sub("", text)
    if step.whitespace:
        text = EMPTY_LINES.sub("\n\n\n", BLANKS_AT_LINE_END.sub("", text))
    return text


def _length_reason(step: Filter, text: str) -> str | None:
    if step.min_characters is not None and len(text) < step.min_characters:
        return f"filter: fewer than {step.min_characters} characters"
    if step.max_characters is not None and len(text) > step.max_characters:
        return f"filter: more than {step.max_characters} characters"
    if step.min_words is None and step.max_words is None:
        return None
    words = len(text.split())
    if step.min_words is not None and words < step.min_words:
        return f"filter: fewer than {step.min_words} words"
    if step.max_words is not None and words > step.max_words:
        return f"filter: more than {step.max_words} words"
    return None


def _content_reason(step: Filter, text: str) -> str | None:
    if step.max_symbol_ratio is not None and _symbols(text) > step.max_symbol_ratio * len(text):
        return f"filter: more than {step.max_symbol_ratio:g} of the characters are symbols"
    if step.max_duplicate_line_ratio is not None:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        if len(lines) - len(set(lines)) > step.max_duplicate_line_ratio * len(lines):
            return f"filter: more than {step.max_duplicate_line_ratio:g} of the lines repeat an earlier one"
    if step.pattern is not None and not re.search(step.pattern, text):
        return "filter: `pattern` is not found"
    if step.exclude_pattern is not None and re.search(step.exclude_pattern, text):
        return "filter: `exclude_pattern` is found"
    return None


def _symbols(text: str) -> int:
    """Characters that are neither letters, digits nor white space; marks that belong to a letter are none."""
    found = SYMBOL.findall(text)
    return sum(1 for symbol in found if symbol.isascii() or not unicodedata.category(symbol).startswith("M"))


def _loose(text: str) -> str:
    return " ".join(text.casefold().split())
