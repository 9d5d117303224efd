"""Diagnostics -> text with the source line, one line each, JSON, GitHub annotations, SARIF."""

import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from llmrecipe import __version__
from llmrecipe.diagnostics import Diagnostic, Severity

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


def as_json(findings: Sequence[Diagnostic], files: int) -> str:
    """One JSON document with the findings and their number; `files` is how many were checked."""
    counts = {f"{severity}s": sum(one.severity == severity for one in findings) for severity in _SEVERITY}
    report = {"diagnostics": [one.as_dict() for one in findings], "files": files, **counts}
    return json.dumps(report, indent=2, ensure_ascii=False)


def github(findings: Sequence[Diagnostic]) -> str:
    """Workflow commands that annotate the lines of a pull request.

    Source: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
    """
    return "\n".join(_command(one) for one in findings)


def sarif(findings: Sequence[Diagnostic], pages: Mapping[str, Page]) -> str:
    """A SARIF 2.1.0 log; `pages` are the manual pages of all codes.

    Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
    """
    codes = sorted({one.code for one in findings})
    driver = {"name": "llmrecipe", "version": __version__, "rules": [_rule(code, pages.get(code)) for code in codes]}
    results = [_result(one, codes.index(one.code)) for one in findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


# -- text --


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


def _result(finding: Diagnostic, index: int) -> dict[str, Any]:
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
    uri = quote(Path(os.path.relpath(span.file)).as_posix())
    physical = {"artifactLocation": {"uri": uri}, "region": region}
    return result | {"locations": [{"physicalLocation": physical}]}
