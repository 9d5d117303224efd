"""Diagnostics -> text with the source line, one line each, JSON, annotations of GitHub and GitLab, SARIF."""

import hashlib
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from llmrecipe import __version__
from llmrecipe.diagnostics import Diagnostic, Fix, Severity
from llmrecipe.mending import CannotEditError, Text

WIDTH = 140  # cells of a source line that are shown
_TAB = "    "

_BOLD, _BLUE, _OFF = "\x1b[1m", "\x1b[1;34m", "\x1b[0m"
_SEVERITY: dict[Severity, str] = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m"}


class Page(NamedTuple):
    """The manual page of a code."""

    name: str
    text: str
    """Markdown."""


def text(findings: Sequence[Diagnostic], color: bool = False, overrides: Sequence[str] = ()) -> str:
    """Each finding with the line that it is about; `overrides` are the arguments of `--set`."""
    files = {"--set": "\n".join(overrides).split("\n")} if overrides else {}
    return "\n\n".join("\n".join(_block(finding, files, color)) for finding in findings)


def concise(findings: Sequence[Diagnostic]) -> str:
    """`file:line:column: error[LR003] message; help`, one line each."""
    return "\n".join(
        f"{one.span.file}:{one.span.line}:{one.span.column}: {one.severity}[{one.code}] {_one_line(one)}"
        for one in findings
    )


def as_json(findings: Sequence[Diagnostic], files: int, fixed: Sequence[Diagnostic] | None = None) -> str:
    """One JSON document with the findings and their number.

    `files` is how many were checked, `fixed` what is mended and no longer among the findings.
    """
    counts = {f"{severity}s": sum(one.severity == severity for one in findings) for severity in _SEVERITY}
    report: dict[str, Any] = {"diagnostics": [one.as_dict() for one in findings], "files": files, **counts}
    if fixed is not None:
        report["fixed"] = [one.as_dict() | {"fix": one.fix.title if one.fix else None} for one in fixed]
    return json.dumps(report, indent=2, ensure_ascii=False)


def github(findings: Sequence[Diagnostic]) -> str:
    """Workflow commands that annotate the lines of a pull request.

    Source: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
    """
    return "\n".join(_command(one) for one in findings)


def gitlab(findings: Sequence[Diagnostic]) -> str:
    """A report for the code quality widget of a merge request.

    Source: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
    """
    issues: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for one in findings:
        identity = f"{one.code} {_relative(one.span.file)} {one.message}"
        seen[identity] = seen.get(identity, 0) + 1  # The same again, further down.
        fingerprint = hashlib.sha256(f"{identity} {seen[identity]}".encode()).hexdigest()
        issues.append(
            {
                "description": f"{one.message}; {one.help}" if one.help else one.message,
                "check_name": f"{one.code} {one.name}",
                "fingerprint": fingerprint,
                "severity": "major" if one.severity == "error" else "minor",
                "location": {"path": _relative(one.span.file), "lines": {"begin": one.span.line}},
            }
        )
    return json.dumps(issues, indent=2, ensure_ascii=False)


