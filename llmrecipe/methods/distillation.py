"""Distillation: a student learns the teacher's distribution over every next token."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from llmrecipe.methods.base import BaseMethod
from llmrecipe.schema import PositiveInt
from llmrecipe.vocabulary import ModelReference, Objective, RowKind


class Distillation(BaseMethod):
    """Learn the teacher's distribution over every next token, on written answers and on the student's own.

    Teacher and student have the same tokenizer.

    Source: https://arxiv.org/abs/2306.13649
    """

    trainer: ClassVar[str] = "llmrecipe.trainers.distillation:DistillationTrainer"
    config: ClassVar[str] = "llmrecipe.trainers.distillation:DistillationConfig"
    rows: ClassVar[tuple[RowKind, ...]] = ("prompt_completion", "messages", "text")
    objective: ClassVar[Objective] = "causal"
    learning_rate: ClassVar[float] = 2e-5

    kind: Literal["distillation"]
    teacher_model: ModelReference
    """Who is learned from."""
    lmbda: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of steps on answers that the student has just given (on-policy); the others are on the written ones."""
    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The divergence: 0 is the KL from the teacher, 1 the KL from the student, between them Jensen-Shannon."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of both distributions, and of the student's answers."""
    max_completion_length: PositiveInt = 128
    """Longest answer that the student gives, in tokens."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest set of tokens with this probability that the student's answers are drawn from."""
    use_vllm: bool = False
    """Let vLLM give the student's answers; it has to be installed."""

    def loss_on(self, rows: RowKind) -> Literal["all", "completion", "assistant"]:
        if rows == "prompt_completion":
            return "completion"
        return "assistant" if rows == "messages" else "all"

    def models(self) -> dict[str, ModelReference]:
        return {"teacher_model": self.teacher_model}

    def options(self) -> dict[str, JsonValue]:
        return {
            "lmbda": self.lmbda,
            "beta": self.beta,
            "temperature": self.temperature,
            "max_completion_length": self.max_completion_length,
            "top_p": self.top_p,
            "use_vllm": self.use_vllm,
        }
