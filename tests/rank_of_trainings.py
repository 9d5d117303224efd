"""One rank of several trainings, one after the other: `python rank_of_trainings.py CASES.json`, under a launcher.

A case is `{"spec", "folder", "inputs", "stop_after", "again"}`. With `stop_after` the training fails after that step,
on every rank, and is begun again. With `again` it is called again when all that is left of it are its checkpoints.
"""

import gc
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from llmrecipe.plan import Train
from llmrecipe.stages import train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.callbacks import TrainingLog


class Stopped(Exception):  # noqa: N818 - it is meant
    """In the middle of a training."""


def main() -> None:
    """Do all cases; leave `metrics.json` or `error.txt` in the folder of each."""
    for case in json.loads(Path(sys.argv[1]).read_bytes()):
        folder, spec = Path(case["folder"]), Train.model_validate(case["spec"])
        rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        inputs = {name: Path(path) for name, path in case["inputs"].items()}
        place = Place(inputs=inputs, output=folder / "output", work=folder / "work", root=folder, rank=rank,
                      world_size=world_size)  # fmt: skip
        if case["stop_after"] is not None:
            _begin_and_stop(spec, place, case["stop_after"])
        if case["again"]:
            train.run(spec, place)
            _forget(place)
        try:
            with _writers(folder / f"writer-{rank}.txt"):
                metrics = train.run(spec, place)
        except StageError as error:
            (folder / f"error-{rank}.txt").write_text(f"{error.message}\n{error.help}", encoding="utf-8")
        else:
            if rank == 0:
                (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        gc.collect()


@contextmanager
def _writers(file: Path) -> Iterator[None]:
    """Leave the file when this process writes the log."""
    write = TrainingLog.write

    def noted(self: Any, state: Any) -> None:
        if state.is_world_process_zero:
            file.touch()
        write(self, state)

    TrainingLog.write = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        TrainingLog.write = write  # type: ignore[method-assign]


def _forget(place: Place) -> None:
    torch.distributed.barrier()
    if place.rank == 0:
        shutil.rmtree(place.output)
        place.output.mkdir()
    torch.distributed.barrier()


def _begin_and_stop(spec: Train, place: Place, step: int) -> None:
    on_step_end = TrainingLog.on_step_end

    def and_stop(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        on_step_end(self, args, state, control, **kwargs)
        if state.global_step == step:
            raise Stopped

    TrainingLog.on_step_end = and_stop  # type: ignore[method-assign]
    try:
        train.run(spec, place)
    except Stopped:
        return
    finally:
        TrainingLog.on_step_end = on_step_end  # type: ignore[method-assign]
    raise AssertionError(f"the training ended before step {step}")


if __name__ == "__main__":
    main()
