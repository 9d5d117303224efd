"""The rules of the watchdog over fed logs: what sets each off, and that a healthy log sets off none."""

import math
from typing import Any

import pytest

from llmrecipe.trainers.alarms import log_rules
from llmrecipe.watching import Divergence, EqualRewards, NoSignal, Throughput, UniformOutput, Watchdog

VOCABULARY = 300
EVEN = math.log(VOCABULARY)


def lines(count: int, **values: Any) -> list[dict[str, Any]]:
    """Lines of a log; a value that is a function is called with the number of the line, from 0."""
    return [
        {"step": 10 * (i + 1), "epoch": 0.1 * i}
        | {name.replace("__", "/"): value(i) if callable(value) else value for name, value in values.items()}
        for i in range(count)
    ]


def heard(log: list[dict[str, Any]], settings: Watchdog | None = None, warmup: int = 0) -> dict[str, tuple[int, str]]:
    """Rule -> the first step at which it spoke, and its message."""
    rules = log_rules(settings or Watchdog(), VOCABULARY, warmup)
    found: dict[str, tuple[int, str]] = {}
    for line in log:
        for name, rule in rules.items():
            alarm = rule.look(line)
            if alarm is not None and name not in found:
                assert alarm.help
                found[name] = (line["step"], alarm.message)
    return found


HEALTHY = {
    "sft": lines(60, loss=lambda i: 5.7 / (1 + i / 5), grad_norm=lambda i: 1 + i % 3, entropy=lambda i: 5.7 - i / 20,
                 tokens_per_second=lambda i: 1000 + 300 * (i % 2)),
    "with validation": [
        line for i in range(30)
        for line in lines(1, loss=3 - i / 20, grad_norm=1.0) + lines(1, eval_loss=3.1 - i / 20 + (i % 3) / 30)
    ],
    "dpo": lines(40, loss=lambda i: math.log(2) - i / 100, grad_norm=0.5, entropy=EVEN, rewards__margins=0.1),
    "a slow start": lines(30, loss=lambda i: EVEN - i / 500, grad_norm=0.5, entropy=lambda i: EVEN - i / 500),
    "grpo": lines(60, loss=0.0, grad_norm=0.1, reward=0.5, kl=lambda i: i / 100, frac_reward_zero_std=0.5,
                  completions__clipped_ratio=0.2),
    "ppo": lines(60, loss=0.0, grad_norm=0.1, objective__kl=lambda i: min(i, 8.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_log_sets_off_nothing(name: str) -> None:
    assert heard(HEALTHY[name]) == {}


SICK: dict[str, tuple[str, list[dict[str, Any]], int, str]] = {
    "a loss of zero": ("no_signal", lines(9, loss=0.0, grad_norm=1.0), 30, "`loss` has been exactly 0 in 3 logs"),
    "no gradient": ("no_signal", lines(9, loss=2.0, grad_norm=0.0), 30, "`grad_norm` has been exactly 0"),
    "no gradient of rewards": ("no_signal", lines(9, loss=0.0, grad_norm=0.0, reward=1.0), 30, "`grad_norm`"),
    "a model that guesses": (
        "uniform_output", lines(20, loss=EVEN, grad_norm=1e-3, entropy=EVEN - 1e-3), 150, "an even guess over 300",
    ),
    "equal pairs": (
        "dead_preference", lines(9, loss=math.log(2), grad_norm=1e-7), 50, "chosen and rejected look alike",
    ),
    "equal rewards": ("equal_rewards", lines(30, loss=0.1, frac_reward_zero_std=0.9), 200, "90% of the groups"),
    "clipped answers": (
        "clipped_completions", lines(30, loss=0.1, completions__clipped_ratio=0.6), 200, "60% of the answers are cut",
    ),
    "a runaway policy": ("divergence", lines(40, kl=lambda i: 0.05 if i < 20 else 5.0), 250, "100 times its median"),
    "a runaway policy of PPO": ("divergence", lines(40, objective__kl=lambda i: 1 if i < 20 else 50), 250, "50 times"),
    "a policy with one answer": (
        "lost_entropy", lines(30, reward=1.0, entropy=lambda i: 0.8 if i < 15 else 0.1), 200, "12% of the 0.8 of",
    ),
    "a policy of PPO with one answer": (
        "lost_entropy", lines(30, objective__entropy=lambda i: 2.0 if i < 12 else 0.2), 170, "0.2 nats per token",
    ),
    "slow steps": (
        "throughput", lines(20, tokens_per_second=lambda i: 1000 if i < 8 else 300), 100, "30% of the 1,000",
    ),
    "rows learned by heart": (
        "overfitting",
        [line for i in range(6) for line in lines(1, loss=2 - i / 5) + lines(1, eval_loss=2.1 + i / 10)], 10,
        "the gap has grown in 3 validations in a row",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SICK)
def test_what_is_wrong_is_said_with_its_numbers(name: str) -> None:
    rule, log, step, message = SICK[name]
    found = heard(log)
    assert set(found) == {rule}
    assert found[rule][0] == step
    assert message in found[rule][1]


def test_a_row_that_is_broken_begins_anew() -> None:
    log = lines(2, loss=1.0, grad_norm=0.0) + lines(1, loss=1.0, grad_norm=0.5) + lines(2, loss=1.0, grad_norm=0.0)
    assert heard(log) == {}


def test_bounds_are_those_of_the_recipe() -> None:
    log = lines(30, loss=0.1, frac_reward_zero_std=0.6)
    assert heard(log) == {}
    stricter = Watchdog(equal_rewards=EqualRewards(above=0.5, logs=2))
    assert heard(log, stricter)["equal_rewards"][0] == 20


def test_a_rule_that_is_off_does_not_look() -> None:
    settings = Watchdog(no_signal=NoSignal(action="off"), uniform_output=UniformOutput(action="off"))
    assert heard(lines(20, loss=EVEN, grad_norm=0.0, entropy=EVEN), settings) == {}


def test_an_even_guess_is_no_wonder_during_the_warm_up() -> None:
    log = lines(12, loss=EVEN, grad_norm=1e-3, entropy=EVEN)
    assert heard(log, warmup=100) == {}


def test_slowness_has_to_last_as_many_steps_as_the_recipe_says() -> None:
    log = lines(30, tokens_per_second=lambda i: 300 if i % 4 == 3 else 1000)
    assert heard(log) == {}
    assert heard(log, Watchdog(throughput=Throughput(steps=10)))["throughput"][0] == 80


def test_a_divergence_from_almost_nothing_is_no_divergence() -> None:
    assert heard(lines(40, kl=lambda i: 1e-5 if i < 20 else 0.09)) == {}
    assert heard(lines(40, kl=lambda i: 1e-5 if i < 20 else 0.09), Watchdog(divergence=Divergence(times=5))) != {}


def test_a_policy_that_had_no_entropy_loses_none() -> None:
    assert heard(lines(40, reward=1.0, entropy=lambda i: 0.04 if i < 20 else 0.001)) == {}
    assert heard(lines(40, reward=1.0, entropy=lambda i: 1.0 if i % 4 else 0.1)) == {}


def test_likelihood_may_lose_as_much_entropy_as_it_likes() -> None:
    assert heard(lines(40, loss=lambda i: 3.0 / (1 + i), grad_norm=1.0, entropy=lambda i: 3.0 / (1 + i))) == {}
