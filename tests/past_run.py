"""The folder of a run as the runner leaves it, with figures that were made up."""

import json
import math
from pathlib import Path

from llmrecipe.lock import Lock
from llmrecipe.lower import lower
from llmrecipe.plan import PinnedFile, Plan, Stage
from llmrecipe.recipe import Recipe
from llmrecipe.store import Store
from llmrecipe.summary import StageSummary, Summary

EVIL = "<script>alert('run')</script>"
FILE = PinnedFile(path="data/rows.jsonl", suffix=".jsonl", size=10, sha256="0" * 64)
SOURCE = {"kind": "files", "paths": ["data/rows.jsonl"], "format": "messages"}
ARCHITECTURE = {"family": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SUITE = {"kind": "generation", "name": "questions", "sources": [SOURCE]}
BASE = {
    "version": 1,
    "name": "base",
    "model": {"base": {"architecture": ARCHITECTURE}},
    "tokenizer": {"kind": "train", "vocab_size": 400},
    "data": {"train": [SOURCE | {"format": "text"}], "validation": {"fraction": 0.1}},
    "method": {"kind": "pretrain"},
    "training": {"max_steps": 300, "global_batch_size": 64},
    "evaluation": {"suites": [{"kind": "perplexity"}, SUITE]},
}
CHAT = {
    "version": 1,
    "name": "chat",
    "model": {"base": {"recipe": "base"}, "adapter": {"kind": "lora"}},
    "data": {"train": [SOURCE]},
    "method": {"kind": "sft"},
    "evaluation": {"suites": [SUITE], "gates": [{"metric": "questions/exact_match", "min": 0.9}]},
    "export": {"description": EVIL},
}
METRICS = {
    "evaluate-perplexity": {"perplexity": 8.31, "tokens": 20480.0},
    "evaluate-questions": {"exact_match": 0.0312, "f1": 0.11},
    "train": {"parameters": 6_912_000.0, "trainable_parameters": 6_912_000.0, "train_tokens": 614_400.0},
}
LENGTHS = {"min": 12, "p10": 20, "p50": 61, "p90": 120, "p99": 300, "max": 512, "mean": 70.1}
PREPARED = {
    "sources": [
        {
            "label": "data.train[0]", "names": ["data/rows.jsonl"], "split": "train", "weight": None,
            "rows_in": 12000, "kept": 11874, "used": 11874,
            "dropped": {"is an exact duplicate": 120, "has fewer than 3 words": 6},
        }
    ],
    "train": {"rows": 10687, "characters": LENGTHS},
    "validation": {"rows": 1187, "characters": LENGTHS},
    "train_rows_also_in_validation": 0,
    "drop_samples": {"is an exact duplicate": [{"where": "data/rows.jsonl:17", "text": EVIL}]},
}  # fmt: skip
TOKENS = {
    "rows": 10687, "kept": 10680, "dropped": {"no supervised token": 7}, "tokens": 250100, "supervised_tokens": 81400,
    "supervised_share": 0.3255, "length": LENGTHS, "truncated_rows": 20, "truncated_share": 0.0019,
    "tokens_cut_off": 310, "sequences": 2010, "packing_efficiency": 0.97,
    "samples": [
        {
            "spans": [
                {"text": "<|im_start|>user\nWhat is 3 plus 3?<|im_end|>\n<|im_start|>assistant\n", "learned": False},
                {"text": f"6 {EVIL}<|im_end|>", "learned": True},
                {"text": "\n", "learned": False},
            ]
        }
    ],
}  # fmt: skip
TOKENIZED = {"train": TOKENS, "validation": None, "warnings": ["7 rows begin twice"], "tokenizer": {"vocab_size": 400}}


def plan() -> Plan:
    """A pipeline of two recipes: a base from scratch, and a chat model with an adapter."""
    recipes = [Recipe.model_validate(recipe) for recipe in (BASE, CHAT)]
    places = (
        "base:data.train.0",
        "base:evaluation.suites.1.sources.0",
        "chat:data.train.0",
        "chat:evaluation.suites.0.sources.0",
    )
    packages = {"llmrecipe": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"}
    lock = Lock(packages=packages, files={at: [FILE] for at in places}, folders={}, texts={}, commits={}, unpinned=[])
    return lower(recipes, lock)


def past_run(root: Path, status: str = "complete", done: int | None = None) -> Path:
    """Write the run into `root/runs/chat`: the first `done` stages are complete, the next has the status of the run."""
    planned = plan()
    folder, store = root / "runs" / "chat", Store(root / ".llmrecipe")
    folder.mkdir(parents=True)
    store.create()
    addresses, stages = planned.addresses(), []
    for i, stage in enumerate(planned.stages):
        state = "complete" if done is None or i < done else status if i == done else "waiting"
        summary = StageSummary(name=stage.name, address=addresses[stage.name], status=state)
        if state == "complete":
            _fill(stage, store.artifact(addresses[stage.name]))
            link = folder / stage.name
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(store.artifact(addresses[stage.name]))
            metrics = METRICS.get(stage.name.partition("/")[2], {})
            if stage.name == "chat/evaluate-questions":
                metrics = {"exact_match": 0.953, "f1": 0.97}
            made = {"seconds": 3.2 * (i + 1), "metrics": metrics, "cached": i == 0, "packages": planned.packages}
            summary = summary.model_copy(update=made)
        elif state == "failed":
            summary = summary.model_copy(update={"message": f"`loss` became nan {EVIL}", "help": "lower it"})
        if state not in ("complete", "waiting"):
            work = store.work(addresses[stage.name])
            work.mkdir(parents=True)
            _log(work / "log.jsonl", 40)
        stages.append(summary)
    (folder / "summary.json").write_text(_summary(planned, stages, status).model_dump_json())
    return folder


def _summary(planned: Plan, stages: list[StageSummary], status: str) -> Summary:
    environment: dict[str, str | int] = {"python": "3.11.7", "platform": "Linux", "machine": "x86_64", "cores": 2}
    return Summary(
        name=planned.name, status=status, started="2026-11-20T19:00:00+00:00", seconds=241.7, stages=stages,
        model=None, environment=environment, plan=planned,
    )  # fmt: skip


def _fill(stage: Stage, artifact: Path) -> None:
    artifact.mkdir(parents=True)
    match stage.spec.kind:
        case "prepare_data":
            _json(artifact / "report" / "report.json", PREPARED)
        case "tokenize":
            _json(artifact / "report" / "report.json", TOKENIZED)
        case "train":
            _log(artifact / "metrics" / "log.jsonl", 300)
        case "evaluate" if stage.name.endswith("questions"):
            right = stage.name.startswith("chat")
            asked = [[{"role": "user", "content": f"What is {i} plus {i}?"}] for i in range(20)]
            lines = [
                {"prompt": prompt, "reference": str(2 * i), "answer": str(2 * i) if right else EVIL, "correct": right}
                for i, prompt in enumerate(asked)
            ]
            path = artifact / "samples" / "samples.jsonl"
            path.parent.mkdir()
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _log(path: Path, steps: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(10, steps + 1, 10):
        wobble = math.sin(step * 1.7) * 0.08
        lines.append(
            {"step": step, "epoch": step / 300, "loss": 1.4 + 5 * math.exp(-step / 60) + wobble,
             "learning_rate": 1e-3 * min(step / 30, 0.5 + 0.5 * math.cos(math.pi * step / 300)),
             "grad_norm": 0.8 + wobble * 2, "tokens_per_second": 5100 + 300 * wobble, "mfu": 0.4 + wobble,
             "memory_gib": 3.2, "data_loading_share": 0.01, "entropy": 2.0 + wobble}
        )  # fmt: skip
        if step == 30:
            lines.append(
                {"step": step, "epoch": 0.1, "warning": "free_disk", "message": "9 MB are free", "help": "make room"}
            )
        if step % 50 == 0:
            lines.append({"step": step, "epoch": step / 300, "eval_loss": 1.5 + 5 * math.exp(-step / 60)})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