def sarif(findings: Sequence[Diagnostic], pages: Mapping[str, Page]) -> str:
    """A SARIF 2.1.0 log; `pages` are the manual pages of all codes.

    Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
    """
    codes = sorted({one.code for one in findings})
    driver = {"name": "llmrecipe", "version": __version__, "rules": [_rule(code, pages.get(code)) for code in codes]}
    texts = _Texts()
    results = [_result(one, codes.index(one.code), texts) for one in findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


# -- text --


def counted(findings: Sequence[Diagnostic]) -> str:
    """How many errors and warnings: `1 error, 2 warnings`."""
    errors = sum(one.severity == "error" for one in findings)
    numbers = [amount(n, noun) for n, noun in ((errors, "error"), (len(findings) - errors, "warning")) if n]
    return ", ".join(numbers) or "no problems"


def amount(count: int, one: str, several: str | None = None) -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def _block(finding: Diagnostic, files: dict[str, list[str]], color: bool) -> list[str]:
    span = finding.span
    paint, bold, blue, off = (_SEVERITY[finding.severity], _BOLD, _BLUE, _OFF) if color else ("", "", "", "")
    margin = " " * len(str(span.line))
    lines = [
        f"{paint}{finding.severity}[{finding.code}]{off}{bold}: {_safe(finding.message)}{off}",
        f"{margin}{blue}-->{off} {span.file}:{span.line}:{span.column}",
    ]
    source = _line(span.file, span.line, files)
    if source is not None:
        end = span.end_column if span.end_line == span.line else len(source.rstrip()) + 1
        shown, before, marked = _window(source, span.column, end)
        lines += [
            f"{margin} {blue}|{off}",
            f"{blue}{span.line} |{off} {shown}".rstrip(),
            f"{margin} {blue}|{off} {' ' * before}{paint}{'^' * marked}{off}",
        ]
    if finding.help:
        lines.append(f"{margin} {blue}={off} {bold}help{off}: {_safe(finding.help)}")
    return lines


def _line(file: str, number: int, files: dict[str, list[str]]) -> str | None:
    """A line of a file; nothing when the file cannot be shown."""
    if file not in files:
        try:
            content = Path(file).read_text("utf-8-sig")
        except (OSError, ValueError):
            content = ""
        files[file] = content.split("\n") if content and "\0" not in content else []
    return files[file][number - 1] if number <= len(files[file]) else None


def _window(source: str, start: int, end: int) -> tuple[str, int, int]:
    """What is shown of a line, and the cells before the marked part and of it."""
    cells = [_cells(character) for character in source]
    first = start - 1
    left = 0
    while left < first and sum(map(_width, cells[left:first])) > WIDTH // 2:
        left += max(1, (first - left) // 2)
    shown, used, right = [], 0, left
    while right < len(cells) and used + _width(cells[right]) <= WIDTH:
        shown.append(cells[right])
        used += _width(cells[right])
        right += 1
    lead = "…" if left else ""
    before = len(lead) + sum(map(_width, cells[left:first]))
    marked = sum(map(_width, cells[first : min(end - 1, right)]))
    return lead + "".join(shown) + ("…" if right < len(cells) else ""), before, max(1, marked)


def _cells(character: str) -> str:
    return _TAB if character == "\t" else _safe(character)


def _safe(text: str) -> str:
    """Text without characters that could steer a terminal."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _width(cell: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in cell)


# -- the others --


def _one_line(finding: Diagnostic) -> str:
    joined = f"{finding.message}; {finding.help}" if finding.help else finding.message
    return _safe(" ".join(joined.split()))


def _command(finding: Diagnostic) -> str:
    span = finding.span
    place: dict[str, object] = {}
    if span.file != "--set":  # no file that a viewer could open
        place |= {"file": span.file, "line": span.line, "endLine": span.end_line}
    if place and span.line == span.end_line:  # GitHub takes columns only for a single line.
        place |= {"col": span.column, "endColumn": max(span.column, span.end_column - 1)}
    place["title"] = f"{finding.code} {finding.name}"
    properties = ",".join(f"{key}={_escaped(str(value), ',:')}" for key, value in place.items())
    message = f"{finding.message}\n{finding.help}" if finding.help else finding.message
    return f"::{finding.severity} {properties}::{_escaped(message)}"


def _escaped(value: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        value = value.replace(character, f"%{ord(character):02X}")
    return value


def _rule(code: str, page: Page | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": code}
    if page:
        summary = page.text.removeprefix("## What it does").strip().partition("\n\n")[0].replace("\n", " ")
        rule |= {
            "name": page.name,
            "shortDescription": {"text": page.name.replace("-", " ")},
            "fullDescription": {"text": summary},
            "help": {"text": page.text, "markdown": page.text},
        }
    return rule


def _result(finding: Diagnostic, index: int, texts: "_Texts") -> dict[str, Any]:
    span = finding.span
    message = f"{finding.message}\n{finding.help}" if finding.help else finding.message
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": message},
    }
    if span.file == "--set":  # no file that a viewer could open
        return result | {"locations": [{"logicalLocations": [{"name": "--set", "kind": "parameter"}]}]}
    region = {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }
    physical = {"artifactLocation": {"uri": _uri(span.file)}, "region": region}
    result["locations"] = [{"physicalLocation": physical}]
    changes = _changes(finding.fix, texts) if finding.fix else []
    if finding.fix and changes:
        result["fixes"] = [{"description": {"text": finding.fix.title}, "artifactChanges": changes}]
    return result


def _changes(fix: Fix, texts: "_Texts") -> list[dict[str, Any]]:
    """What a fix does to each file; nothing where the layout leaves no place for it."""
    made: dict[str, list[dict[str, Any]]] = {}
    for edit in fix.edits:
        page = texts.of(edit.file)
        try:
            replacement = page.replacement(edit) if page else None
        except CannotEditError:
            replacement = None
        if page is None or replacement is None:
            return []
        (line, column), (end_line, end_column) = page.place(replacement.start), page.place(replacement.end)
        region = {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column}
        change = {"deletedRegion": region, "insertedContent": {"text": replacement.text}}
        made.setdefault(edit.file, []).append(change)
    return [{"artifactLocation": {"uri": _uri(file)}, "replacements": changes} for file, changes in made.items()]


class _Texts:
    """Files that fixes change, each read once."""

    def __init__(self) -> None:
        self._read: dict[str, Text | None] = {}

    def of(self, file: str) -> Text | None:
        """The text of a file; nothing when it cannot be read."""
        if file not in self._read:
            try:
                self._read[file] = Text(Path(file).read_bytes().decode("utf-8-sig"))
            except (OSError, ValueError):
                self._read[file] = None
        return self._read[file]


def _relative(file: str) -> str:
    return Path(os.path.relpath(file)).as_posix()


def _uri(file: str) -> str:
    return quote(_relative(file))
