"""Training speed: tokens per second, peak memory and time to the first step, against a loop by hand and TRL's trainer.

    python benchmarks/training.py [--device cpu|cuda] [--shape small|0.6b] [--rows lora-packed-fp32 ...] [--json FILE]

The three train the same rows of a seeded synthetic dataset in three processes, which take turns step by step, so that
a busy machine slows all alike. On a processor ratios are of processor seconds (one thread each), on CUDA of wall time.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import small_model
import torch
from datasets import Dataset, disable_progress_bars, load_from_disk
from transformers import AutoConfig, AutoModelForCausalLM

from llmrecipe.stages.packing import pack

FOLDER = Path(__file__).parent
SIDES = ("by hand", "TRL", "llmrecipe")
BY_HAND, PADDED, PACKED = 0.95, 1.3, 2.5
"""At least so many times the tokens per second of the loop by hand; of TRL with padding; of TRL with packing."""


@dataclass(frozen=True)
class Shape:
    """A model and its batches."""

    config: dict[str, Any]
    length: int
    batch: int
    pairs: int
    padded_steps: int
    packed_steps: int


SHAPES = {
    "small": Shape(
        {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
         "intermediate_size": 768, "vocab_size": 4096, "tie_word_embeddings": False},
        length=512, batch=8, pairs=2000, padded_steps=10, packed_steps=4,
    ),
    "0.6b": Shape(
        {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
         "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151_936, "tie_word_embeddings": True},
        length=2048, batch=8, pairs=20_000, padded_steps=20, packed_steps=20,
    ),
}  # fmt: skip


def rows_of_the_table() -> dict[str, dict[str, Any]]:
    """By name: what is trained."""
    found: dict[str, dict[str, Any]] = {}
    for bf16, lora, packed in itertools.product((False, True), (False, True), (False, True)):
        name = "-".join(("lora" if lora else "full", "packed" if packed else "padded", "bf16" if bf16 else "fp32"))
        rows = "packed" if packed else "padded"
        found[name] = {"lora": lora, "packed": packed, "bf16": bf16, "pretrain": False, "rows": rows}
    for bf16 in (False, True):
        name = f"pretrain-{'bf16' if bf16 else 'fp32'}"
        found[name] = {"lora": False, "packed": True, "bf16": bf16, "pretrain": True, "rows": "blocks"}
    return found


def main() -> int:
    """Measure and print a table; 1 when a bound is not kept."""
    table = rows_of_the_table()
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--rows", choices=table, nargs="+", default=list(table))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {}
    disable_progress_bars()
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), SHAPES[arguments.shape])
        for name in arguments.rows:
            found[name] = measure(Path(folder), name, table[name], SHAPES[arguments.shape], arguments.device)
            print(line(name, found[name]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return int(not all(row["kept"] for row in found.values()))


def write(folder: Path, shape: Shape) -> None:
    """A model with random weights, pairs of mean 67 and at most 481 tokens, the same packed, and blocks of one text."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("qwen3", max_position_embeddings=shape.length, **shape.config)
    AutoModelForCausalLM.from_config(config, dtype="float32").save_pretrained(folder / "model")
    small_model.tokenizer().save_pretrained(folder / "model")
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(3.95, 0.75, shape.pairs), 8, 481).astype(np.int64)
    stream = np.minimum(generator.zipf(1.3, int(lengths.sum())), shape.config["vocab_size"] - 1)
    prompts = (lengths * 0.4).astype(np.int64)
    labels = stream.copy()
    starts = lengths.cumsum() - lengths
    for start, prompt in zip(starts, prompts, strict=True):
        labels[start : start + prompt] = -100
    _save(folder / "padded", [_row(stream, labels, [start], [n]) for start, n in zip(starts, lengths, strict=True)])
    laid = pack(lengths, shape.length, "bfd")
    bounds = itertools.pairwise(laid.bounds)
    parts = [(laid.starts[low:high], laid.lengths[low:high]) for low, high in bounds]
    _save(folder / "packed", [_row(stream, labels, *part, packed=True) for part in parts])
    whole = range(0, len(stream) - shape.length, shape.length)
    _save(folder / "blocks", [_row(stream, stream, [start], [shape.length], packed=True) for start in whole])


def _row(stream: Any, labels: Any, starts: Any, lengths: Any, packed: bool = False) -> dict[str, Any]:
    at = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)])
    row = {"input_ids": stream[at].tolist(), "labels": labels[at].tolist()}
    return {**row, "seq_lengths": [int(n) for n in lengths]} if packed else row


def _save(folder: Path, rows: list[dict[str, Any]]) -> None:
    Dataset.from_list(rows).save_to_disk(folder / "train")


