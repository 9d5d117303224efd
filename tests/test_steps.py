"""Each preparation step does what its section says, to every text of a row."""

import pytest

from llmrecipe.stages.rows.steps import Drop, build, check, digest
from llmrecipe.vocabulary import Deduplicate, Filter, Normalize

USER = {"role": "user", "content": "a b"}
ASSISTANT = {"role": "assistant", "content": "c"}


@pytest.mark.parametrize(
    ("options", "text", "normal"),
    [
        ({}, "e\u0301 ﬁ", "é ﬁ"),
        ({"unicode": "NFKC"}, "ﬁ ①", "fi 1"),
        ({"unicode": "none"}, "e\u0301", "e\u0301"),
        ({}, "a \t\r\nb  \n\n\n\n\nc ", "a\nb\n\n\nc"),
        ({"whitespace": False}, "a \n\n\n\n\nb", "a \n\n\n\n\nb"),
        ({}, "a\x00\x1b\tb\x85\x7f", "a\tb"),
        ({"strip_control": False}, "a\x00b", "a\x00b"),
    ],
)
def test_normalize_makes_text_uniform(options, text, normal):
    assert build(Normalize(kind="normalize", **options))({"text": text}) == {"text": normal}


def test_normalize_changes_every_text_of_a_row_and_no_role():
    row = {"prompt": [USER], "chosen": [{"role": "assistant", "content": "x\r\n"}], "rejected": [ASSISTANT]}
    changed = build(Normalize(kind="normalize"))(row)
    assert changed == {**row, "chosen": [{"role": "assistant", "content": "x\n"}]}


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ({"min_words": 3}, "a b", "filter: fewer than 3 words"),
        ({"min_words": 2}, "a b", None),
        ({"max_words": 1}, "a b", "filter: more than 1 words"),
        ({"min_characters": 4}, "a b", "filter: fewer than 4 characters"),
        ({"max_characters": 2}, "a b", "filter: more than 2 characters"),
        ({"max_symbol_ratio": 0.5}, "a##_", "filter: more than 0.5 of the characters are symbols"),
        ({"max_symbol_ratio": 0.5}, "ab#_", None),
        ({"max_symbol_ratio": 0.1}, "हिन्दी", None),
        ({"max_duplicate_line_ratio": 0.3}, "a\na\n\nb", "filter: more than 0.3 of the lines repeat an earlier one"),
        ({"max_duplicate_line_ratio": 0.4}, "a\na\n\nb", None),
        ({"pattern": "x+"}, "a", "filter: `pattern` is not found"),
        ({"pattern": "x+"}, "axx", None),
        ({"exclude_pattern": "(?i)secret"}, "a SECRET", "filter: `exclude_pattern` is found"),
    ],
)
def test_filter_drops_what_breaks_a_bound_and_says_which(options, text, reason):
    row = {"text": text}
    assert build(Filter(kind="filter", **options))(row) == (Drop(reason) if reason else row)


def test_filter_measures_all_texts_of_a_row_together():
    row = {"messages": [USER, ASSISTANT]}
    assert build(Filter(kind="filter", min_words=3, max_words=3))(row) == row


def test_deduplicate_keeps_the_first_of_equal_rows():
    step = build(Deduplicate(kind="deduplicate"))
    assert [isinstance(step({"text": text}), Drop) for text in ("a", "A", "a", "a ")] == [False, False, True, False]
    loose = build(Deduplicate(kind="deduplicate", ignore_case=True))
    assert [isinstance(loose({"text": text}), Drop) for text in ("a b", "A\n b", "ab")] == [False, True, False]


def test_rows_that_differ_in_who_says_something_are_not_equal():
    assert digest({"messages": [USER]}) != digest({"messages": [{**USER, "role": "system"}]})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": " \n"}, "empty"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "empty"),
        ({"messages": [{"role": "system", "content": ""}, USER, ASSISTANT]}, None),
        ({"messages": [{"role": "user", "content": " "}]}, "empty"),
        ({"prompt": "", "completion": "x"}, None),
        ({"prompt": "x", "completion": ""}, "empty"),
        ({"prompt": "x", "chosen": "", "rejected": "y"}, "empty"),
        ({"prompt": "x", "chosen": "y", "rejected": ""}, None),
        ({"prompt": "x", "chosen": [ASSISTANT], "rejected": [ASSISTANT]}, "chosen and rejected are equal"),
        ({"text": "a \ud83d b"}, "not valid Unicode: half of a surrogate pair"),
        ({"text": "🙂"}, None),
    ],
)
def test_rows_from_which_nothing_can_be_learned_are_dropped(row, reason):
    assert check(row) == (Drop(reason) if reason else row)
