"""Rewards, called with answers that are known to be right, wrong or empty."""

from typing import Any

from llmrecipe.plan import PinnedFunction, Reward
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.rows.record import Row
from llmrecipe.trainers.rewards import build

ANSWERS = 32
"""Prompts that a function of the recipe is called with."""


class TriedRewards:
    """The rewards of a recipe and some prompts with references."""

    def __init__(self, rows: list[Row], place: Place) -> None:
        self._rows, self._place = rows, place
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

    def allowed(self, reward: PinnedFunction) -> bool:
        """Whether its code may run."""
        return self._place.allow_code or reward.file.sha256 in self._place.trusted

    def problem(self, reward: PinnedFunction) -> StageError | None:
        """What is wrong with a function that may run."""
        found = self._try(reward)
        return found if isinstance(found, StageError) else None

    def tried(self, reward: PinnedFunction) -> list[float | None]:
        """Its rewards for right, wrong and empty answers."""
        found = self._try(reward)
        return [] if isinstance(found, StageError) else found

    def _try(self, reward: PinnedFunction) -> list[float | None] | StageError:
        if not self.allowed(reward):
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
        return function(prompts, completions, [[0] for _ in answers], reference=references * 3)
