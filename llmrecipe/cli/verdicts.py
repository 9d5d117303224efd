"""What is wrong with each file, from the cache where nothing that it depends on has changed."""

import gc
import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrecipe import looking
from llmrecipe.cli.verdict_cache import VerdictCache
from llmrecipe.diagnostics import Diagnostic


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one file and what it refers to."""

    findings: tuple[Diagnostic, ...]
    files: frozenset[str]
    """Absolute paths of all files that were read."""


def verdicts(files: Sequence[str], cache: VerdictCache | None = None) -> dict[str, Verdict]:
    """The verdict on each file."""
    found: dict[str, Verdict] = {}
    for file in files:
        known = cache.get(file) if cache else None
        if known is None:
            with looking.recorded() as looks:
                known = findings(file)
            if cache:
                cache.put(file, known, looks)
            read = [look.path for look in looks if look.question == "bytes"]
        else:
            read = cache.read(file) if cache else []
        found[file] = Verdict(tuple(known), frozenset(read))
    if cache:
        cache.save()
    return found


def findings(file: str, overrides: Sequence[str] = (), texts: Mapping[str, str] | None = None) -> list[Diagnostic]:
    """What is wrong with one file; `texts` are files (by their absolute path) that are not read from the disk."""
    found: list[Diagnostic] = _checking().findings(file, overrides, texts)
    return found


def _checking() -> Any:
    """The module that knows the language and all rules; what its import makes stays, so that nothing is collected."""
    gc.disable()
    try:
        return importlib.import_module("llmrecipe.cli.checking")
    finally:
        gc.enable()


def together(found: Iterable[Verdict]) -> list[Diagnostic]:
    """All findings, each once: several recipes may extend the file that one is in."""
    return list(dict.fromkeys(one for verdict in found for one in verdict.findings))


def absolute(file: str) -> str:
    """The same for every spelling of a path."""
    return os.path.abspath(file)  # noqa: PTH100  `Path.absolute` keeps `..`
