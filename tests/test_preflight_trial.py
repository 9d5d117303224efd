"""What must hold of the trial steps: sound recipes pass on the real trainers, and each way of going wrong is seen."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small
import yaml
from test_preflight import CHATS, FIXTURES, case_of, found_in, merged, models

from llmrecipe.preflight import trial as trial_module
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.preflight.job import Found
from llmrecipe.preflight.trial import leak
from llmrecipe.stages import checkpoints, train
from llmrecipe.trainers.collator import CausalCollator, collator_for

__all__ = ["models"]

PAIRS = [{"repeat": 12, "row": {"prompt": "Is @ a number?", "chosen": " Yes, @ is.", "rejected": " No."}}]
LORA = {"model": {"adapter": {"kind": "lora", "r": 4, "lora_dropout": 0.1}}}
PREFERENCE = {"data": {"train": [{"kind": "files", "paths": ["pairs.jsonl"], "format": "preference"}]}}
ENTRIES = yaml.safe_load((FIXTURES / "trials.yaml").read_text("utf-8"))


def findings(folder: Path, models: Path, recipe: dict[str, Any], tier: str = "trial") -> list[Found]:
    """What the checks of a tier say of a recipe."""
    part = {"recipe": recipe, "files": {"chats.jsonl": CHATS, "pairs.jsonl": PAIRS}}
    return list(found_in(case_of(folder, models, part, [tier])))


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        LORA,
        {"data": {"packing": "bfd"}},
        pytest.param(PREFERENCE | {"method": {"kind": "dpo"}}, marks=pytest.mark.slow),
        pytest.param(PREFERENCE | {"method": {"kind": "kto"}}, marks=pytest.mark.slow),
        pytest.param(PREFERENCE | {"method": {"kind": "reward"}} | LORA, marks=pytest.mark.slow),
    ],
    ids=["full", "lora", "packed", "dpo", "kto", "reward"],
)
def test_a_sound_recipe_passes_its_trial(recipe, models, tmp_path):
    """The mended side of every entry of trials.yaml."""
    assert findings(tmp_path, models, recipe) == []


def test_a_sound_recipe_fits_this_machine(models, tmp_path):
    assert findings(tmp_path, models, {}, "machine") == []


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["code"] for entry in ENTRIES])
def test_a_trial_shows_what_is_wrong(entry, models, tmp_path, monkeypatch):
    failing = entry["failing"]
    if "break" in failing:
        BREAKS[failing["break"]](monkeypatch, tmp_path)
    recipe = merged(entry.get("recipe", {}), failing.get("recipe", {}))
    found = findings(tmp_path, models, recipe, entry.get("tier", "trial"))
    assert {one.code for one in found} == {entry["code"]}, found
    assert found[0].at == entry["at"]
    assert all(word in found[0].message for word in entry["says"]), found[0].message
    assert found[0].severity == CHECKS[entry["code"]].severity


# -- what is broken where no sound recipe could --


def _lose_optimizer_state(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def copy(source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        training = json.loads((target / checkpoints.MANIFEST).read_bytes())["training"]
        (target / "optimizer.pt").unlink()
        checkpoints.seal(target, training)

    monkeypatch.setattr(trial_module, "shutil", SimpleNamespace(copytree=copy))


def _keep_dropout(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    steady = trial_module._spec

    def spec(case: Any) -> Any:
        found = steady(case)
        return found.model_copy(update={"adapter": found.adapter.model_copy(update={"lora_dropout": 0.5})})

    monkeypatch.setattr(trial_module, "_spec", spec)


def _lose_template(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    save = train._save

    def lose(trainer: Any, place: Any) -> None:
        save(trainer, place)
        (place.output / "model/chat_template.jinja").unlink()

    monkeypatch.setattr(train, "_save", lose)


def _isolate_nothing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(trial_module, "collator_for", lambda *given, **options: CausalCollator(0))


def _fill_disk(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))


def _shrink_memory(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 1)


BREAKS: dict[str, Callable[[pytest.MonkeyPatch, Path], None]] = {
    "optimizer-state": _lose_optimizer_state,
    "dropout": _keep_dropout,
    "chat-template": _lose_template,
    "isolation": _isolate_nothing,
    "disk": _fill_disk,
    "memory": _shrink_memory,
}


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3_text"])
def test_packed_documents_are_alone_with_our_collator_and_not_with_another(family):
    model = small.model(family)
    assert leak(model, collator_for(model, "sdpa", packed=True)) < 1e-3
    assert leak(model, CausalCollator(0)) > 1e-3
