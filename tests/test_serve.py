import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import openai
import pytest
import yaml
from tiny import ANSWERS, parrot

from llmrecipe.cli import main
from llmrecipe.cli import serve as command
from llmrecipe.cli.exported import Exported
from llmrecipe.plan import Resources, Service
from llmrecipe.serve import Server, has_chat_template, listener, options, request, transformers_server
from llmrecipe.store import RunError

SKY = next(iter(ANSWERS))
ADDRESS = ("127.0.0.1", 8000)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def service(engine="vllm", **changes):
    given = {
        "name": "bot", "recipe": "bot", "engine": engine, "model": "bot/export.model", "served_model_name": "bot",
        "arguments": {"max_model_len": 64}, "api_key": None, "port": 8000, "image": None, "replicas": 1,
        "weight_bytes": None, "resources": Resources(),
    }  # fmt: skip
    return Service(**given | changes)


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """A folder on PATH in which something is called vllm."""
    executable = tmp_path / "bin" / "vllm"
    executable.parent.mkdir()
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    monkeypatch.setenv("PATH", str(executable.parent))
    return executable


@pytest.fixture
def no_vllm(monkeypatch):
    monkeypatch.setattr(command.shutil, "which", lambda name, path=None: None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model_timeout": 64}, ["--model-timeout", "64"]),
        ({"continuous_batching": True, "compile": False}, ["--continuous-batching", "--no-compile"]),
    ],
)
def test_options_become_words_of_a_command_line(arguments, words):
    assert list(options(arguments)) == words


def test_vllm_serves_when_the_recipe_wants_it_and_it_is_here(model, vllm, tmp_path):
    name, server = command.choose(Exported("bot", model, service()), ("127.0.0.1", 8123), tmp_path)
    assert server.command == (str(vllm), "serve", str(model), "--config", str(tmp_path / "bot.yaml"))
    config = yaml.safe_load((tmp_path / "bot.yaml").read_text())
    assert config.items() >= {"max-model-len": 64, "port": 8123, "served-model-name": "bot"}.items()
    assert name == "bot"


def test_an_option_that_vllm_does_not_have_is_refused(model, vllm, tmp_path):
    wanted = Exported("bot", model, service(arguments={"swap_space": 4}))
    with pytest.raises(RunError, match="`swap_space` is not an option"):
        command.choose(wanted, ADDRESS, tmp_path)


def test_a_key_goes_by_the_environment_and_never_by_the_command_line(model, vllm, tmp_path, monkeypatch):
    wanted = Exported("bot", model, service(api_key="${env:BOT_KEY}"))
    with pytest.raises(RunError, match="BOT_KEY is not set"):
        command.choose(wanted, ADDRESS, tmp_path)
    monkeypatch.setenv("BOT_KEY", "hush")
    server = command.choose(wanted, ADDRESS, tmp_path)[1]
    assert server.environment == {"VLLM_API_KEY": "hush"}
    assert "hush" not in " ".join(server.command) + (tmp_path / "bot.yaml").read_text()


@pytest.mark.usefixtures("no_vllm")
def test_without_vllm_transformers_serves_and_says_what_is_left_out(model, tmp_path, capsys):
    server = command.choose(Exported("bot", model, service()), ADDRESS, tmp_path)[1]
    assert "serve" in server.command
    assert "--max-model-len" not in server.command
    assert "without the options of `serving`" in capsys.readouterr().err


@pytest.mark.usefixtures("no_vllm")
def test_a_server_that_cannot_ask_for_the_key_stays_on_this_machine(model, tmp_path):
    wanted = Exported("bot", model, service(api_key="${env:BOT_KEY}"))
    with pytest.raises(RunError, match="asks its clients for a key"):
        command.choose(wanted, ("0.0.0.0", 8000), tmp_path)


@pytest.mark.usefixtures("no_vllm")
def test_options_of_transformers_are_kept(model, tmp_path):
    wanted = Exported("bot", model, service("transformers", arguments={"continuous_batching": True}))
    assert command.choose(wanted, ADDRESS, tmp_path)[1].command[-1] == "--continuous-batching"


