"""REINFORCE leave-one-out: several answers to each prompt, the mean of the others as the baseline of each."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.online import OnlineMethod
from llmrecipe.schema import PositiveInt


class RLOO(OnlineMethod):
    """REINFORCE leave-one-out: the mean reward of the other answers to a prompt is the baseline of each.

    Source: https://arxiv.org/abs/2402.14740
    """

    trainer: ClassVar[str] = "trl:RLOOTrainer"
    config: ClassVar[str] = "trl:RLOOConfig"

    kind: Literal["rloo"]
    num_generations: Annotated[int, Field(ge=2)] = 2
    """Answers to each prompt. The global batch counts answers and is a multiple of it."""
    beta: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the KL to the model before training, which is taken from the reward."""
    epsilon: Annotated[float, Field(gt=0)] = 0.2
    """How far the probability ratio counts below 1, and above unless `epsilon_high` is written."""
    epsilon_high: Annotated[float, Field(gt=0)] | None = None
    """How far the probability ratio counts above 1."""
    normalize_advantages: bool = False
    """Bring the advantages of a batch to mean 0 and standard deviation 1."""
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
            "epsilon": self.epsilon,
            "epsilon_high": self.epsilon_high,
            "normalize_advantages": self.normalize_advantages,
            "num_iterations": self.num_iterations,
            "steps_per_generation": self.steps_per_generation,
            "mask_truncated_completions": self.mask_truncated_completions,
        }
        return self.generation_options() | {name: value for name, value in found.items() if value is not None}
