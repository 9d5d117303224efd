"""Proximal policy optimization of a causal language model, on the loop of Transformers' own trainer."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import PeftConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import Trainer
from trl.models.utils import prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import disable_dropout_in_model

from llmrecipe.trainers import ppo_math
from llmrecipe.trainers.ppo_collecting import Collector
from llmrecipe.trainers.ppo_config import PPOConfig
from llmrecipe.trainers.ppo_heads import PolicyWithValue, base_of, completion_logprobs, value_of
from llmrecipe.trainers.ppo_math import KLController
from llmrecipe.trainers.ppo_meters import Meters
from llmrecipe.trainers.ppo_rollout import Rollout, minibatch_rows, share_of
from llmrecipe.trainers.ppo_sampling import TransformersSampler, VLLMSampler
from llmrecipe.trainers.ppo_saving import Saving
from llmrecipe.trainers.ppo_scoring import RewardFunction, Scorer

__all__ = ["PPOConfig", "PPOTrainer"]


class PPOTrainer(Saving, Trainer):  # type: ignore[misc]
    """Samples answers, has them scored, and makes the better ones likelier, without going far from the start.

    The loop is that of `Trainer`: one of its optimizer steps takes one minibatch of a rollout, and before the first
    minibatch of each rollout the answers are made. What a rollout consists of follows from its number, so that a run
    that was stopped anywhere goes on as if it had not been, and a run on more processes does the same.

    Source: https://arxiv.org/abs/1707.06347, as applied to language models by https://arxiv.org/abs/1909.08593.
    """

    _tag_names = ("ppo",)
    loss_is_scaled_for_ga = True
    control: Any

    def __init__(
        self,
        model: Any,
        args: PPOConfig,
        train_dataset: Any,
        eval_dataset: Any = None,
        processing_class: Any = None,
        reward_funcs: Sequence[RewardFunction] = (),
        reward_weights: Sequence[float] | None = None,
        peft_config: PeftConfig | None = None,
        value_model: Any = None,
        ref_model: Any = None,
        callbacks: Any = None,
        optimizers: Any = (None, None),
    ) -> None:
        """
        Args:
            model: a causal language model.
            train_dataset: rows with `prompt` (text or messages), `prompt_ids` (with all that stands before the
                answer), and columns for the reward functions.
            eval_dataset: likewise; its answers are greedy.
            processing_class: the tokenizer.
            reward_funcs: `f(prompts, completions, completion_ids, **columns)`, each a number for every answer or None.
            reward_weights: of their sum; 1 each when left out.
            peft_config: an adapter to train; the reference is then the model without it.
            value_model: a reward model with one label, from which a separate value function starts.
            ref_model: what the policy is held to; when left out, the model as it is given.

        Raises:
            ValueError: there are no reward functions, or not one weight for each.
            StageError: vLLM is asked for and not installed.
        """
        self.scorer = Scorer(reward_funcs, reward_weights, processing_class)
        adapted = peft_config is not None
        ref_model = None if adapted else (ref_model if ref_model is not None else copy.deepcopy(model))
        value = value_of(model, value_model, args.value_backbone == "shared", peft_config)
        policy = get_peft_model(model, peft_config) if adapted else model
        wrapped = PolicyWithValue(policy, value)
        if args.disable_dropout:
            disable_dropout_in_model(wrapped)
        super().__init__(
            model=wrapped,
            args=args,
            data_collator=_as_they_are,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        self.ref_model = None if adapted else self._frozen(ref_model)
        self.controller = KLController(args.kl_coef, args.target_kl, args.horizon)
        self.meters = Meters(args.device)
        self.rollout: Rollout | None = None
        self.stop, self.pad = _special_tokens(model, processing_class, args)
        self.sampler = VLLMSampler(self, self.stop) if args.use_vllm else TransformersSampler(self, self.stop, self.pad)
        self.collect = Collector(self)

    def _frozen(self, model: Any) -> Any:
        """The reference as every process has it: whole, or spread in the way of the policy."""
        model.requires_grad_(False).eval()
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(model, self.accelerator)
        if self.is_fsdp_enabled:
            return prepare_fsdp(model, self.accelerator)
        return self.accelerator.prepare_model(model, evaluation_mode=True)

    # -- the loop --

    def get_train_dataloader(self) -> DataLoader:
        """One item for each micro-batch of one pass over the prompts. It only counts: see `get_batch_samples`."""
        rollouts = -(-len(self.train_dataset) // self.args.rollout_size)
        steps = rollouts * self.args.steps_per_rollout * self.args.gradient_accumulation_steps
        return DataLoader(range(steps), batch_size=1)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], int]:
        """The micro-batches of this process for the next optimizer step, and the tokens of all processes in them."""
        for _ in range(num_batches):
            next(epoch_iterator)
        args = self.args
        index, step = divmod(self.state.global_step, args.steps_per_rollout)
        if self.rollout is None or self.rollout.index != index:
            self.rollout = self.collect(index)
        rows = minibatch_rows(self.rollout, step, args.minibatch_size, args.seed)
        mine = share_of(rows, num_batches, args.world_size, args.process_index)
        return [self.rollout.micro_batch(part) for part in mine], int(self.rollout.completion_lengths[rows].sum())

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs  # They are where they belong, and log-probabilities keep their precision.

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum of the losses of the tokens of one micro-batch, divided by the tokens of the whole minibatch.

        So the gradient of a minibatch is the same however it is split, over accumulation steps or over processes.
        """
        args = self.args
        output = model(**self.model_inputs(inputs))
        width = inputs["completion_length"]
        mask = inputs["attention_mask"][:, -width:].bool()
        policy = ppo_math.policy_terms(output["logprobs"], inputs["logprobs"], inputs["advantages"], args.cliprange)
        value_loss, value_clipped = ppo_math.value_terms(
            output["values"], inputs["values"], inputs["returns"], args.cliprange_value
        )
        self.meters.add_batch(policy, value_loss, value_clipped, output["entropy"], mask)
        loss = policy.loss + args.vf_coef * value_loss
        if args.entropy_coef:
            loss = loss - args.entropy_coef * output["entropy"]
        # Gradients are averaged over processes.
        loss = torch.where(mask, loss, 0).sum() * (args.world_size / num_items_in_batch)
        return (loss, output) if return_outputs else loss

    def model_inputs(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What `PolicyWithValue` is called with."""
        return {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
            "completion_length": batch["completion_length"],
            "temperature": self.args.temperature,
            "entropy_gradient": self.args.entropy_coef != 0,
        }

    def reference(self, batch: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities of the reference for the completions of a micro-batch, [batch, completion]."""
        if self.ref_model is None:
            with self.accelerator.unwrap_model(self.model).policy.disable_adapter():
                logprobs: torch.Tensor = self.model(**self.model_inputs(batch))["logprobs"]
            return logprobs
        ids, mask = batch["input_ids"], batch["attention_mask"]
        return completion_logprobs(self.ref_model, ids, mask, batch["completion_length"], self.args.temperature)

    # -- what is told --

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what PPO measures to the lines of training."""
        if "loss" in logs:
            logs |= self.meters.flush(self.accelerator)
            logs["lr"] = logs["learning_rate"]
            logs["episode"] = (self.rollout.index + 1) * self.args.rollout_size if self.rollout else 0
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Greedy answers to the held-out prompts.

        Returns:
            `eval_reward` (mean score, as training has it), `eval_rewards/NAME/mean` of each reward function,
            `eval_completion_length` and `eval_ended`, the share of answers that come to their end.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        completions, rewards = self.collect.answers([dataset[i] for i in range(len(dataset))], None)
        ended = torch.tensor([row[-1] in self.stop for row in completions])
        found = {
            "reward": self.collect.scores(rewards, ended).mean().item(),
            "completion_length": sum(map(len, completions)) / len(completions),
            "ended": ended.double().mean().item(),
            **self.collect.by_function(rewards),
        }
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _as_they_are(rows: list[Any]) -> list[Any]:
    return rows


def _special_tokens(model: Any, tokenizer: Any, args: PPOConfig) -> tuple[frozenset[int], int]:
    """Tokens that end an answer, and the one that fills up rows."""
    configured = base_of(model).generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    stop = frozenset(i for i in (*ends, tokenizer.eos_token_id, *(args.stop_token_ids or ())) if i is not None)
    pad = next(i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if i is not None)
    return stop, pad
