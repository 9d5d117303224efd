"""Small tokenizers, models, datasets and places for the tests of the model stages."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tiny import ANSWERS, _tokenizer

from llmrecipe.plan import InputModel, NewModel, Train
from llmrecipe.stages import loading
from llmrecipe.stages.place import Place
from llmrecipe.vocabulary import Architecture, Full

torch.set_num_threads(1)

FAMILIES = ("qwen3", "qwen3_moe", "llama", "mistral", "gemma3_text", "smollm3", "falcon", "gpt2")

ARGUMENTS: dict[str, Any] = {
    "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2, "gradient_accumulation_steps": 1,
    "learning_rate": 1e-2, "weight_decay": 0.1, "max_grad_norm": 1.0, "seed": 1, "activation_checkpointing": False,
    "logging_steps": 2, "save_strategy": "steps", "save_steps": 5, "save_total_limit": 2, "dataloader_num_workers": 0,
    "max_steps": 12, "bf16": False, "fp16": False, "eval_strategy": "no", "optim": "adamw_torch_fused",
    "lr_scheduler_type": "cosine", "warmup_steps": 0.1,
}  # fmt: skip
"""What lowering writes."""

TRAINERS = {
    "pretrain": ("transformers:Trainer", "transformers:TrainingArguments"),
    "sft": ("trl:SFTTrainer", "trl:SFTConfig"),
    "dpo": ("trl:DPOTrainer", "trl:DPOConfig"),
    "reward": ("trl:RewardTrainer", "trl:RewardConfig"),
    "kto": ("trl:KTOTrainer", "trl:KTOConfig"),
    "orpo": ("trl.experimental.orpo:ORPOTrainer", "trl.experimental.orpo:ORPOConfig"),
    "cpo": ("trl.experimental.cpo:CPOTrainer", "trl.experimental.cpo:CPOConfig"),
    "distillation": (
        "llmrecipe.trainers.distillation:DistillationTrainer",
        "llmrecipe.trainers.distillation:DistillationConfig",
    ),
}


def architecture(family: str = "qwen3", **values: Any) -> Architecture:
    """Two layers of width 32, with what the family has."""
    fields: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "max_position_embeddings": 128,
    }  # fmt: skip
    if family != "gpt2":
        fields["num_key_value_heads"] = 2
    if family in ("qwen3", "qwen3_moe", "llama", "mistral", "gemma3_text"):
        fields["head_dim"] = 8
    if family == "qwen3_moe":
        del fields["intermediate_size"]
        fields |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    return Architecture(family=family, **(fields | values))


def tokenizer() -> Any:
    """Bytes and a few merges, ChatML, `<pad>` and `<|im_end|>`."""
    return _tokenizer()


def model(family: str = "qwen3", attention: str = "sdpa", seed: int = 0, **values: Any) -> Any:
    """Random weights, in evaluation mode."""
    return loading.new_model(architecture(family, **values), tokenizer(), attention, "float32", seed).eval()


def saved_model(folder: Path, **values: Any) -> Path:
    """A model folder with its tokenizer."""
    model(**values).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def packed_rows(count: int, seed: int = 0) -> Iterator[dict[str, list[int]]]:
    """Rows of three documents."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        lengths = generator.integers(2, 14, size=3).tolist()
        ids = generator.integers(5, 250, size=sum(lengths)).tolist()
        yield {"input_ids": ids, "labels": ids, "seq_lengths": lengths}


def padded_rows(count: int, seed: int = 0) -> Iterator[dict[str, list[int]]]:
    """Rows of one document each, the first two tokens without a label."""
    for row in packed_rows(count, seed):
        ids = row["input_ids"][: row["seq_lengths"][0] + 3]
        yield {"input_ids": ids, "labels": [-100, -100, *ids[2:]]}


def preference_rows(count: int, seed: int = 0) -> Iterator[dict[str, list[int]]]:
    """Prompts with two answers."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield {
            f"{part}_ids": generator.integers(5, 250, size=size).tolist()
            for part, size in (("prompt", 6), ("chosen", 5), ("rejected", 4))
        }


def unpaired_rows(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Prompts with an answer that is good or bad."""
    for i, row in enumerate(preference_rows(count, seed)):
        completion = row["chosen_ids"] if i % 3 else row["rejected_ids"]
        yield {"prompt_ids": row["prompt_ids"], "completion_ids": completion, "label": int(i % 3 > 0)}


def dataset(folder: Path, rows: Sequence[dict[str, Any]], validation: Sequence[dict[str, Any]] = ()) -> Path:
    """What tokenization leaves."""
    Dataset.from_list(list(rows)).save_to_disk(folder / "train")
    if validation:
        Dataset.from_list(list(validation)).save_to_disk(folder / "validation")
    return folder


def place(folder: Path, **inputs: Path) -> Place:
    """A place to work in, as the stage process makes it."""
    for name in ("output", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Place(inputs=inputs, output=folder / "output", work=folder / "work", root=folder)


def train_spec(method: str = "pretrain", family: str = "qwen3", **changes: Any) -> Train:
    """A training of a model from scratch; `arguments` are merged into the usual ones."""
    trainer, config = TRAINERS[method]
    arguments = ARGUMENTS | changes.pop("arguments", {})
    fields: dict[str, Any] = {
        "kind": "train", "method": method, "trainer": trainer, "config": config, "arguments": arguments,
        "model": NewModel(kind="new", architecture=architecture(family)), "dtype": "auto", "attention": "sdpa",
        "adapter": Full(kind="full"), "optimizer": None, "packed": True, "world_size": 1, "seed": 1,
        "trust_remote_code": False,
    }  # fmt: skip
    return Train(**(fields | changes))


def log(place: Place) -> list[dict[str, Any]]:
    """The written training log."""
    lines = (place.output / "metrics" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


INPUT = InputModel(kind="input")

__all__ = ["ANSWERS", "INPUT"]
