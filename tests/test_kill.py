"""What must hold of a whole pipeline that is killed, stopped or spread over ranks: nothing is lost."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from llmrecipe.plan import Record
from llmrecipe.summary import Summary

pytestmark = pytest.mark.slow

ARCHITECTURE = {"family": "qwen3", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TRAINING = {
    "max_length": 64, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "logging_steps": 5,
    "checkpoints": {"save_steps": 10},
}  # fmt: skip
SUITE = {"kind": "generation", "name": "sums", "max_new_tokens": 4}
SUITE |= {"sources": [{"kind": "files", "paths": ["sums.jsonl"], "format": "prompt_completion"}]}
BASE = {
    "version": 1,
    "name": "base",
    "model": {"base": {"architecture": ARCHITECTURE}},
    "tokenizer": {"kind": "train", "vocab_size": 320},
    "data": {
        "train": [{"kind": "files", "paths": ["text.txt"], "format": "text", "sample_by": "line"}],
        "validation": {"fraction": 0.1},
    },
    "method": {"kind": "pretrain"},
    "training": TRAINING | {"max_steps": 120},
    "evaluation": {"suites": [{"kind": "perplexity"}]},
}
CHAT = {
    "version": 1,
    "name": "chat",
    "model": {"base": {"recipe": "base"}, "adapter": {"kind": "lora", "r": 4, "lora_dropout": 0.1}},
    "data": {"train": [{"kind": "files", "paths": ["sums.jsonl"], "format": "prompt_completion"}]},
    "method": {"kind": "sft"},
    "training": TRAINING | {"max_steps": 60},
    "evaluation": {"suites": [SUITE], "gates": [{"metric": "sums/f1", "min": 0.0}]},
}
SPREAD = {"hardware": {"num_accelerators": 2}, "distributed": {"kind": "ddp"}}
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@dataclass
class Attempt:
    """A run in a process of its own, and when it said what."""

    process: subprocess.Popen[str]
    began: float = field(default_factory=time.monotonic)
    said: list[tuple[float, str]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """What it says, while it says it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append((time.monotonic(), line))
            yield line

    def ends(self) -> int:
        """Its exit code; all it says is read."""
        for _ in self.lines():
            pass
        return self.process.wait(60)

    @property
    def text(self) -> str:
        return "".join(line for _, line in self.said)


