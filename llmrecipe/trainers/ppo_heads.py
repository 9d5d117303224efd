"""Policy and value function as one module, so that every way of spreading a model over devices sees a single one."""

import copy
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from peft import PeftConfig, get_peft_model
from torch import nn

from llmrecipe.trainers.ppo_math import token_statistics


class ValueHead(nn.Module):  # type: ignore[misc]
    """Hidden states [..., hidden] -> values [...], in float32. It starts at zero everywhere."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        # A vector and not a matrix with one row: optimizers that treat matrices apart leave it alone.
        self.weight = nn.Parameter(torch.zeros(hidden_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Values of the states."""
        with torch.autocast(hidden.device.type, enabled=False):
            return (hidden.float() * self.weight).sum(-1) + self.bias


class Value(nn.Module):  # type: ignore[misc]
    """What predicts the return: a head, and a backbone of its own or none."""

    def __init__(self, hidden_size: int, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.head = ValueHead(hidden_size)
        self.backbone = backbone


class PolicyWithValue(nn.Module):  # type: ignore[misc]
    """A causal language model and its value function.

    What libraries ask of a model (its configuration, its embeddings, activation checkpointing, `generate`) is answered
    by the policy.
    """

    def __init__(self, policy: Any, value: Value) -> None:
        super().__init__()
        self.policy = policy
        self.value = value
        self.warnings_issued: dict[str, bool] = {}
        self._no_split_modules = base_of(policy)._no_split_modules
        self._keys_to_ignore_on_save = None
        self._hidden: torch.Tensor | None = None
        # The head of the language model is called with just the states that are asked for.
        policy.get_output_embeddings().register_forward_pre_hook(self._keep_hidden)

    def _keep_hidden(self, module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        self._hidden = arguments[0]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        completion_length: int,
        temperature: float,
        entropy_gradient: bool = False,
    ) -> dict[str, torch.Tensor]:
        """Log-probability, entropy and value at each token of the completions.

        Args:
            input_ids: [batch, prompt + completion], prompts padded on the left, completions on the right.
            attention_mask: likewise, 0 on padding.
            completion_length: columns of the completions, at the end.
            temperature: that of sampling; logits are divided by it.
            entropy_gradient: whether the entropy is part of a loss.

        Returns:
            `logprobs`, `entropy`, `values`: [batch, completion_length] each; the value is that of the state before
            the token.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        logits = _logits(self.policy, inputs, completion_length) / temperature
        hidden, self._hidden = self._hidden, None
        assert hidden is not None
        logprobs, entropy = token_statistics(logits, input_ids[:, -completion_length:], entropy_gradient)
        if self.value.backbone is not None:
            hidden = self.value.backbone(**inputs, **_positions(self.value.backbone, attention_mask), use_cache=False)[
                0
            ]
        return {
            "logprobs": logprobs,
            "entropy": entropy,
            "values": self.value.head(hidden[:, -completion_length - 1 : -1]),
        }

    def generate(self, **arguments: Any) -> torch.Tensor:
        """Completions of the policy."""
        with torch.no_grad():
            tokens: torch.Tensor = self.policy.generate(**arguments)
        self._hidden = None
        return tokens

    @property
    def config(self) -> Any:
        """That of the policy."""
        return self.policy.config

    @property
    def generation_config(self) -> Any:
        """That of the policy."""
        return self.policy.generation_config

    @property
    def device(self) -> torch.device:
        """Where the policy is."""
        return self.policy.device

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are recomputed in the backward pass."""
        return bool(self.policy.is_gradient_checkpointing)

    def activation_checkpointing_enable(self, **arguments: Any) -> None:
        """Recompute activations of both backbones in the backward pass."""
        for model in self._backbones():
            model.activation_checkpointing_enable(**arguments)

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """The older name, by which TRL calls it."""
        self.activation_checkpointing_enable(activation_checkpointing_kwargs=gradient_checkpointing_kwargs)

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations again."""
        for model in self._backbones():
            model.gradient_checkpointing_disable()

    def get_input_embeddings(self) -> nn.Module:
        """Those of the policy."""
        return self.policy.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The head of the policy."""
        return self.policy.get_output_embeddings()

    def tie_weights(self) -> None:
        """Share input and output embeddings again after they were moved."""
        base_of(self.policy).tie_weights()

    def _backbones(self) -> list[Any]:
        return [self.policy] if self.value.backbone is None else [self.policy, self.value.backbone]


def base_of(model: Any) -> Any:
    """The model of Transformers inside of an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def value_of(policy: Any, value_model: Any | None, shared: bool, peft_config: PeftConfig | None) -> Value:
    """A new value function for a policy that has no adapter yet.

    Args:
        policy: the model before training.
        value_model: a reward model with one label whose backbone and head are the start; without one a backbone of
            its own starts as a copy of the policy's, and the head at zero.
        shared: whether the value is read off the policy's own hidden states.
        peft_config: the adapter of the policy; a backbone of its own gets one of its own.
    """
    if shared:
        return Value(policy.config.get_text_config().hidden_size)
    backbone = value_model.base_model if value_model is not None else copy.deepcopy(policy.base_model)
    hidden_size = backbone.config.get_text_config().hidden_size
    if peft_config is not None:
        own = copy.deepcopy(peft_config)
        own.task_type, own.modules_to_save = None, None
        backbone = get_peft_model(backbone, own)
    value = Value(hidden_size, backbone)
    if value_model is not None:
        with torch.no_grad():
            value.head.weight.copy_(value_model.score.weight[0])
    return value


def completion_logprobs(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, completion_length: int, temperature: float
) -> torch.Tensor:
    """Log-probability of each token of the completions under a plain causal language model, [batch, completion]."""
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    logits = _logits(model, inputs, completion_length) / temperature
    return token_statistics(logits, input_ids[:, -completion_length:], entropy_gradient=False)[0]


def _logits(model: Any, inputs: dict[str, torch.Tensor], completion_length: int) -> torch.Tensor:
    """Logits from which each token of the completions is drawn, [batch, completion, vocabulary]."""
    positions = _positions(model, inputs["attention_mask"])
    output = model(**inputs, **positions, logits_to_keep=completion_length + 1, use_cache=False)
    logits: torch.Tensor = output.logits[:, :-1]
    return logits


def _positions(model: Any, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Positions that begin with the first token of each prompt, as generation counts them."""
    if not _takes_positions(type(base_of(model)).forward):
        return {}
    return {"position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0)}


@cache
def _takes_positions(forward: Callable[..., Any]) -> bool:
    return "position_ids" in inspect.signature(forward).parameters
