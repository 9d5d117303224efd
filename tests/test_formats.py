"""Rows as people write them become uniform rows, or exact complaints."""

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_stages import source, write_jsonl

from llmrecipe.stages.place import StageError
from llmrecipe.stages.rows.formats import FORMATS
from llmrecipe.stages.rows.record import Record
from llmrecipe.stages.rows.sources import read_source

USER = {"role": "user", "content": "Hello"}
ASSISTANT = {"role": "assistant", "content": "Hi"}
WORSE = {"role": "assistant", "content": "No"}


def convert(format, data, **columns):
    return FORMATS[format](Record("a.jsonl:3", data, "data.train[0]", columns))


@pytest.mark.parametrize(
    ("format", "data", "row"),
    [
        ("text", {"text": "a", "id": 7}, {"text": "a"}),
        ("messages", {"messages": [USER, {**ASSISTANT, "name": None}]}, {"messages": [USER, ASSISTANT]}),
        (
            "conversations",
            {
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "human", "value": "Hello"},
                    {"from": "gpt", "value": "Hi"},
                ]
            },
            {"messages": [{"role": "system", "content": "s"}, USER, ASSISTANT]},
        ),
        ("instruction", {"instruction": "Hello", "output": "Hi"}, {"messages": [USER, ASSISTANT]}),
        ("instruction", {"instruction": "Hello", "input": " ", "output": "Hi"}, {"messages": [USER, ASSISTANT]}),
        (
            "instruction",
            {"instruction": "Add", "input": "1 2", "output": "3"},
            {"messages": [{"role": "user", "content": "Add\n\n1 2"}, {"role": "assistant", "content": "3"}]},
        ),
        ("prompt_completion", {"prompt": "1 +", "completion": " 1"}, {"prompt": "1 +", "completion": " 1"}),
        (
            "prompt_completion",
            {"prompt": [USER], "completion": [ASSISTANT]},
            {"prompt": [USER], "completion": [ASSISTANT]},
        ),
        ("prompt_completion", {"prompt": [USER], "completion": "Hi"}, {"prompt": [USER], "completion": [ASSISTANT]}),
        (
            "preference",
            {"prompt": "p", "chosen": "a", "rejected": "b"},
            {"prompt": "p", "chosen": "a", "rejected": "b"},
        ),
        (
            "preference",
            {"chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]},
            {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [WORSE]},
        ),
        (
            "preference",
            {"prompt": "Hello", "chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]},
            {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [WORSE]},
        ),
        (
            "preference",
            {
                "conversations": [{"from": "human", "value": "Hello"}],
                "chosen": {"from": "gpt", "value": "Hi"},
                "rejected": {"from": "gpt", "value": "No"},
            },
            {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [WORSE]},
        ),
    ],
)
def test_every_way_of_writing_a_row_becomes_the_same_row(format, data, row):
    assert convert(format, data) == row


def test_columns_give_the_names_that_the_data_has():
    row = convert("prompt_completion", {"question": "q", "answer": "a"}, prompt="question", completion="answer")
    assert row == {"prompt": "q", "completion": "a"}


@pytest.mark.parametrize(
    ("format", "data", "message", "help"),
    [
        ("text", {"txt": "a"}, "the row has no column `text`; it has `txt`", "did you mean `txt`?"),
        ("text", {"body": "a"}, "the row has no column `text`; it has `body`", "`columns: {text: ...}`"),
        ("text", {"text": None}, "`text` is null, not a string", "leave the row out"),
        ("text", {"text": 5}, "`text` is a number (5), not a string", "write it as a string"),
        ("instruction", {"instruction": "a", "input": 3, "output": "b"}, "`input` is a number (3)", "string"),
        ("messages", {"messages": []}, "`messages` is an empty conversation", "leave the row out"),
        ("messages", {"messages": "hello"}, "`messages` is a string, not a list of messages", "format"),
        ("messages", {"messages": ["hello"]}, "`messages`, message 1 is a string, not an object", "role"),
        (
            "messages",
            {"messages": [USER, {"role": "asistant", "content": "x"}]},
            "message 2 has the unknown role 'asistant'",
            "did you mean `assistant`?",
        ),
        ("messages", {"messages": [{"role": "human", "content": "x"}]}, "unknown role 'human'", "did you mean `user`?"),
        (
            "messages",
            {"messages": [{"from": "human", "value": "x"}]},
            "message 1 has no `role`",
            "`format: conversations`",
        ),
        ("messages", {"messages": [{"role": "user", "content": None}]}, "`content` is null", "one string"),
        ("conversations", {"conversations": [USER]}, "message 1 has no `from`", "`format: messages`"),
        ("conversations", {"conversations": [{"from": "bot", "value": "x"}]}, "unknown from 'bot'", "human"),
        (
            "prompt_completion",
            {"prompt": [USER], "completion": [USER]},
            "`completion` begins with a turn of the user",
            "prompt",
        ),
        ("preference", {"prompt": "p", "chosen": "a"}, "the row has no column `rejected`", "columns"),
        ("preference", {"chosen": "a", "rejected": "b"}, "the row has no column `prompt`", "columns"),
        (
            "preference",
            {"prompt": "p", "chosen": "a", "rejected": [ASSISTANT]},
            "not both strings or both messages",
            "same way",
        ),
        ("preference", {"chosen": [USER], "rejected": [ASSISTANT]}, "begin with different turns", "prompt"),
    ],
)
def test_a_row_that_is_not_in_its_format_is_named_with_its_line_and_a_fix(format, data, message, help):
    with pytest.raises(StageError) as error:
        convert(format, data)
    assert error.value.message.startswith("a.jsonl:3: ")
    assert message in error.value.message
    assert help in error.value.help


