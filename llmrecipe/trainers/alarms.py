"""What the lines of a training log say when something goes wrong: one small class for each rule of the watchdog."""

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from llmrecipe.watching import (
    ClippedCompletions,
    DeadPreference,
    Divergence,
    EqualRewards,
    LostEntropy,
    NoSignal,
    Overfitting,
    Throughput,
    UniformOutput,
    Watchdog,
)

Line = dict[str, Any]


@dataclass(frozen=True)
class Alarm:
    """What was noticed."""

    message: str
    """The numbers."""
    help: str
    """The usual remedies."""


class LogRule(Protocol):
    """Looks at every line of the log in turn; what it remembers follows from the lines alone."""

    def look(self, line: Line) -> Alarm | None:
        """What this line gives away, with those before it."""


@dataclass
class ZeroSignal:
    """Loss or gradient norm is zero."""

    settings: NoSignal
    _counts: dict[str, int] = field(default_factory=dict)

    def look(self, line: Line) -> Alarm | None:
        for name in ("loss", "grad_norm"):
            if name not in line or (name == "loss" and _is_reinforced(line)):
                continue
            self._counts[name] = self._counts.get(name, 0) + 1 if line[name] == 0.0 else 0
            if self._counts[name] >= self.settings.logs:
                return Alarm(
                    f"`{name}` has been exactly 0 in {self._counts[name]} logs, up to step {line['step']}: nothing is "
                    "learned",
                    "see that rows have supervised tokens (the data report counts them) and that the adapter reaches "
                    "layers that are used; when all is learned already, take fewer steps",
                )
        return None


@dataclass
class EvenGuess:
    """The entropy of the model is that of an even guess."""

    settings: UniformOutput
    vocabulary: int
    warmup: int
    """Steps in which this is no wonder."""
    _distances: list[float] = field(default_factory=list)

    FEWEST = 50
    """Steps after the warm-up that any training is given."""
    LIKELY = 0.98
    """Share of the even loss below which something is learned, or the loss is of another kind."""

    def look(self, line: Line) -> Alarm | None:
        if "entropy" not in line or line["step"] <= self.warmup + self.FEWEST:
            return None
        even = math.log(self.vocabulary)
        distance = abs(line["entropy"] - even)
        if distance >= self.settings.nats or line.get("loss", 0.0) < self.LIKELY * even:
            self._distances.clear()
            return None
        self._distances.append(distance)
        window = self._distances[-self.settings.logs :]
        moving = window[-1] - window[0] >= self.settings.nats / 4
        if len(window) < self.settings.logs or moving:
            return None
        return Alarm(
            f"the entropy is {line['entropy']:.4f} at step {line['step']}, and an even guess over {self.vocabulary} "
            f"tokens has {even:.4f}: the model has collapsed or learns nothing",
            "lower `training.learning_rate` or lengthen the warm-up when the loss rose to this; raise the rate when it "
            "never fell",
        )


@dataclass
class LogTwo:
    """The loss of preferences does not leave ln 2."""

    settings: DeadPreference
    _count: int = 0

    def look(self, line: Line) -> Alarm | None:
        if "loss" not in line or "grad_norm" not in line:
            return None
        dead = abs(line["loss"] - math.log(2)) < 1e-4 and line["grad_norm"] < 1e-5
        self._count = self._count + 1 if dead else 0
        if self._count < self.settings.logs:
            return None
        return Alarm(
            f"the loss is {line['loss']:.6f} (ln 2) with a gradient norm of {line['grad_norm']:.1e} at step "
            f"{line['step']}: chosen and rejected look alike",
            "see that chosen and rejected differ within `training.max_length`, and raise `training.learning_rate`",
        )


@dataclass
class AboveInARow:
    """A share of the log is too high in several lines."""

    names: tuple[str, ...]
    """Keys, of which the first that a line has is read."""
    above: float
    logs: int
    message: str
    help: str
    _count: int = 0

    def look(self, line: Line) -> Alarm | None:
        value = next((line[name] for name in self.names if name in line), None)
        if value is None:
            return None
        self._count = self._count + 1 if value > self.above else 0
        if self._count < self.logs:
            return None
        return Alarm(self.message.format(value=value, logs=self._count, step=line["step"]), self.help)


def equal_rewards(settings: EqualRewards) -> AboveInARow:
    """Groups whose answers are rewarded alike."""
    return AboveInARow(
        ("frac_reward_zero_std",), settings.above, settings.logs,
        "{value:.0%} of the groups have equal rewards at step {step}, and as many in {logs} logs: nothing tells a good "
        "answer from a bad one",
        "take prompts that the model answers right now and then, more `num_generations`, a higher `temperature`, or a "
        "reward with degrees",
    )  # fmt: skip


def clipped_completions(settings: ClippedCompletions) -> AboveInARow:
    """Answers that are cut off."""
    return AboveInARow(
        ("completions/clipped_ratio", "completions/clipped_ratio_avg"), settings.above, settings.logs,
        "{value:.0%} of the answers are cut off at step {step}, and as many in {logs} logs: their rewards are of "
        "half-said things",
        "raise the greatest length of an answer, reward short ones, or begin with a model that has learned to end",
    )  # fmt: skip


