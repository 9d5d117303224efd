"""Diagnostics in every format."""

import json
from pathlib import Path

import pytest
from jsonschema.validators import validator_for

from llmrecipe.cli.pages import pages
from llmrecipe.diagnostics import Diagnostic, Fix, Remove, Write
from llmrecipe.printers import WIDTH, as_json, concise, github, gitlab, sarif, text
from llmrecipe.source import Span


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A finding at a place of a file: `found("source text", line, column, end_column)`."""
    monkeypatch.chdir(tmp_path)

    def found(source, *place, message="`batch_size` is not a key of `training`", help="did you mean `x`?", **more):
        Path("recipe.yaml").write_text(source, "utf-8")
        line, column, end_column = place
        span = Span("recipe.yaml", line, column, more.pop("end_line", line), end_column)
        return Diagnostic("LR003", "unknown-key", message, span, help, **more)

    return found


def test_text_shows_the_line_and_marks_the_place(found):
    finding = found("a: 1\n" * 15 + "  batch_size: 3\n", 16, 3, 13)
    assert (
        text([finding])
        == """\
error[LR003]: `batch_size` is not a key of `training`
  --> recipe.yaml:16:3
   |
16 |   batch_size: 3
   |   ^^^^^^^^^^
   = help: did you mean `x`?"""
    )


@pytest.mark.parametrize(
    ("source", "place", "shown", "marks"),
    [
        ("a: [日本, x]", (1, 9, 10), "a: [日本, x]", "          ^"),
        ("a: 日本", (1, 4, 6), "a: 日本", "   ^^^^"),
        ("\ta: x", (1, 5, 6), "    a: x", "       ^"),
        ("a:", (1, 3, 3), "a:", "  ^"),
        ("a: \x1b[31mred", (1, 4, 5), "a: \ufffd[31mred", "   ^"),
    ],
)
def test_marks_stand_below_what_they_mark(found, source, place, shown, marks):
    lines = text([found(source + "\n", *place)]).split("\n")
    assert lines[3] == f"1 | {shown}"
    assert lines[4] == f"  | {marks}"


def test_a_value_of_several_lines_is_marked_on_its_first(found):
    lines = text([found("a:  \n  b: 1  \n  c: 2\n", 2, 3, 7, end_line=3)]).split("\n")
    assert lines[3:5] == ["2 |   b: 1", "  |   ^^^^"]


def test_a_very_long_line_is_cut_around_the_place(found):
    source = "a: [" + "1, " * 5000 + "x" + ", 1" * 5000 + "]\n"
    at = source.index("x") + 1
    lines = text([found(source, 1, at, at + 1)]).split("\n")
    assert len(lines[3]) < WIDTH + 10
    assert lines[3][lines[4].index("^")] == "x"


def test_a_message_cannot_steer_the_terminal(found):
    finding = found("a: 1\n", 1, 1, 2, message="`\x1b[2J` is\nno key", help="\x07")
    assert "\x1b" not in text([finding]) + concise([finding])
    assert len(concise([finding]).split("\n")) == 1


def test_a_file_that_cannot_be_shown_leaves_the_place(found):
    finding = Diagnostic("LR001", "unreadable-file", "there is no file", Span("no.yaml", 1, 1, 1, 1), None)
    assert text([finding]) == "error[LR001]: there is no file\n --> no.yaml:1:1"


def test_an_override_is_shown_as_it_was_typed():
    finding = Diagnostic("LR006", "wrong-type", "no number", Span("--set", 2, 15, 2, 18), None)
    assert text([finding], overrides=["a=1", 'training.seed="3"']).split("\n")[1:] == [
        " --> --set:2:15",
        "  |",
        '2 | training.seed="3"',
        "  |               ^^^",
    ]


def test_color_is_only_there_when_asked_for(found):
    finding = found("a: 1\n", 1, 1, 2)
    assert "\x1b[1;31merror[LR003]" in text([finding], color=True)
    assert "\x1b" not in text([finding])


def test_concise_is_one_line_each(found):
    finding = found("a: 1\n", 1, 1, 2, severity="warning")
    assert (
        concise([finding, finding]).split("\n")
        == ["recipe.yaml:1:1: warning[LR003] `batch_size` is not a key of `training`; did you mean `x`?"] * 2
    )


def test_json_has_the_findings_and_their_number(found):
    findings = [found("a: 1\n", 1, 1, 2), found("a: 1\n", 1, 1, 2, severity="warning")]
    report = json.loads(as_json(findings, 7))
    assert {key: report[key] for key in ("files", "errors", "warnings")} == {"files": 7, "errors": 1, "warnings": 1}
    assert report["diagnostics"][0] == {
        "code": "LR003",
        "name": "unknown-key",
        "severity": "error",
        "message": "`batch_size` is not a key of `training`",
        "help": "did you mean `x`?",
        "file": "recipe.yaml",
        "line": 1,
        "column": 1,
        "end_line": 1,
        "end_column": 2,
    }
    assert json.loads(as_json([], 1)) == {"diagnostics": [], "files": 1, "errors": 0, "warnings": 0}


def test_github_annotations_escape_what_would_end_them(found):
    finding = found("a: 1\n", 1, 2, 4, message="50%: a,b\nc", help=None)
    assert github([finding]) == (
        "::error file=recipe.yaml,line=1,endLine=1,col=2,endColumn=3,title=LR003 unknown-key::50%25: a,b%0Ac"
    )
    elsewhere = Diagnostic("LR001", "x", "m", Span("a,b:c%.yaml", 1, 1, 2, 1), None, "warning")
    assert github([elsewhere]) == "::warning file=a%2Cb%3Ac%25.yaml,line=1,endLine=2,title=LR001 x::m"


def test_sarif_has_what_version_2_1_0_asks_for(found):
    """The properties that the standard requires, and the types and bounds that it gives to those that we write."""
    warning = Diagnostic("LR701", "unpinned", "m", Span("my recipes/ü.yaml", 3, 4, 5, 6), None, "warning")
    override = Diagnostic("LR006", "wrong-type", "m", Span("--set", 1, 1, 1, 2), None)
    log = json.loads(sarif([found("a: 1\n", 1, 1, 2), warning, override], pages()))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    driver = run["tool"]["driver"]
    assert driver["name"] == "llmrecipe"
    rules = driver["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules) == 3
    for rule in rules:
        assert {"id", "name", "shortDescription", "fullDescription", "help"} <= set(rule)
        assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
    for result in run["results"]:
        assert result["level"] in ("none", "note", "warning", "error")
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        assert len(result["locations"]) == 1
    first = run["results"][1]["locations"][0]["physicalLocation"]
    assert first["artifactLocation"] == {"uri": "my%20recipes/%C3%BC.yaml"}
    assert first["region"] == {"startLine": 3, "startColumn": 4, "endLine": 5, "endColumn": 6}
    assert "physicalLocation" not in run["results"][2]["locations"][0]


def test_sarif_without_findings_is_a_log_too():
    (run,) = json.loads(sarif([], {}))["runs"]
    assert run["results"] == []


# -- against the schema of the standard --

SARIF = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0.json").read_text("utf-8-sig"))


def faults(log: object) -> list[str]:
    return [fault.message for fault in validator_for(SARIF)(SARIF).iter_errors(log)]


def test_every_log_is_one_by_the_schema_of_the_standard(found):
    finding = found("a: 1\nb: 2\n", 1, 1, 2)
    fix = Fix("`c`", (Write(Span("recipe.yaml", 1, 1, 1, 2), "c"),), safe=True)
    override = Diagnostic("LR006", "wrong-type", "m", Span("--set", 1, 1, 1, 2), None)
    page_of_all = [Diagnostic(code, "x", "m", Span("recipe.yaml", 1, 1, 1, 2)) for code in pages()]
    for findings in ([], [finding], [Diagnostic("LR003", "x", "m", finding.span, fix=fix), override], page_of_all):
        assert faults(json.loads(sarif(findings, pages()))) == []


def test_a_log_that_is_none_is_told_by_the_schema(found):
    log = json.loads(sarif([found("a: 1\n", 1, 1, 2)], pages()))
    log["runs"][0]["results"][0]["level"] = "fatal"
    log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startColum"] = 1
    assert len(faults(log)) == 2


def test_sarif_has_the_fix_as_what_is_deleted_and_what_comes_instead(found):
    span = Span("recipe.yaml", 2, 3, 2, 4)
    finding = found("a:\n  b: 1  # x\n  c: 2\n", 2, 3, 4)
    inside = Span("recipe.yaml", 2, 3, 3, 7)
    whole = Remove(span, Span("recipe.yaml", 2, 6, 2, 7), inside, Span("recipe.yaml", 3, 3, 3, 4))
    (result,) = json.loads(
        sarif([Diagnostic("LR003", "x", "m", finding.span, fix=Fix("`b` is left out", (whole,), safe=True))], {})
    )["runs"][0]["results"]
    assert result["fixes"] == [
        {
            "description": {"text": "`b` is left out"},
            "artifactChanges": [
                {
                    "artifactLocation": {"uri": "recipe.yaml"},
                    "replacements": [
                        {
                            "deletedRegion": {"startLine": 2, "startColumn": 1, "endLine": 3, "endColumn": 1},
                            "insertedContent": {"text": ""},
                        }
                    ],
                }
            ],
        }
    ]


def test_gitlab_tells_equal_findings_apart_and_the_same_one_again_when_lines_move(found):
    one, other, moved = found("a: 1\n", 1, 1, 2), found("a: 1\n", 3, 1, 2), found("a: 1\n", 7, 1, 2)
    report = json.loads(gitlab([one, other]))
    assert [(issue["severity"], issue["location"]) for issue in report] == [
        ("major", {"path": "recipe.yaml", "lines": {"begin": 1}}),
        ("major", {"path": "recipe.yaml", "lines": {"begin": 3}}),
    ]
    assert len({issue["fingerprint"] for issue in report}) == 2
    assert json.loads(gitlab([moved]))[0]["fingerprint"] == report[0]["fingerprint"]
    assert {"description", "check_name", "fingerprint", "severity", "location"} == set(report[0])
