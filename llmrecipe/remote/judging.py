"""Documents and what the Hub says of them -> diagnostics."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llmrecipe.diagnostics import Diagnostic
from llmrecipe.document import Document
from llmrecipe.lint import RULES, diagnostic, silenced
from llmrecipe.mending import location
from llmrecipe.remote.check import Case, Check, Sound
from llmrecipe.remote.checks import CHECKS
from llmrecipe.remote.named import named
from llmrecipe.remote.repository import Answers, Space
from llmrecipe.source import Span


@dataclass
class Judged:
    """What the checks found in the documents of a file."""

    findings: list[Diagnostic] = field(default_factory=list)
    settled: set[tuple[str, Span]] = field(default_factory=set)
    """Codes of rules and places where a check has judged by the real thing, so that the rule is not needed."""

    def instead_of(self, found: Sequence[Diagnostic]) -> list[Diagnostic]:
        """What rules and checks have to say together, in the order of lines."""
        left = [one for one in found if (one.code, one.span) not in self.settled]
        return sorted(
            [*left, *self.findings], key=lambda one: (one.span.file, one.span.line, one.span.column, one.code)
        )


def judge(documents: Sequence[Document], answers: Answers, space: Space) -> Judged:
    """What every check finds in every document, without what they silence."""
    judged = Judged()
    recipes = {document.recipe.name: document.recipe for document in documents}
    for document in documents:
        case = Case(document, named(document), answers, space, recipes)
        for check in CHECKS.values():
            _judge(check, case, judged)
    return judged


def _judge(check: Check, case: Case, judged: Judged) -> None:
    document = case.document
    for found in check.judge(case):
        if isinstance(found, Sound):
            span = document.source.at(location(found.at))
        else:
            one = diagnostic(check, found, document)
            span = one.span
            if not _silenced(check, one, document):
                judged.findings.append(one)
        judged.settled |= {(code, span) for code in check.instead_of}


def _silenced(check: Check, found: Diagnostic, document: Document) -> bool:
    """Whether the check is silenced there, or a rule that judges the same."""
    rules = [replace(found, code=code, name=RULES[code].name) for code in check.instead_of]
    return any(silenced(one, document) for one in (found, *rules))
