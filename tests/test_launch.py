"""What must hold of starting stages: accelerate understands its configuration; variables are those of one machine."""

import os
from argparse import Namespace

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from llmrecipe import launch
from llmrecipe.accelerating import Launched
from llmrecipe.plan import Resources
from llmrecipe.store import RunError
from llmrecipe.strategies import DDP, FSDP, Distributed

CPU = Resources()
CPU_2 = Resources(processes=2)
GPU_8 = Resources(accelerators=8, processes=8, accelerator="h100-80gb")
GPU_2X8 = Resources(nodes=2, accelerators=8, processes=8, accelerator="h100-80gb")


def understood(tmp_path, resources: Resources, strategy: Distributed) -> Namespace:
    """What `accelerate launch` makes of the configuration."""
    file = tmp_path / "accelerate.yaml"
    file.write_text(yaml.safe_dump(launch.accelerate_config(resources, strategy)))
    load_config_from_file(str(file))  # refuses unknown keys
    arguments = launch_command_parser().parse_args(["--config_file", str(file), "script.py"])
    return _validate_launch_command(arguments)[0]


@pytest.mark.parametrize(
    ("resources", "multi", "cpu", "processes", "machines"),
    [(CPU, False, True, 1, 1), (CPU_2, True, True, 2, 1), (GPU_8, True, False, 8, 1), (GPU_2X8, True, False, 16, 2)],
)
def test_accelerate_starts_as_many_processes_as_the_plan_says(tmp_path, resources, multi, cpu, processes, machines):
    found = understood(tmp_path, resources, DDP(kind="ddp"))
    assert (found.multi_gpu, found.use_cpu, found.num_processes) == (multi, cpu, processes)
    assert found.num_machines == machines
    assert not found.use_fsdp
    assert not found.use_deepspeed


def test_a_stage_of_its_own_does_not_see_the_launcher_around_us():
    around = {
        "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "ROLE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none", "ACCELERATE_USE_FSDP": "1",
        "FSDP_VERSION": "2", "PARALLELISM_CONFIG_DP_SHARD_SIZE": "2",
        "OMP_NUM_THREADS": "1", "PATH": "/bin",
    }  # fmt: skip
    kept = launch.alone(around, 1)
    assert kept == {"PATH": "/bin", "OMP_NUM_THREADS": str(launch.cores()), "OMP_WAIT_POLICY": "PASSIVE"}


def test_processes_share_the_cores_unless_the_user_says_how():
    assert launch.alone({}, 2)["OMP_NUM_THREADS"] == str(max(1, launch.cores() // 2))
    assert launch.alone({"OMP_NUM_THREADS": "3"}, 2)["OMP_NUM_THREADS"] == "3"
    assert launch.alone({"OMP_WAIT_POLICY": "ACTIVE"}, 2)["OMP_WAIT_POLICY"] == "ACTIVE"


def test_a_stage_knows_its_parent(tmp_path):
    assert launch.process(tmp_path / "job.json", {}).variables["LLMRECIPE_PARENT"] == str(os.getpid())


def test_a_missing_accelerate_is_named_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(RunError, match="`accelerate` is not installed") as caught:
        launch.accelerate(tmp_path / "job.json", tmp_path / "accelerate.yaml", {})
    assert caught.value.help == "pip install 'llmrecipe[train]'"


RANK = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
}  # fmt: skip


def test_a_launcher_around_us_says_how_many_processes_there_are_and_how_they_share():
    assert launch.around({"PATH": "/bin"}) is None
    assert launch.around({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert launch.around(RANK) == Launched(2, 2)
    assert launch.around(RANK | FSDP2) == Launched(2, 2, FSDP(kind="fsdp"))
    with pytest.raises(RunError, match="FSDP version 1"):
        launch.around(RANK | FSDP2 | {"FSDP_VERSION": "1"})


def test_the_one_process_of_accelerate_launch_on_processors_is_known_and_gets_all_cores():
    told = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    assert launch.started_alone(told)
    assert not launch.started_alone({**told, "RANK": "0"})
    assert not launch.started_alone({"ACCELERATE_MIXED_PRECISION": "no"})
    assert launch.alone(told, 1)["OMP_NUM_THREADS"] == str(launch.cores())
