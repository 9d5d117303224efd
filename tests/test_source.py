"""YAML 1.2 with spans, within limits."""

import math

import pytest

from llmrecipe.source import Source, SourceError, load, parse
from llmrecipe.source.composer import MAX_DEPTH, MAX_DOCUMENTS, MAX_VALUES


def data(text):
    (source,) = parse(text, "recipe.yaml")
    return source.data


def problems(text):
    with pytest.raises(SourceError) as caught:
        parse(text, "recipe.yaml")
    return [(one.name, one.span.line, one.span.column) for one in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("1e5", 1e5),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+5", 5),
        ("017", 17),
        ("0o17", 15),
        ("0xFf", 255),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("1e", "1e"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("-", None),
    ],
)
def test_plain_scalars_follow_the_core_schema(text, value):
    if text == "-":
        assert data("- \n") == [None]
    else:
        found = data(f"key: {text}\n")["key"]
        assert found == value
        assert type(found) is type(value)


def test_nan_is_a_number():
    assert math.isnan(data("a: .nan")["a"])


def test_every_key_and_value_has_its_span():
    (source,) = parse("model:\n  base: 'a b'\ndata:\n  - {x: 1, é: [2, 3]}\n  - |\n    text\n    more\n\nlast:\n", "f")
    spans = {path: (s.line, s.column, s.end_line, s.end_column) for path, s in source.values.items()}
    assert spans == {
        (): (1, 1, 9, 6),
        ("model",): (2, 3, 2, 14),
        ("model", "base"): (2, 9, 2, 14),
        ("data",): (4, 3, 7, 9),
        ("data", 0): (4, 5, 4, 22),
        ("data", 0, "x"): (4, 9, 4, 10),
        ("data", 0, "é"): (4, 15, 4, 21),
        ("data", 0, "é", 0): (4, 16, 4, 17),
        ("data", 0, "é", 1): (4, 19, 4, 20),
        ("data", 1): (5, 5, 7, 9),
        ("last",): (9, 6, 9, 6),
    }
    keys = {path: (s.line, s.column, s.end_column) for path, s in source.keys.items()}
    assert keys[("data", 0, "é")] == (4, 12, 13)
    assert keys[("last",)] == (9, 1, 5)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_editors_count_them(newline):
    (source,) = parse(newline.join(["a: '\u2028 x'", "b: '\x85 y'", "c: 😀", "d: 1", ""]), "f")
    assert [source.at((key,)).line for key in "abcd"] == [1, 2, 3, 4]


def test_a_path_that_is_not_there_has_the_span_of_what_is_around_it():
    (source,) = parse("a:\n  b: {c: 1}\n", "f")
    assert source.at(("a", "b", "x", 3)) == source.at(("a", "b"))
    assert source.key_at(("a", "b")).column == 3


def test_a_file_holds_several_documents():
    sources = parse("name: a\n---\nname: b\n...\n---\nname: c\n", "f")
    assert [source.data["name"] for source in sources] == ["a", "b", "c"]
    assert sources[1].at(("name",)).line == 3


def test_an_alias_repeats_a_value_with_its_spans():
    (source,) = parse("a: &x {b: [1]}\nc: *x\n", "f")
    assert source.data["c"] == {"b": [1]}
    assert source.at(("c", "b", 0)) == source.at(("a", "b", 0))
    assert source.keys[("c", "b")].line == 1


def test_an_anchor_may_be_set_anew():
    assert data("a: &x 1\nb: &x 2\nc: *x\n")["c"] == 2


def test_anchors_end_with_their_document():
    assert problems("a: &x 1\n---\nb: *x\n") == [("invalid-yaml", 3, 4)]


def test_a_duplicate_key_is_refused_and_the_first_line_named():
    with pytest.raises(SourceError) as caught:
        parse("seed: 1\nmax: 2\nseed: 3\n", "f")
    (problem,) = caught.value.problems
    assert (problem.name, problem.span.line) == ("duplicate-key", 3)
    assert "line 1" in str(problem.help)
    assert caught.value.sources[0].data == {"seed": 1, "max": 2}


