"""Every method survives being killed at random moments: it ends with what an uninterrupted training ends with."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from test_support import Combination, models  # noqa: F401 - a fixture
from tqdm import tqdm

from llmrecipe import launch
from llmrecipe.cli import planning
from llmrecipe.jobs import Jobs
from llmrecipe.methods import METHODS
from llmrecipe.plan import Job, Outcome, Stage
from llmrecipe.stages import checkpoints
from llmrecipe.stages.__main__ import main as run_stage
from llmrecipe.store import Store
from llmrecipe.trainers.telemetry import CLOCKED

pytestmark = pytest.mark.slow
torch.set_num_threads(1)
tqdm.set_lock(threading.RLock())  # Its own is shared with forked processes: one that is killed would keep it for ever.

STEPS, SAVE = 16, 3
KILLS = 3
OPTIONS: dict[str, dict[str, Any]] = {
    "ppo": {"target_kl": 1.0, "rollout_batch_size": 4},
}
"""What a method is given so that all it keeps between steps differs from step to step."""
KINDS = [method.model_fields["kind"].annotation.__args__[0] for method in METHODS]  # type: ignore[union-attr]
WAYS = [(kind, "full") for kind in KINDS] + [(kind, "lora") for kind in ("sft", "reward", "dpo", "grpo", "ppo")]
SPREAD = ["sft", "dpo", "grpo", "ppo"]


def written(method: str, adapter: str, strategy: str, folder: Path) -> Path:
    """A recipe of the method on the smallest of models."""
    combination = Combination(method, adapter, "none", strategy, "float32")
    recipe = combination.recipe("cpu")
    recipe["model"]["base"] = str(folder / ("encoder" if method == "mlm" else "base"))
    if adapter == "lora":
        recipe["model"]["adapter"] |= {"r": 4, "lora_dropout": 0.1}
    if "teacher_model" in recipe["method"]:
        recipe["method"]["teacher_model"] = str(folder / "teacher")
    known = next(kind for kind in METHODS if kind.model_fields["kind"].annotation.__args__[0] == method).model_fields  # type: ignore[union-attr]
    recipe["method"] |= {name: value for name, value in OPTIONS.get(method, {}).items() if name in known}
    rows = recipe["data"]["train"][0]["format"]
    recipe["data"]["train"] = [{"kind": "files", "paths": [str(folder / f"{rows}.jsonl")], "format": rows}]
    recipe["training"] |= {
        "per_device_train_batch_size": 2, "max_steps": STEPS,
        "checkpoints": {"save_steps": SAVE}, "watchdog": {"no_signal": {"action": "off"}},
    }  # fmt: skip
    file = folder / f"{method}-{adapter}-{strategy}.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return file


def prepared(file: Path, store: Store) -> tuple[Stage, Job]:
    """The training stage; what it is made from is there."""
    plan = planning.understand(Namespace(file=str(file), overrides=[])).plan
    jobs = Jobs(store, plan.addresses(), file.parent, allow_code=False)
    for stage in plan.stages:
        if stage.spec.kind == "train":
            return stage, jobs.job(stage)
        if not store.has(jobs.addresses[stage.name]):
            store.work(jobs.addresses[stage.name]).mkdir(parents=True, exist_ok=True)
            assert run_stage([str(jobs.write(stage))]) == 0
    raise AssertionError("nothing is trained")


def placed(job: Job, folder: Path) -> Path:
    """The job with folders of its own."""
    folder.mkdir()
    own = job.model_copy(update={"output": str(folder / "output"), "work": str(folder / "work")})
    (folder / "job.json").write_text(own.model_dump_json(), encoding="utf-8")
    return folder / "job.json"


def begun(path: Path) -> int:
    """The job in a process of its own, which has all modules already."""
    child = os.fork()
    if child == 0:
        log = os.open(path.with_name("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 1
        try:
            code = run_stage([str(path)])
        finally:
            os._exit(code)
    return child


def reached(folder: Path, step: int) -> bool:
    """Whether the training has come to that step in any attempt."""
    file = folder / "work/events.jsonl"
    if not file.exists():
        return False
    lines = file.read_bytes().splitlines()[-3:]
    return any(f'"done": {done},'.encode() in line for line in lines for done in range(step, STEPS + 1))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted((folder / "output/model").rglob("*.safetensors"))
    assert files
    return {f"{file.name}/{name}": tensor for file in files for name, tensor in load_file(file).items()}


def log(folder: Path) -> list[dict[str, Any]]:
    """What was measured, without what depends on the clock."""
    lines = (folder / "output/metrics/log.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name not in CLOCKED and "time" not in name}
        for line in lines
    ]


def said(folder: Path) -> str:
    file = folder / "work/outcome.json"
    outcome = Outcome.model_validate_json(file.read_bytes()) if file.exists() else None
    return f"{outcome}\n{(folder / 'log').read_text(errors='replace')[-3000:]}"


@pytest.mark.parametrize(("method", "adapter"), WAYS, ids=["-".join(way) for way in WAYS])
def test_killed_at_random_moments_a_method_ends_with_the_very_weights(method, adapter, models, tmp_path):  # noqa: F811
    store = Store(tmp_path / "store")
    store.create()
    _, job = prepared(written(method, adapter, "single", models), store)
    whole, killed = placed(job, tmp_path / "whole"), placed(job, tmp_path / "killed")
    assert os.waitpid(begun(whole), 0)[1] == 0, said(whole.parent)
    dice = random.Random(f"{os.environ.get('KILL_SEED', 'llmrecipe')}/{method}/{adapter}")
    interrupted = 0
    for step in sorted(dice.randrange(1, STEPS) for _ in range(KILLS)):
        child = begun(killed)
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if reached(killed.parent, step):
                time.sleep(dice.random() * 0.05)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                interrupted += 1
                break
            time.sleep(0.005)
    assert interrupted > 0, said(killed.parent)
    assert os.waitpid(begun(killed), 0)[1] == 0, said(killed.parent)
    expected, found = weights(whole.parent), weights(killed.parent)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert log(whole.parent) == log(killed.parent)


@pytest.mark.parametrize("method", SPREAD)
def test_two_processes_that_are_killed_end_with_the_weights_of_two_that_were_not(method, models, tmp_path):  # noqa: F811
    store = Store(tmp_path / "store")
    store.create()
    stage, job = prepared(written(method, "full", "ddp", models), store)
    whole, killed = placed(job, tmp_path / "whole"), placed(job, tmp_path / "killed")
    config = tmp_path / "accelerate.yaml"
    config.write_text(yaml.safe_dump(launch.accelerate_config(stage.resources, stage.spec.distributed)))

    def launched(path: Path) -> subprocess.Popen[bytes]:
        variables = launch.alone(os.environ, 2) | {"OMP_NUM_THREADS": "1"}
        start = launch.accelerate(path, config, variables)
        with path.with_name("log").open("ab") as output:
            return subprocess.Popen(start.words, env=start.variables, stdout=output, stderr=output, process_group=0)

    assert launched(whole).wait(300) == 0, said(whole.parent)
    process = launched(killed)
    while process.poll() is None and not reached(killed.parent, SAVE + 2):
        time.sleep(0.005)
    for file in (killed.parent / "work").glob("rank-*.pid"):
        os.kill(int(file.read_text()), signal.SIGKILL)
    assert process.wait(120) != 0
    assert launched(killed).wait(300) == 0, said(killed.parent)
    expected, found = weights(whole.parent), weights(killed.parent)
    assert max((expected[name] - found[name]).abs().max().item() for name in expected) < 1e-5


def test_any_damage_to_the_newest_checkpoint_is_found_and_the_one_before_is_used(models, tmp_path):  # noqa: F811
    """Every file that a training needs to go on, cut short and taken away."""
    store = Store(tmp_path / "store")
    store.create()
    _, job = prepared(written("ppo", "full", "single", models), store)
    whole = placed(job, tmp_path / "whole")
    assert os.waitpid(begun(whole), 0)[1] == 0, said(whole.parent)
    folder = whole.parent / "work/checkpoints"
    found = sorted(folder.iterdir(), key=checkpoints.step_of)
    newest, before = found[-1], found[-2]
    files = [path for path in newest.rglob("*") if path.is_file()]
    assert {"optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth"} <= {path.name for path in files}
    for path in files:
        for damage in ("cut short", "gone"):
            copy = tmp_path / "copy"
            shutil.copytree(folder, copy)
            target = copy / newest.name / path.relative_to(newest)
            if damage == "gone":
                target.unlink()
            else:
                target.write_bytes(path.read_bytes()[:-1])
            assert checkpoints.newest_complete(copy) == copy / before.name, f"{path.name} {damage}"
            shutil.rmtree(copy)
    (newest / "optimizer.pt").unlink()
    expected = weights(whole.parent)
    (whole.parent / "output").rename(whole.parent / "first")
    assert os.waitpid(begun(whole), 0)[1] == 0, said(whole.parent)
    assert all(torch.equal(expected[name], tensor) for name, tensor in weights(whole.parent).items())


def test_every_method_is_here():
    assert {kind for kind, adapter in WAYS if adapter == "full"} == set(KINDS)
    assert sys.platform == "linux"
