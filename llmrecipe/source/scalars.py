"""Plain scalars -> values, by the core schema of YAML 1.2."""

import math
import re
from typing import Any

MAX_DIGITS = 100
"""Characters of one number."""


def scalar(text: str) -> Any:
    """The value of a plain scalar: null, a boolean, a number, or the text itself.

    Source: https://yaml.org/spec/1.2.2/, section 10.3.2

    Raises:
        OverflowError: a number of more than MAX_DIGITS characters.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    for pattern, read in _NUMBERS:
        if pattern.fullmatch(text):
            if len(text) > MAX_DIGITS:
                raise OverflowError(f"a number of {len(text)} digits")
            return read(text)
    return text


_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}

_NUMBERS: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)
