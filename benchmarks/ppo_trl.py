"""One run of the last PPO that TRL had (1.12.0) on the task of ppo_task.py: `python ppo_trl.py SEED OUTPUT.json`."""

import copy
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ppo_task
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification
from trl.experimental.ppo import PPOConfig, PPOTrainer


class Backbone(torch.nn.Module):  # type: ignore[misc]
    """ "Hidden states" [batch, length, 1]: the mean worth of the completion's tokens so far."""

    def __init__(self, worth: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("worth", worth)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> SimpleNamespace:
        """What TRL asks of the backbone of a reward model."""
        worth = self.worth[input_ids]
        worth[:, : ppo_task.PROMPT_LENGTH] = 0
        places = torch.arange(1, input_ids.shape[1] + 1) - ppo_task.PROMPT_LENGTH
        return SimpleNamespace(hidden_states=[(worth.cumsum(1) / places.clamp(min=1)).unsqueeze(-1)])


class RewardModel(torch.nn.Module):  # type: ignore[misc]
    """The reward as TRL takes it: a backbone and a head."""

    base_model_prefix = "model"

    def __init__(self, worth: torch.Tensor) -> None:
        super().__init__()
        self.model = Backbone(worth)
        self.score = torch.nn.Identity()


def main(seed: int, output: Path) -> None:
    """Train and write the curve."""
    torch.set_num_threads(1)
    policy, tokenizer = ppo_task.model(seed), ppo_task.tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        policy.save_pretrained(folder)
        value = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    torch.nn.init.zeros_(value.score.weight)
    curve = ppo_task.Curve(1)
    rows = Dataset.from_list([{"input_ids": ids} for ids in ppo_task.prompts(seed)])
    with tempfile.TemporaryDirectory() as folder:
        args = PPOConfig(
            output_dir=folder,
            seed=seed,
            total_episodes=ppo_task.UPDATES * ppo_task.ROLLOUT,
            logging_steps=1,
            per_device_train_batch_size=ppo_task.ROLLOUT,  # It makes minibatches of this.
            response_length=ppo_task.COMPLETION_LENGTH,
            stop_token="eos",
            num_sample_generations=0,
            gradient_checkpointing=False,
            **ppo_task.SHARED,
        )
        PPOTrainer(
            args, tokenizer, policy, copy.deepcopy(policy), RewardModel(ppo_task.worth(policy)), rows, value,
            eval_dataset=rows, callbacks=[curve],
        ).train()  # fmt: skip
    curve.write(output)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
