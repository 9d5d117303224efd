"""The configuration of vLLM, and the script that starts it."""

import os
import subprocess
from pathlib import Path

import goldens
import pytest
from goldens import PIPELINE, SCRATCH

from llmrecipe.targets import TARGETS, TargetError
from llmrecipe.targets.vllm import config


def options(**arguments):
    service = goldens.plan(PIPELINE).services[0]
    return config(service.model_copy(update={"arguments": arguments}), "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("max_model_len", 2048, {"max-model-len": 2048}),
        ("enable_prefix_caching", True, {"enable-prefix-caching": True}),
        # vLLM drops `enable-prefix-caching: false` and `allowed-origins: [...]` spreads over words it does not take.
        ("enable_prefix_caching", False, {"disable-prefix-caching": True}),
        ("disable_cascade_attn", False, {"enable-cascade-attn": True}),
        ("enforce_eager", False, {"no-enforce-eager": True}),
        ("allowed_origins", ["a", "b"], {"allowed-origins": '["a", "b"]'}),
        ("ignore_patterns", ["a", "b"], {"ignore-patterns": ["a", "b"]}),
        ("hf_overrides", {"rope_theta": 1}, {"hf-overrides": {"rope_theta": 1}}),
        ("host", "0.0.0.0", {"host": "0.0.0.0"}),
        ("shutdown_timeout", 5, {"shutdown-timeout": 5}),
    ],
)
def test_an_option_is_written_as_vllm_reads_it(name, value, written):
    assert options(**{name: value}).items() >= written.items()


@pytest.mark.parametrize(
    ("name", "value", "message", "help"),
    [
        ("swap_space", 4, "`swap_space` is not an option of `vllm serve` 0.33.0", "remove it"),
        ("max_num_seqs", "many", '`max_num_seqs` of `vllm serve` cannot be "many"', "use a whole number"),
        (
            "scheduling_policy",
            "lifo",
            '`scheduling_policy` of `vllm serve` cannot be "lifo"',
            "use one of fcfs, priority",
        ),
        ("enforce_eager", 1, "`enforce_eager` of `vllm serve` cannot be 1", "use true or false"),
        ("ignore_patterns", [], "`ignore_patterns` of `vllm serve` cannot be []", "at least one member"),
        ("headless", False, "`headless` cannot be switched off", "leave it out"),
    ],
)
def test_an_option_that_vllm_would_not_take_is_refused(name, value, message, help):
    with pytest.raises(TargetError) as caught:
        options(**{name: value})
    assert caught.value.message == message
    assert help in caught.value.help
    assert caught.value.recipe == "answers"
    assert caught.value.at[-1] == name


@pytest.mark.parametrize("target", ["vllm", "compose"])
def test_what_is_not_served_cannot_be_deployed(target):
    with pytest.raises(TargetError, match=f"the recipe has no `serving`, which `{target}` needs"):
        TARGETS[target].render(goldens.plan(SCRATCH))


@pytest.mark.parametrize("target", ["vllm", "compose"])
def test_a_local_look_is_no_deployment(target):
    plan = goldens.plan(PIPELINE)
    local = plan.model_copy(update={"services": [plan.services[0].model_copy(update={"engine": "transformers"})]})
    with pytest.raises(TargetError) as caught:
        TARGETS[target].render(local)
    assert caught.value.message == f"`{target}` deploys vLLM, and `answers` is served by transformers"
    assert caught.value.at == ("serving", "kind")


def test_the_server_script_serves_what_the_run_exports(tmp_path):
    files = TARGETS["vllm"].render(goldens.plan(PIPELINE), "..")
    folder = tmp_path / ".llmrecipe" / "artifacts" / goldens.plan(PIPELINE).addresses()["answers/export"] / "model"
    (tmp_path / "compiled" / "vllm").mkdir(parents=True)
    for path, text in files.items():
        (tmp_path / "compiled" / path).write_text(text)
    (tmp_path / "vllm").write_text('#!/bin/sh\necho "$VLLM_API_KEY" "$@"\n')
    (tmp_path / "vllm").chmod(0o755)
    variables = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def call(**more: str) -> subprocess.CompletedProcess[str]:
        script = str(tmp_path / "compiled" / "vllm" / "answers.sh")
        return subprocess.run(["bash", script, "--seed", "1"], env=variables | more, capture_output=True, text=True)

    assert "is not there yet: run the recipe first" in call(ANSWERS_KEY="secret").stderr
    folder.mkdir(parents=True)
    assert "the key that clients must send" in call().stderr
    words = call(ANSWERS_KEY="secret").stdout.split()
    assert words[:2] == ["secret", "serve"]
    assert Path(words[2]).resolve() == folder
    assert words[3] == "--config"
    assert words[5:] == ["--seed", "1"]
