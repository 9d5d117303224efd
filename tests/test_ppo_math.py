"""Every formula of PPO against a slow computation that shares nothing with it."""

import math

import numpy as np
import pytest
import torch

from llmrecipe.trainers import ppo_math

LENGTHS = [5, 1, 7, 3]
WIDTH = 7
GENERATOR = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape)


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.arange(WIDTH) < torch.tensor(LENGTHS).unsqueeze(1)


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array)


def with_rubbish(array: np.ndarray) -> torch.Tensor:
    """The array with numbers that are none behind the end of each row."""
    found = array.copy()
    for row, length in enumerate(LENGTHS):
        found[row, length:] = np.nan
    return torch.tensor(found)


def inside(array: np.ndarray) -> list[float]:
    return [array[row, column] for row, length in enumerate(LENGTHS) for column in range(length)]


def test_a_masked_mean_is_the_mean_of_what_is_inside(mask: torch.Tensor) -> None:
    values = noise(4, WIDTH)
    assert ppo_math.masked_mean(with_rubbish(values), mask).item() == pytest.approx(sum(inside(values)) / sum(LENGTHS))


@pytest.mark.parametrize("shift", [True, False])
def test_whitening_gives_mean_zero_and_variance_one_inside(shift: bool, mask: torch.Tensor) -> None:
    values = 3 * noise(4, WIDTH) + 2
    found = ppo_math.masked_whiten(with_rubbish(values), mask, shift_mean=shift).numpy()
    listed = inside(values)
    mean = sum(listed) / len(listed)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in listed) / (len(listed) - 1))
    expected = [(v - mean) / deviation + (0 if shift else mean) for v in listed]
    assert inside(found) == pytest.approx(expected)
    assert not found[~mask.numpy()].any()


def test_statistics_of_tokens_follow_from_the_softmax() -> None:
    logits, tokens = 4 * noise(2, 3, 11), GENERATOR.integers(0, 11, size=(2, 3))
    logprobs, entropy = ppo_math.token_statistics(tensor(logits), tensor(tokens))
    for i in range(2):
        for j in range(3):
            weights = [math.exp(x) for x in logits[i, j]]
            shares = [w / sum(weights) for w in weights]
            assert logprobs[i, j].item() == pytest.approx(math.log(shares[tokens[i, j]]), rel=1e-5)
            assert entropy[i, j].item() == pytest.approx(-sum(p * math.log(p) for p in shares), rel=1e-5)


def test_a_token_that_cannot_be_drawn_does_not_spoil_the_entropy() -> None:
    logits = torch.tensor([[[0.0, 0.0, -torch.inf]]])
    assert ppo_math.token_statistics(logits, torch.tensor([[0]]))[1].item() == pytest.approx(math.log(2))


def test_only_an_entropy_of_a_loss_has_a_gradient() -> None:
    logits = torch.randn(1, 2, 5, requires_grad=True)
    tokens = torch.zeros(1, 2, dtype=torch.long)
    assert ppo_math.token_statistics(logits, tokens)[1].requires_grad
    assert not ppo_math.token_statistics(logits, tokens, entropy_gradient=False)[1].requires_grad


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_estimators_of_kl_follow_their_formulas(estimator: ppo_math.KLEstimator) -> None:
    policy, reference = noise(3, 4), noise(3, 4)
    found = ppo_math.kl_estimate(tensor(policy), tensor(reference), estimator).numpy()
    for i in range(3):
        for j in range(4):
            ratio = math.exp(reference[i, j] - policy[i, j])
            expected = {"k1": -math.log(ratio), "k2": math.log(ratio) ** 2 / 2, "k3": ratio - 1 - math.log(ratio)}
            assert found[i, j] == pytest.approx(expected[estimator])


def test_k1_and_k3_are_unbiased() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    exact = (p * (p / q).log()).sum().item()
    for estimator in ("k1", "k3"):
        mean = (p * ppo_math.kl_estimate(p.log(), q.log(), estimator)).sum().item()  # type: ignore[arg-type]
        assert mean == pytest.approx(exact)


