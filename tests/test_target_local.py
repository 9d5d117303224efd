"""The script that does a run without the runner: order, repetition, failure, signals, several nodes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import goldens
import pytest
import yaml
from goldens import CLUSTER, PIPELINE, SCRATCH

from llmrecipe.launch import accelerate_config
from llmrecipe.plan import Job, Resources
from llmrecipe.store import Store
from llmrecipe.strategies import DDP
from llmrecipe.targets import TARGETS


@pytest.fixture
def compiled(tmp_path):
    """Writes a recipe's folder with the files of `local` in it; returns how to call `run.sh` with a stand-in Python."""
    root = tmp_path / "it's a folder"

    def compiled(recipe: Path) -> Call:
        shutil.copytree(recipe.parent, root)
        for path, text in TARGETS["local"].render(goldens.plan(recipe), "..").items():
            (root / "compiled" / path).parent.mkdir(parents=True, exist_ok=True)
            (root / "compiled" / path).write_text(text)
        return Call(root, tmp_path)

    return compiled


STAND_IN = """#!{python} -IS
import json, os, signal, sys, time
from pathlib import Path

here, words = Path({here!r}), sys.argv[1:]
job = json.loads(Path(words[-1]).read_text())
rank = words[words.index("--machine_rank") + 1] if "--machine_rank" in words else "0"
with open(here / "log", "a") as log:
    log.write(json.dumps([job["name"], rank, os.environ.get("OMP_NUM_THREADS"), words]) + chr(10))
work, output = Path(job["work"]), Path(job["output"])
work.mkdir(parents=True, exist_ok=True)
for folder in job["inputs"].values():
    assert Path(folder).parent.is_dir(), folder
if (here / "fail").exists() and (here / "fail").read_text() == job["name"]:
    sys.exit(7)
if (here / "hang").exists() and (here / "hang").read_text() == job["name"]:
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopped.append(signal.Signals(number).name))
    (here / "hanging").touch()
    while not stopped:
        time.sleep(0.01)
    time.sleep(0.2)
    (here / "stopped").write_text(" ".join(stopped))
    sys.exit(130)
if (here / "slow").exists() and (here / "slow").read_text() == job["name"]:
    (here / "hanging").touch()
    time.sleep(0.3)
if "--machine_rank" in words:
    (here / f"met-{{rank}}").touch()
    while not ((here / "met-0").exists() and (here / "met-1").exists()):
        time.sleep(0.01)
if rank == "0":
    time.sleep(0.02)
    (output / "model").mkdir(parents=True)
else:
    while not output.exists():
        time.sleep(0.01)
"""


