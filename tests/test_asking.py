"""`llmrecipe validate --online` as it is typed, against a stand-in Hub that the real client asks."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in_hub import WORLD, StandIn, stand_in

from llmrecipe.cli import main

RECIPE = """\
version: 1
name: NAME
model: {base: BASE, revision: v1.0}
data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
method: {kind: sft}
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A Hub, asked from a folder with recipes: one is sound, one names what is not there, one is no recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMRECIPE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "chats.jsonl").write_text('{"messages": []}\n')
    for name, base in (("sound", "Qwen/Qwen3-0.6B"), ("lost", "house/nobody"), ("same", "Qwen/Qwen3-0.6B")):
        (tmp_path / f"{name}.yaml").write_text(RECIPE.replace("NAME", name).replace("BASE", base))
    (tmp_path / "broken.yaml").write_text("version: 1\nname: broken\nmodel: {bas: house/nobody}\n")
    with stand_in(dict(WORLD)) as server:
        server.serve(monkeypatch, tmp_path)
        yield server


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], str]:
    """Exit code, codes and last line of a call."""
    code = main(["validate", "--format", "json", *words])
    captured = capsys.readouterr()
    found = json.loads(captured.out)["diagnostics"] if captured.out else []
    return code, [one["code"] for one in found], captured.err


def test_what_the_hub_says_stands_beside_what_rules_say(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(capsys, "--online", "sound.yaml")[:2] == (0, [])
    assert called(capsys, "--online", "lost.yaml", "broken.yaml", "sound.yaml")[:2] == (1, ["LR921", "LR005", "LR003"])
    assert main(["validate", "--online", "lost.yaml"]) == 1
    out = capsys.readouterr().out
    assert "lost.yaml:3:15" in out
    assert out.endswith("1 file: 1 error; asked the Hub about 1 repository\n")


def test_without_being_asked_to_nothing_is_asked(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(capsys, "lost.yaml")[:2] == (0, [])
    assert server.asked == []


def test_what_the_hub_says_is_asked_again_every_time(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(capsys, "--online", "lost.yaml")[1] == ["LR921"]
    assert called(capsys, "lost.yaml")[1] == []
    server.world["models", "house/nobody"] = server.world["models", "Qwen/Qwen3-0.6B"]
    assert called(capsys, "--online", "lost.yaml")[1] == []


def test_a_repository_of_several_recipes_is_asked_about_once(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(capsys, "--online", "sound.yaml", "same.yaml")[0] == 0
    assert server.asked.count("GET /api/models/Qwen/Qwen3-0.6B/revision/v1.0") == 1


def test_overrides_are_asked_about(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--online", "sound.yaml", "--set", "model.revision=v2.0")
    assert called(capsys, *words)[:2] == (1, ["LR925"])


def test_files_are_fixed_before_the_hub_is_asked(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    Path("lost.yaml").write_text(Path("lost.yaml").read_text() + "training: {max_stesp: 5}\n")
    assert called(capsys, "--online", "lost.yaml")[:2] == (1, ["LR003"])
    assert called(capsys, "--fix", "--online", "lost.yaml")[:2] == (1, ["LR921"])
    assert Path("lost.yaml").read_text().endswith("training: {max_steps: 5}\n")


def test_code_scanning_gets_the_manual_page(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--online", "--format", "sarif", "lost.yaml"]) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["LR921"]


def test_a_document_silences_what_the_hub_says(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    Path("lost.yaml").write_text(Path("lost.yaml").read_text() + "lint: {ignore: [LR921]}\n")
    assert called(capsys, "lost.yaml")[:2] == (0, [])
    assert called(capsys, "--online", "--strict", "lost.yaml")[:2] == (0, [])


@pytest.mark.parametrize("trouble", [500, 429, "garbage"])
def test_a_hub_in_trouble_is_said_once_in_a_call(
    trouble: int | str, server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    server.trouble = trouble
    assert called(capsys, "--online", "lost.yaml", "sound.yaml", "same.yaml")[:2] == (1, ["LR920"])


def test_a_token_that_was_withdrawn_is_said_once_and_not_shown(
    server: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_withdrawn")
    assert main(["validate", "--online", "lost.yaml", "sound.yaml"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("error[LR923]") == 1
    assert "hf_withdrawn" not in captured.out + captured.err


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--diff"], "leave out --online"), (["--fix"], "HF_HUB_OFFLINE wins"), ([], "HF_HUB_OFFLINE wins")],
)
def test_what_contradicts_itself_is_a_mistake_of_usage(
    words: list[str],
    told: str,
    server: StandIn,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["validate", "--online", *words, "sound.yaml"]) == 2
    assert told in capsys.readouterr().err
    assert server.asked == []


def test_the_package_that_asks_may_be_missing(
    server: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "llmrecipe.hub", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["validate", "--online", "sound.yaml"]) == 2
    assert "pip install 'llmrecipe[hub]'" in capsys.readouterr().err


def typed(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with nothing patched."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "llmrecipe", "validate", *words],
        env={**environment, "HF_HOME": str(Path.cwd() / "home"), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_asks_where_the_environment_says(server: StandIn) -> None:
    done = typed("--online", "lost.yaml", "sound.yaml", HF_ENDPOINT=server.url, HF_TOKEN="hf_member")
    assert (done.returncode, done.stderr) == (1, "")
    assert "error[LR921]: there is no model `house/nobody`, or the token may not read it" in done.stdout
    assert not list(Path("home").rglob("*.safetensors"))


def test_a_machine_without_a_network_is_told_so_soon(server: StandIn) -> None:
    begin = time.monotonic()
    done = typed("--online", "lost.yaml", "sound.yaml", HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="hf_secret")
    assert done.returncode == 1
    assert done.stdout.count("error[LR920]") == 1
    assert "127.0.0.1:9 cannot be reached: ConnectError), and 2 of 2 repositories were not looked at" in done.stdout
    assert "Traceback" not in done.stderr
    assert "hf_secret" not in done.stdout + done.stderr
    assert time.monotonic() - begin < 60


def test_offline_wins_in_a_real_process_too(server: StandIn) -> None:
    done = typed("--online", "sound.yaml", HF_ENDPOINT=server.url, TRANSFORMERS_OFFLINE="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "TRANSFORMERS_OFFLINE wins" in done.stderr


def test_the_client_of_the_hub_is_imported_when_it_is_asked_alone(server: StandIn) -> None:
    code = (
        "import sys; from llmrecipe.cli import main; main(['validate', '--no-cache', 'sound.yaml']); "
        "from llmrecipe.cli import explain; explain.explanation('LR921'); "
        "print([name for name in sys.modules if name.startswith(('huggingface_hub', 'httpx', 'llmrecipe.cli.asking'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
