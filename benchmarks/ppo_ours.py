"""One run of llmrecipe's PPO on the task of ppo_task.py: `python ppo_ours.py SEED OUTPUT.json`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import ppo_task
import torch
from datasets import Dataset

from llmrecipe.trainers.ppo import PPOConfig, PPOTrainer


def main(seed: int, output: Path) -> None:
    """Train and write the curve."""
    torch.set_num_threads(1)
    policy = ppo_task.model(seed)
    worth = ppo_task.worth(policy).tolist()

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [sum(worth[token] for token in row) / len(row) for row in completion_ids]

    curve = ppo_task.Curve(ppo_task.EPOCHS * ppo_task.MINI_BATCHES)
    with tempfile.TemporaryDirectory() as folder:
        args = PPOConfig(
            output_dir=folder,
            seed=seed,
            max_steps=ppo_task.UPDATES * curve.steps_per_rollout,
            logging_steps=curve.steps_per_rollout,
            per_device_train_batch_size=ppo_task.ROLLOUT // ppo_task.MINI_BATCHES,
            max_completion_length=ppo_task.COMPLETION_LENGTH,
            value_backbone="separate",
            max_grad_norm=0.0,
            remove_unused_columns=False,
            **ppo_task.SHARED,
        )
        rows = [{"prompt": "", "prompt_ids": ids} for ids in ppo_task.prompts(seed)]
        PPOTrainer(
            policy, args, Dataset.from_list(rows), processing_class=ppo_task.tokenizer(), reward_funcs=[reward],
            callbacks=[curve],
        ).train()  # fmt: skip
    curve.write(output)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
