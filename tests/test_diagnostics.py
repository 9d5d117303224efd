"""Files of tests/diagnostics: a comment `# error: CODE` stands on each line that has an error, and nowhere else."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from llmrecipe.diagnostics import Diagnostic
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.resolve import gather
from llmrecipe.validate import check

FOLDER = Path(__file__).parent / "diagnostics"
FILES = sorted(FOLDER.glob("*.yaml"))

MARK = re.compile(r"# error: ([A-Z0-9 ]+)$")

Mark = tuple[str, int, str]


def marks(files: Iterable[Path]) -> list[Mark]:
    return [
        (str(file), number, code)
        for file in files
        for number, line in enumerate(file.read_text("utf-8").split("\n"), start=1)
        for found in MARK.findall(line)
        for code in found.split()
    ]


def findings(file: Path) -> list[Diagnostic]:
    sources, problems = gather(str(file))
    return [*problems, *check(sources)[1]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_marked_error_is_found_at_its_line_and_no_other(file):
    found = findings(file)
    touched = {file, *(Path(one.span.file) for one in found)}
    touched |= {FOLDER / "files" / name for name in re.findall(r"extends: \[files/([a-z]+\.yaml)\]", file.read_text())}
    assert sorted((one.span.file, one.span.line, one.code) for one in found) == sorted(
        marks(path for path in touched if path.is_file())
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_error_says_what_to_do_and_points_into_its_file(file):
    for one in findings(file):
        lines = Path(one.span.file).read_text("utf-8").split("\n") if Path(one.span.file).is_file() else [""]
        assert one.help, one.message
        assert not re.search(r"pydantic|NoneType|\bdict\b|\bstr\b|Traceback", one.message + one.help)
        start, end = (one.span.line, one.span.column), (one.span.end_line, one.span.end_column)
        assert (1, 1) <= start <= end
        assert end[0] <= len(lines)
        assert end[1] <= len(lines[end[0] - 1]) + 1


def test_there_is_a_file_for_every_code():
    marked = {code for _, _, code in marks([*FILES, *FOLDER.glob("files/*.yaml")])}
    assert marked == {error.code for error in DOCUMENT_ERRORS}
