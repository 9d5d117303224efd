"""Tokens per second of the training stage and of a script written by hand, on the same batches, one after the other.

Seconds are those of the processor, so that the ratio holds on a busy machine; those of the wall are printed beside it.
Called by overhead.py: `python benchmarks/throughput.py FOLDER ROUNDS STEPS`.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import small_model
import transformers.trainer
from datasets import Dataset, load_from_disk
from handwritten_training import train as train_by_hand
from transformers import AutoModelForCausalLM, TrainerCallback

from llmrecipe.plan import InputModel, Train
from llmrecipe.stages import train
from llmrecipe.stages.place import Place
from llmrecipe.vocabulary import Full

ROWS, LENGTH, BATCH = 256, 256, 8
WARM_UP = 2


class Clock(TrainerCallback):  # type: ignore[misc]
    """When each step ended: processor and wall."""

    ends: list[tuple[float, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        Clock.ends.append((time.process_time(), time.perf_counter()))


def main(folder: Path, rounds: int, steps: int) -> None:
    """Measure both sides and print one JSON object."""
    small_model.write(folder / "model")
    generator = np.random.default_rng(0)
    rows = [{"input_ids": ids, "labels": ids} for ids in generator.integers(0, 255, (ROWS, LENGTH)).tolist()]
    Dataset.from_list(rows).save_to_disk(folder / "dataset" / "train")
    arguments: dict[str, Any] = {
        "per_device_train_batch_size": BATCH, "max_steps": steps, "learning_rate": 1e-4, "logging_steps": 5, "seed": 1,
        "activation_checkpointing": False, "bf16": False, "fp16": False, "save_strategy": "steps", "save_steps": 500,
    }  # fmt: skip
    sides: dict[str, Callable[[Path], None]] = {
        "by hand": lambda work: _by_hand(folder, work, arguments),
        "llmrecipe": lambda work: _stage(folder, work, arguments),
    }
    rates: dict[str, list[list[float]]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            Clock.ends.clear()
            sides[name](folder / f"{name}-{number}")
            seconds = np.median(np.diff(Clock.ends, axis=0)[WARM_UP:], axis=0)
            rates[name].append((BATCH * LENGTH / seconds).round(1).tolist())
    medians = {name: np.median(values, axis=0).tolist() for name, values in rates.items()}
    ratios = [ours / theirs for ours, theirs in zip(medians["llmrecipe"], medians["by hand"], strict=True)]
    print(
        json.dumps(
            {
                "tokens per second of processor and wall": rates,
                "median": medians,
                "ratio (at least 0.97)": ratios[0],
                "ratio of wall": ratios[1],
            }
        )
    )


def _by_hand(folder: Path, work: Path, arguments: dict[str, Any]) -> None:
    train_by_hand(
        AutoModelForCausalLM.from_pretrained(folder / "model"),
        small_model.tokenizer(),
        load_from_disk(str(folder / "dataset" / "train")),
        arguments | {"output_dir": str(work)},
        Clock(),
    )


def _stage(folder: Path, work: Path, arguments: dict[str, Any]) -> None:
    for name in ("output", "work"):
        (work / name).mkdir(parents=True)
    inputs = {"dataset": folder / "dataset", "tokenizer": folder / "model", "model": folder / "model"}
    place = Place(inputs=inputs, output=work / "output", work=work / "work", root=folder)
    spec = Train(
        kind="train", method="sft", trainer="trl:SFTTrainer", config="trl:SFTConfig", arguments=arguments,
        model=InputModel(kind="input"), dtype="auto", attention="sdpa", adapter=Full(kind="full"), optimizer=None,
        packed=False, world_size=1, seed=1, trust_remote_code=False,
    )  # fmt: skip
    transformers.trainer.DEFAULT_CALLBACKS.append(Clock)
    try:
        train.run(spec, place)
    finally:
        transformers.trainer.DEFAULT_CALLBACKS.remove(Clock)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
