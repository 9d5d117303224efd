"""Group relative policy optimization: several answers to each prompt, each judged against the others."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.online import OnlineMethod
from llmrecipe.schema import PositiveInt


class GRPO(OnlineMethod):
    """Group relative policy optimization: an answer is better or worse than the others to the same prompt.

    Source: https://arxiv.org/abs/2402.03300
    """

    trainer: ClassVar[str] = "trl:GRPOTrainer"
    config: ClassVar[str] = "trl:GRPOConfig"

    kind: Literal["grpo"]
    num_generations: Annotated[int, Field(ge=2)] = 8
    """Answers to each prompt. The global batch counts answers and is a multiple of it."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL to the model before training; 0 needs no copy of it."""
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"] = "dapo"
    """How the losses of tokens become one.

    `grpo`: the mean of each answer, then of the answers; favours short ones. `dapo`: over all tokens of the global
    batch. `bnpo`: over all tokens of the batch of one process. `dr_grpo`: over `max_completion_length`. `cispo`,
    `sapo`, `luspo`, `vespo`: other ways of holding the probability ratio.

    Sources: https://arxiv.org/abs/2503.14476, https://arxiv.org/abs/2503.20783, https://arxiv.org/abs/2506.13585,
    https://arxiv.org/abs/2511.20347
    """
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """By which standard deviation rewards are divided."""
    epsilon: Annotated[float, Field(gt=0)] = 0.2
    """How far the probability ratio counts below 1, and above unless `epsilon_high` is written."""
    epsilon_high: Annotated[float, Field(gt=0)] | None = None
    """How far the probability ratio counts above 1."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """Whether the probability ratio is that of each token or of a whole answer (GSPO).

    Source: https://arxiv.org/abs/2507.18071
    """
    num_iterations: PositiveInt = 1
    """Times that answers are learned from."""
    steps_per_generation: PositiveInt | None = None
    """Batches of one process that answers are generated for at once; as many as are accumulated when left out."""
    mask_truncated_completions: bool = False
    """Do not learn from answers that reached `max_completion_length`."""

    def options(self) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {
            "num_generations": self.num_generations,
            "beta": self.beta,
            "loss_type": self.loss_type,
            "scale_rewards": self.scale_rewards,
            "epsilon": self.epsilon,
            "epsilon_high": self.epsilon_high,
            "importance_sampling_level": self.importance_sampling_level,
            "num_iterations": self.num_iterations,
            "steps_per_generation": self.steps_per_generation,
            "mask_truncated_completions": self.mask_truncated_completions,
        }
        return self.generation_options() | {name: value for name, value in found.items() if value is not None}
