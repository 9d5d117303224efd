"""A preparation leaves uniform rows, split and mixed as asked, and accounts for every row."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from data_stages import prepare, prepare_rows, read, report, source, write_jsonl

from llmrecipe.plan import PrepareData
from llmrecipe.stages.place import StageError
from llmrecipe.stages.rows import shards
from llmrecipe.vocabulary import Deduplicate, Filter, Normalize

ROWS = [{"text": f"row number {number}"} for number in range(200)]


def test_rows_come_in_the_order_of_the_sources(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "a"}])
    (tmp_path / "b.txt").write_text("b\nc\n", encoding="utf-8")
    output = prepare(tmp_path / "p", source("b.txt"), source("a.jsonl"))
    assert read(output) == [{"text": "b"}, {"text": "c"}, {"text": "a"}]
    assert not (output / "rows" / "validation").exists()


def test_every_row_is_kept_or_dropped_for_a_reason_that_is_counted(tmp_path):
    texts = ["good words here", "short", "good words here \t", "x " * 9, "\x00"]
    steps = [
        Normalize(kind="normalize"),
        Filter(kind="filter", max_words=5),
        Filter(kind="filter", min_characters=1, min_words=2),
        Deduplicate(kind="deduplicate"),
    ]
    output = prepare_rows(tmp_path / "p", [{"text": text} for text in texts], "text", steps=steps)
    assert read(output) == [{"text": "good words here"}]
    (account,) = report(output)["sources"]
    assert (account["rows_in"], account["kept"], account["used"]) == (5, 1, 1)
    assert account["dropped"] == {
        "filter: fewer than 2 words": 1,
        "deduplicate: equal to an earlier row": 1,
        "filter: more than 5 words": 1,
        "filter: fewer than 1 characters": 1,
    }


def test_the_report_shows_at_most_five_rows_of_each_reason_and_where_they_stand(tmp_path):
    rows = [{"text": "kept, being long"}] + [{"text": "short " + "x" * number} for number in range(7)]
    output = prepare_rows(tmp_path / "p", rows, "text", steps=[Filter(kind="filter", min_words=3)])
    samples = report(output)["drop_samples"]["filter: fewer than 3 words"]
    assert len(samples) == 5
    assert samples[0] == {"where": "p.jsonl:2", "text": "short "}


def test_a_row_stays_on_its_side_whatever_is_added(tmp_path):
    few = prepare_rows(tmp_path / "few", ROWS[:100], "text", validation_fraction=0.2)
    many = prepare_rows(tmp_path / "many", ROWS[::-1], "text", validation_fraction=0.2, seed=7)
    held_out = {row["text"] for row in read(few, "validation")}
    assert 8 <= len(held_out) <= 35
    assert held_out <= {row["text"] for row in read(many, "validation")}
    assert {row["text"] for row in read(few)}.isdisjoint({row["text"] for row in read(many, "validation")})


def test_equal_rows_are_on_the_same_side(tmp_path):
    output = prepare_rows(tmp_path / "p", ROWS * 3, "text", validation_fraction=0.3)
    assert {row["text"] for row in read(output)}.isdisjoint({row["text"] for row in read(output, "validation")})


def test_a_repeated_source_repeats_in_training_and_never_in_validation(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", ROWS[:50])
    write_jsonl(tmp_path / "b.jsonl", [{"text": f"other {number}"} for number in range(100)])
    mixed = [source("a.jsonl", weight=1.0), source("b.jsonl", weight=1.0)]
    output = prepare(tmp_path / "p", *mixed, stopping_strategy="all_exhausted", validation_fraction=0.2)
    held_out = [row["text"] for row in read(output, "validation")]
    assert len(held_out) == len(set(held_out))
    train = [row["text"] for row in read(output)]
    assert set(train).isdisjoint(held_out)
    assert all(train.count(row["text"]) == 2 for row in ROWS[:50] if row["text"] not in held_out)


def test_own_validation_sources_are_counted_when_training_repeats_them(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", ROWS[:10])
    write_jsonl(tmp_path / "v.jsonl", ROWS[8:12])
    output = prepare(
        tmp_path / "p", source("a.jsonl"), validation=[source("v.jsonl", label="data.validation.sources[0]")]
    )
    assert read(output, "validation") == ROWS[8:12]
    assert read(output) == ROWS[:10]
    assert report(output)["train_rows_also_in_validation"] == 2


def test_a_source_that_steps_empty_is_told_before_the_shares_of_the_others(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", ROWS[:10])
    mixed = [source("a.jsonl", weight=1.0), source("a.jsonl", weight=0.5, label="data.train[1]")]
    with pytest.raises(StageError, match=r"none of the 10 rows of `data.train\[1\]` is left: 10 deduplicate"):
        prepare(tmp_path / "p", *mixed, steps=[Deduplicate(kind="deduplicate")])


def test_memory_is_bounded_by_groups_and_shards_keep_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "GROUP_ROWS", 30)
    monkeypatch.setattr(shards, "SHARD_ROWS", 60)
    output = prepare_rows(tmp_path / "p", ROWS, "text")
    files = sorted((output / "rows" / "train").iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == [60, 60, 60, 20]
    assert pq.read_metadata(files[0]).num_row_groups == 2
    assert read(output) == ROWS
    few = prepare(tmp_path / "q", source("p.jsonl", max_samples=50))
    assert len(read(few)) == 50
    assert read(few) == [row for row in ROWS if row in read(few)]


def test_messages_and_preferences_survive_the_files(tmp_path):
    turns = [{"role": "user", "content": "é\x00"}, {"role": "assistant", "content": "🙂"}]
    assert read(prepare_rows(tmp_path / "m", [{"messages": turns}], "messages")) == [{"messages": turns}]
    row = {"prompt": turns[:1], "chosen": turns[1:], "rejected": [{"role": "assistant", "content": "no"}]}
    assert read(prepare_rows(tmp_path / "d", [row], "preference")) == [row]


def test_strings_and_messages_cannot_be_mixed(tmp_path):
    turns = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}
    rows = [{"prompt": "a", "completion": "b"}, turns]
    with pytest.raises(StageError, match=r"p\.jsonl:2: the row is written as messages, the rows before it as strings"):
        prepare_rows(tmp_path / "p", rows, "prompt_completion")


@pytest.mark.parametrize(
    ("rows", "options", "message", "help"),
    [
        ([], {}, "`data.train[0]` has no rows", "paths"),
        (
            ROWS[:3],
            {"steps": [Filter(kind="filter", min_words=9)]},
            "none of the 3 rows of `data.train[0]` is left: 3 filter: fewer than 9 words",
            "loosen",
        ),
        (
            ROWS[:1],
            {"validation_fraction": 0.01},
            "`data.validation.fraction: 0.01` of 1 rows leaves none for validation",
            "fraction",
        ),
    ],
)
def test_nothing_left_is_an_error_that_says_why(tmp_path, rows, options, message, help):
    with pytest.raises(StageError) as error:
        prepare_rows(tmp_path / "p", rows, "text", **options)
    assert error.value.message == message
    assert help in error.value.help


def test_a_single_document_cannot_be_split_and_the_help_says_how(tmp_path):
    (tmp_path / "book.txt").write_text("a\n\nb\n", encoding="utf-8")
    with pytest.raises(StageError) as error:
        prepare(tmp_path / "p", source("book.txt", sample_by="document"), validation_fraction=0.1)
    assert "sample_by: paragraph" in error.value.help


def test_equal_inputs_give_equal_bytes(tmp_path):
    steps = [Normalize(kind="normalize"), Deduplicate(kind="deduplicate")]
    first = prepare_rows(tmp_path / "a", ROWS, "text", steps=steps, validation_fraction=0.1)
    second = prepare_rows(tmp_path / "b", ROWS, "text", steps=steps, validation_fraction=0.1)
    for split in ("train", "validation"):
        names = [folder / "rows" / split / "00000.parquet" for folder in (first, second)]
        assert names[0].read_bytes() == names[1].read_bytes()


def test_preparing_files_imports_neither_torch_nor_datasets_nor_pandas(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "work").mkdir()
    spec = PrepareData(
        kind="prepare_data", train=[source("a.jsonl")], validation=[], validation_fraction=0.1, rows="text",
        steps=[Normalize(kind="normalize")], stopping_strategy="first_exhausted", seed=1,
    )  # fmt: skip
    code = """
import sys
from pathlib import Path
from llmrecipe.plan import PrepareData
from llmrecipe.stages import prepare_data
from llmrecipe.stages.place import Place
here = Path(sys.argv[1])
prepare_data.run(PrepareData.model_validate_json(sys.argv[2]), Place({}, here / "output", here / "work", here))
print([name for name in ("torch", "datasets", "pandas") if name in sys.modules])
"""
    arguments = [sys.executable, "-c", code, str(tmp_path), spec.model_dump_json()]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.txt"])
def test_a_byte_that_is_no_utf8_is_told_with_its_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"text\n" + b"a\n" * 9000 + b"\xe9\n")
    with pytest.raises(StageError, match=rf"^{name}:9002: the line is not UTF-8 text: byte 0xe9"):
        prepare(tmp_path / "p", source(name, sample_by="document"))