TABLE = [{"question": "1, 2?", "answer": 'a "b"\nc'}, {"question": "é", "answer": "z"}]


def _write(path, kind):
    match kind:
        case "jsonl":
            path.write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\r\n\n" for row in TABLE).encode())
        case "json":
            path.write_text(json.dumps(TABLE), encoding="utf-8")
        case "data.json":
            path.write_text(json.dumps({"data": TABLE}), encoding="utf-8")
        case "csv" | "tsv":
            with path.open("w", newline="", encoding="utf-8-sig") as file:
                writer = csv.DictWriter(file, TABLE[0], delimiter="\t" if kind == "tsv" else ",")
                writer.writeheader()
                writer.writerows(TABLE)
        case "parquet":
            pq.write_table(pa.Table.from_pylist(TABLE), path)


@pytest.mark.parametrize("kind", ["jsonl", "json", "data.json", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_kind_of_file_holds_the_same_rows(tmp_path, kind, compressed):
    path = tmp_path / f"a.{kind}"
    _write(path, kind)
    if compressed:
        (tmp_path / f"a.{kind}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    given = source(
        f"a.{kind}{'.gz' if compressed else ''}",
        format="prompt_completion",
        columns={"prompt": "question", "completion": "answer"},
    )
    rows = [row for _, row in read_source(given, tmp_path)]
    assert rows == [{"prompt": row["question"], "completion": row["answer"]} for row in TABLE]


def test_a_url_is_read_as_a_file_is(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "a"}])
    [(_, row)] = read_source(source(f"file://{tmp_path}/a.jsonl"), tmp_path / "elsewhere")
    assert row == {"text": "a"}


@pytest.mark.parametrize(
    ("sample_by", "rows"),
    [
        ("line", [("a.txt:1", "one"), ("a.txt:2", "two "), ("a.txt:5", " three"), ("a.txt:7", "four")]),
        ("paragraph", [("a.txt:1", "one\ntwo "), ("a.txt:5", " three"), ("a.txt:7", "four")]),
        ("document", [("a.txt", "one\r\ntwo \n\n \n three\n\nfour")]),
    ],
)
def test_a_text_file_is_cut_as_asked(tmp_path, sample_by, rows):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo \n\n \n three\n\nfour")
    assert [(where, row["text"]) for where, row in read_source(source("a.txt", sample_by=sample_by), tmp_path)] == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', "a.jsonl:2:13: the line is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n["b"]\n', "a.jsonl:2: the row is a list, not an object"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "a.jsonl:2: the line is not UTF-8 text"),
        ("a.json", b'{"text": "a"}\n{"text": "b"}\n', "a.json:2:1: the file is not JSON: Extra data"),
        ("a.json", b'{"text": "a"}', "a.json holds an object, not a list of rows"),
        ("a.json", b'[{"text": "a"}, 3]', "a.json, row 2: the row is a number (3), not an object"),
        ("a.csv", b"text,b\nx,y\nz\n", "a.csv:3: the row has 1 fields, the header has 2"),
        ("a.csv", b'text\n"x', "a.csv:2: the row cannot be read"),
        ("a.txt", b"good\n\xff\n", "a.txt:2: the line is not UTF-8 text"),
        ("a.parquet", b"PAR1", "a.parquet is not a parquet file"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], "a.jsonl.gz is not a complete gzip file"),
        ("a.jsonl.gz", b'{"text": "a"}\n', "a.jsonl.gz is not a complete gzip file"),
        ("a.docx", b"", "a.docx: unknown kind of file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place_and_a_fix(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StageError) as error:
        list(read_source(source(name), tmp_path))
    assert error.value.message.startswith(message)
    assert error.value.help


def test_a_missing_file_and_an_unknown_protocol_are_named(tmp_path):
    with pytest.raises(StageError, match=r"^no\.jsonl does not exist"):
        list(read_source(source("no.jsonl"), tmp_path))
    with pytest.raises(StageError, match=r"nowhere://a\.jsonl cannot be opened"):
        list(read_source(source("nowhere://a.jsonl"), tmp_path))
