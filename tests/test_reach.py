"""A Hub that does not answer is asked once."""

import socket
import ssl
import urllib.error

import pytest
from plans import prepare

from llmrecipe.plan import Job, PinnedDataset
from llmrecipe.stages.reach import needs_hub, rely_on_cache


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def job(spec) -> Job:
    return Job(name="r/a", address="0" * 32, spec=spec, inputs={}, output="o", work="w", root=".")


def test_the_cache_alone_is_used_when_nobody_listens():
    environment = {"HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
    assert rely_on_cache(environment)
    assert environment["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("reason", "silent"),
    [
        (socket.gaierror(-2, "Name or service not known"), True),
        (TimeoutError("timed out"), True),
        (OSError(101, "Network is unreachable"), True),
        (ssl.SSLCertVerificationError("self-signed certificate"), False),
    ],
)
def test_only_silence_is_taken_for_no_network(monkeypatch, reason, silent):
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError(reason)

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    assert rely_on_cache({}) is silent


def test_a_choice_of_the_user_is_left_alone():
    environment = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
    assert not rely_on_cache(environment)
    assert environment["HF_HUB_OFFLINE"] == "0"


def test_only_jobs_that_read_from_the_hub_ask(tmp_path):
    local = prepare(tmp_path).spec
    remote = PinnedDataset(kind="hub", dataset="some/rows", config=None, split="train", revision=None)
    assert not needs_hub(job(local))
    assert needs_hub(job(local.model_copy(update={"train": [local.train[0].model_copy(update={"origin": remote})]})))
