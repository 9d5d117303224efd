"""The task on which two trainers of PPO are compared: a small model, prompts, and a reward that is known exactly.

An answer is worth the share of its tokens whose embedding lies on one side of a plane. Only torch and transformers are
needed here, since both sides import it, each in its own environment.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, TrainerCallback

VOCABULARY = 512
PAD, EOS = 0, 1
PROMPT_LENGTH, COMPLETION_LENGTH = 8, 24
PROMPTS = 512
ROLLOUT, MINI_BATCHES, EPOCHS = 64, 2, 4
UPDATES = 24
"""Rollouts."""

SHARED: dict[str, Any] = {
    "learning_rate": 5e-4, "lr_scheduler_type": "constant", "num_ppo_epochs": EPOCHS, "num_mini_batches": MINI_BATCHES,
    "kl_coef": 0.05, "kl_estimator": "k1", "cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.1, "gamma": 1.0,
    "lam": 0.95, "whiten_rewards": False, "temperature": 1.0, "local_rollout_forward_batch_size": ROLLOUT,
    "report_to": "none", "use_cpu": True, "bf16": False, "save_strategy": "no", "disable_tqdm": True,
    "gradient_accumulation_steps": 1,
}  # fmt: skip
"""Options that both sides call alike."""


def tokenizer() -> Any:
    """One token for each number."""
    vocabulary = {"<pad>": PAD, "<eos>": EOS} | {f"t{i}": i for i in range(2, VOCABULARY)}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def model(seed: int) -> Any:
    """The policy before training; it is of some opinion already."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=32, intermediate_size=256, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=EOS, pad_token_id=PAD,
    )  # fmt: skip
    found = Qwen3ForCausalLM(config)
    torch.nn.init.normal_(found.get_input_embeddings().weight, std=0.1)
    return found


def worth(policy: Any) -> torch.Tensor:
    """What each token is worth, [vocabulary]; take it before training."""
    return (policy.get_input_embeddings().weight.detach()[:, 0] > 0).float()


def prompts(seed: int) -> list[list[int]]:
    """Token ids, all of one length."""
    generator = torch.Generator().manual_seed(seed)
    found: list[list[int]] = torch.randint(2, VOCABULARY, (PROMPTS, PROMPT_LENGTH), generator=generator).tolist()
    return found


class Curve(TrainerCallback):  # type: ignore[misc]
    """Score and KL of every rollout, and what the rollouts after the second took."""

    def __init__(self, steps_per_rollout: int) -> None:
        self.steps_per_rollout = steps_per_rollout
        self.clocks: list[tuple[float, float]] = []
        self.points: list[tuple[float, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the clock when a rollout is learned."""
        if state.global_step % self.steps_per_rollout == 0:
            self.clocks.append((time.perf_counter(), time.process_time()))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Keep the rollout's measures."""
        if logs and "objective/kl" in logs:
            self.points.append((logs["objective/kl"], logs["objective/scores"]))

    def write(self, path: Path) -> None:
        """As JSON: `points`, and seconds per update on the wall and of the processor."""
        (wall, cpu), (last_wall, last_cpu) = self.clocks[1], self.clocks[-1]
        count = len(self.clocks) - 2
        found = {"points": self.points, "wall": (last_wall - wall) / count, "cpu": (last_cpu - cpu) / count}
        path.write_text(json.dumps(found), encoding="utf-8")
