"""A task for tests of PPO: answers are worth the share of their tokens that lie on one side of a plane."""

import copy
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from small import model, tokenizer

from llmrecipe.trainers.ppo import PPOConfig, PPOTrainer

ARGUMENTS: dict[str, Any] = {
    "use_cpu": True, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_mini_batches": 2,
    "num_ppo_epochs": 2, "max_steps": 8, "learning_rate": 3e-3, "logging_steps": 1, "save_strategy": "no",
    "max_completion_length": 6, "remove_unused_columns": False, "disable_tqdm": True, "report_to": "none",
    "kl_coef": 0.02, "seed": 3, "lr_scheduler_type": "constant",
}  # fmt: skip


def policy() -> Any:
    """A new model of 64 numbers in width that is of some opinion: not all tokens are about equally likely."""
    found = model(hidden_size=64, intermediate_size=128)
    torch.manual_seed(0)
    torch.nn.init.normal_(found.get_input_embeddings().weight, std=0.2)
    return found


WORTHY = (policy().get_input_embeddings().weight[:, 0] > 0).tolist()


def side(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float | None]:
    """The reward."""
    return [sum(WORTHY[token] for token in row) / len(row) for row in completion_ids]


def rows(count: int = 20) -> Dataset:
    """Prompts of different lengths."""
    words = tokenizer()
    texts = [f"Say {'something ' * (i % 4)}{i}" for i in range(count)]
    return Dataset.from_list(
        [{"prompt": text, "prompt_ids": words(text)["input_ids"], "reference": str(i)} for i, text in enumerate(texts)]
    )


def trainer(folder: Path, arguments: dict[str, Any] | None = None, **options: Any) -> PPOTrainer:
    """A trainer of a new model of 64 numbers in width; `arguments` are merged into the usual ones."""
    defaults = {
        "model": policy(),
        "train_dataset": rows(),
        "processing_class": tokenizer(),
        "reward_funcs": [side],
    }
    args = PPOConfig(output_dir=str(folder), **(ARGUMENTS | (arguments or {})))
    return PPOTrainer(args=args, **(defaults | copy.deepcopy(options)))  # PEFT writes into its configuration.


def weights(of: PPOTrainer) -> dict[str, torch.Tensor]:
    """Every parameter of policy and value."""
    return {name: tensor.detach().clone() for name, tensor in of.model.state_dict().items()}


def history(of: PPOTrainer) -> list[dict[str, float]]:
    """The log without what depends on the clock."""
    return [
        {name: value for name, value in entry.items() if not name.startswith(("train_", "total_"))}
        for entry in of.state.log_history
    ]


if __name__ == "__main__":  # One of several processes, started by a launcher: write down what came out.
    torch.set_num_threads(1)
    folder, world_size = Path(sys.argv[1]), int(os.environ["WORLD_SIZE"])
    spread = {"per_device_train_batch_size": 4 // world_size, "ddp_find_unused_parameters": False}
    found = trainer(folder / "work", spread)
    found.train()
    if found.args.process_index == 0:
        torch.save({"weights": weights(found), "history": history(found)}, folder / "found.pt")
