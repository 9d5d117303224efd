"""How a stage becomes a process: the command line, the environment, and the configuration of `accelerate launch`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from llmrecipe.plan import Resources

LAUNCHER_VARIABLES = (
    "ACCELERATE_",
    "GROUP_",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_",
    "RANK",
    "ROLE_",
    "TORCHELASTIC_",
    "WORLD_SIZE",
)
"""Prefixes of the variables by which a launcher tells a process that it is one of several."""

TETHER = Path(__file__).with_name("tether.py")


def accelerate_config(resources: Resources) -> dict[str, JsonValue]:
    """The configuration file of `accelerate launch` for a training stage.

    Several processes on processors are `MULTI_GPU` with `use_cpu`: with `MULTI_CPU` accelerate starts a single one.
    Port 0 lets it find a free one. On several nodes the rank and the address of the first are options of each launch.
    """
    total = resources.nodes * resources.processes
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU" if total > 1 else "NO",
        "use_cpu": resources.accelerators == 0,
        "num_machines": resources.nodes,
        "num_processes": total,
        "machine_rank": 0,
        "main_process_port": 0 if resources.nodes == 1 else 29500,
        "mixed_precision": "no",
        "rdzv_backend": "static",
        "same_network": True,
        "main_training_function": "main",
        "debug": False,
    }


def command(job: Path) -> list[str]:
    """The command line that does a job in one process, or as one of the processes of a launcher around us."""
    return [sys.executable, "-m", "llmrecipe.stages", str(job)]


def launched(job: Path, config: Path) -> list[str]:
    """The command line that does a job through `accelerate launch`, which ends when this process does."""
    tether = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid())]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config), "--quiet"]
    return [*tether, *launch, "-m", "llmrecipe.stages", str(job)]


def environment(variables: Mapping[str, str], resources: Resources) -> dict[str, str]:
    """Variables for a stage of its own: without those of a launcher around us, and with all cores in use.

    Launchers start processes with one thread each when OMP_NUM_THREADS is not set.
    """
    kept = {name: value for name, value in variables.items() if not name.startswith(LAUNCHER_VARIABLES)}
    if is_rank(variables) or "OMP_NUM_THREADS" not in variables:
        kept["OMP_NUM_THREADS"] = str(max(1, cores() // resources.processes))
    return kept


def is_rank(variables: Mapping[str, str]) -> bool:
    """Whether a launcher around us started this process as one of several."""
    return int(variables.get("WORLD_SIZE", "1")) > 1


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
