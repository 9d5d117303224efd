"""Verdicts of earlier calls, and all that they depended on.

A verdict holds as long as every file that was read has the same bytes, every question that a rule asked the file system
has the same answer, and neither llmrecipe, Python, pydantic nor the home folder is another.
"""

import contextlib
import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llmrecipe
from llmrecipe import looking
from llmrecipe.diagnostics import Add, Diagnostic, Edit, Fix, Remove, Write
from llmrecipe.looking import Look
from llmrecipe.source import Span

Entry = dict[str, Any]

_EDITS: dict[str, type[Edit]] = {"write": Write, "remove": Remove, "add": Add}
_MOST = 20_000  # verdicts of one folder


class VerdictCache:
    """The verdicts that calls from one folder came to."""

    def __init__(self, folder: Path | None = None) -> None:
        self._key = _tools()
        here = hashlib.sha256(str(Path.cwd()).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._path = (folder or _folder()) / f"{here}.json"
        self._entries = self._load()
        self._answers: dict[tuple[Look, str], bool] = {}
        self._changed = False

    def get(self, file: str) -> list[Diagnostic] | None:
        """What was found in a file, unless something that it depends on has changed."""
        entry = self._entries.get(file)
        if entry is None or not all(self._holds(Look(*look), said) for *look, said in entry["looks"]):
            return None
        return [_diagnostic(found) for found in entry["findings"]]

    def read(self, file: str) -> list[str]:
        """The files that a verdict was made from."""
        return [path for question, path, *_ in self._entries[file]["looks"] if question == "bytes"]

    def put(self, file: str, findings: Sequence[Diagnostic], looks: looking.Looks) -> None:
        """Keep a verdict, unless it depends on more than was asked: on the names beside a file that is missing."""
        self._entries.pop(file, None)
        if not any(one.code == "LR001" for one in findings):
            entry = {
                "looks": [[*look, said] for look, said in looks.items()],
                "findings": [_plain(f) for f in findings],
            }
            self._entries[file] = entry
        self._changed = True

    def save(self) -> None:
        """Write what is new. A folder that cannot be written only means that the next call takes longer."""
        if not self._changed:
            return
        kept = dict(list(self._entries.items())[-_MOST:])
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(f".{os.getpid()}")
            beside.write_text(json.dumps({"tools": self._key, "verdicts": kept}), "utf-8")
            beside.replace(self._path)

    def _holds(self, look: Look, said: str) -> bool:
        if (look, said) not in self._answers:
            self._answers[look, said] = looking.still_true(look, said)
        return self._answers[look, said]

    def _load(self) -> dict[str, Entry]:
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict) or found.get("tools") != self._key:
            return {}
        entries: dict[str, Entry] = found["verdicts"]
        return entries


def _folder() -> Path:
    """The user's folder for what can be made again."""
    given = os.environ.get("LLMRECIPE_CACHE")
    if given:
        return Path(given) / "verdicts"
    if sys.platform == "win32" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"]) / "llmrecipe" / "verdicts"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  Never raises.
    return Path(base) / "llmrecipe" / "verdicts"


def _tools() -> str:
    """What makes verdicts, in few characters: the code and its tables by time and size, since a checkout changes."""
    package = Path(llmrecipe.__file__).parent
    parts = [llmrecipe.__version__, platform.python_version(), os.path.expanduser("~")]  # noqa: PTH111
    pydantic = find_spec("pydantic")  # Not imported: what is cached needs none of it.
    assert pydantic is not None
    parts.append(str(Path(str(pydantic.origin)).with_name("version.py").stat().st_mtime_ns))
    for folder, _, names in os.walk(package):
        for name in sorted(names):
            if name.endswith((".py", ".json")):
                path = os.path.join(folder, name)  # noqa: PTH118
                stat = os.stat(path)  # noqa: PTH116
                parts.append(f"{path} {stat.st_mtime_ns} {stat.st_size}")
    return hashlib.sha256("\n".join(sorted(parts)).encode("utf-8", "surrogatepass")).hexdigest()


def _plain(found: Diagnostic) -> Entry:
    entry = asdict(found)
    if found.fix is not None:
        names = {edit: name for name, edit in _EDITS.items()}
        entry["fix"]["edits"] = [[names[type(edit)], asdict(edit)] for edit in found.fix.edits]
    return entry


def _diagnostic(entry: Mapping[str, Any]) -> Diagnostic:
    fix = entry["fix"]
    edits = tuple(_EDITS[name](**_with_spans(fields)) for name, fields in fix["edits"]) if fix else ()
    made = Fix(fix["title"], edits, fix["safe"]) if fix else None
    return Diagnostic(**{**entry, "span": Span(**entry["span"]), "fix": made})


def _with_spans(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Span(**value) if isinstance(value, dict) else value for name, value in fields.items()}
