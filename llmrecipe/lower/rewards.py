"""Rewards of a method or of a suite -> what the stages call, with every file pinned."""

import json
from collections.abc import Iterator, Sequence

from llmrecipe.lock import Lock
from llmrecipe.plan import PinnedFunction, Reward, RewardModel
from llmrecipe.vocabulary import JSONSchema, PythonFunction, RewardFunction


def rewards(functions: Sequence[RewardFunction], model_weight: float | None, lock: Lock, key: str) -> list[Reward]:
    """The functions in their order, and last the reward model when it has a weight.

    Args:
        key: of the list in the lock, `NAME:method.reward_functions`.
    """
    found: list[Reward] = [_pinned(function, lock, f"{key}.{i}") for i, function in enumerate(functions)]
    return found if model_weight is None else [*found, RewardModel(kind="reward_model", weight=model_weight)]


def name_of(function: RewardFunction) -> str:
    """What the log and the metrics call it."""
    if function.name is not None:
        return function.name
    return function.function if isinstance(function, PythonFunction) else function.kind


def names(functions: Sequence[RewardFunction]) -> Iterator[str]:
    """The names of several."""
    return map(name_of, functions)


def _pinned(function: RewardFunction, lock: Lock, key: str) -> Reward:
    name = name_of(function)
    match function:
        case PythonFunction():
            file = lock.files[f"{key}.path"][0]
            return PinnedFunction(
                kind="python", name=name, weight=function.weight, file=file, function=function.function
            )
        case JSONSchema(json_schema=str()):
            schema = json.loads(lock.texts[f"{key}.json_schema"])
            return function.model_copy(update={"name": name, "json_schema": schema})
        case _:
            return function.model_copy(update={"name": name})
