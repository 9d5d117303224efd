"""Rewards, called with answers that are known to be right, wrong or empty."""

import inspect
from collections.abc import Callable
from typing import Any

from transformers import TrainerState

from llmrecipe.plan import PinnedFunction, Reward
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.rows.record import Row
from llmrecipe.trainers.reward_code import allowed
from llmrecipe.trainers.rewards import build, compares

__all__ = ["TriedRewards", "compares"]

ANSWERS = 32
"""Prompts that a function of the recipe is called with."""
GIVEN = ("prompts", "completions", "completion_ids", "reference", "trainer_state", "log_extra", "log_metric")
"""What a function can be called with: the last three by GRPO and RLOO of TRL alone."""


class TriedRewards:
    """The rewards of a recipe and some prompts with references."""

    def __init__(self, rows: list[Row], place: Place, method: str) -> None:
        self._rows, self._place, self._method = rows, place, method
        self._tried: dict[str, list[float | None] | StageError] = {}

    def score(self, reward: Reward, answers: list[str], references: list[str]) -> list[float | None]:
        """What a built-in reward gives for answers, whatever the prompts; None where it refuses the reference."""
        (function,) = build([reward], {}, self._place)
        found: list[float | None] = []
        for answer, reference in zip(answers, references, strict=True):
            try:
                found += function([""], [answer], [[]], reference=[reference])
            except StageError:
                found.append(None)
        return found

    def problem(self, reward: PinnedFunction) -> StageError | None:
        """What is wrong with a function that may run."""
        found = self._try(reward)
        return found if isinstance(found, StageError) else None

    def tried(self, reward: PinnedFunction) -> list[float | None]:
        """Its rewards for right, wrong and empty answers."""
        found = self._try(reward)
        return [] if isinstance(found, StageError) else found

    def _try(self, reward: PinnedFunction) -> list[float | None] | StageError:
        if not allowed(reward, self._place):
            return []
        if reward.name not in self._tried:
            try:
                self._tried[reward.name] = self._call(reward)
            except StageError as error:
                self._tried[reward.name] = error
        return self._tried[reward.name]

    def _call(self, reward: PinnedFunction) -> list[float | None]:
        """Every prompt with its reference, with the next one's, and with nothing as the answer."""
        rows = self._rows[:ANSWERS]
        references = [row["reference"] or "an answer" for row in rows]
        answers = [*references, *references[1:], references[0], *("" for _ in rows)]
        prompts = [row["prompt"] for row in rows] * 3
        completions: list[Any] = [
            answer if isinstance(prompt, str) else [{"role": "assistant", "content": answer}]
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        (function,) = build([reward], {}, self._place)
        _check_parameters(reward, function.function)
        return function(prompts, completions, [[0] for _ in answers], reference=references * 3, **self._of_trainer())

    def _of_trainer(self) -> dict[str, Any]:
        """What the trainer of the method gives beside columns."""
        if self._method == "ppo":
            return {}
        return {"trainer_state": TrainerState(), "log_extra": _unheard, "log_metric": _unheard}


def _check_parameters(reward: PinnedFunction, function: Callable[..., Any]) -> None:
    """See that a function needs nothing but what it is given.

    Raises:
        StageError: it asks for a column that no prepared row has.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return  # A function of C that does not tell.
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [p.name for p in parameters if p.kind in named and p.default is inspect.Parameter.empty]
    if missing := [name for name in needed if name not in GIVEN]:
        raise StageError(
            f"the reward function `{reward.function}` of `{reward.file.path}` asks for `{'`, `'.join(missing)}`, and "
            "what is prepared of a row is its prompt and its `reference`",
            f"write `columns: {{reference: {missing[0]}}}` at the source, and call the parameter `reference`",
        )


def _unheard(name: str, value: Any) -> None:
    """Nothing: what a function logs is not shown here."""
