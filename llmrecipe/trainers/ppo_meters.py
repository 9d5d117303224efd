"""What PPO measures between two lines of the log, named as the field names it."""

from collections import defaultdict
from typing import Any

import torch

from llmrecipe.trainers.ppo_math import PolicyTerms

PER_TOKEN = {
    "loss/policy_avg": 0,
    "loss/value_avg": 1,
    "policy/entropy_avg": 2,
    "policy/clipfrac_avg": 3,
    "val/clipfrac_avg": 4,
    "policy/approxkl_avg": 5,
    "val/ratio": 6,
}
_SQUARED_RATIO, _TOKENS = 7, 8


class Meters:
    """Sums over the tokens that were learned from, kept on the device; and means of rollouts.

    `val/ratio_var` is the variance of the probability ratio over tokens; all others are means.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(_TOKENS + 1, dtype=torch.float64, device=device)
        self.rollouts: dict[str, list[float]] = defaultdict(list)
        """Since the last line; equal on all processes."""
        self.latest: dict[str, float] = {}
        """Of the last rollout: what a line tells when no new one was made since the one before."""

    def add_rollout(self, measured: dict[str, float]) -> None:
        """Take the measures of one rollout."""
        self.latest = measured
        for name, value in measured.items():
            self.rollouts[name].append(value)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def add_batch(
        self,
        policy: PolicyTerms,
        value_loss: torch.Tensor,
        value_clipped: torch.Tensor,
        entropy: torch.Tensor,
        mask: torch.Tensor,
    ) -> None:
        """Take one micro-batch of this process; all tensors [batch, length]."""
        ratio = policy.ratio
        columns = [policy.loss, value_loss, entropy, policy.clipped, value_clipped, policy.approxkl, ratio]
        stacked = torch.stack([*columns, ratio.square(), torch.ones_like(ratio)]).detach()
        self.sums += torch.where(mask, stacked, 0).sum((1, 2), dtype=torch.float64)

    def flush(self, accelerator: Any) -> dict[str, float]:
        """Means over all processes since the last call; call it on all of them."""
        sums = accelerator.reduce(self.sums, "sum").tolist()
        means = {name: sum(values) / len(values) for name, values in self.rollouts.items()} or self.latest
        found = dict(means)
        if tokens := sums[_TOKENS]:
            found |= {name: sums[i] / tokens for name, i in PER_TOKEN.items()}
            found["val/ratio_var"] = max(sums[_SQUARED_RATIO] / tokens - found["val/ratio"] ** 2, 0.0)
        self.sums.zero_()
        self.rollouts.clear()
        return found

    def reduced(self, accelerator: Any) -> dict[str, Any]:
        """Everything as plain data, over all processes; call it on all of them."""
        sums = accelerator.reduce(self.sums, "sum").tolist()
        return {"sums": sums, "rollouts": dict(self.rollouts), "latest": self.latest}

    def restore(self, saved: dict[str, Any], here: bool) -> None:
        """Go on from what was saved; the sums go to the one process that says `here`."""
        if here:
            self.sums += torch.tensor(saved["sums"], dtype=torch.float64, device=self.sums.device)
        self.rollouts = defaultdict(list, saved["rollouts"])
        self.latest = saved["latest"]
