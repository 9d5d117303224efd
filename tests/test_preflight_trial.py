"""What must hold of the trial steps: sound recipes pass on the real trainers, and each way of going wrong is seen."""

import json
import os
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import small
from test_preflight import CHATS, case_of, found_in, models

from llmrecipe.preflight import trial as trial_module
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.preflight.trial import Trial, leak
from llmrecipe.stages import checkpoints, train
from llmrecipe.trainers.collator import CausalCollator, collator_for

__all__ = ["models"]

PAIRS = [{"repeat": 12, "row": {"prompt": "Is @ a number?", "chosen": " Yes, @ is.", "rejected": " No."}}]
LORA = {"model": {"adapter": {"kind": "lora", "r": 4, "lora_dropout": 0.1}}}
PREFERENCE = {"data": {"train": [{"kind": "files", "paths": ["pairs.jsonl"], "format": "preference"}]}}


def findings(folder: Any, models: Any, recipe: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Code, place and message of what a trial of a recipe shows."""
    part = {"recipe": recipe, "files": {"chats.jsonl": CHATS, "pairs.jsonl": PAIRS}}
    return [(one.code, one.at, one.message) for one in found_in(case_of(folder, models, part, ["trial"]))]


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
    assert findings(tmp_path, models, recipe) == []


def test_an_option_that_the_trainer_refuses_is_told_with_its_words(models, tmp_path):
    ((code, at, message),) = findings(tmp_path, models, {"training": {"extra": {"accelerator_config": "nope.json"}}})
    assert (code, at) == ("LR385", "method")
    assert "nope" in message


def test_weights_that_stay_as_they_are_are_named(models, tmp_path):
    found = findings(tmp_path, models, {"training": {"learning_rate": 1e-30}})
    assert {code for code, _, _ in found} == {"LR386"}
    assert "model.layers.0" in found[0][2]


def test_a_lost_optimizer_state_is_seen_after_a_resumption(models, tmp_path, monkeypatch):
    def forget(source: Any, target: Any) -> None:
        shutil.copytree(source, target)
        (target / "optimizer.pt").unlink()
        (target / checkpoints.MANIFEST).unlink()
        checkpoints.seal(target, checkpoint_training(source))

    monkeypatch.setattr(trial_module, "shutil", SimpleNamespace(copytree=forget))
    assert "LR388" in {code for code, _, _ in findings(tmp_path, models, {})}


def checkpoint_training(folder: Any) -> Any:
    """What a manifest says that a checkpoint belongs to."""

    return json.loads((folder / checkpoints.MANIFEST).read_bytes())["training"]


def test_a_step_that_depends_on_accumulation_is_seen(models, tmp_path, monkeypatch):
    steps = trial_module._spec

    def dropping(case: Any) -> Any:
        spec = steps(case)
        return spec.model_copy(update={"adapter": spec.adapter.model_copy(update={"lora_dropout": 0.5})})

    monkeypatch.setattr(trial_module, "_spec", dropping)
    assert "LR387" in {code for code, _, _ in findings(tmp_path, models, LORA)}


def test_a_lost_chat_template_is_seen(models, tmp_path, monkeypatch):
    save = train._save

    def lose(trainer: Any, place: Any) -> None:
        save(trainer, place)
        (place.output / "model/chat_template.jinja").unlink()

    monkeypatch.setattr(train, "_save", lose)
    assert [code for code, _, _ in findings(tmp_path, models, {})] == ["LR389"]


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3_text"])
def test_packed_documents_are_alone_with_our_collator_and_not_with_another(family):
    model = small.model(family)
    assert leak(model, collator_for(model, "sdpa", packed=True)) < 1e-3
    assert leak(model, CausalCollator(0)) > 1e-3


def judged(code: str, **facts: Any) -> list[str]:
    """Messages of a check for given facts."""
    return [finding.message for finding in CHECKS[code].judge(SimpleNamespace(**facts))]  # type: ignore[arg-type]


def test_a_leak_of_packed_documents_is_reported():
    assert judged("LR280", trial=Trial(leak=0.5)) != []
    assert judged("LR280", trial=Trial(leak=1e-6)) == []


@pytest.mark.parametrize("code", ["LR383", "LR384"])
def test_a_machine_that_is_too_small_is_told_before_training(code, models, tmp_path, monkeypatch):
    case = case_of(tmp_path, models, {"files": {"chats.jsonl": CHATS}}, ["machine"])
    case.job = case.job.model_copy(update={"tiers": ["machine"]})
    assert [one.code for one in found_in(case)] == []
    usage = shutil.disk_usage(tmp_path)
    if code == "LR383":
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    else:
        monkeypatch.setattr(os, "sysconf", lambda name: 1)
    assert [one.code for one in found_in(case)] == [code]
