"""Rewards of a plan -> functions of one signature, which PPO, GRPO, RLOO and the suite `reward` call alike.

`f(prompts, completions, completion_ids, reference, **columns)` gives one number for each answer, or None where it has
no opinion. Prompts and completions are strings, or lists of messages; `completion_ids` are the generated tokens, the
end of text among them. Source of the signature: TRL's GRPOTrainer.
"""

import importlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmrecipe.plan import ModelOrigin, PinnedFunction, Reward, RewardModel
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.reward_code import function_of
from llmrecipe.trainers.reward_model import ScoreOfModel
from llmrecipe.vocabulary import ExactMatch, JSONSchema, Length, NumericAnswer, RegularExpression

Text = str | list[dict[str, str]]
Rewards = list[float | None]
RewardCallable = Callable[..., Rewards]

NUMBER = re.compile(r"(?:(?<!\d)-)?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?")
"""A number in running text. A hyphen between two numbers is no sign."""


class Checked:
    """A reward function under its name, whose results are looked at before a trainer sees them."""

    def __init__(self, name: str, function: RewardCallable) -> None:
        self.__name__ = name
        self.function = function

    def __call__(
        self, prompts: list[Text], completions: list[Text], completion_ids: list[list[int]], **columns: Any
    ) -> Rewards:
        """One number for each answer, or None.

        Raises:
            StageError: another number of results, or one that is no finite number.
        """
        found = self.function(
            prompts=prompts, completions=completions, completion_ids=completion_ids, **_with_reference(columns, prompts)
        )
        try:
            found = list(found)
        except TypeError:
            raise self._wrong(
                f"returned {type(found).__name__}", "return a list with one number for each answer"
            ) from None
        if len(found) != len(prompts):
            message = f"returned {len(found)} rewards for {len(prompts)} answers"
            raise self._wrong(message, "return one for each answer, or None where it has no opinion")
        return [self._number(value, prompts[row], completions[row]) for row, value in enumerate(found)]

    def _number(self, value: Any, prompt: Text, completion: Text) -> float | None:
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            message = f"returned {value!r} for the answer {shown(completion)} to {shown(prompt)}"
            raise self._wrong(message, "return a finite number, or None where it has no opinion")
        return number

    def _wrong(self, message: str, help_: str) -> StageError:
        return StageError(f"the reward function `{self.__name__}` {message}", help_)


Builder = Callable[[Sequence[Reward], Mapping[str, ModelOrigin], Place, bool], list[Checked]]
"""Who makes functions of rewards, as `build` does."""


def _with_reference(columns: Mapping[str, Any], prompts: Sequence[Text]) -> dict[str, Any]:
    """The columns without tokens of prompts, and with None for a reference that a row does not have."""
    references = columns.get("reference") or [""] * len(prompts)
    others = {name: value for name, value in columns.items() if name != "prompt_ids"}
    return {**others, "reference": [reference or None for reference in references]}


def build(
    rewards: Sequence[Reward], models: Mapping[str, ModelOrigin], place: Place, trust_remote_code: bool = False
) -> list[Checked]:
    """The functions of a plan, in their order.

    Raises:
        StageError: code may not run, a file is not what the plan says, or a model or package cannot be loaded.
    """
    found = []
    for reward in rewards:
        match reward:
            case PinnedFunction():
                function: RewardCallable = function_of(reward, place)
            case RewardModel():
                function = ScoreOfModel(models[reward.role], place, trust_remote_code)
            case _:
                function = _verifier(reward)
        found.append(Checked(reward.name or reward.kind, function))
    return found


def check_references(rewards: Sequence[Reward], references: Sequence[str]) -> None:
    """See that what compares with references has some.

    Raises:
        StageError: no row has one.
    """
    comparing = [reward for reward in rewards if compares(reward)]
    if comparing and not any(references):
        raise StageError(
            f"`{comparing[0].kind}` compares answers with references, and no row has a `reference`",
            "add the column, or say which it is: `columns: {reference: answer}`",
        )


def compares(reward: Reward) -> bool:
    """Whether a reward says nothing of an answer without a reference."""
    return isinstance(reward, ExactMatch | NumericAnswer) or (
        isinstance(reward, RegularExpression) and reward.group is not None
    )


def text_of(completion: Text) -> str:
    """What an answer says."""
    return completion if isinstance(completion, str) else "\n".join(turn["content"] for turn in completion)