class Call:
    """`run.sh` with a Python that only notes what it was asked to do."""

    def __init__(self, root: Path, here: Path) -> None:
        self.root, self.here = root, here
        self.python = here / "python"
        self.python.write_text(STAND_IN.format(python=sys.executable, here=str(here)))
        self.python.chmod(0o755)

    def start(self, **variables: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        return subprocess.Popen(
            ["bash", str(self.root / "compiled" / "run.sh")],
            env=kept | {"PYTHON": str(self.python)} | variables,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __call__(self, **variables: str) -> tuple[int, str]:
        process = self.start(**variables)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    @property
    def done(self) -> list[tuple[str, str]]:
        log = self.here / "log"
        return [(line[0], line[1]) for line in map(json.loads, log.read_text().splitlines())] if log.exists() else []

    def wait_for(self, name: str) -> None:
        for _ in range(500):
            if (self.here / name).exists():
                return
            time.sleep(0.01)
        raise TimeoutError(name)


def stage_names(recipe: Path) -> list[str]:
    return [stage.name for stage in goldens.plan(recipe).stages]


def test_the_script_does_every_stage_in_order_and_nothing_the_second_time(compiled):
    run = compiled(PIPELINE)
    code, output = run()
    assert code == 0, output
    assert [name for name, _ in run.done] == stage_names(PIPELINE)
    code, output = run()
    assert code == 0, output
    assert [name for name, _ in run.done] == stage_names(PIPELINE)
    assert output.count(": complete") == len(stage_names(PIPELINE))


def test_the_script_leaves_a_store_that_the_runner_goes_on_with(compiled):
    run = compiled(SCRATCH)
    run()
    store = Store(run.root / ".llmrecipe")
    store.check()
    for address in goldens.plan(SCRATCH).addresses().values():
        assert store.has(address)
        assert not store.has_leftovers(address)


def test_the_script_leaves_a_store_of_another_version_alone(compiled):
    run = compiled(SCRATCH)
    (run.root / ".llmrecipe").mkdir()
    (run.root / ".llmrecipe" / "store.json").write_text('{"version": 2}\n')
    code, output = run()
    assert code == 1
    assert "is a store of another version of llmrecipe" in output
    assert run.done == []


def test_a_stage_that_fails_ends_the_script_and_the_next_call_goes_on_from_it(compiled):
    run = compiled(SCRATCH)
    (run.here / "fail").write_text("scratch/tokenize")
    code, output = run()
    address = goldens.plan(SCRATCH).addresses()["scratch/tokenize"]
    assert code == 7
    assert f"scratch/tokenize: failed (exit code 7); .llmrecipe/work/{address}/outcome.json says why" in output
    (run.here / "fail").unlink()
    assert run()[0] == 0
    names = stage_names(SCRATCH)
    assert [name for name, _ in run.done] == [*names[:3], *names[2:]]


def _to_the_script(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)


def _from_the_terminal(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize(("send", "code"), [(_to_the_script, 75), (_from_the_terminal, 130)])
def test_a_signal_reaches_the_stage_once_and_nothing_more_is_started(compiled, send, code):
    run = compiled(SCRATCH)
    (run.here / "hang").write_text("scratch/tokenize")
    process = run.start()
    run.wait_for("hanging")
    send(process)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == code
    assert (run.here / "stopped").read_text() == "SIGTERM"
    assert "interrupted; call it again to go on" in output
    assert [name for name, _ in run.done] == stage_names(SCRATCH)[:3]


def test_two_calls_at_once_do_every_stage_once(compiled):
    run = compiled(SCRATCH)
    (run.here / "slow").write_text("scratch/tokenize")
    first = run.start()
    run.wait_for("hanging")
    second = run.start()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert "scratch/tokenize: another run is at it, waiting" in outputs[1]
    assert sorted(name for name, _ in run.done) == sorted(stage_names(SCRATCH))
    for address in goldens.plan(SCRATCH).addresses().values():
        assert not Store(run.root / ".llmrecipe").has_leftovers(address)


def test_on_several_nodes_only_training_is_spread(compiled):
    run = compiled(CLUSTER)
    where = {"MASTER_ADDR": "node-0", "MASTER_PORT": "4711"}
    both = [run.start(**where, NODE_RANK=rank) for rank in ("0", "1")]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(run.done) == sorted([(name, "0") for name in stage_names(CLUSTER)] + [("cluster/train", "1")])
    words = next(line[3] for line in map(json.loads, (run.here / "log").read_text().splitlines()) if line[1] == "1")
    start = words.index("--machine_rank")
    assert words[start : start + 6] == [
        "--machine_rank", "1", "--main_process_ip", "node-0", "--main_process_port", "4711",
    ]  # fmt: skip


def test_several_nodes_need_to_know_the_first(compiled):
    code, output = compiled(CLUSTER)()
    assert code != 0
    assert "set MASTER_ADDR to the address of node 0" in output


def test_the_recipe_may_lie_elsewhere(compiled, tmp_path):
    run = compiled(SCRATCH)
    elsewhere = tmp_path / "moved"
    shutil.move(run.root / "compiled", elsewhere)
    (run.root / "compiled").symlink_to(elsewhere)
    assert run(LLMRECIPE_ROOT=str(run.root))[0] == 0
    assert (run.root / ".llmrecipe" / "artifacts").is_dir()


def test_launched_processes_share_the_cores(compiled):
    run = compiled(PIPELINE)
    run()
    lines = [json.loads(line) for line in (run.here / "log").read_text().splitlines()]
    threads = {line[0]: line[2] for line in lines}
    cores = os.cpu_count() or 1
    assert threads["rhymes/train"] == str(max(1, cores // 2))
    assert threads["answers/train"] == str(cores)
    assert threads["rhymes/tokenize"] is None


def test_a_job_is_a_stage_with_folders_from_the_recipes_folder():
    files = goldens.compiled(SCRATCH, "local")
    jobs = [Job.model_validate_json(text) for path, text in files.items() if path.startswith("stages/")]
    plan = goldens.plan(SCRATCH)
    addresses = plan.addresses()
    assert [(job.name, job.spec) for job in jobs] == [(stage.name, stage.spec) for stage in plan.stages]
    assert all(job.output == f".llmrecipe/artifacts/{addresses[job.name]}" and job.root == "." for job in jobs)
    assert jobs[1].inputs == {"rows": f".llmrecipe/artifacts/{addresses['scratch/prepare-data']}/rows"}


def test_the_launcher_is_configured_as_the_runner_does_it():
    files = goldens.compiled(PIPELINE, "local")
    assert yaml.safe_load(files["accelerate/rhymes-train.yaml"]) == accelerate_config(
        Resources(processes=2), DDP(kind="ddp")
    )