def test_what_a_dropped_key_anchors_can_still_be_repeated():
    with pytest.raises(SourceError) as caught:
        parse("a: 1\na: {b: &x [5]}\nc: *x\n", "f")
    assert [problem.name for problem in caught.value.problems] == ["duplicate-key"]
    assert caught.value.sources[0].data == {"a": 1, "c": [5]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !!str 5", [("unsupported-yaml", 1, 4)]),
        ("a: ! 5", [("unsupported-yaml", 1, 4)]),
        ("a: !!python/name:os.system x", [("unsupported-yaml", 1, 4)]),
        ("<<: {a: 1}", [("unsupported-yaml", 1, 1)]),
        ("'<<': 1\n1: 2", [("unsupported-yaml", 2, 1)]),
        ("? [a, b]\n: 1", [("unsupported-yaml", 1, 3)]),
        (": 1", [("invalid-yaml", 1, 1)]),
        ("a: &x [*x]", [("document-too-large", 1, 8)]),
        ("a: *y", [("invalid-yaml", 1, 4)]),
        ("a: 1\n\tb: 2", [("invalid-yaml", 2, 1)]),
        ("a: [1,\n\n\n", [("invalid-yaml", 1, 7)]),
        ("a: {b: 1\nc: 2", [("invalid-yaml", 2, 2)]),
        ("a: 'x\nb: 1\n", [("invalid-yaml", 1, 4)]),
        ("a: \x07", [("invalid-yaml", 1, 4)]),
        ("- a\nb: 1", [("invalid-yaml", 2, 1)]),
        ("", [("empty-document", 1, 1)]),
        ("\n\n# nothing\n", [("empty-document", 1, 1)]),
        ("--- \n---\na: 1", [("empty-document", 2, 1)]),
        ("a: 1\n---\n", [("empty-document", 2, 4)]),
        ("a: 1\nb: [\n---\nc: 1\nc: 2\n", [("invalid-yaml", 3, 1)]),
    ],
)
def test_what_is_no_recipe_text_is_refused_with_its_place(text, expected):
    assert problems(text) == expected


def test_several_problems_of_one_file_come_together():
    assert [name for name, _, _ in problems("a: 1\na: 2\n1: !!str 3\nb: 'x\n")] == [
        "duplicate-key",
        "unsupported-yaml",
        "unsupported-yaml",
        "invalid-yaml",
    ]


def test_documents_before_a_syntax_error_are_kept():
    with pytest.raises(SourceError) as caught:
        parse("a: 1\n---\nb: [\n", "f")
    assert [source.data for source in caught.value.sources] == [{"a": 1}]


def _bomb():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        _bomb(),
        "[" * 1_000_000,
        "{" * 1_000_000,
        "- " * 1_000_000,
        "? " * 1_000_000,
        "---\na\n" * (MAX_DOCUMENTS + 1),
        "- 1\n" * (MAX_VALUES + 1),
        "a: " + "9" * 5000,
        "a: 0x" + "f" * 5000,
        "a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    ],
    ids=["aliases", "brackets", "braces", "dashes", "keys", "documents", "values", "digits", "hex", "depth"],
)
def test_what_is_too_large_is_refused_soon(text):
    assert "document-too-large" in [name for name, _, _ in problems(text)]


def test_a_depth_within_the_limit_is_read():
    assert data("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b"name: x\n\x00", (2, 1)),
        (b"name: \xff\xfe", (1, 7)),
        ("name: é\n".encode("latin-1"), (1, 7)),
        ("name: x".encode("utf-16"), (1, 1)),
        ("ü: 1\n".encode() + b"\x80", (2, 1)),
    ],
)
def test_a_file_that_is_no_text_is_refused_at_the_first_such_byte(tmp_path, content, position):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        load(str(path))
    (problem,) = caught.value.problems
    assert problem.name == "unreadable-file"
    assert (problem.span.line, problem.span.column) == position


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")
    (source,) = load(str(path))
    assert isinstance(source, Source)
    assert source.keys[("name",)].column == 1


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("nothing.yaml", "there is no file", "check the path"),
        ("recpie.yaml", "there is no file", "recipe.yaml"),
        ("recipe.yaml/inside.yaml", "there is no file", "check the path"),
        ("", "is a folder", "name a recipe file"),
        ("a\0b", "NUL", "check the path"),
    ],
)
def test_a_file_that_cannot_be_opened_says_why(tmp_path, name, message, hint):
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(SourceError) as caught:
        load(f"{tmp_path}/{name}" if name else str(tmp_path))
    (problem,) = caught.value.problems
    assert problem.name == "unreadable-file"
    assert message in problem.message
    assert hint in str(problem.help)


def test_a_large_file_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"# x\n" * (5 * 2**18))
    with pytest.raises(SourceError) as caught:
        load(str(path))
    assert caught.value.problems[0].name == "document-too-large"
