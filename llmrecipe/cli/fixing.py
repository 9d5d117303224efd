"""`validate --fix`: the safe fixes of all findings -> files that have fewer of them."""

import difflib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from llmrecipe import looking
from llmrecipe.cli.verdicts import Verdict, absolute, findings, together
from llmrecipe.diagnostics import Diagnostic, Edit, Fix
from llmrecipe.mending import CannotEditError, Replacement, Text, overlap, replaced

_BOM = b"\xef\xbb\xbf"
_HIDING = ("LR001", "LR002", "LR011", "LR013", "LR017", "LR018")
"""Errors that keep a document from being looked at."""


@dataclass
class Fixed:
    """What fixing came to; nothing is written yet."""

    verdicts: dict[str, Verdict]
    """What is left to report."""
    texts: dict[str, str] = field(default_factory=dict)
    """Absolute path -> the new text of each file that changes."""
    done: list[Diagnostic] = field(default_factory=list)
    """The findings that are mended, in their order."""
    before: dict[str, str] = field(default_factory=dict)
    """Absolute path -> the text that was read."""
    names: dict[str, str] = field(default_factory=dict)
    """Absolute path -> how messages call the file."""


def fixed(files: Sequence[str]) -> Fixed:
    """Apply safe fixes until none is left that makes things better.

    A fix counts as better when the recipes of the call have fewer problems than before: fewer documents that cannot
    be looked at, else fewer errors of documents, else fewer errors and then warnings of rules, which are asked only
    about documents without errors. A file that several recipes of the call read is changed only where all of them ask
    for it.
    """
    state = Fixed({file: _verdict(file, {}) for file in files})
    refused: set[object] = set()
    while wanted := [one for one in _wanted(state) if _key(one.fix) not in refused]:
        batch = list(_apart(wanted, state))
        if len(batch) > 1 and _apply(batch, state):
            continue
        for one in wanted:
            if _apply([one], state):
                break
            refused.add(_key(one.fix))
    return state


def write(state: Fixed) -> None:
    """Write the files that change, each at once.

    Raises:
        OSError: a file cannot be written, or was changed meanwhile.
    """
    for path, text in state.texts.items():
        target = Path(path).resolve()
        raw = target.read_bytes()
        mark = _BOM if raw.startswith(_BOM) else b""
        if raw.removeprefix(_BOM).decode("utf-8") != state.before[path]:
            raise OSError(None, "it was changed meanwhile", state.names[path])
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            file.write(mark + text.encode("utf-8"))
        Path(file.name).chmod(target.stat().st_mode & 0o7777)
        Path(file.name).replace(target)


def difference(state: Fixed) -> str:
    """The changes as a unified diff."""
    parts: list[str] = []
    for path, text in state.texts.items():
        name = Path(os.path.relpath(path)).as_posix()
        old, new = state.before[path].splitlines(), text.splitlines()
        parts += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")
    return "\n".join(parts)


# -- which fixes --


def _wanted(state: Fixed) -> list[Diagnostic]:
    """Findings with a safe fix that every recipe which reads the file asks for."""
    asked = {file: {_key(one.fix) for one in verdict.findings} for file, verdict in state.verdicts.items()}
    found = [one for one in together(state.verdicts.values()) if one.fix is not None and one.fix.safe]
    return [
        one
        for one in found
        if all(
            _key(one.fix) in asked[file]
            for file, verdict in state.verdicts.items()
            if verdict.files & {absolute(edit.file) for edit in _edits(one)}
        )
    ]


def _edits(found: Diagnostic) -> tuple[Edit, ...]:
    return found.fix.edits if found.fix is not None else ()


def _key(fix: Fix | None) -> object:
    """The same for every spelling of the path."""
    if fix is None:
        return None
    return tuple((type(edit).__name__, absolute(edit.file), *_numbers(astuple(edit))) for edit in fix.edits)


def _numbers(values: Iterable[object]) -> Iterator[object]:
    """The fields of an edit without the files of its spans."""
    for value in values:
        yield value[1:] if isinstance(value, tuple) else value


def _apart(wanted: Sequence[Diagnostic], state: Fixed) -> Iterator[Diagnostic]:
    """Fixes that do not want the same place."""
    taken: dict[str, list[Replacement]] = {}
    for one in wanted:
        made = _replacements([one], state)
        if made is None:
            continue
        if not any(overlap(a, b) for path, mine in made.items() for a in mine for b in taken.get(path, ())):
            for path, mine in made.items():
                taken.setdefault(path, []).extend(mine)
            yield one


# -- what they do --


def _apply(batch: Sequence[Diagnostic], state: Fixed) -> bool:
    """Take over the fixes, if there are fewer problems with them."""
    made = _replacements(batch, state)
    if made is None:
        return False
    texts = state.texts | {path: replaced(_text(path, state), mine) for path, mine in made.items()}
    touched = {file for file, verdict in state.verdicts.items() if verdict.files & made.keys()}
    verdicts = state.verdicts | {file: _verdict(file, texts) for file in touched}
    if _problems(verdicts) >= _problems(state.verdicts):
        return False
    state.verdicts, state.texts = verdicts, texts
    state.done += batch
    state.names |= {absolute(edit.file): edit.file for one in batch for edit in _edits(one)}
    return True


def _replacements(batch: Sequence[Diagnostic], state: Fixed) -> dict[str, list[Replacement]] | None:
    """Absolute path -> what changes; nothing where the layout leaves no place for it."""
    made: dict[str, list[Replacement]] = {}
    try:
        for edit in (edit for one in batch for edit in _edits(one)):
            path = absolute(edit.file)
            replacement = Text(_text(path, state)).replacement(edit)
            if replacement not in made.setdefault(path, []):
                made[path].append(replacement)
    except (CannotEditError, OSError):
        return None
    apart = all(not overlap(a, b) for mine in made.values() for a in mine for b in mine)
    return made if apart else None


def _text(path: str, state: Fixed) -> str:
    if path in state.texts:
        return state.texts[path]
    if path not in state.before:
        state.before[path] = Path(path).read_bytes().removeprefix(_BOM).decode("utf-8")
    return state.before[path]


def _verdict(file: str, texts: Mapping[str, str]) -> Verdict:
    with looking.recorded() as looks:
        found = findings(file, (), texts)
    read = {look.path for look in looks if look.question == "bytes"}
    return Verdict(tuple(found), frozenset(read))


def _problems(verdicts: Mapping[str, Verdict]) -> tuple[int, int, int, int]:
    found = together(verdicts.values())
    documents = [one for one in found if one.code.startswith("LR0")]
    rules = [one for one in found if not one.code.startswith("LR0")]
    return (
        sum(one.code in _HIDING for one in documents),
        len(documents),
        sum(one.severity == "error" for one in rules),
        len(rules),
    )
