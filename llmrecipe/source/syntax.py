"""What the YAML parser says -> what is wrong and what to do."""

import re

import yaml

UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that cannot stand in YAML. Source: https://yaml.org/spec/1.2.2/, section 5.1"""


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str, str]:
    """The offset to point at, what is wrong there, and what to do."""
    problem, opened = str(error.problem), error.context_mark
    mark = error.problem_mark or opened
    at = mark.index if mark else 0
    line = opened.line + 1 if opened else 1
    if text.startswith("\t", at):
        return at, "a tab cannot indent", "indent with spaces"
    for part, message, hint, points_back in _SYNTAX:
        if part in problem:
            at = opened.index if points_back and opened else at
            return at, message.format(character=text[at : at + 1]), hint.format(line=line)
    return at, problem, "check quotes, brackets and indentation here"


_SYNTAX: tuple[tuple[str, str, str, bool], ...] = (
    (
        "mapping values are not allowed",
        "a `:` where no key can stand",
        "put a text that contains `: ` in quotes; else check the indentation of this line and the one above",
        False,
    ),
    ("cannot start any token", "a value cannot begin with `{character}`", "put it in quotes", False),
    ("',' or ']'", "the list in brackets does not end", "it opens on line {line}; `,` goes between items", False),
    ("',' or '}'", "the mapping in braces does not end", "it opens on line {line}; `,` goes between keys", False),
    ("unexpected end of stream", "the quote is never closed", "write the same quote at the end of the text", True),
    (
        "expected key",
        "this does not line up with the keys around it",
        "keys of one mapping begin in one column; this mapping begins on line {line}",
        False,
    ),
    (
        "expected '-' indicator",
        "this does not line up with the list around it",
        "items begin with `- ` in one column; this list begins on line {line}",
        False,
    ),
    ("expected ':'", "a key without `:`", "write `key: value`, with a blank after the `:`", True),
    ("unknown escape", "an unknown escape after `\\`", "write the text in single quotes, where `\\` is itself", False),
    ("incompatible YAML", "another version of YAML", "remove the `%YAML` line", False),
    ("expected <document start>", "text after the end of the document", "begin another document with `---`", False),
    ("expected node content", "a value is missing or a bracket is not closed", "check the brackets", False),
)
"""Part of the parser's words, ours, what to do, and whether the place where the thing began is the one to point at."""
