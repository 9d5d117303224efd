"""The options of PPO, beside those of every trainer."""

from dataclasses import dataclass, field
from typing import Literal

from transformers import TrainingArguments


@dataclass
class PPOConfig(TrainingArguments):  # type: ignore[misc]
    """What `PPOTrainer` is told.

    One optimizer step takes one minibatch: `per_device_train_batch_size` x `gradient_accumulation_steps` x processes
    answers. A rollout is `num_mini_batches` of them, and is learned from `num_ppo_epochs` times.
    """

    num_ppo_epochs: int = field(default=4, metadata={"help": "Passes over each rollout."})
    num_mini_batches: int = field(default=1, metadata={"help": "Optimizer steps of one pass over a rollout."})
    local_rollout_forward_batch_size: int = field(
        default=64, metadata={"help": "Answers that one process generates or scores at once."}
    )
    gamma: float = field(default=1.0, metadata={"help": "Discount of later rewards."})
    lam: float = field(default=0.95, metadata={"help": "Lambda of generalized advantage estimation."})
    cliprange: float = field(default=0.2, metadata={"help": "How far the probability ratio counts, on either side."})
    cliprange_value: float = field(default=0.2, metadata={"help": "How far a value counts from its old one."})
    vf_coef: float = field(default=0.1, metadata={"help": "Weight of the value loss."})
    entropy_coef: float = field(default=0.0, metadata={"help": "Weight of the entropy, which is made larger."})
    kl_coef: float = field(default=0.05, metadata={"help": "Weight of the KL to the reference in the reward."})
    kl_estimator: Literal["k1", "k2", "k3"] = field(
        default="k1", metadata={"help": "Estimate of the KL that enters the reward."}
    )
    target_kl: float | None = field(
        default=None, metadata={"help": "KL of one answer toward which `kl_coef` moves; None holds it fixed."}
    )
    horizon: int = field(default=10_000, metadata={"help": "Answers in which `kl_coef` moves by about 20 %."})
    whiten_advantages: bool = field(default=True, metadata={"help": "Mean 0 and variance 1 over each rollout."})
    whiten_rewards: bool = field(default=False, metadata={"help": "Variance 1 of the rewards of all tokens."})
    reward_clip: float | None = field(default=None, metadata={"help": "Scores are held between -x and x."})
    missing_eos_penalty: float | None = field(
        default=None, metadata={"help": "Taken from the score of an answer that does not end."}
    )
    max_completion_length: int = field(default=256, metadata={"help": "Longest answer, in tokens."})
    min_completion_length: int = field(default=0, metadata={"help": "Tokens before an answer may end."})
    temperature: float = field(default=1.0, metadata={"help": "Of sampling; logits are divided by it in training too."})
    top_k: int = field(default=0, metadata={"help": "Sample from that many likeliest tokens; 0 from all."})
    top_p: float = field(default=1.0, metadata={"help": "Sample from the likeliest tokens with this share."})
    stop_token_ids: list[int] | None = field(
        default=None, metadata={"help": "Tokens that end an answer, beside those of model and tokenizer."}
    )
    value_backbone: Literal["shared", "separate"] = field(
        default="shared", metadata={"help": "Whether the value has a backbone of its own."}
    )
    disable_dropout: bool = field(default=True, metadata={"help": "No dropout, so that ratios start at 1."})
    ds3_gather_for_generation: bool = field(
        default=True, metadata={"help": "Gather the weights of ZeRO-3 once per rollout, not once per token."}
    )
    use_vllm: bool = field(default=False, metadata={"help": "Generate with vLLM."})
    vllm_mode: Literal["server", "colocate"] = field(
        default="colocate", metadata={"help": "vLLM in these processes, or a server that runs already."}
    )
    vllm_server_base_url: str | None = field(default=None, metadata={"help": "Address of that server."})
    vllm_server_timeout: float = field(default=240.0, metadata={"help": "Seconds to wait for the server."})
    vllm_gpu_memory_utilization: float = field(default=0.3, metadata={"help": "Share of the device's memory for vLLM."})
    vllm_max_model_length: int | None = field(default=None, metadata={"help": "Longest prompt with answer."})
    vllm_tensor_parallel_size: int = field(default=1, metadata={"help": "Devices of one vLLM."})
    vllm_enable_sleep_mode: bool = field(default=False, metadata={"help": "Free vLLM's memory while training."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_ppo_epochs", "num_mini_batches", "local_rollout_forward_batch_size", "max_completion_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1")
        if self.min_completion_length > self.max_completion_length:
            raise ValueError("`min_completion_length` is greater than `max_completion_length`")
        if self.train_sampling_strategy not in ("random", "sequential"):
            raise ValueError("PPO takes prompts in the order `random` or `sequential`")
        if self.temperature <= 0:
            raise ValueError("`temperature` must be greater than 0: without chance there is nothing to learn from")

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps between one generation and the next."""
        return self.num_ppo_epochs * self.num_mini_batches

    @property
    def minibatch_size(self) -> int:
        """Answers of one optimizer step over all processes."""
        return int(self.per_device_train_batch_size * self.gradient_accumulation_steps * self.world_size)

    @property
    def rollout_size(self) -> int:
        """Answers of one rollout over all processes."""
        return self.minibatch_size * self.num_mini_batches