@contextmanager
def attempt(root: Path, *options: str, launcher: tuple[str, ...] = ()) -> Iterator[Attempt]:
    """Start `llmrecipe run` on the recipe of a folder."""
    command = [sys.executable, *launcher, "-m", "llmrecipe", "run", str(root / "recipe.yaml"), *options]
    with subprocess.Popen(
        command, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Attempt(process)
        finally:
            process.kill()


def pipeline(root: Path, *recipes: dict[str, object]) -> Path:
    """A recipe file and the data that it names."""
    root.mkdir()
    (root / "text.txt").write_text("".join(f"{a} and {b} make {a + b}.\n" for a in range(20) for b in range(20)))
    (root / "sums.jsonl").write_text(
        "".join(f'{{"prompt": "{a}+{b}=", "completion": "{a + b}"}}\n' for a in range(6) for b in range(6))
    )
    (root / "recipe.yaml").write_text(yaml.safe_dump_all(recipes, sort_keys=False))
    return root


def summary(root: Path, name: str) -> Summary:
    return Summary.model_validate_json((root / "runs" / name / "summary.json").read_bytes())


def weights(root: Path) -> dict[str, str]:
    """Every file of weights in the store -> the hash of its bytes."""
    store = root / ".llmrecipe/artifacts"
    return {
        file.relative_to(store).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in store.rglob("*.safetensors")
    }


def artifacts(root: Path) -> dict[str, int]:
    """Every complete artifact -> the number of its folder, which no other gets while it is there."""
    folder = root / ".llmrecipe/artifacts"
    found = folder.iterdir() if folder.exists() else ()
    return {path.name: path.stat().st_ino for path in found if not path.name.endswith(".partial")}


def assert_nothing_is_left(root: Path) -> None:
    store = root / ".llmrecipe"
    assert not list((store / "work").iterdir())
    assert not list((store / "locks").iterdir())
    assert not list(store.rglob("*.partial"))
    assert not list((root / "runs").rglob("*.partial"))


def durations(said: list[tuple[float, str]]) -> list[tuple[str, float]]:
    """Stages in their order, and the seconds from their start to their end."""
    begun: dict[str, float] = {}
    found = []
    for when, line in said:
        name, _, what = line.strip().partition("  ")
        if what.strip() == "started":
            begun[name] = when
        elif what.strip().startswith("done"):
            found.append((name, when - begun[name]))
    return found


def test_killed_at_ten_random_moments_a_pipeline_ends_with_the_weights_of_one_that_was_not(tmp_path):
    whole, killed = pipeline(tmp_path / "whole", BASE, CHAT), pipeline(tmp_path / "killed", BASE, CHAT)
    with attempt(whole) as run:
        assert run.ends() == 0, run.text
    stages = durations(run.said)
    dice = random.Random(os.environ.get("KILL_SEED", "llmrecipe"))
    weighted = dice.choices([name for name, _ in stages], [seconds for _, seconds in stages], k=10)
    order = [name for name, _ in stages]
    complete: dict[str, int] = {}
    for name in sorted(weighted, key=order.index):
        with attempt(killed) as run:
            if any(line.split() == [name, "started"] for line in run.lines()):
                time.sleep(dice.random() * dict(stages)[name])
            run.process.kill()
        assert complete.items() <= artifacts(killed).items(), "a complete stage was repeated"
        complete = artifacts(killed)
    with attempt(killed) as run:
        assert run.ends() == 0, run.text
    assert complete.items() <= artifacts(killed).items()
    assert weights(killed) == weights(whole)
    assert artifacts(killed).keys() == artifacts(whole).keys()
    assert_nothing_is_left(killed)


@pytest.mark.parametrize(
    ("number", "recipe"), [(signal.SIGINT, BASE), (signal.SIGTERM, BASE | SPREAD)], ids=["one process", "two processes"]
)
def test_a_training_that_is_told_to_stop_saves_and_goes_on_later(tmp_path, number, recipe):
    whole, stopped = pipeline(tmp_path / "whole", recipe), pipeline(tmp_path / "stopped", recipe)
    with attempt(whole, "--until", "train") as run:
        assert run.ends() == 0, run.text
    with attempt(stopped, "--until", "train") as run:
        logs = stopped / "runs/base/logs/base/train.log"
        checkpoints = stopped / ".llmrecipe/work"
        while not list(checkpoints.glob("*/log.jsonl")) or not next(checkpoints.glob("*/log.jsonl")).read_text():
            time.sleep(0.01)
        run.process.send_signal(number)
        assert run.ends() == (75 if number == signal.SIGTERM else 130), run.text + logs.read_text()
    assert "goes on from here" in run.text
    assert list(checkpoints.glob("*/checkpoints/checkpoint-*/checkpoint.json"))
    assert summary(stopped, "base").status == "interrupted"
    with attempt(stopped, "--until", "train") as run:
        assert run.ends() == 0, run.text
    assert weights(stopped) == weights(whole)
    assert_nothing_is_left(stopped)


def test_a_recipe_that_changed_under_an_interrupted_training_is_refused_and_then_gone_on_with(tmp_path):
    root = pipeline(tmp_path / "root", BASE)
    with attempt(root, "--until", "train") as run:
        checkpoints = root / ".llmrecipe/work"
        while not list(checkpoints.glob("*/checkpoints/checkpoint-*/checkpoint.json")):
            time.sleep(0.01)
        run.process.send_signal(signal.SIGTERM)
        assert run.ends() == 75, run.text
    changed = BASE | {"training": BASE["training"] | {"learning_rate": 5e-4}}
    (root / "recipe.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    with attempt(root, "--until", "train") as run:
        assert run.ends() == 1
    assert "base/train would begin anew, and it was interrupted at step" in run.text
    assert "arguments.learning_rate: 0.001 -> 0.0005" in run.text
    with attempt(root, "--until", "train", "--resume-changed") as run:
        assert run.ends() == 0, run.text
    log = [json.loads(line) for line in (root / "runs/base/base/train/metrics/log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in log if "loss" in line]
    record = Record.model_validate_json((root / "runs/base/base/train/stage.json").read_bytes())
    [part] = record.continued
    assert part.step in steps
    assert steps[-1] == 120
    assert max(line["learning_rate"] for line in log if line["step"] > part.step and "loss" in line) < 5.1e-4
    (root / "recipe.yaml").write_text(yaml.safe_dump(BASE, sort_keys=False))
    with attempt(root, "--until", "train") as run:  # The old one is where it was.
        assert run.ends() == 0, run.text


def test_a_killed_training_process_is_told_from_one_that_failed(tmp_path):
    root = pipeline(tmp_path / "root", BASE)
    with attempt(root, "--until", "train") as run:
        for line in run.lines():
            if line.split() == ["base/train", "started"]:
                break
        while (pid := next((root / ".llmrecipe/work").glob("*/rank-0.pid"), None)) is None or not pid.read_text():
            time.sleep(0.01)
        worker = int(pid.read_text())
        assert Path(f"/proc/{worker}/fd/0").readlink().suffix == ".lock"  # It holds the lock, through the launcher.
        os.kill(worker, signal.SIGKILL)
        assert run.ends() == 1
    assert "died with exit code 1 before it could say why" in run.text
    assert "Signals.SIGKILL" in run.text


TWO = {
    "torchrun": ("-m", "torch.distributed.run", "--nproc_per_node", "2"),
    "accelerate": ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
}


@pytest.mark.parametrize("launcher", TWO.values(), ids=TWO)
def test_a_launcher_around_trains_every_stage_with_its_ranks(tmp_path, launcher):
    """Two trainings one after the other: the second must not meet the first one's ghosts in the launcher's store."""
    root = pipeline(tmp_path / "root", BASE, CHAT)
    with attempt(root, launcher=launcher) as run:
        assert run.ends() == 0, run.text
    found = summary(root, "chat")
    assert found.status == "complete"
    training = [stage.spec for stage in found.plan.stages if stage.spec.kind == "train"]
    assert [spec.world_size for spec in training] == [2, 2]
    assert_nothing_is_left(root)


def test_a_launcher_around_learns_that_a_stage_failed(tmp_path):
    gated = BASE | {"evaluation": {"suites": [{"kind": "perplexity"}]}}
    gated["evaluation"]["gates"] = [{"metric": "perplexity/perplexity", "max": 1.0}]
    root = pipeline(tmp_path / "root", gated)
    with attempt(root, launcher=TWO["torchrun"]) as run:
        assert run.ends() == 1
    assert "error: base/check-gates failed" in run.text
