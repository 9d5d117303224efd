"""Causal language modelling in any trainer of Transformers or TRL: the loss of `losses.py` instead of the library's."""

import functools
import types
from dataclasses import replace
from typing import Any

import torch

from llmrecipe.trainers import losses, sharded
from llmrecipe.trainers.losses import Head, Objective, Scoring, Sums

TRAINERS = ("transformers:Trainer", "trl:SFTTrainer")
"""Whose loss is the one of the next token, and nothing else."""


class SupervisedLoss:
    """A mixin before the trainer's class that computes the loss over the supervised tokens alone.

    TRL's trainer also measures entropy and accuracy of every batch, and on a processor projects every position, the
    prompt and the padding included. Here both are measured on batches whose step is logged, and in validations.
    """

    args: Any
    state: Any
    model: Any
    accelerator: Any

    ours: bool = False
    """Whether the model has the forward pass of `attach`. Without it, the library's own loss is taken."""
    scoring: Scoring = Scoring()
    masked: bool = True
    """Whether the model needs to be told what is padding."""
    _measures: torch.Tensor | None = None
    """Summed entropy, right guesses and tokens since the last log, on this process."""

    def take_over(self) -> None:
        """Let the model compute the loss, if it turns hidden states into logits in a way that is understood."""
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        if getattr(base.config.get_text_config(), "output_router_logits", False):
            return  # The loss that balances experts is the library's.
        with self.accelerator.autocast():
            found = sharded.of_first(lambda: understood(base))
        if found is None:
            return
        shape, self.masked = found
        objective = Objective(getattr(self.args, "loss_type", "nll") == "dft", self.args.label_smoothing_factor)
        self.scoring = Scoring(shape, objective)
        attach(base)
        self.ours = True
        # Every loss is a sum over the tokens of all micro-batches and processes, divided by their number.
        self.model_accepts_loss_kwargs = self._loss_shifts_labels = self.loss_is_scaled_for_ga = True

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch: a sum over its supervised tokens, divided by those of the whole optimizer step."""
        if not self.ours:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        measure = not self.model.training or self._logs_this_step()
        mask = inputs.get("attention_mask")
        if mask is not None and mask.ndim == 2 and not self.masked:
            inputs = {name: value for name, value in inputs.items() if name != "attention_mask"}
        sums = Sums(*model(**inputs, scoring=replace(self.scoring, measure=measure)))
        if measure:
            found = torch.stack([sums.entropy, sums.correct, sums.tokens.float()]).detach()
            self._measures = found if self._measures is None else self._measures + found
        items = sums.tokens if num_items_in_batch is None else num_items_in_batch
        loss = sums.loss / torch.as_tensor(items, device=sums.loss.device).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * (self.accelerator.num_processes // self.get_tp_size())  # type: ignore[attr-defined]
        return (loss, {}) if return_outputs else loss

    def _logs_this_step(self) -> bool:
        step, steps = self.state.global_step + 1, self.state.max_steps
        every = (self.state.logging_steps, self.state.save_steps)
        return step == steps or any(n and step % n == 0 for n in every) or (step == 1 and self.args.logging_first_step)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add `entropy` (nats per token) and `mean_token_accuracy` of the batches that were measured."""
        prefix = next((prefix for prefix in ("", "eval_") if f"{prefix}loss" in logs), None)
        if prefix is not None and self._measures is not None:
            entropy, correct, tokens = self.accelerator.reduce(self._measures, "sum").tolist()
            self._measures = None
            if tokens:
                logs[f"{prefix}entropy"], logs[f"{prefix}mean_token_accuracy"] = entropy / tokens, correct / tokens
        super().log(logs, *args, **kwargs)  # type: ignore[misc]


def attach(model: Any) -> None:
    """Let `model(..., scoring=...)` give the fields of `Sums` instead of logits.

    Inside of the forward pass, so that wrappers of the model (DDP, FSDP, DeepSpeed, autocast) do their part.
    """
    original = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, scoring: Scoring | None = None, **kwargs: Any) -> Any:
        if scoring is None:
            return original(*args, **kwargs)
        labels, targets = kwargs.pop("labels", None), kwargs.pop("shift_labels", None)
        states = self.base_model(*args, **kwargs, use_cache=False).last_hidden_state
        targets = losses.next_tokens(labels) if targets is None else targets
        found = _loss(self.get_output_embeddings(), states, targets, scoring)
        return found.loss, found.tokens, found.entropy, found.correct

    model.forward = types.MethodType(forward, model)


_loss = torch.compiler.disable(losses.supervised)
"""How many tokens are supervised differs from batch to batch, which a compiled function would be compiled anew for."""


def understood(model: Any) -> tuple[Head, bool] | None:
    """How the model makes logits, and whether it must be told what is padding on the right; None when it is not known.

    Found by trial on two rows: what `Head` makes of the last hidden states has to be the model's own logits.
    """
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        return None
    vocabulary, shape = model.get_input_embeddings().weight.shape[0], _shape(model.config.get_text_config())
    ids = (torch.arange(24, device=model.device) * 7919 % vocabulary).view(2, 12)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    training = model.training
    model.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        wanted = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        found = [_logits(model, shape, ids, given) for given in (None, mask)]
    model.train(training)
    close = [_equal(logits, wanted, mask) for logits in found]
    return (shape, not close[0]) if any(close) else None


def _shape(config: Any) -> Head:
    """What the configuration says of the logits, in the words of the families that have such a thing."""
    scale = 1.0
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        scale *= getattr(config, name, None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    return Head(scale, getattr(config, "final_logit_softcapping", None))


def _logits(model: Any, shape: Head, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    states = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return shape.logits(model.get_output_embeddings()(states))


def _equal(logits: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor) -> bool:
    if logits.shape != wanted.shape:
        return False
    seen = mask.bool()
    tolerance = max(1e-4, 8 * torch.finfo(logits.dtype).eps) * wanted[seen].abs().max().item()
    return bool(torch.allclose(logits[seen], wanted[seen], rtol=0, atol=tolerance))
