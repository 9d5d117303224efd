"""The target `slurm`: jobs are submitted once, wait for others, spread over nodes, and go on after a preemption."""

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
from goldens import CLUSTER, SCRATCH
from test_target_local import STAND_IN, stage_names

from llmrecipe.targets import TARGETS

SBATCH = """#!{python} -IS
# Takes a job; `run` in this folder starts those that were taken, one after the other.
import json, sys
from pathlib import Path

here = Path({here!r})
number = 4000 + len(list(here.glob("job-*.json")))
(here / f"job-{{number}}.json").write_text(json.dumps(sys.argv[1:]))
print(f"{{number}};cluster")
"""

SRUN = """#!/usr/bin/env bash
# Runs the command on every node of the job, and hands SIGTERM on, as srun does.
nodes=${1#--nodes=} pids=()
shift 4
trap 'kill -TERM "${pids[@]}"' TERM
for ((node = 0; node < nodes; node++)); do
  SLURM_NODEID=$node "$@" &
  pids+=($!)
done
code=0
for pid in "${pids[@]}"; do
  wait "$pid" || code=$?
  while kill -0 "$pid" 2>/dev/null; do code=0; wait "$pid" || code=$?; done
done
exit "$code"
"""

SCONTROL = """#!/usr/bin/env bash
if [[ $1 == show ]]; then printf '%s\\n' node-a node-b; else echo "$@" >>"HERE/scontrol.log"; fi
"""


class Cluster:
    """A recipe's folder with the files of `slurm` in it, and programs that stand in for Slurm and Python."""

    def __init__(self, recipe: Path, here: Path) -> None:
        self.root, self.here, self.bin = here / "a folder", here, here / "bin"
        shutil.copytree(recipe.parent, self.root)
        for path, text in TARGETS["slurm"].render(goldens.plan(recipe), "..").items():
            (self.root / "compiled" / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / "compiled" / path).write_text(text)
        self.bin.mkdir()
        programs = {
            "sbatch": SBATCH.format(python=sys.executable, here=str(here)),
            "srun": SRUN,
            "scontrol": SCONTROL.replace("HERE", str(here)),
            "stand-in": STAND_IN.format(python=sys.executable, here=str(here)),
        }
        for name, text in programs.items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        self.variables = {
            **os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHON": str(self.bin / "stand-in"),
        }  # fmt: skip

    def submit(self, *options: str) -> dict[str, tuple[int, list[str]]]:
        """Job name -> its number and the words that sbatch was told."""
        before = set(self.here.glob("job-*.json"))
        subprocess.run(
            ["bash", str(self.root / "compiled" / "submit.sh"), *options], check=True, env=self.variables, cwd="/",
            capture_output=True,
        )  # fmt: skip
        found = {}
        for file in sorted(set(self.here.glob("job-*.json")) - before):
            words = json.loads(file.read_text())
            found[Path(words[-1]).stem] = (int(file.stem.partition("-")[2]), words)
        return found

    def start(self, number: int, words: list[str]) -> subprocess.Popen[str]:
        """Start one job as Slurm does: a copy of its script, elsewhere."""
        spooled = self.here / f"spool-{number}"
        shutil.copyfile(words[-1], spooled)
        told = {
            "SLURM_JOB_ID": str(number), "SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_CPUS_PER_TASK": "16",
            "LLMRECIPE_COMPILED": str(self.root / "compiled"), "LLMRECIPE_ROOT": str(self.root),
        }  # fmt: skip
        return subprocess.Popen(
            ["bash", str(spooled)], env=self.variables | told, cwd=self.root,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    @property
    def done(self) -> list[tuple[str, str]]:
        lines = (self.here / "log").read_text().splitlines()
        return [(name, rank) for name, rank, *_ in map(json.loads, lines)]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(CLUSTER, tmp_path)


def test_one_job_for_each_stage_that_waits_for_those_it_needs(cluster: Cluster) -> None:
    jobs = cluster.submit("--partition=gpu")
    assert [name.partition("-")[2] for name in jobs] == [name.replace("/", "-") for name in stage_names(CLUSTER)]
    first, second = (jobs[name] for name in ("01-cluster-prepare-data", "02-cluster-tokenize"))
    assert not any(word.startswith("--dependency") for word in first[1])
    assert f"--dependency=afterok:{first[0]}" in second[1]
    assert all("--partition=gpu" in words for _, words in jobs.values())


def test_the_jobs_do_the_run_and_training_on_every_node(cluster: Cluster) -> None:
    for number, words in cluster.submit().values():
        process = cluster.start(number, words)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    assert sorted(cluster.done) == sorted([(name, "0") for name in stage_names(CLUSTER)] + [("cluster/train", "1")])
    lines = [json.loads(line) for line in (cluster.here / "log").read_text().splitlines()]
    words = next(words for name, rank, _, words in lines if rank == "1")
    start = words.index("--machine_rank")
    assert words[start : start + 4] == ["--machine_rank", "1", "--main_process_ip", "node-a"]
    assert next(threads for name, _, threads, _ in lines if name == "cluster/train") == "2"
    assert cluster.submit() == {}


def test_a_preempted_job_lets_its_stage_save_and_is_queued_again(tmp_path: Path) -> None:
    cluster = Cluster(SCRATCH, tmp_path)
    jobs = cluster.submit()
    (cluster.here / "hang").write_text("scratch/prepare-data")
    number, words = jobs["01-scratch-prepare-data"]
    process = cluster.start(number, words)
    for _ in range(1000):
        if (cluster.here / "hanging").exists():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 75, output
    assert (cluster.here / "stopped").read_text() == "SIGTERM"
    assert (cluster.here / "scontrol.log").read_text() == f"requeue {number}\n"
    (cluster.here / "hang").unlink()
    again = cluster.start(number, words)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output


def test_a_job_that_fails_is_not_queued_again(tmp_path: Path) -> None:
    cluster = Cluster(SCRATCH, tmp_path)
    (cluster.here / "fail").write_text("scratch/prepare-data")
    process = cluster.start(*cluster.submit()["01-scratch-prepare-data"])
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 7, output
    assert not (cluster.here / "scontrol.log").exists()


def test_a_job_asks_for_what_its_stage_needs() -> None:
    files = goldens.compiled(CLUSTER, "slurm")
    train, merge = (files[f"slurm/{name}.sbatch"] for name in ("03-cluster-train", "04-cluster-merge"))
    for directive in ("--nodes=2", "--gpus-per-node=8", "--cpus-per-task=64", "--mem=512G", "--signal=B:TERM@300"):
        assert f"#SBATCH {directive}\n" in train
    assert "#SBATCH --nodes=1\n" in merge
    assert "--gpus-per-node" not in merge