class Side:
    """One process that trains when it is told to."""

    def __init__(self, name: str, job: dict[str, Any], folder: Path, device: str) -> None:
        file = folder / "job.json"
        file.write_text(json.dumps({**job, "work": tempfile.mkdtemp(dir=folder)}), encoding="utf-8")
        (theirs, asks), (answers, tells) = os.pipe(), os.pipe()
        began = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent), "HF_HUB_OFFLINE": "1"}
        if device == "cpu":
            environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [sys.executable, FOLDER / "training_sides.py", name, file, str(theirs), str(tells)],
            pass_fds=(theirs, tells), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True,
        )  # fmt: skip
        os.close(theirs)
        os.close(tells)
        self.asks: IO[str] = os.fdopen(asks, "w")
        self.answers: IO[str] = os.fdopen(answers)
        self.first = self._answer()
        self.seconds_to_first_step = time.perf_counter() - began

    def step(self) -> dict[str, float]:
        print(file=self.asks, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, float]:
        answer = self.answers.readline()
        if not answer:
            assert self.process.stderr is not None
            raise SystemExit(self.process.stderr.read()[-4000:])
        found: dict[str, float] = json.loads(answer)
        return found

    def end(self) -> None:
        self.asks.close()
        self.process.wait()
        self.answers.close()


HEADER = (
    f"{'':18}{'tokens per processor second (CUDA: second)':>44}{'ours /':>9}{'ours /':>8}{'peak memory, MiB':>25}"
    f"{'first step, s':>22}\n"
    f"{'':18}{'by hand':>12}{'TRL':>12}{'llmrecipe':>12}{'':8}{'by hand':>9}{'TRL':>8}"
    f"{'by hand':>9}{'TRL':>8}{'ours':>8}{'by hand':>9}{'TRL':>7}{'ours':>7}"
)


def line(name: str, found: dict[str, Any]) -> str:
    """One row of the table as text."""
    rates = "".join(f"{found['tokens per second'][side]:12,.0f}" for side in SIDES)
    peaks = "".join(f"{found['peak'][side] / 2**20:{9 if side == 'by hand' else 8},.0f}" for side in SIDES)
    first = "".join(f"{found['seconds to first step'][side]:{9 if side == 'by hand' else 7}.1f}" for side in SIDES)
    kept = "" if found["kept"] else "  BOUND NOT KEPT"
    return f"{name:18}{rates}{'':8}{found['of by hand']:9.2f}{found['of TRL']:8.2f}{peaks}{first}{kept}"


def measure(folder: Path, name: str, job: dict[str, Any], shape: Shape, device: str) -> dict[str, Any]:
    """All three sides of one row of the table."""
    job = {**job, "folder": str(folder), "batch": shape.batch, "length": shape.length}
    sides = {side: Side(side, job, folder, device) for side in SIDES}
    steps: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(shape.packed_steps if job["packed"] else shape.padded_steps):
        for side, process in sides.items():
            steps[side].append(process.step())
    for process in sides.values():
        process.end()
    clock = "wall" if device == "cuda" else "cpu"
    seconds = {side: sum(step[clock] for step in found) for side, found in steps.items()}
    tokens = _tokens(folder, job, len(steps["TRL"]))
    ratios = {side: seconds[side] / seconds["llmrecipe"] for side in ("by hand", "TRL")}
    bound = 0.0 if job["pretrain"] else PACKED if job["packed"] else PADDED
    return {
        "tokens per second": {side: tokens / seconds[side] for side in SIDES},
        "wall tokens per second": {side: tokens / sum(step["wall"] for step in steps[side]) for side in SIDES},
        "peak": {side: max(step["peak"] for step in found) for side, found in steps.items()},
        "seconds to first step": {side: process.seconds_to_first_step for side, process in sides.items()},
        "steps": steps,
        "of by hand": ratios["by hand"],
        "of TRL": ratios["TRL"],
        "kept": ratios["by hand"] >= BY_HAND and ratios["TRL"] >= bound and _same(steps, job["bf16"]),
    }


def _same(steps: dict[str, list[dict[str, float]]], bf16: bool) -> bool:
    """Whether TRL and llmrecipe logged the same loss, so that both did the same."""
    logged = zip(*([step["loss"] for step in steps[side]] for side in ("TRL", "llmrecipe")), strict=True)
    return all(abs(one - other) <= (2e-2 if bf16 else 1e-4) * one for one, other in logged)


def _tokens(folder: Path, job: dict[str, Any], steps: int) -> int:
    """Tokens without padding of the measured steps; the first step is not measured."""
    rows = load_from_disk(str(folder / job["rows"] / "train"))
    used = rows.select(range(job["batch"], job["batch"] * (steps + 1)))
    return sum(map(len, used["input_ids"]))


if __name__ == "__main__":
    sys.exit(main())
