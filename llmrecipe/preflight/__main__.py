"""One examination, in this process: `python -m llmrecipe.preflight JOB.json ANSWER.json`."""

import importlib
import os
import sys
from pathlib import Path

from llmrecipe import tether
from llmrecipe.preflight.job import Examination
from llmrecipe.stages.reach import rely_on_cache


def main(arguments: list[str]) -> int:
    """Do what the job says and write the answer."""
    parent = os.environ.get(tether.VARIABLE)
    tether.tie(None if parent is None else int(parent))
    job = Examination.model_validate_json(Path(arguments[0]).read_bytes())
    if '"kind":"hub"' in job.plan.model_dump_json() and rely_on_cache(os.environ):
        print("the Hub does not answer: only what is in its cache on this machine is used", flush=True)
    answer = importlib.import_module("llmrecipe.preflight.examine").examine(job)
    Path(arguments[1]).write_text(answer.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
