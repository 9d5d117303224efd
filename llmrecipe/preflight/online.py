"""The trial of methods that learn from their own answers: short answers, and rewards that are watched."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset

from llmrecipe.plan import ModelOrigin, PinnedFunction, Reward, RewardModel, Train
from llmrecipe.preflight.case import Case
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.reward_code import allowed
from llmrecipe.trainers.rewards import Checked, Rewards, Text, build, check_references
from llmrecipe.vocabulary import Length

ANSWER = 8
"""Longest answer of a trial, in tokens."""

GROUPED: dict[str, Any] = {
    "num_generations": 2, "num_iterations": 1, "steps_per_generation": 1, "mask_truncated_completions": False,
}  # fmt: skip
"""Options of GRPO and RLOO for one prompt with two answers at a time. Hardly one of these comes to its end."""
PPO: dict[str, Any] = {"num_ppo_epochs": 1, "num_mini_batches": 1}
"""Options of PPO for two prompts at a time."""
ABSENT = (
    "generation_batch_size", "num_generations_eval",  # of more answers
    "use_transformers_continuous_batching", "use_transformers_paged", "cache_implementation",
    "log_completions", "log_completions_hub_repo",
    "reward_clip", "reward_clip_range",  # Rewards are to differ.
)  # fmt: skip
"""Options of a recipe that the trial goes without."""

APART = Length(kind="length", name="trial", min=1)
"""One more reward: what says it is `_apart`."""
STEP = 0.6180339887
"""By how much it tells answers apart: by what other rewards will not make up for."""


def shortened(spec: Train) -> Train:
    """The training with short answers, few of them, and with one more reward."""
    said: dict[str, Any] = {name: value for name, value in spec.arguments.items() if name not in ABSENT}
    longest = min(ANSWER, said["max_completion_length"])
    options = said | (PPO if spec.method == "ppo" else GROUPED) | {"max_completion_length": longest}
    if "min_completion_length" in said:
        options["min_completion_length"] = min(longest, said["min_completion_length"])
    return spec.model_copy(update={"arguments": options, "rewards": [*spec.rewards, APART]})


def prompts(rows: Dataset, count: int) -> list[dict[str, Any]]:
    """The shortest prompts among the first ones, and those with a reference before others.

    They are not cut, since rewards read them.
    """
    first = [rows[number] for number in range(min(len(rows), count))]
    return sorted(first, key=lambda row: (not row["reference"], len(row["prompt_ids"])))


def comparable(spec: Train, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether what compares with references finds one in some row."""
    try:
        check_references(spec.rewards, [row["reference"] for row in rows])
    except StageError:
        return False
    return True


class WatchedRewards:
    """What stands for the rewards of a recipe in a trial.

    Each is called with what the tiny model answers; what goes wrong is kept with its place in the recipe, and the steps
    go on. One more reward tells the answers apart: where all rewards are the same, nothing moves although nothing is
    wrong, and a random model earns the same with every answer.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self.problems: dict[str, StageError] = {}
        """Place in the recipe -> why the reward there cannot be made, or what it did."""
        self.uncalled: set[str] = set()
        """Names of functions whose code may not run."""
        self._silent: set[str] = set()
        self._said: dict[str, Rewards] = {}

    def build(
        self, rewards: Sequence[Reward], models: Mapping[str, ModelOrigin], place: Place, trust_remote_code: bool
    ) -> list[Checked]:
        """The functions of a plan that `shortened` made, in their order."""
        found = []
        for number, reward in enumerate(rewards[:-1]):
            at = "method.reward_model" if isinstance(reward, RewardModel) else f"method.reward_functions.{number}"
            function = self._function(at, reward, models, place, trust_remote_code)
            found.append(Checked(reward.name or reward.kind, _nothing if function is None else function))
        return [*found, Checked("trial", _apart)]

    def unjudged(self) -> tuple[int, int] | None:
        """Answers that no reward said anything of, and all answers; None where not every reward was heard."""
        if self.problems or self.uncalled or self._silent:
            return None
        answers = list(zip(*self._said.values(), strict=True))
        return sum(all(reward is None for reward in rewards) for rewards in answers), len(answers)

    def _function(
        self, at: str, reward: Reward, models: Mapping[str, ModelOrigin], place: Place, trust_remote_code: bool
    ) -> Callable[..., Rewards] | None:
        """What is called for a reward; None where nothing can be."""
        if isinstance(reward, PinnedFunction):
            if not allowed(reward, place):
                self.uncalled.add(reward.name)
                return None
            if self._case.reward_problem(reward) is not None:  # Another check says so.
                self._silent.add(reward.name)
                return None
        try:
            (function,) = build([reward], models, place, trust_remote_code)
        except StageError as error:
            self.problems.setdefault(at, error)
            return None
        return self._watching(at, function)

    def _watching(self, at: str, function: Checked) -> Callable[..., Rewards]:
        def call(prompts: list[Text], **given: Any) -> Rewards:
            try:
                said = function(prompts, **given)
            except StageError as error:
                self.problems.setdefault(at, error)
                return _nothing(prompts)
            self._said.setdefault(at, []).extend(said)
            return said

        return call


def _nothing(prompts: list[Text], **_: Any) -> Rewards:
    """No opinion on any answer."""
    return [None] * len(prompts)


def _apart(prompts: list[Text], **_: Any) -> Rewards:
    """More for each second answer: those to one prompt stand next to each other."""
    return [STEP * (row % 2) for row in range(len(prompts))]
