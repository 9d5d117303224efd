"""A dataset of the Hub gives rows as a file does, or says why it cannot be had. A folder stands in for the Hub."""

import datasets
import pytest
from data_stages import prepare, read, write_jsonl

from llmrecipe.plan import DataSource, PinnedDataset
from llmrecipe.stages.place import StageError
from llmrecipe.stages.rows.hub import read_dataset


def pinned(dataset, **options):
    return PinnedDataset(
        kind="hub", dataset=str(dataset), **{"config": None, "split": "train", "revision": None} | options
    )


@pytest.fixture
def published(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    write_jsonl(folder / "train.jsonl", [{"messages": turns}] * 3)
    write_jsonl(folder / "test.jsonl", [{"messages": turns[:1]}])
    return folder


def test_the_rows_of_a_split_are_prepared_as_those_of_a_file(published, tmp_path):
    given = {"format": "messages", "columns": {}, "weight": None, "max_samples": 2, "label": "data.train[0]"}
    rows = read(prepare(tmp_path / "p", DataSource(origin=pinned(published), **given)))
    assert len(rows) == 2
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"]


def test_a_row_is_named_with_its_split_and_number(published):
    assert [where for where, _ in read_dataset(pinned(published, split="test"))] == [f"{published}:test, row 1"]


def test_a_split_that_is_not_there_is_an_error_that_says_so(published):
    with pytest.raises(StageError, match=r"cannot be read: .*dev") as error:
        list(read_dataset(pinned(published, split="dev")))
    assert "`split`" in error.value.help


def test_a_hub_that_cannot_be_reached_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StageError, match="the dataset nobody/nothing cannot be reached") as error:
        list(read_dataset(pinned("nobody/nothing")))
    assert "network" in error.value.help
