"""The installed libraries -> facts: fields of the trainers' configuration classes, types of models."""

import dataclasses
import importlib
import importlib.metadata
import json
import os
import types
import typing
from enum import Enum
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # The methods say which of them are experimental.

CONFIGS = (
    "transformers:TrainingArguments",
    "trl:SFTConfig",
    "trl:RewardConfig",
    "trl:DPOConfig",
    "trl:KTOConfig",
    "trl.experimental.orpo:ORPOConfig",
    "trl.experimental.cpo:CPOConfig",
    "llmrecipe.trainers.distillation:DistillationConfig",
    "trl:GRPOConfig",
    "trl:RLOOConfig",
    "llmrecipe.trainers.ppo:PPOConfig",
)


def trainers() -> str:
    """The table of every field of every class in CONFIGS, one line each, with the versions that it was read from."""
    tables = {config: _fields(config) for config in CONFIGS}
    versions = {name: importlib.metadata.version(name) for name in ("transformers", "trl")}
    classes = ",\n".join(
        f"    {json.dumps(config)}: {{\n"
        + ",\n".join(f"      {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(table.items()))
        + "\n    }"
        for config, table in tables.items()
    )
    return f'{{\n  "versions": {json.dumps(versions)},\n  "configs": {{\n{classes}\n  }}\n}}\n'


def model_types() -> str:
    """Which `model_type`s the installed Transformers knows, and which have a model with each head."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    known = importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING_NAMES
    tables = {
        "any": known,
        "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "masked": auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "reward": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    }
    lines = [f'  "version": {json.dumps(importlib.metadata.version("transformers"))}']
    lines += [f'  "{head}": {json.dumps(sorted(table))}' for head, table in tables.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _fields(config: str) -> dict[str, dict[str, Any]]:
    module, _, name = config.partition(":")
    cls = getattr(importlib.import_module(module), name)
    hints = typing.get_type_hints(cls)
    return {field.name: _entry(hints[field.name], _default(field)) for field in dataclasses.fields(cls) if field.init}


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    value = None if field.default is dataclasses.MISSING else field.default
    return value.value if isinstance(value, Enum) else value


def _entry(hint: Any, default: Any) -> dict[str, Any]:
    kinds: list[str] = []
    choices: list[str] = []
    for member in typing.get_args(hint) if _is_union(hint) else (hint,):
        plain = typing.get_origin(member) or member
        if isinstance(plain, type) and issubclass(plain, Enum):
            choices = [item.value for item in plain]
            kinds.append("str")
        elif plain is typing.Literal:
            kinds += [type(value).__name__ for value in typing.get_args(member)]
        elif plain in (bool, int, float, str, dict, list):
            kinds.append(plain.__name__)
        elif member is type(None):
            kinds.append("None")
    kinds = sorted(dict.fromkeys(kinds), key=lambda kind: (kind == "None", kind))
    entry: dict[str, Any] = {"type": " | ".join(kinds), "default": default}
    if choices:
        entry["choices"] = choices
    return entry


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
