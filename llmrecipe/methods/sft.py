"""Supervised fine-tuning: learn from examples of the wanted answers."""

from typing import ClassVar, Literal

from pydantic import JsonValue

from llmrecipe.methods.base import BaseMethod
from llmrecipe.vocabulary import Objective, RowKind


class SFT(BaseMethod):
    """Learn from examples of the wanted answers. Source: https://arxiv.org/abs/2203.02155, section 3.5"""

    trainer: ClassVar[str] = "trl:SFTTrainer"
    config: ClassVar[str] = "trl:SFTConfig"
    rows: ClassVar[tuple[RowKind, ...]] = ("messages", "prompt_completion", "text")
    objective: ClassVar[Objective] = "causal"
    learning_rate: ClassVar[float] = 2e-5

    kind: Literal["sft"]
    assistant_only_loss: bool = False
    """For rows of messages: the loss is over the assistant's turns alone. Needs a template with generation marks."""
    completion_only_loss: bool = True
    """For rows of prompt and completion: the loss is over the completion alone."""
    loss_type: Literal["nll", "dft"] = "nll"
    """`nll`: negative log-likelihood; `dft`: dynamic fine-tuning. Source: https://arxiv.org/abs/2508.05629"""

    def loss_on(self, rows: RowKind) -> Literal["all", "completion", "assistant"]:
        if rows == "prompt_completion" and self.completion_only_loss:
            return "completion"
        if rows == "messages" and self.assistant_only_loss:
            return "assistant"
        return "all"

    def options(self) -> dict[str, JsonValue]:
        return {"loss_type": self.loss_type}
