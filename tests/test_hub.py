"""What comes from the Hub: rows, of which a folder stands in for it, and what it says of its repositories."""

import json
from contextlib import nullcontext
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from data_stages import prepare, read, write_jsonl
from huggingface_hub import errors
from stand_in_hub import MEMBER, STRANGER, WORLD, Published, stand_in

from llmrecipe import hub
from llmrecipe.plan import DataSource, PinnedDataset
from llmrecipe.remote import Question, Refusal
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


# -- the client of `validate --online` --


@pytest.fixture
def server(tmp_path, monkeypatch):
    with stand_in(dict(WORLD)) as server:
        server.serve(monkeypatch, tmp_path)
        yield server


def test_the_stand_in_is_a_hub_to_the_real_client(server, tmp_path):
    api = huggingface_hub.HfApi(endpoint=server.url)
    info = api.model_info("Qwen/Qwen3-0.6B", revision="v1.0", files_metadata=True)
    assert info.sha == hub.commit("model", "Qwen/Qwen3-0.6B", "v1.0")
    assert {one.rfilename: one.size for one in info.siblings}["model.safetensors"] == 1_500_000_000
    assert [ref.name for ref in api.list_repo_refs("Qwen/Qwen3-0.6B").tags] == ["v1.0"]
    assert "openai/gsm8k" in [one.id for one in api.list_datasets(author="openai", limit=9)]
    assert api.dataset_info("openai/gsm8k").card_data["configs"][0]["config_name"] == "main"
    file = api.hf_hub_download("gpt2", "config.json", cache_dir=tmp_path / "elsewhere")
    assert json.loads(Path(file).read_text())["n_positions"] == 1024


@pytest.mark.parametrize(
    ("token", "repo", "revision", "error"),
    [
        (STRANGER, "house/nobody", None, errors.RepositoryNotFoundError),
        (STRANGER, "house/private", None, errors.RepositoryNotFoundError),
        (STRANGER, "house/closed", None, errors.DisabledRepoError),
        (STRANGER, "Qwen/Qwen3-0.6B", "dev", errors.RevisionNotFoundError),
        (STRANGER, "meta-llama/Llama-3.2-1B-Instruct", None, errors.GatedRepoError),
        (False, "meta-llama/Llama-3.2-1B-Instruct", None, errors.GatedRepoError),
        (MEMBER, "meta-llama/Llama-3.2-1B-Instruct", None, None),
        ("hf_withdrawn", "Qwen/Qwen3-0.6B", None, errors.HfHubHTTPError),
    ],
)
def test_the_stand_in_refuses_as_the_real_client_expects(server, token, repo, revision, error):
    api = huggingface_hub.HfApi(endpoint=server.url, token=token)
    with pytest.raises(error) if error else nullcontext():
        api.model_info(repo, revision=revision)
        api.auth_check(repo)


def test_what_a_model_says_is_its_files_and_three_of_them_read(server):
    found = hub.ask(Question("model", "house/style-lora"))
    assert found.files["adapter_model.safetensors"] == 9_000_000
    assert found.adapter_config["base_model_name_or_path"] == "Qwen/Qwen3-0.6B"
    assert (found.config, found.tokenizer_config) == (None, None)
    assert not any("safetensors" in path or "tokenizer" in path for path in server.asked)


def test_nothing_is_written_into_the_cache(server, tmp_path):
    hub.ask(Question("model", "Qwen/Qwen3-0.6B"))
    assert not (tmp_path / "hub").exists()


def test_a_file_that_is_no_json_is_passed_over(server):
    server.world["models", "house/odd"] = Published({"config.json": 50, "tokenizer_config.json": 9 * 2**20})
    found = hub.ask(Question("model", "house/odd"))
    assert (found.config, found.tokenizer_config) == (None, None)
    assert not any("tokenizer_config" in path for path in server.asked)


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (500, "127.0.0.1:PORT answers 500"),
        (504, "127.0.0.1:PORT answers 504"),
        (429, "it has had too many requests, and asks to wait 30 seconds"),
        ("garbage", "what answers at 127.0.0.1:PORT is no Hub"),
        ("slow", "127.0.0.1:PORT is silent for 0 seconds"),
        ("drops", "127.0.0.1:PORT cannot be reached: RemoteProtocolError"),
    ],
)
def test_trouble_of_the_hub_is_told_and_never_raised(server, trouble, told, monkeypatch):
    monkeypatch.setattr("llmrecipe.hub.TIMEOUT", 0.2)
    server.trouble = trouble
    found = hub.ask(Question("model", "Qwen/Qwen3-0.6B"))
    assert (found.reason, found.told) == ("silent", told.replace("PORT", str(server.server_address[1])))
    assert len([path for path in server.asked if "Qwen" in path]) <= hub.TRIES


def test_trouble_that_passes_is_not_told(server):
    hub.build_hf_headers()  # The client has a question of its own, once a day, which may not be the one in trouble.
    server.trouble, server.troubles = 503, 1
    assert hub.ask(Question("model", "Qwen/Qwen3-0.6B")).id == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9", "http://user:secret@127.0.0.1:9", "nonsense", "http://[::1"]
)
def test_a_hub_that_is_not_there_is_told_without_secrets(endpoint, server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    found = hub.ask(Question("model", "Qwen/Qwen3-0.6B"))
    assert found.reason == "silent"
    assert "secret" not in str(found)


@pytest.mark.parametrize("token", ["hf_s\u00e9cret", "hf_\x01secret"])
def test_a_token_that_cannot_be_sent_is_never_shown(token, server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    found = hub.ask(Question("model", "Qwen/Qwen3-0.6B"))
    assert isinstance(found, Refusal)
    assert "cret" not in str(found)


def test_locking_does_not_wait_for_ever(server, monkeypatch):
    monkeypatch.setattr("llmrecipe.hub.TIMEOUT", 0.2)
    server.trouble = "slow"
    with pytest.raises(ValueError, match="cannot be reached"):
        hub.commit("model", "Qwen/Qwen3-0.6B", None)


def test_free_space_is_that_of_the_nearest_folder_that_exists(server, tmp_path):
    assert hub.space().folder == str(tmp_path)
    assert hub.space().free > 0
