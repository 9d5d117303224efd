"""Fields of the trainer that recipes have no key for -> `training.extra`."""

from collections.abc import Mapping
from typing import Any, get_args

from llmrecipe import facts
from llmrecipe.importing.case import Case
from llmrecipe.methods import METHODS, BaseMethod


def extra_fields(case: Case) -> Mapping[str, facts.TrainerField]:
    """Fields of the configuration class of the recipe's method; none where it has no method."""
    kind = case.recipe.get("method", {}).get("kind")
    return facts.trainer_fields(method_named(kind).config) if kind else {}


def method_named(kind: str) -> type[BaseMethod]:
    """The method of a kind, which exists."""
    return next(each for each in METHODS if _kind(each) == kind)


def extra_field(case: Case, key: str, field: facts.TrainerField) -> None:
    """Write a field as it is, unless it says what happens anyway."""
    value = case.get(key)
    if value is None or _same(value, field.default):
        case.drop(key, "the trainer's default, here too")
    elif field.accepts(value):
        case.map(key, f"training.extra.{key}", value, "under the trainer's own name")
    elif isinstance(value, str) and "float" in field.type and (found := _float(value)) is not None:
        case.map(
            key, f"training.extra.{key}", found, f"`{value}` is text to YAML 1.1, which the tool turns into a number"
        )
    else:
        message = f"`{key}` must be {field.type}, not `{value}`"
        case.block(key, message, "correct it", "unfit-imported-value")


def _kind(method: type[BaseMethod]) -> str:
    return str(get_args(method.model_fields["kind"].annotation)[0])


def _same(value: Any, default: Any) -> bool:
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)


def _float(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
