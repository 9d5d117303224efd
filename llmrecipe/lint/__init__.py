"""Typed recipes -> what is wrong with them although every value has its type."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from llmrecipe.diagnostics import Diagnostic
from llmrecipe.document import Document
from llmrecipe.lint import (  # noqa: F401  each module enters its rules
    adapter,
    adapter_options,
    adapter_serving,
    architecture,
    attention,
    curriculum,
    data,
    distributed,
    evaluation,
    masked,
    merging,
    method,
    model,
    online,
    optimizer,
    ppo,
    preferences,
    quantization,
    reproducibility,
    serving,
    speed,
    strategy,
    sweep,
    training,
    watching,
    without_effect,
)
from llmrecipe.lint.rule import RULES, Case, Finding, Rule, location
from llmrecipe.lint.strategy import STRATEGY_RULES

__all__ = ["RULES", "STRATEGY_RULES", "Finding", "Rule", "lint"]

_IGNORE = re.compile(r"#\s*llmrecipe:\s*ignore\[([A-Z0-9,\s]*)\]")


def lint(documents: Sequence[Document]) -> list[Diagnostic]:
    """Every finding of every rule, in the order of the documents and their lines.

    A comment `# llmrecipe: ignore[LR301]` silences a code on its line.
    """
    if not documents:
        return []
    recipes = {document.recipe.name: document.recipe for document in documents}
    last = Path(documents[-1].source.file)
    locked = last.with_name(f"{last.name}.lock").is_file()
    found = [diagnostic for document in documents for diagnostic in _check(Case(document, recipes, locked))]
    return list(_without_silenced(found))


def _check(case: Case) -> list[Diagnostic]:
    found = [_diagnostic(rule, finding, case.document) for rule in RULES.values() for finding in rule.check(case)]
    return sorted(found, key=lambda d: (d.span.file, d.span.line, d.span.column, d.code))


def _diagnostic(rule: Rule, finding: Finding, document: Document) -> Diagnostic:
    place = document.source.key_at if finding.on_key else document.source.at
    span, severity = place(location(finding.at)), finding.severity or rule.severity
    return Diagnostic(rule.code, rule.name, finding.message, span, finding.help, severity)


def _without_silenced(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    lines: dict[str, list[str]] = {}
    for diagnostic in found:
        file = diagnostic.span.file
        if file not in lines:
            path = Path(file)
            lines[file] = path.read_text("utf-8").splitlines() if path.is_file() else []
        text = lines[file][diagnostic.span.line - 1 : diagnostic.span.line]
        silenced = _IGNORE.search(text[0]) if text else None
        if silenced is None or diagnostic.code not in re.split(r"[,\s]+", silenced[1].strip()):
            yield diagnostic