def shown(text: Text) -> str:
    """The beginning of a text, for messages."""
    return repr(text_of(text)[:80])


# -- verifiers --


def _verifier(reward: ExactMatch | NumericAnswer | RegularExpression | JSONSchema | Length) -> RewardCallable:
    match reward:
        case Length():
            return lambda completions, completion_ids, **_: [
                length(reward, text_of(answer), ids) for answer, ids in zip(completions, completion_ids, strict=True)
            ]
        case JSONSchema():
            return _over_texts(accepted_by(reward))
        case RegularExpression(group=None):
            pattern = re.compile(reward.pattern)
            return _over_texts(lambda answer: float(pattern.search(answer) is not None))
        case RegularExpression():
            return _over_references(lambda answer, reference: found_group(reward, answer, reference))
        case ExactMatch():
            return _over_references(lambda answer, reference: exact_match(reward, answer, reference))
        case NumericAnswer():
            return _over_references(lambda answer, reference: numeric_answer(reward, answer, reference))


def _over_texts(score: Callable[[str], float]) -> RewardCallable:
    return lambda completions, **_: [score(text_of(answer)) for answer in completions]


def _over_references(score: Callable[[str, str], float]) -> RewardCallable:
    def function(completions: list[Text], reference: list[str | None], **_: Any) -> Rewards:
        pairs = zip(completions, reference, strict=True)
        return [None if wanted is None else score(text_of(answer), wanted) for answer, wanted in pairs]

    return function


def exact_match(reward: ExactMatch, answer: str, reference: str) -> float:
    """1 when both are the same but for white space around them, else 0."""
    answer, reference = answer.strip(), reference.strip()
    return float(answer.casefold() == reference.casefold() if reward.ignore_case else answer == reference)


def last_number(text: str) -> float | None:
    """The last number in a text: `1,250.5`, `-3`, `.5`, `2e-4`; None without one."""
    found = NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    return float(found[-1].replace(",", "")) if found else None


def numeric_answer(reward: NumericAnswer, answer: str, reference: str) -> float:
    """1 when the last numbers of both differ by no more than the tolerance, else 0.

    Raises:
        StageError: the reference has no number.
    """
    wanted, given = last_number(reference), last_number(answer)
    if wanted is None:
        raise StageError(
            f"`numeric_answer` finds no number in the reference {shown(reference)}", "correct or leave out that row"
        )
    return float(given is not None and abs(given - wanted) <= reward.tolerance)


def found_group(reward: RegularExpression, answer: str, reference: str) -> float:
    """1 when the group of the first match is the reference but for white space around both, else 0."""
    match = re.search(reward.pattern, answer)
    group = match.group(reward.group) if match is not None and reward.group is not None else None
    return float(group is not None and group.strip() == reference.strip())


def accepted_by(reward: JSONSchema) -> Callable[[str], float]:
    """1 for an answer that is JSON and that the schema accepts, else 0.

    Raises:
        StageError: the package `jsonschema` is not installed, or the schema is none.
    """
    try:
        jsonschema = importlib.import_module("jsonschema")
    except ModuleNotFoundError:
        raise StageError(
            "the reward `json_schema` needs the package `jsonschema`", "pip install 'llmrecipe[rewards]'"
        ) from None
    assert isinstance(reward.json_schema, dict)
    kind = jsonschema.validators.validator_for(reward.json_schema)
    try:
        kind.check_schema(reward.json_schema)
    except jsonschema.SchemaError as error:
        raise StageError(f"`json_schema` is no JSON schema: {error.message}", "correct it") from None
    validator = kind(reward.json_schema)

    def score(answer: str) -> float:
        try:
            return float(validator.is_valid(json.loads(answer)))
        except (ValueError, RecursionError):
            return 0.0

    return score


def length(reward: Length, answer: str, ids: Sequence[int]) -> float:
    """How near the length of an answer is to the wanted one, 0 to 1."""
    n = len(ids) if reward.unit == "tokens" else len(answer)
    if reward.target is not None:
        return max(0.0, 1 - abs(n - reward.target) / reward.target)
    if reward.min is not None and n < reward.min:
        return n / reward.min
    if reward.max is not None and n > reward.max:
        return max(0.0, 2 - n / reward.max)
    return 1.0
