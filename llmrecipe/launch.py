"""How a stage becomes a process: the command line, the environment, and the configuration of `accelerate launch`."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pydantic import JsonValue

from llmrecipe import accelerating, tether
from llmrecipe.accelerating import Launched, LauncherError
from llmrecipe.plan import Resources
from llmrecipe.store import RunError
from llmrecipe.strategies import Distributed

LAUNCHER_VARIABLES = (
    *accelerating.PREFIXES,
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


def accelerate_config(resources: Resources, strategy: Distributed) -> dict[str, JsonValue]:
    """The configuration file of `accelerate launch` for a training stage.

    Port 0 lets it find a free one. On several nodes the rank and the address of the first are options of each launch.
    The precision is no part of it: the trainer says that.
    """
    return {
        "compute_environment": "LOCAL_MACHINE",
        **accelerating.configuration(strategy, resources.nodes, resources.processes),
        "use_cpu": resources.accelerators == 0,
        "num_machines": resources.nodes,
        "num_processes": resources.nodes * resources.processes,
        "machine_rank": 0,
        "main_process_port": 0 if resources.nodes == 1 else 29500,
        "mixed_precision": "no",
        "rdzv_backend": "static",
        "same_network": True,
        "main_training_function": "main",
        "debug": False,
    }


@dataclass(frozen=True)
class Start:
    """How to start the processes of a stage."""

    words: list[str]
    variables: dict[str, str]
    launches: bool
    """Whether the program starts the processes that do the work, instead of doing it."""


def process(job: Path, variables: Mapping[str, str]) -> Start:
    """One process: alone, or one rank of a launcher around us when the variables say so."""
    return Start([sys.executable, *_work(job)], {**variables, tether.VARIABLE: str(os.getpid())}, launches=False)


def accelerate(job: Path, config: Path, variables: Mapping[str, str]) -> Start:
    """As many processes as the configuration says, through `accelerate launch`.

    Raises:
        RunError: accelerate is not installed.
    """
    if find_spec("accelerate") is None:
        raise RunError("the package `accelerate` is not installed", "pip install 'llmrecipe[train]'")
    tied = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid())]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    return Start([*tied, *launch, *_work(job)], dict(variables), launches=True)


def _work(job: Path) -> list[str]:
    return ["-m", "llmrecipe.stages", str(job)]


def alone(variables: Mapping[str, str], processes: int) -> dict[str, str]:
    """Variables without those of a launcher around us, with all cores in use and threads that wait asleep.

    Launchers start processes with one thread each when OMP_NUM_THREADS is not set. Threads that wait awake make a
    training step four to ten times longer as soon as another program wants a core.
    """
    kept = {name: value for name, value in variables.items() if not name.startswith(LAUNCHER_VARIABLES)}
    if is_rank(variables) or started_alone(variables) or "OMP_NUM_THREADS" not in variables:
        kept["OMP_NUM_THREADS"] = str(max(1, cores() // processes))
    return {"OMP_WAIT_POLICY": "PASSIVE", **kept}


def is_rank(variables: Mapping[str, str]) -> bool:
    """Whether a launcher around us started this process as one of several."""
    return int(variables.get("WORLD_SIZE", "1")) > 1


def around(variables: Mapping[str, str]) -> Launched | None:
    """The processes of the launcher that started this one; None when there is none, or it started only this one.

    Raises:
        RunError: it says a strategy that no recipe can say.
    """
    if not is_rank(variables):
        return None
    total = int(variables["WORLD_SIZE"])
    each = int(variables.get("LOCAL_WORLD_SIZE", total))
    try:
        return Launched(total // each, each, accelerating.declared(variables))
    except LauncherError as error:
        raise RunError(error.message, error.help) from None


def started_alone(variables: Mapping[str, str]) -> bool:
    """Whether this is the only process of `accelerate launch --num_processes N`, which on processors starts one.

    It gives that one an address to meet the others at, and no rank.
    """
    return "ACCELERATE_MIXED_PRECISION" in variables and "MASTER_ADDR" in variables and "RANK" not in variables


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
