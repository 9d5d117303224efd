"""What the methods that learn from their own answers have in common: rewards, and how answers are generated."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.base import BaseMethod
from llmrecipe.schema import Fraction, PositiveInt
from llmrecipe.vocabulary import ModelReference, Objective, RewardFunction, RowKind

REWARD_MODEL = "reward_model"
"""Role of the model that scores answers."""

VLLM_OPTIONS = (
    "vllm_mode",
    "vllm_server_base_url",
    "vllm_gpu_memory_utilization",
    "vllm_max_model_length",
    "vllm_tensor_parallel_size",
    "vllm_enable_sleep_mode",
)
"""Options that mean nothing without `use_vllm`."""


class OnlineMethod(BaseMethod):
    """Learns from rewards of answers that the model gives while it is trained."""

    rows: ClassVar[tuple[RowKind, ...]] = ("prompt",)
    objective: ClassVar[Objective] = "prompt"
    learning_rate: ClassVar[float] = 1e-6

    reward_model: ModelReference | None = None
    """A model that scores answers, as the method `reward` trains it."""
    reward_model_weight: float = 1.0
    """What its score counts in the sum of the rewards."""
    reward_functions: list[RewardFunction] = []
    """Functions that score answers; with the reward model, their weighted sum is the reward."""
    max_completion_length: PositiveInt = 256
    """Longest answer, in tokens. Prompts may have `training.max_length` less that many."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Logits are divided by it, when answers are drawn and when they are learned from."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the likeliest tokens that together have this probability."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Draw from that many likeliest tokens; 0 from all."""
    use_vllm: bool = False
    """Generate with vLLM, whose weights follow those of the model. Needs an accelerator."""
    vllm_mode: Literal["colocate", "server"] = "colocate"
    """vLLM in the training processes, or a server (`trl vllm-serve`) that runs already."""
    vllm_server_base_url: str | None = None
    """Address of that server: `http://host:8000`."""
    vllm_gpu_memory_utilization: Fraction = 0.3
    """Share of the device's memory for a vLLM in the training processes."""
    vllm_max_model_length: PositiveInt | None = None
    """Longest prompt with answer that vLLM makes room for; the model's own limit when left out."""
    vllm_tensor_parallel_size: PositiveInt = 1
    """Devices over which a vLLM in the training processes is split."""
    vllm_enable_sleep_mode: bool = False
    """Free vLLM's memory while the weights are trained."""

    def generation_options(self) -> dict[str, JsonValue]:
        """Keyword arguments of the trainer that say how answers are generated."""
        found: dict[str, JsonValue] = {
            "max_completion_length": self.max_completion_length,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
        }
        if self.use_vllm:
            options = {name: getattr(self, name) for name in VLLM_OPTIONS}
            found |= {"use_vllm": True} | {name: value for name, value in options.items() if value is not None}
        return found

    def models(self) -> dict[str, ModelReference]:
        return {} if self.reward_model is None else {REWARD_MODEL: self.reward_model}
