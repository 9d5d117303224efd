"""Plain data -> YAML on one line, which reads back equal."""

import json
import re
from typing import Any

from llmrecipe.source.scalars import scalar

_PLAIN = re.compile(r"[A-Za-z0-9_./~$][A-Za-z0-9_./~$@+=#-]*( [A-Za-z0-9_./~$@+=-][A-Za-z0-9_./~$@+=#-]*)*")
_UNSEEN = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")


def inline(value: Any) -> str:
    """A value in flow style."""
    match value:
        case dict():
            return f"{{{', '.join(f'{quoted(key)}: {inline(item)}' for key, item in value.items())}}}"
        case list():
            return f"[{', '.join(inline(item) for item in value)}]"
        case str():
            return quoted(value)
        case float():
            return re.sub(r"e([+-])0+", r"e\1", json.dumps(value))
    return json.dumps(value)


def quoted(text: str) -> str:
    """A string as YAML reads it back: plain where that is one, else in double quotes."""
    if _PLAIN.fullmatch(text) and len(text) <= 100 and scalar(text) == text and text != "...":
        return text
    in_quotes = json.dumps(text, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04X}", in_quotes)
