"""One side of `benchmarks/training.py`: trains in this process, one step whenever it is told to.

    python benchmarks/training_sides.py SIDE JOB.json READ WRITE

READ and WRITE are file descriptors: a line in asks for a step, a line out tells what it cost.
"""

import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers.trainer
from datasets import load_from_disk
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

from llmrecipe.plan import InputModel, Train
from llmrecipe.stages import train
from llmrecipe.stages.place import Place
from llmrecipe.vocabulary import Full, LoRA

LEARNING_RATE = 2e-4
IGNORED = -100


class Turns:
    """Waits for the word to make a step, and tells its cost: from there to the end of the step, logging included."""

    def __init__(self, read: int, write: int) -> None:
        self.read, self.write = os.fdopen(read), os.fdopen(write, "w")
        self.started = (time.perf_counter(), time.process_time())

    def tell(self, loss: float) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated()
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        wall, cpu = self.started
        cost = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "loss": loss, "peak": peak}
        print(json.dumps(cost), file=self.write, flush=True)

    def wait(self) -> None:
        if not self.read.readline():  # Nobody asks any more.
            os._exit(0)
        self.started = (time.perf_counter(), time.process_time())


class TakesTurns(TrainerCallback):  # type: ignore[misc]
    """The same inside of a trainer."""

    turns: Turns

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        TakesTurns.turns.tell(state.log_history[-1].get("loss", 0.0) if state.log_history else 0.0)
        TakesTurns.turns.wait()


def main(side: str, job: dict[str, Any], turns: Turns) -> None:
    """Train until the pipe is closed."""
    TakesTurns.turns = turns
    transformers.trainer.DEFAULT_CALLBACKS.append(TakesTurns)
    {"llmrecipe": ours, "by hand": by_hand, "TRL": library}[side](job)


def ours(job: dict[str, Any]) -> None:
    """The training stage."""
    folder, trainer = Path(job["folder"]), "transformers:Trainer" if job["pretrain"] else "trl:SFTTrainer"
    config = "transformers:TrainingArguments" if job["pretrain"] else "trl:SFTConfig"
    place = Place(
        inputs={"dataset": folder / job["rows"], "tokenizer": folder / "model", "model": folder / "model"},
        output=Path(job["work"]) / "output", work=Path(job["work"]) / "work", root=folder,
    )  # fmt: skip
    for path in (place.output, place.work):
        path.mkdir(parents=True)
    spec = Train(
        kind="train", method="pretrain" if job["pretrain"] else "sft", trainer=trainer, config=config,
        arguments=_arguments(job), model=InputModel(kind="input"), dtype="auto", attention="sdpa",
        adapter=LoRA(kind="lora", r=8, lora_alpha=16) if job["lora"] else Full(kind="full"), optimizer=None,
        packed=job["packed"], world_size=1, seed=1, trust_remote_code=False,
    )  # fmt: skip
    train.run(spec, place)


def library(job: dict[str, Any]) -> None:
    """TRL's trainer (for pretraining the one of Transformers), as its documentation shows it."""
    folder = Path(job["folder"])
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows = load_from_disk(str(folder / "padded" / "train" if not job["pretrain"] else folder / job["rows"] / "train"))
    common = {
        **_arguments(job),
        "use_cpu": not torch.cuda.is_available(),
        "report_to": "none",
        "output_dir": job["work"],
    }
    if job["pretrain"]:
        blocks = rows.select_columns(["input_ids", "labels"])
        Trainer(model, TrainingArguments(**common), _stacked, blocks, processing_class=tokenizer).train()
        return
    config = SFTConfig(**common, max_length=job["length"], packing=job["packed"])
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM") if job["lora"] else None
    SFTTrainer(model, config, train_dataset=rows, processing_class=tokenizer, peft_config=lora).train()


def _stacked(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(np.array([row[name] for row in rows])) for name in ("input_ids", "labels")}


def _arguments(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": job["batch"], "max_steps": 10_000, "learning_rate": LEARNING_RATE, "seed": 1,
        "lr_scheduler_type": "constant", "logging_steps": 10, "max_grad_norm": 1.0, "weight_decay": 0.0,
        "activation_checkpointing": False, "bf16": job["bf16"], "fp16": False, "save_strategy": "no",
        "disable_tqdm": True, "train_sampling_strategy": "sequential",
    }  # fmt: skip


def by_hand(job: dict[str, Any]) -> None:
    """A loop in PyTorch: the model's own loss, clipping, AdamW in one kernel; packed rows with a block mask."""
    folder, device = Path(job["folder"]), "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    if job["lora"]:
        model = get_peft_model(
            model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    model.to(device).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    rows = load_from_disk(str(folder / job["rows"] / "train")).with_format("numpy")
    collate = _stacked if job["pretrain"] else _packed if job["packed"] else _padded
    for inputs in map(collate, _batches(rows, job["batch"])):
        moved = {name: tensor.to(device) for name, tensor in inputs.items()}
        with torch.autocast(device, torch.bfloat16, enabled=job["bf16"]):
            loss = model(**moved, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        TakesTurns.turns.tell(loss.item())
        TakesTurns.turns.wait()


def _batches(rows: Any, size: int) -> Iterator[list[dict[str, Any]]]:
    for start in itertools.cycle(range(0, len(rows) - size + 1, size)):
        yield [rows[i] for i in range(start, start + size)]


def _padded(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    shape = (len(rows), max(len(row["input_ids"]) for row in rows))
    found = {
        "input_ids": np.zeros(shape, int),
        "labels": np.full(shape, IGNORED),
        "attention_mask": np.zeros(shape, int),
    }
    for i, row in enumerate(rows):
        length = len(row["input_ids"])
        found["input_ids"][i, :length], found["labels"][i, :length] = row["input_ids"], row["labels"]
        found["attention_mask"][i, :length] = 1
    return {name: torch.from_numpy(batch) for name, batch in found.items()}


def _packed(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    found = _padded(rows)
    positions = torch.zeros_like(found["input_ids"])
    for i, row in enumerate(rows):
        counted = np.concatenate([np.arange(length) for length in row["seq_lengths"]])
        positions[i, : len(counted)] = torch.from_numpy(counted)
    document = (positions == 0).cumsum(1)
    causal = torch.ones(positions.shape[1], positions.shape[1], dtype=torch.bool).tril()
    mask = (document[:, :, None] == document[:, None, :]) & causal
    found["labels"][positions == 0] = IGNORED
    return {**found, "position_ids": positions, "attention_mask": mask[:, None]}


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_bytes()), Turns(int(sys.argv[3]), int(sys.argv[4])))
