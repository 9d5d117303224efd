"""The user's own trust list: files whose code may run without being asked for each time.

It is `llmrecipe/trust` in the folder of the user's configuration (`XDG_CONFIG_HOME`, else `~/.config`), and holds lines
as `sha256sum` writes them; what follows the hash is for people. A file that changes is trusted no more.
"""

import os
import re
from pathlib import Path

_HASH = re.compile(r"^\\?([0-9a-f]{64})(?:\s|$)", re.MULTILINE)


def trust_list() -> Path:
    """Where the list is, or would be."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "llmrecipe" / "trust"


def trusted() -> frozenset[str]:
    """SHA-256 of every file in the list; none without a list."""
    try:
        text = trust_list().read_text("utf-8")
    except FileNotFoundError:
        return frozenset()
    return frozenset(_HASH.findall(text))
