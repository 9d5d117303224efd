"""A training that is cut off after a checkpoint, and gone on with, beside one that was not."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import small
import torch
from safetensors.torch import load_file

from llmrecipe.plan import Train
from llmrecipe.stages import train
from llmrecipe.stages.place import Place


def weights(place: Place) -> dict[str, torch.Tensor]:
    """What a training left."""
    file = next((place.output / "model").glob("*.safetensors"))
    found: dict[str, torch.Tensor] = load_file(file)
    return found


def cut_off(place: Place, folder: Path, step: int, **inputs: Path) -> Place:
    """A place as a kill after the checkpoint of that step leaves it."""
    other = small.place(folder, **(place.inputs | inputs))
    kept = place.work / "checkpoints" / f"checkpoint-{step}"
    shutil.copytree(kept, other.work / "checkpoints" / kept.name)
    return other


def assert_resumes(spec: Train, straight: Place, folder: Path, step: int) -> tuple[Mapping[str, float], Place]:
    """Train, cut off, go on: the same weights, the same log. Returns what the uninterrupted run measured."""
    expected = train.run(spec, straight)
    resumed = cut_off(straight, folder, step)
    found = train.run(spec, resumed)
    for name, tensor in weights(straight).items():
        assert torch.equal(weights(resumed)[name], tensor), name
    assert _lines(straight) == _lines(resumed)
    assert {**found, "tokens_per_second": 0} == {**expected, "tokens_per_second": 0}
    return expected, resumed


def _lines(place: Place) -> list[dict[str, Any]]:
    """The log without what time it took."""
    timed = ("tokens_per_second", "data_loading_share", "mfu", "memory_gib")
    return [{name: value for name, value in line.items() if name not in timed} for line in small.log(place)]