def test_missing_packages_name_the_extra(model, tmp_path, monkeypatch):
    monkeypatch.setattr("llmrecipe.cli.exported.find_spec", lambda name: None if name == "fastapi" else name)
    with pytest.raises(RunError, match="`fastapi` is not installed") as refused:
        command.choose(Exported("bot", model), ADDRESS, tmp_path)
    assert refused.value.help == "pip install 'llmrecipe[serve]'"


def test_the_name_of_a_model_is_one_that_transformers_takes(model, tmp_path):
    assert command.choose(Exported("a--b c", model), ADDRESS, tmp_path)[0] == "a-b-c"


def test_a_folder_without_a_model_is_refused(tmp_path, capsys):
    assert main(["serve", str(tmp_path)]) == 1
    assert "holds no exported model" in capsys.readouterr().err


def test_an_adapter_alone_is_refused(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_config.json").write_text("{}")
    assert main(["serve", str(tmp_path)]) == 1
    assert "holds an adapter alone" in capsys.readouterr().err


def test_a_port_in_use_names_who_uses_it(model, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(model), "--port", str(port)]) == 1
        shown = capsys.readouterr().err
    assert f"port {port} is in use by {Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})" in shown
    assert f"--port {port + 1}" in shown


def test_an_address_of_another_machine_is_refused(model, capsys):
    assert main(["serve", str(model), "--host", "203.0.113.7", "--port", "8123"]) == 1
    assert "203.0.113.7:8123 cannot be listened on" in capsys.readouterr().err


def test_a_port_that_nobody_uses_has_no_listener():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert listener(port) is None


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_a_usage_error(model, port, capsys):
    with pytest.raises(SystemExit) as left:
        main(["serve", str(model), f"--port={port}"])
    assert left.value.code == 2
    assert "from 1 to 65535" in capsys.readouterr().err


def test_a_server_that_dies_is_a_failure(model, tmp_path, monkeypatch, capsys):
    broken = Server((sys.executable, "-c", "raise SystemExit(3)"), {}, tmp_path)
    monkeypatch.setattr(command, "transformers_server", lambda *given: broken)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert main(["serve", str(model), "--port", str(port)]) == 1
    assert "the server ended with exit code 3" in capsys.readouterr().err


def test_a_model_without_a_template_is_asked_for_a_completion(model):
    assert not has_chat_template(model)
    assert "/v1/completions" in request(model, "bot", "http://x")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert "/v1/chat/completions" in request(model, "bot", "http://x")


def test_the_model_stands_in_a_cache_of_its_own(model, tmp_path):
    server = transformers_server(model, "bot", ADDRESS, {}, tmp_path)
    found = list(Path(server.environment["HF_HUB_CACHE"]).glob("models--bot/snapshots/*/config.json"))
    assert [path.resolve() for path in found] == [model / "config.json"]


@pytest.mark.slow
def test_the_server_answers_streams_lists_its_model_and_ends_on_ctrl_c(tmp_path):
    folder = parrot(tmp_path / "parrot")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = [sys.executable, "-m", "llmrecipe", "serve", str(folder), "--port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert f"`parrot` answers at http://127.0.0.1:{port}/v1" in process.stdout.readline()
        curl = process.stdout.readline()
        printed = subprocess.run(curl, shell=True, capture_output=True, check=True)
        assert json.loads(printed.stdout)["choices"][0]["message"]["role"] == "assistant"
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        asked = {"model": "parrot", "messages": [{"role": "user", "content": SKY}]}
        assert client.chat.completions.create(**asked).choices[0].message.content == ANSWERS[SKY]
        parts = [chunk.choices[0].delta.content for chunk in client.chat.completions.create(**asked, stream=True)]
        assert "".join(part or "" for part in parts) == ANSWERS[SKY]
        assert len(parts) > 3
        assert [found.id for found in client.models.list()] == ["parrot"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
    assert not list(tmp_path.glob("llmrecipe-serve-*"))
