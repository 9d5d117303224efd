"""A rollout: prompts, sampled answers and what they are worth, and the minibatches that are made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from llmrecipe.trainers.ppo_sampling import Tokens, padded


@dataclass
class Rollout:
    """Answers of all processes; every process holds the whole of it.

    With R answers, P columns of prompts (padded on the left) and T columns of completions (padded on the right).
    """

    index: int
    input_ids: torch.Tensor
    """[R, P + T]"""
    attention_mask: torch.Tensor
    """[R, P + T]"""
    prompt_lengths: torch.Tensor
    """[R], on the processor."""
    completion_lengths: torch.Tensor
    """[R], on the processor; the token that ends an answer counts."""
    logprobs: torch.Tensor
    """[R, T], of the policy that sampled."""
    values: torch.Tensor
    """[R, T], of the state before each token."""
    advantages: torch.Tensor
    """[R, T]"""
    returns: torch.Tensor
    """[R, T]"""

    @classmethod
    def of(cls, index: int, prompts: Tokens, completions: Tokens, pad: int, device: torch.device) -> "Rollout":
        """A rollout with tokens, and nothing known of them yet."""
        left, left_mask = padded(prompts, pad, left=True)
        right, right_mask = padded(completions, pad, left=False)
        empty = torch.zeros(right.shape, device=device)
        return cls(
            index=index,
            input_ids=torch.cat([left, right], 1).to(device),
            attention_mask=torch.cat([left_mask, right_mask], 1).to(device),
            prompt_lengths=left_mask.sum(1),
            completion_lengths=right_mask.sum(1),
            logprobs=empty,
            values=empty,
            advantages=empty,
            returns=empty,
        )

    @property
    def completion_mask(self) -> torch.Tensor:
        """[R, T], true on the tokens of completions."""
        return self.attention_mask[:, -self.logprobs.shape[1] :].bool()

    def micro_batch(self, rows: torch.Tensor) -> dict[str, Any]:
        """Some answers, [B] indices, without columns in which all of them are padding."""
        width = self.logprobs.shape[1]
        longest_prompt = int(self.prompt_lengths[rows].max())
        longest = int(self.completion_lengths[rows].max())
        end = self.input_ids.shape[1] - width + longest
        tokens = slice(end - longest - longest_prompt, end)
        rows = rows.to(self.input_ids.device)
        found: dict[str, Any] = {name: getattr(self, name)[rows, :longest] for name in PER_TOKEN}
        return found | {
            "input_ids": self.input_ids[rows, tokens],
            "attention_mask": self.attention_mask[rows, tokens],
            "completion_length": longest,
        }

    def state(self) -> dict[str, Any]:
        """Plain data to be saved."""
        return {
            field.name: value.cpu() if isinstance(value := getattr(self, field.name), torch.Tensor) else value
            for field in fields(self)
        }

    @classmethod
    def restored(cls, state: dict[str, Any], device: torch.device) -> "Rollout":
        """The rollout that was saved."""
        stay = ("index", "prompt_lengths", "completion_lengths")
        return cls(**{name: value if name in stay else value.to(device) for name, value in state.items()})


PER_TOKEN = ("logprobs", "values", "advantages", "returns")


def prompts_of(rollout: int, size: int, available: int, seed: int, shuffled: bool) -> list[int]:
    """Row numbers of the prompts of one rollout: the next `size` of an endless series of passes over all rows."""
    found = []
    orders: dict[int, torch.Tensor] = {}
    for position in range(rollout * size, (rollout + 1) * size):
        epoch, place = divmod(position, available)
        if epoch not in orders:
            orders[epoch] = _order(available, seed, epoch, 0) if shuffled else torch.arange(available)
        found.append(int(orders[epoch][place]))
    return found


def minibatch_rows(rollout: Rollout, step: int, size: int, seed: int) -> torch.Tensor:
    """Rows of the minibatch of one optimizer step, [size], short answers first.

    `step` counts from 0 within the rollout; each pass takes every answer once, in an order of its own.
    """
    count = rollout.input_ids.shape[0]
    epoch, place = divmod(step, count // size)
    order = _order(count, seed, rollout.index, 1 + epoch)
    rows = order[place * size : (place + 1) * size]
    lengths = rollout.prompt_lengths[rows] + rollout.completion_lengths[rows]
    return rows[torch.argsort(lengths, stable=True)]


def share_of(rows: torch.Tensor, micro_batches: int, processes: int, process: int) -> Sequence[torch.Tensor]:
    """What one process takes of a minibatch: one tensor of rows for each micro-batch.

    Neighbours go to the same micro-batch of all processes, so that they have about the same length.
    """
    found: Sequence[torch.Tensor] = rows.view(micro_batches, processes, -1)[:, process].unbind(0)
    return found


def _order(count: int, *seeds: int) -> torch.Tensor:
    mixed = 0
    for seed in seeds:
        mixed = (mixed * 1_000_003 + seed + 1) % 2**63
    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed))
