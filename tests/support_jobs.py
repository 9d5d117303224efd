"""Many jobs in the same processes, one after the other: a launcher starts it once for each strategy.

`python support_jobs.py LIST RESULTS`: LIST has one job file on each line; the first process writes to RESULTS how each
ended. Starting anew for each of some hundred combinations would take longer than all that they do.
"""

import gc
import json
import os
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from llmrecipe.stages.__main__ import main

torch.set_num_threads(1)


def _forget(environment: dict[str, str]) -> None:
    """What a process keeps of one training that the next must not find."""
    unset_hf_deepspeed_config()
    AcceleratorState._reset_state(reset_partial_state=False)
    GradientState._reset_state()
    os.environ.clear()
    os.environ.update(environment)
    gc.collect()


def _outcome(job: Path) -> str:
    written = json.loads((job.parent / "outcome.json").read_text("utf-8"))
    return "complete" if written["status"] == "complete" else f"{written['status']}: {written['message']}"


if __name__ == "__main__":
    jobs = [Path(line) for line in Path(sys.argv[1]).read_text("utf-8").splitlines()]
    before = dict(os.environ)
    results = {}
    for job in jobs:
        main([str(job)])
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        results[str(job)] = _outcome(job)
        if os.environ.get("RANK", "0") == "0":
            Path(sys.argv[2]).write_text(json.dumps(results), encoding="utf-8")
        _forget(before)