@dataclass
class RunawayPolicy:
    """The KL divergence is many times its median."""

    settings: Divergence
    _seen: list[float] = field(default_factory=list)
    _count: int = 0

    FLOOR = 0.01
    """Medians below are noise."""

    def look(self, line: Line) -> Alarm | None:
        value = line.get("kl", line.get("objective/kl"))
        if value is None:
            return None
        self._seen.append(value)
        median = max(statistics.median(self._seen), self.FLOOR)
        enough = len(self._seen) > 2 * self.settings.logs
        self._count = self._count + 1 if enough and value > self.settings.times * median else 0
        if self._count < self.settings.logs:
            return None
        return Alarm(
            f"the KL divergence from the reference is {value:.3g} at step {line['step']}, {value / median:.0f} times "
            f"its median of {median:.3g}",
            "raise `method.beta` or `method.kl_coef`, or lower `training.learning_rate`",
        )


@dataclass
class SameAnswers:
    """The entropy of a policy is a small part of what it was."""

    settings: LostEntropy
    _first: list[float] = field(default_factory=list)
    _count: int = 0

    BASELINE = 10
    """Lines whose median is the measure."""
    FLOOR = 0.05
    """Nats per token below which there was never much to lose."""

    def look(self, line: Line) -> Alarm | None:
        value = line.get("objective/entropy", line.get("entropy"))
        if value is None or not _is_reinforced(line):
            return None
        if len(self._first) < self.BASELINE:
            self._first.append(value)
            return None
        usual = statistics.median(self._first)
        self._count = self._count + 1 if usual > self.FLOOR and value < self.settings.below * usual else 0
        if self._count < self.settings.logs:
            return None
        return Alarm(
            f"the entropy of the answers is {value:.3g} nats per token at step {line['step']}, {value / usual:.0%} of "
            f"the {usual:.3g} of the beginning: nearly the same is said again and again",
            "lower `training.learning_rate`, raise `method.beta`, `method.kl_coef` or the temperature, and see whether "
            "the reward can be had by one phrase",
        )


@dataclass
class SlowSteps:
    """Tokens per second are far below those of the beginning."""

    settings: Throughput
    _first: list[float] = field(default_factory=list)
    _since: int | None = None
    _last: int = 0

    BASELINE = 50
    """Steps whose median is the measure."""
    FEWEST = 3
    """Lines of which a median means something."""

    def look(self, line: Line) -> Alarm | None:
        value, step = line.get("tokens_per_second"), line["step"]
        if value is None:
            return None
        before, self._last = self._last, step
        if step <= self.BASELINE or len(self._first) < self.FEWEST:
            self._first.append(value)
            return None
        usual = statistics.median(self._first)
        if value >= self.settings.below * usual:
            self._since = None
            return None
        self._since = before if self._since is None else self._since
        if step - self._since < self.settings.steps:
            return None
        return Alarm(
            f"{value:,.0f} tokens per second at step {step}, {value / usual:.0%} of the {usual:,.0f} of the beginning, "
            f"for {step - self._since} steps",
            "see what else runs on this machine, how hot the device is, and whether data are read over a network",
        )


@dataclass
class GrowingGap:
    """The gap between validation and training grows."""

    settings: Overfitting
    _gaps: deque[float] = field(default_factory=deque)
    _train: float | None = None

    def look(self, line: Line) -> Alarm | None:
        self._train = line.get("loss", self._train)
        if "eval_loss" not in line or self._train is None:
            return None
        self._gaps.append(line["eval_loss"] - self._train)
        if len(self._gaps) <= self.settings.evaluations:
            return None
        recent = list(self._gaps)[-self.settings.evaluations - 1 :]
        self._gaps.popleft()
        if any(later <= earlier for earlier, later in pairwise(recent)):
            return None
        return Alarm(
            f"the validation loss is {recent[-1]:.4g} above that of training at step {line['step']}, and the gap has "
            f"grown in {self.settings.evaluations} validations in a row (from {recent[0]:.4g}): rows are learned by "
            "heart",
            "take fewer epochs, more data, a smaller rank or more `weight_decay`, or the best checkpoint",
        )


def log_rules(settings: Watchdog, vocabulary: int | None, warmup: int) -> dict[str, LogRule]:
    """Name of the rule -> what looks at the log for it; rules that are off are left out."""
    found: dict[str, LogRule] = {
        "no_signal": ZeroSignal(settings.no_signal),
        "dead_preference": LogTwo(settings.dead_preference),
        "equal_rewards": equal_rewards(settings.equal_rewards),
        "clipped_completions": clipped_completions(settings.clipped_completions),
        "divergence": RunawayPolicy(settings.divergence),
        "lost_entropy": SameAnswers(settings.lost_entropy),
        "throughput": SlowSteps(settings.throughput),
        "overfitting": GrowingGap(settings.overfitting),
    }
    if vocabulary is not None:
        found["uniform_output"] = EvenGuess(settings.uniform_output, vocabulary, warmup)
    return {name: rule for name, rule in found.items() if getattr(settings, name).action != "off"}


def _is_reinforced(line: Line) -> bool:
    """Whether the line is of a method whose loss is near zero by construction."""
    return "reward" in line or any(name.startswith(("objective/", "completions/")) for name in line)