def test_the_score_stands_at_the_last_token_and_the_kl_at_each(mask: torch.Tensor) -> None:
    kl, scores = noise(4, WIDTH), noise(4)
    found = ppo_math.token_rewards(tensor(scores), with_rubbish(kl), mask, 0.3).numpy()
    for row, length in enumerate(LENGTHS):
        for column in range(WIDTH):
            expected = -0.3 * kl[row, column] if column < length else 0
            assert found[row, column] == pytest.approx(expected + (scores[row] if column == length - 1 else 0))


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.99, 1.0), (1.0, 0.0)])
def test_advantages_are_discounted_sums_of_errors(gamma: float, lam: float, mask: torch.Tensor) -> None:
    rewards, values = noise(4, WIDTH), noise(4, WIDTH)
    advantages, returns = ppo_math.advantages_and_returns(with_rubbish(rewards), with_rubbish(values), mask, gamma, lam)
    for row, length in enumerate(LENGTHS):
        after = [*values[row, :length], 0.0]
        for t in range(WIDTH):
            errors = [rewards[row, k] + gamma * after[k + 1] - after[k] for k in range(t, length)]
            expected = sum((gamma * lam) ** k * error for k, error in enumerate(errors))
            assert advantages[row, t].item() == pytest.approx(expected)
            assert returns[row, t].item() == pytest.approx(expected + (values[row, t] if t < length else 0))


def test_with_lambda_one_the_return_is_the_sum_of_rewards(mask: torch.Tensor) -> None:
    rewards, values = noise(4, WIDTH), noise(4, WIDTH)
    _, returns = ppo_math.advantages_and_returns(tensor(rewards), tensor(values), mask, 1.0, 1.0)
    for row, length in enumerate(LENGTHS):
        assert returns[row, 0].item() == pytest.approx(sum(rewards[row, :length]))


def test_the_policy_loss_takes_the_worse_of_free_and_clipped() -> None:
    new, old, advantages = noise(5, 6), noise(5, 6), noise(5, 6)
    found = ppo_math.policy_terms(tensor(new), tensor(old), tensor(advantages), 0.2)
    clipped = 0
    for i in range(5):
        for j in range(6):
            ratio = math.exp(new[i, j] - old[i, j])
            free, held = -advantages[i, j] * ratio, -advantages[i, j] * min(max(ratio, 0.8), 1.2)
            assert found.loss[i, j].item() == pytest.approx(max(free, held))
            assert found.ratio[i, j].item() == pytest.approx(ratio)
            assert found.clipped[i, j].item() == (held > free)
            assert found.approxkl[i, j].item() == pytest.approx((new[i, j] - old[i, j]) ** 2 / 2)
            clipped += held > free
    assert 0 < clipped < 30


def test_a_clipped_token_has_no_gradient() -> None:
    new = torch.tensor([0.5, 0.1], requires_grad=True)
    ppo_math.policy_terms(new, torch.zeros(2), torch.ones(2), 0.2).loss.sum().backward()
    assert new.grad is not None
    assert new.grad[0] == 0
    assert new.grad[1] < 0


def test_the_value_loss_takes_the_worse_of_free_and_clipped() -> None:
    new, old, returns = noise(5, 6), noise(5, 6), noise(5, 6)
    loss, clipped = ppo_math.value_terms(tensor(new), tensor(old), tensor(returns), 0.5)
    for i in range(5):
        for j in range(6):
            near = min(max(new[i, j], old[i, j] - 0.5), old[i, j] + 0.5)
            free, held = (new[i, j] - returns[i, j]) ** 2, (near - returns[i, j]) ** 2
            assert loss[i, j].item() == pytest.approx(max(free, held) / 2)
            assert clipped[i, j].item() == (held > free)
    assert 0 < clipped.sum() < 30


def test_explained_variance_is_one_for_the_returns_themselves_and_zero_for_a_constant(mask: torch.Tensor) -> None:
    returns, values = noise(4, WIDTH), noise(4, WIDTH)
    assert ppo_math.explained_variance(tensor(returns), tensor(returns), mask).item() == 1
    assert ppo_math.explained_variance(torch.ones(4, WIDTH), tensor(returns), mask).item() == pytest.approx(0)
    errors = np.array(inside(returns)) - np.array(inside(values))
    expected = 1 - errors.var() / np.array(inside(returns)).var()
    assert ppo_math.explained_variance(tensor(values), tensor(returns), mask).item() == pytest.approx(expected)


def test_an_adaptive_coefficient_moves_toward_the_target_by_at_most_a_fifth_per_horizon() -> None:
    controller = ppo_math.KLController(0.2, target=6.0, horizon=100)
    controller.update(6.3, 10)
    assert controller.coefficient == pytest.approx(0.2 * (1 + 0.05 * 0.1))
    controller = ppo_math.KLController(0.2, target=6.0, horizon=100)
    controller.update(60, 100)
    assert controller.coefficient == pytest.approx(0.24)
    controller.update(0, 100)
    assert controller.coefficient == pytest.approx(0.24 * 0.8)


def test_a_fixed_coefficient_stays() -> None:
    controller = ppo_math.KLController(0.2)
    controller.update(60, 100)
    assert controller.coefficient == 0.2
