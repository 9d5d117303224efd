"""Tokens per second of the training stage and of a script written by hand, on the same batches.

Both train at once in one process and take turns step by step, so that a busy machine slows both alike.
Called by overhead.py: `python benchmarks/throughput.py FOLDER STEPS`.
"""

import json
import statistics
import sys
import threading
import time
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
WARM_UP = 4


class Turns(TrainerCallback):  # type: ignore[misc]
    """Lets two trainings, each in its thread, step in turn; notes the seconds between getting and giving the turn.

    A turn goes from the end of one step to the end of the next: batch, step, log and all that belongs to them.
    """

    seconds: dict[str, list[float]] = {"by hand": [], "llmrecipe": []}
    turn = {name: threading.Semaphore(0) for name in seconds}
    ready = threading.Event()
    """The script by hand has loaded its model: loading two at once is more than Transformers can do."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.mine = threading.current_thread().name
        self.other = next(name for name in Turns.turn if name != self.mine)
        Turns.ready.set()
        self._wait()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        Turns.seconds[self.mine].append(time.perf_counter() - self.began)
        Turns.turn[self.other].release()
        if state.global_step < state.max_steps:
            self._wait()

    def _wait(self) -> None:
        Turns.turn[self.mine].acquire()
        self.began = time.perf_counter()


def main(folder: Path, steps: int) -> None:
    """Measure both sides and print one JSON object."""
    small_model.write(folder / "model")
    generator = np.random.default_rng(0)
    rows = [{"input_ids": ids, "labels": ids} for ids in generator.integers(0, 255, (ROWS, LENGTH)).tolist()]
    Dataset.from_list(rows).save_to_disk(folder / "dataset" / "train")
    arguments: dict[str, Any] = {
        "per_device_train_batch_size": BATCH, "max_steps": steps, "learning_rate": 1e-4, "logging_steps": 5, "seed": 1,
        "activation_checkpointing": False, "bf16": False, "fp16": False, "save_strategy": "steps", "save_steps": 500,
    }  # fmt: skip
    transformers.trainer.DEFAULT_CALLBACKS.append(Turns)
    by_hand = threading.Thread(target=_by_hand, name="by hand", args=(folder, arguments), daemon=True)
    threading.current_thread().name = "llmrecipe"  # Signals are for the main thread, and the stage listens to them.
    by_hand.start()
    if not Turns.ready.wait(timeout=300):
        raise SystemExit("the script written by hand did not begin to train")
    Turns.turn["by hand"].release()
    _stage(folder, arguments)
    by_hand.join()
    pairs = list(zip(Turns.seconds["by hand"], Turns.seconds["llmrecipe"], strict=True))[WARM_UP:]
    rates = {name: BATCH * LENGTH / statistics.median(s[WARM_UP:]) for name, s in Turns.seconds.items()}
    ratio = statistics.median(theirs / ours for theirs, ours in pairs)
    quartiles = statistics.quantiles((theirs / ours for theirs, ours in pairs), n=4)
    print(json.dumps({"tokens per second": rates, "ratio (at least 0.97)": ratio, "quartiles": quartiles}, indent=2))


def _by_hand(folder: Path, arguments: dict[str, Any]) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    rows = load_from_disk(str(folder / "dataset" / "train"))
    train_by_hand(model, small_model.tokenizer(), rows, arguments | {"output_dir": str(folder / "by-hand")})


def _stage(folder: Path, arguments: dict[str, Any]) -> None:
    for name in ("output", "work"):
        (folder / name).mkdir()
    inputs = {"dataset": folder / "dataset", "tokenizer": folder / "model", "model": folder / "model"}
    place = Place(inputs=inputs, output=folder / "output", work=folder / "work", root=folder)
    spec = Train(
        kind="train", method="sft", trainer="trl:SFTTrainer", config="trl:SFTConfig", arguments=arguments,
        model=InputModel(kind="input"), dtype="auto", attention="sdpa", adapter=Full(kind="full"), optimizer=None,
        packed=False, world_size=1, seed=1, trust_remote_code=False,
    )  # fmt: skip
    train.run(spec, place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
