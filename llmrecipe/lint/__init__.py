"""Typed recipes -> what is wrong with them although every value has its type."""

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from llmrecipe.diagnostics import Diagnostic, Severity
from llmrecipe.document import Document
from llmrecipe.lint import (  # noqa: F401  each module enters its rules
    adapter,
    adapter_effects,
    adapter_names,
    adapter_options,
    adapter_patterns,
    adapter_serving,
    answering,
    architecture,
    attention,
    compiling,
    curriculum,
    data,
    distributed,
    engine,
    evaluation,
    extra_options,
    family,
    gates,
    judging,
    local,
    masked,
    memory,
    merging,
    method,
    model,
    online,
    online_options,
    optimizer,
    parallel,
    ppo,
    preferences,
    preparation,
    processes,
    quantization,
    reproducibility,
    rows,
    serving,
    silences,
    speed,
    steps,
    strategy,
    suites,
    sweep,
    tokenizers,
    training,
    turns,
    watching,
    without_effect,
)
from llmrecipe.lint.comments import Silence, commented, written
from llmrecipe.lint.rule import RULES, Case, Finding, Rule, location
from llmrecipe.lint.strategy import STRATEGY_RULES
from llmrecipe.mending import fix
from llmrecipe.source import Span

__all__ = ["RULES", "STRATEGY_RULES", "Finding", "Rule", "diagnostic", "lint", "silenced", "unused_silences"]

_LAST = "LR850"
"""The rule that looks at what the others found."""


def lint(documents: Sequence[Document], texts: Mapping[str, str] | None = None) -> list[Diagnostic]:
    """Every finding of every rule, in the order of the documents and their lines.

    A comment `# llmrecipe: ignore[LR301]` silences a code, or the name of a rule, on its line, and `lint.ignore` in the
    document. `texts` are files (by their absolute path) that are not read from the disk.
    """
    if not documents:
        return []
    recipes = {document.recipe.name: document.recipe for document in documents}
    last = Path(documents[-1].source.file)
    locked = local.is_file(f"{last.name}.lock", last.parent)
    files = _Texts(texts or {})
    return [found for document in documents for found in _check(Case(document, recipes, locked), files)]


def _check(case: Case, texts: "_Texts") -> list[Diagnostic]:
    source = case.document.source
    own = written(source, texts.of(source.file))
    case = replace(case, silences=own)
    found: list[Diagnostic] = []
    used: set[Silence] = set()
    for rule in RULES.values():
        for finding in rule.check(case):
            one = diagnostic(rule, finding, case.document)
            silencing = [silence for silence in own if _silences(silence, one)]
            used.update(silencing)
            if not silencing and not texts.silences(one):
                found.append(one)
    rule, unused = RULES[_LAST], [one for one in own if one not in used]
    found += [diagnostic(rule, finding, case.document) for finding in rule.check(replace(case, unused=unused))]
    return sorted(found, key=lambda d: (d.span.file, d.span.line, d.span.column, d.code))


def silenced(found: Diagnostic, document: Document) -> bool:
    """Whether a document silences what something else than a rule found in it."""
    texts = _Texts({})
    own = written(document.source, texts.of(document.source.file))
    return any(_silences(silence, found) for silence in own) or texts.silences(found)


def unused_silences(document: Document, topics: Container[str], found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Silences of these topics that silence nothing of what something else than a rule found in the document."""
    own = written(document.source, _Texts({}).of(document.source.file))
    needless = [one for one in own if one.topic in topics and not any(_silences(one, finding) for finding in found)]
    return [diagnostic(RULES[_LAST], silences.unused(one), document) for one in needless]


def _silences(silence: Silence, found: Diagnostic) -> bool:
    same = silence.line is None or (silence.span.file, silence.line) == (found.span.file, found.span.line)
    return same and silence.topic in (found.code, found.name) and not found.code.startswith("LR85")


class Named(Protocol):
    """What findings are reported under: a rule, or another check."""

    @property
    def code(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def severity(self) -> Severity: ...


def diagnostic(rule: Named, finding: Finding, document: Document) -> Diagnostic:
    """A finding at its place in the text."""
    severity = finding.severity or rule.severity
    if isinstance(finding.at, Span):
        span = finding.at
    else:
        place = document.source.key_at if finding.on_key else document.source.at
        span = place(location(finding.at))
    changes = finding.fix if isinstance(finding.fix, tuple) else (finding.fix,)
    mended = fix(document.source, *changes, safe=finding.safe) if changes else None
    return Diagnostic(rule.code, rule.name, finding.message, span, finding.help, severity, mended)


class _Texts:
    """Texts of files, each read once, and what their comments silence."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self._read: dict[str, str] = {}
        self._comments: dict[str, dict[int, set[str]]] = {}

    def of(self, file: str) -> str:
        """The text of a file; nothing where it cannot be read."""
        if file not in self._read:
            path = os.path.abspath(file)  # noqa: PTH100
            self._read[file] = self._known[path] if path in self._known else local.text(path)
        return self._read[file]

    def silences(self, found: Diagnostic) -> bool:
        """Whether a comment on the line of a finding silences it, in whichever file that line is."""
        file = found.span.file
        if file not in self._comments:
            self._comments[file] = commented(self.of(file))
        topics = self._comments[file].get(found.span.line, ())
        return (found.code in topics or found.name in topics) and not found.code.startswith("LR85")
