"""The formulas of PPO on tensors: no model, no trainer, no state."""

from dataclasses import dataclass
from typing import Literal

import torch

KLEstimator = Literal["k1", "k2", "k3"]


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the places where `mask` is true; both have one shape. What stands elsewhere may be no number."""
    return torch.where(mask, values, 0).sum() / mask.sum()


def masked_whiten(values: torch.Tensor, mask: torch.Tensor, shift_mean: bool = True) -> torch.Tensor:
    """Values scaled to unit variance over the places of `mask`, zero elsewhere.

    The variance is the unbiased one. Without `shift_mean` the mean stays what it was.
    """
    mean = masked_mean(values, mask)
    centred = torch.where(mask, values - mean, 0)
    variance = centred.square().sum() / (mask.sum() - 1).clamp(min=1)
    whitened = centred * torch.rsqrt(variance + 1e-8)
    return whitened if shift_mean else torch.where(mask, whitened + mean, 0)


def token_statistics(
    logits: torch.Tensor, tokens: torch.Tensor, entropy_gradient: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each sampled token and entropy of the distribution that it was drawn from.

    Args:
        logits: [batch, length, vocabulary], divided by the temperature of sampling already.
        tokens: [batch, length], what was drawn at each place.
        entropy_gradient: whether the entropy is part of a loss, or only to be looked at.

    Returns:
        Two tensors [batch, length] in nats: log p(token) and -sum p log p.
    """
    logprobs = logits.float().log_softmax(-1)
    seen = logprobs if entropy_gradient else logprobs.detach()
    entropy = -(seen.exp() * seen.clamp(min=torch.finfo(seen.dtype).min)).sum(-1)
    return logprobs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), entropy


def kl_estimate(logprobs: torch.Tensor, ref_logprobs: torch.Tensor, estimator: KLEstimator) -> torch.Tensor:
    """KL(policy || reference) at each token, from the one token that the policy drew there.

    With r = p_ref(token) / p(token): k1 = -log r is unbiased and may be negative; k2 = (log r)^2 / 2 is biased, with
    little variance; k3 = (r - 1) - log r is unbiased and never negative. Source: http://joschu.net/blog/kl-approx.html

    Args:
        logprobs: [batch, length], of the policy that drew the tokens.
        ref_logprobs: [batch, length], of the reference.
    """
    log_ratio = ref_logprobs - logprobs
    match estimator:
        case "k1":
            return -log_ratio
        case "k2":
            return log_ratio.square() / 2
        case "k3":
            return torch.expm1(log_ratio) - log_ratio


def token_rewards(scores: torch.Tensor, kl: torch.Tensor, mask: torch.Tensor, coefficient: float) -> torch.Tensor:
    """Reward of each token: minus `coefficient` times its KL, and the score of the whole answer at the last token.

    Source: https://arxiv.org/abs/1909.08593, section 2.

    Args:
        scores: [batch].
        kl: [batch, length].
        mask: [batch, length], true from the first token of the answer to its last one.

    Returns:
        [batch, length], zero outside of `mask`.
    """
    rewards = torch.where(mask, -coefficient * kl, 0)
    last = mask.sum(1) - 1
    return rewards.scatter_add(1, last.unsqueeze(1), scores.unsqueeze(1).to(rewards.dtype))


def advantages_and_returns(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalized advantage estimates, and the returns that values are fitted to.

    A_t = sum_l (gamma * lam)^l * delta_(t+l) with delta_t = r_t + gamma * V_(t+1) - V_t; after the last token of an
    answer the value is 0. The return is A_t + V_t. Source: https://arxiv.org/abs/1506.02438, equations 10 and 16.

    Args:
        rewards: [batch, length].
        values: [batch, length], of the state before each token.
        mask: [batch, length], true from the first token of an answer to its last one.

    Returns:
        Two tensors [batch, length], zero outside of `mask`.
    """
    values = torch.where(mask, values, 0)
    deltas = torch.where(mask, rewards, 0) - values
    deltas[:, :-1] += gamma * values[:, 1:]
    columns = deltas.unbind(1)
    running = torch.zeros_like(columns[0])
    found = []
    for delta in reversed(columns):
        running = delta + gamma * lam * running
        found.append(running)
    advantages = torch.where(mask, torch.stack(found[::-1], 1), 0)
    return advantages, advantages + values


@dataclass(frozen=True)
class PolicyTerms:
    """The clipped surrogate at each token, [batch, length] each."""

    loss: torch.Tensor
    ratio: torch.Tensor
    clipped: torch.Tensor
    """1 where the clipped branch is the greater one, else 0."""
    approxkl: torch.Tensor
    """Half the squared difference of log-probabilities between the policy now and when it sampled."""


def policy_terms(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, advantages: torch.Tensor, cliprange: float
) -> PolicyTerms:
    """max(-A * ratio, -A * clip(ratio, 1 - cliprange, 1 + cliprange)) at each token; all arguments [batch, length].

    Source: https://arxiv.org/abs/1707.06347, equation 7, with the sign of a loss.
    """
    difference = logprobs - old_logprobs
    ratio = difference.exp()
    free = -advantages * ratio
    held = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return PolicyTerms(torch.max(free, held), ratio, (held > free).float(), difference.square() / 2)


def value_terms(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, cliprange_value: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Half the squared error of each value, not less than that of the value held near its old one.

    Source: https://arxiv.org/abs/2005.12729, section 3, point 1; all arguments [batch, length].

    Returns:
        The loss, and 1 where the held value gave it, else 0; [batch, length] each.
    """
    near = values.clamp(old_values - cliprange_value, old_values + cliprange_value)  # A value within stays as it is.
    free, held = (values - returns).square(), (near - returns).square()
    return torch.max(free, held) / 2, (held > free).float()


def explained_variance(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """1 - Var(returns - values) / Var(returns) over the places of `mask`: 1 is a perfect value function, 0 a constant.

    Not a number when the returns do not vary.
    """
    found, wanted = values[mask], returns[mask]
    return 1 - (wanted - found).var(correction=0) / wanted.var(correction=0)


@dataclass
class KLController:
    """The coefficient of the KL penalty, fixed or moved toward a target.

    Source: https://arxiv.org/abs/1909.08593, section 2.2; `horizon` as in the code of that paper: the coefficient
    changes by about 20 % in `horizon` episodes at most.
    """

    coefficient: float
    target: float | None = None
    """KL of one answer in nats; None holds the coefficient fixed."""
    horizon: int = 10_000
    """Episodes."""

    def update(self, kl: float, episodes: int) -> None:
        """Move the coefficient after `episodes` answers with a mean KL of `kl` each."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coefficient *= 1 + error * episodes / self.horizon
