"""What does not go together is said, alone and by its code; what cannot be written is refused."""

import sys
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict
from recipe_variants import write_files
from test_lint import SIZES, write_texts

from llmrecipe.cli.verdicts import findings
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.facts import architectures
from llmrecipe.lint import RULES
from llmrecipe.lint.family import NOT_RECOMPUTED

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import generate_coverage


class Combination(BaseModel):
    """What is written together, and who says that it should not be."""

    model_config = ConfigDict(extra="forbid")

    title: str
    recipe: dict[str, Any]
    says: list[str] = []
    sound: dict[str, Any] | None = None
    later: list[str] = []


WRITTEN = yaml.safe_load((Path(__file__).parent / "combinations.yaml").read_text("utf-8"))
COMBINATIONS = [Combination.model_validate(each) for each in WRITTEN["combinations"]]
SOUND = [each for each in COMBINATIONS if each.sound is not None]
ROWS = {
    "pretrain": ("corpus.txt", "text"),
    "mlm": ("corpus.txt", "text"),
    "kto": ("answers.jsonl", "unpaired_preference"),
    "dpo": ("pairs.jsonl", "preference"),
    "reward": ("pairs.jsonl", "preference"),
    **dict.fromkeys(("grpo", "ppo"), ("problems.jsonl", "prompt")),
}
"""What methods other than `sft` and its like learn from."""
OPTIONS: dict[str, dict[str, Any]] = {
    **{kind: {"reward_functions": [{"kind": "numeric_answer"}]} for kind in ("grpo", "ppo")},
    "distillation": {"teacher_model": "Qwen/Qwen3-1.7B"},
}
"""What methods cannot do without."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder, with what the recipes read, and a lock."""
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)
    write_files(tmp_path)
    Path("recipe.yaml.lock").write_text("{}")


def reported(laid_over: dict[str, Any]) -> set[str]:
    """Codes of all that is said about a recipe, but of whether it fits its machine."""
    kind = laid_over.get("method", {}).get("kind", "sft")
    path, rows = ROWS.get(kind, ("chats.jsonl", "messages"))
    recipe: dict[str, Any] = {
        "version": 1,
        "name": "combined",
        "model": {"base": "Qwen/Qwen3-0.6B"},
        "data": {"train": [{"kind": "files", "paths": [path], "format": rows}]},
        "method": {"kind": kind, **OPTIONS.get(kind, {})},
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(merged(recipe, laid_over)))
    return {found.code for found in findings("recipe.yaml")} - SIZES


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Mappings merge, all else is replaced."""
    found = deepcopy(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda each: each.title)
def test_exactly_what_does_not_go_together_is_said(combination: Combination) -> None:
    assert reported(combination.recipe) == set(combination.says)


@pytest.mark.parametrize("combination", SOUND, ids=lambda each: each.title)
def test_nothing_is_said_of_the_same_without_its_mistake(combination: Combination) -> None:
    assert combination.sound is not None
    assert reported(combination.sound) == set()


@pytest.mark.parametrize("kind", ["sft", "distillation", *ROWS])
def test_nothing_is_said_of_what_the_mistakes_are_laid_over(kind: str) -> None:
    base = {"model": {"base": "answerdotai/ModernBERT-base"}} if kind == "mlm" else {}
    assert reported({"method": {"kind": kind}, **base}) == set()


def test_each_stands_once_and_is_caught_by_something_that_exists() -> None:
    assert [title for title, count in Counter(each.title for each in COMBINATIONS).items() if count > 1] == []
    known = {*RULES, *(error.code for error in DOCUMENT_ERRORS)}
    assert {code for each in COMBINATIONS for code in each.says} <= known
    assert {name for each in COMBINATIONS for name in each.later} <= {
        *generate_coverage.checks(),
        *generate_coverage.guards(),
    }
    assert [each.title for each in COMBINATIONS if bool(each.says) == bool(each.later)] == []


def test_the_families_that_recompute_nothing_are_those_that_transformers_says() -> None:
    transformers = pytest.importorskip("transformers")
    classes = {name: getattr(transformers, family.model) for name, family in architectures().items()}
    refused = {name for name, model in classes.items() if not model.supports_gradient_checkpointing}
    assert refused == set(NOT_RECOMPUTED)
