"""From prompts to a rollout: answers, scores, values, advantages."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.nn import functional

from llmrecipe.trainers import ppo_math
from llmrecipe.trainers.ppo_config import PPOConfig
from llmrecipe.trainers.ppo_rollout import Rollout, prompts_of
from llmrecipe.trainers.ppo_sampling import uniform_numbers


class Collector:
    """Makes the rollouts of a trainer. Each process does its share, and all of them get the whole."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.args: PPOConfig = trainer.args

    def __call__(self, index: int) -> Rollout:
        """Rollout number `index`, counted from the start of training. Feeds the meters and the KL controller."""
        trainer, args = self.trainer, self.args
        shuffled = args.train_sampling_strategy == "random"
        seed = args.seed if args.data_seed is None else args.data_seed
        chosen = prompts_of(index, args.rollout_size, len(trainer.train_dataset), seed, shuffled)
        rows = [trainer.train_dataset[i] for i in chosen]
        uniform = uniform_numbers(args.seed, index, len(rows), args.max_completion_length)
        completions, scores = self.answers(rows, uniform)
        rollout = Rollout.of(index, [list(row["prompt_ids"]) for row in rows], completions, trainer.pad, args.device)
        ref_logprobs, entropy = self._look(rollout)
        ended = torch.tensor([row[-1] in trainer.stop for row in completions], device=args.device)
        measured = self._judge(rollout, scores.to(args.device), ref_logprobs, ended)
        trainer.meters.add_rollout(measured | {"objective/entropy": entropy})
        return rollout

    def answers(
        self, rows: Sequence[Mapping[str, Any]], uniform: torch.Tensor | None
    ) -> tuple[list[list[int]], torch.Tensor]:
        """Completions of all rows, and what each reward function gives to each: [rows, functions].

        Each process makes those of its share of the rows. `uniform`: [rows, longest completion]; None is greedy.
        """
        share = -(-len(rows) // self.args.world_size)
        # Every process generates equally often, or those whose weights are spread would wait for each other.
        places = [
            min(i, len(rows) - 1) for i in range(self.args.process_index * share, (self.args.process_index + 1) * share)
        ]
        here = [rows[i] for i in places]
        drawn = None if uniform is None else uniform[places]
        completions = self.trainer.sampler([list(row["prompt_ids"]) for row in here], drawn)
        rewards = self.trainer.scorer(here, completions)
        completions, rewards = gather_object(completions), gather_object(rewards)
        return completions[: len(rows)], torch.tensor(rewards[: len(rows)], dtype=torch.float32)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _look(self, rollout: Rollout) -> tuple[torch.Tensor, float]:
        """Fill in `logprobs` and `values`; return those of the reference, and the mean entropy of an answer in nats."""
        trainer, args = self.trainer, self.args
        width = rollout.logprobs.shape[1]
        share = rollout.input_ids.shape[0] // args.world_size
        mine = torch.arange(args.process_index * share, (args.process_index + 1) * share)
        training = trainer.model.training
        trainer.model.eval()
        found = []
        for rows in mine.split(args.local_rollout_forward_batch_size):
            batch = rollout.micro_batch(rows)
            output = trainer.model(**trainer.model_inputs(batch))
            parts = [output["logprobs"], output["values"], output["entropy"], trainer.reference(batch)]
            stacked = torch.stack([part.float() for part in parts], 1)
            found.append(functional.pad(stacked, (0, width - stacked.shape[-1])))
        trainer.model.train(training)
        logprobs, values, entropy, ref_logprobs = trainer.accelerator.gather(torch.cat(found)).unbind(1)
        mask = rollout.completion_mask
        rollout.logprobs = torch.where(mask, logprobs, 0)
        rollout.values = torch.where(mask, values, 0)
        return torch.where(mask, ref_logprobs, 0), float(torch.where(mask, entropy, 0).sum(1).mean())

    def _judge(
        self, rollout: Rollout, rewards: torch.Tensor, ref_logprobs: torch.Tensor, ended: torch.Tensor
    ) -> dict[str, float]:
        """Fill in `advantages` and `returns`, move the KL coefficient, and measure.

        `rewards`: [R, functions]; `ref_logprobs`: [R, T]; `ended`: [R], whether an answer came to its end.
        """
        args, controller, mask = self.args, self.trainer.controller, rollout.completion_mask
        scores = self.scores(rewards, ended)
        kl = ppo_math.kl_estimate(rollout.logprobs, ref_logprobs, args.kl_estimator)
        spent = torch.where(mask, -controller.coefficient * kl, 0).sum(1)
        token_rewards = ppo_math.token_rewards(scores, kl, mask, controller.coefficient)
        if args.whiten_rewards:
            token_rewards = ppo_math.masked_whiten(token_rewards, mask, shift_mean=False)
        advantages, returns = ppo_math.advantages_and_returns(token_rewards, rollout.values, mask, args.gamma, args.lam)
        rollout.returns = returns
        rollout.advantages = ppo_math.masked_whiten(advantages, mask) if args.whiten_advantages else advantages
        drift = torch.where(mask, rollout.logprobs - ref_logprobs, 0).sum(1).mean().item()
        measured = {
            "objective/kl": drift,
            "objective/non_score_reward": spent.mean().item(),
            "objective/rlhf_reward": (scores + spent).mean().item(),
            "objective/scores": scores.mean().item(),
            "objective/kl_coef": controller.coefficient,
            "val/explained_var": ppo_math.explained_variance(rollout.values, returns, mask).item(),
            "val/num_eos_tokens": ended.sum().item(),
            "completion_length": rollout.completion_lengths.double().mean().item(),
        }
        controller.update(drift, len(scores))
        return measured | self.by_function(rewards)

    def scores(self, rewards: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
        """One number for each answer, [R], of the rewards [R, functions] and of whether it came to its end [R]."""
        args = self.args
        scores: torch.Tensor = self.trainer.scorer.total(rewards)
        if args.reward_clip is not None:
            scores = scores.clamp(-args.reward_clip, args.reward_clip)
        if args.missing_eos_penalty is not None:
            scores = torch.where(ended, scores, scores - args.missing_eos_penalty)
        return scores

    def by_function(self, rewards: torch.Tensor) -> dict[str, float]:
        """Mean of each function's rewards, where it applies."""
        means = rewards.nanmean(0).tolist()
        return {f"rewards/{name}/mean": mean for name, mean in zip(self.trainer.scorer.names, means, strict=True)}
