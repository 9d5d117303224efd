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
from llmrecipe.preflight.online import WatchedRewards, shortened
from llmrecipe.preflight.trial import leak
from llmrecipe.stages import checkpoints, train
from llmrecipe.stages.place import StageError
from llmrecipe.trainers import ppo_heads
from llmrecipe.trainers.collator import CausalCollator, collator_for

__all__ = ["models"]

PAIRS = [{"repeat": 12, "row": {"prompt": "Is @ a number?", "chosen": " Yes, @ is.", "rejected": " No."}}]
LORA = {"model": {"adapter": {"kind": "lora", "r": 4, "lora_dropout": 0.1}}}
PREFERENCE = {"data": {"train": [{"kind": "files", "paths": ["pairs.jsonl"], "format": "preference"}]}}
ENTRIES = yaml.safe_load((FIXTURES / "trials.yaml").read_text("utf-8"))


def findings(
    folder: Path, models: Path, recipe: dict[str, Any], tier: str = "trial", part: dict[str, Any] | None = None
) -> list[Found]:
    """What the checks of a tier say of a recipe."""
    files = {"chats.jsonl": CHATS, "pairs.jsonl": PAIRS, **(part or {}).get("files", {})}
    return list(found_in(case_of(folder, models, {**(part or {}), "recipe": recipe, "files": files}, [tier])))


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
    found = findings(tmp_path, models, recipe, entry.get("tier", "trial"), {**entry, **failing})
    assert {one.code for one in found} == {entry["code"]}, found
    assert found[0].at == entry["at"]
    assert all(word in found[0].message for word in entry["says"]), found[0].message
    assert found[0].severity == CHECKS[entry["code"]].severity


MENDED = [entry for entry in ENTRIES if "mended" in entry]


@pytest.mark.parametrize("entry", MENDED, ids=[entry["code"] for entry in MENDED])
def test_a_trial_shows_nothing_of_what_is_mended(entry, models, tmp_path):
    """Of methods that learn from their own answers; others are in the list above."""
    recipe = merged(entry.get("recipe", {}), entry["mended"].get("recipe", {}))
    assert findings(tmp_path, models, recipe, "trial", {**entry, **entry["mended"]}) == []


# -- methods that learn from their own answers --

PROBLEMS = [{"repeat": 12, "row": {"prompt": "Count to @", "reference": "@"}}]
TALKS = [{"repeat": 12, "row": {"prompt": [{"role": "user", "content": "Count to @"}], "reference": "@"}}]
PYTHON = {"kind": "python", "path": "score.py", "function": "score"}


def online(method: dict[str, Any], **recipe: Any) -> dict[str, Any]:
    """A recipe of such a method."""
    data = {"train": [{"kind": "files", "paths": ["problems.jsonl"], "format": "prompt"}]}
    rewards = {} if "reward_model" in method else {"reward_functions": [{"kind": "exact_match"}]}
    return {"data": data, "method": {"max_completion_length": 16, **rewards, **method}, **recipe}


@pytest.mark.parametrize(
    "recipe",
    [
        online({"kind": "grpo", "num_generations": 2, "beta": 0.1, "mask_truncated_completions": True}),
        online(
            {"kind": "rloo", "num_generations": 4, "num_iterations": 2}, training={"per_device_train_batch_size": 4}
        ),
        online({"kind": "ppo", "value_backbone": "separate", "value_model": "./model", "reward_clip": 0.1}),
        pytest.param(online({"kind": "ppo", "reward_model": "./model"}, **LORA), marks=pytest.mark.slow),
        pytest.param(
            online({"kind": "grpo", "num_generations": 2, "loss_type": "vespo"}, **LORA), marks=pytest.mark.slow
        ),
        pytest.param(online({"kind": "ppo", "vf_coef": 0, "num_mini_batches": 4}), marks=pytest.mark.slow),
    ],
    ids=["grpo", "rloo", "ppo", "ppo-lora-model", "grpo-lora", "ppo-no-value"],
)
def test_a_sound_recipe_that_answers_passes_its_trial_whole(recipe, models, tmp_path):
    """Every reward is the same for all answers of a random model, and still the weights are seen to move."""
    part = {"recipe": recipe, "files": {"problems.jsonl": PROBLEMS}}
    case = case_of(tmp_path, models, part, ["trial"])
    assert list(found_in(case)) == []
    trial = case.trial
    assert trial.untried == []
    assert trial.tensors > 0
    assert trial.unmoved == []
    assert trial.resumed_difference is not None
    assert trial.resumed_difference < 0.01


def test_python_that_is_not_trusted_is_not_called_and_said_so(models, tmp_path):
    recipe = online({"kind": "rloo", "reward_functions": [PYTHON], "use_vllm": True})
    code = "raise SystemExit('this must not run')\n"
    part = {"recipe": recipe, "files": {"problems.jsonl": PROBLEMS, "score.py": code}}
    case = case_of(tmp_path, models, part, ["rows", "trial"])
    assert list(found_in(case)) == []
    assert case.trial.untried == [
        "`score` was not called: Python needs --allow-code, or your trust list",
        "answers were not written by vLLM, which needs an accelerator",
    ]


def test_a_reward_model_reads_answers_with_its_own_chat_template(models, tmp_path):
    shutil.copytree(models / "model", tmp_path / "judge")
    (tmp_path / "judge/chat_template.jinja").unlink()
    recipe = online({"kind": "grpo", "num_generations": 2, "reward_model": "./judge"})
    (found,) = findings(tmp_path, models, recipe, part={"files": {"problems.jsonl": TALKS}})
    assert (found.code, found.at) == ("LR290", "method.reward_model")
    assert "the chat template of the reward model refuses" in found.message


def watched(folder: Path, models: Path, part: dict[str, Any]) -> WatchedRewards:
    """Rewards of a recipe, called once with two answers, as in a trial."""
    case = case_of(folder, models, part, ["trial"])
    rewards, spec = WatchedRewards(case), shortened(case.spec)
    functions = rewards.build(spec.rewards, {}, case.place("trial"), False)
    given = [function(["?", "?"], ["a", "b"], [[1], [2]], reference=["1", "2"]) for function in functions]
    assert given[-1][0] != given[-1][1]
    return rewards


def test_a_function_that_another_check_has_found_to_fail_is_stood_in_for(models, tmp_path):
    part = {
        "recipe": online({"kind": "ppo", "reward_functions": [PYTHON]}), "allow_code": True,
        "files": {"problems.jsonl": PROBLEMS, "score.py": "def score(prompts, **columns):\n    return [1.0]\n"},
    }  # fmt: skip
    rewards = watched(tmp_path, models, part)
    assert (rewards.problems, rewards.uncalled, rewards.unjudged()) == ({}, set(), None)


def test_answers_without_any_opinion_are_counted(models, tmp_path):
    functions = [PYTHON, {"kind": "regex", "pattern": "(a)", "group": 1}]
    code = "def score(prompts, completions, **columns):\n    return [None if c == 'b' else 0.5 for c in completions]\n"
    part = {
        "recipe": online({"kind": "ppo", "reward_functions": functions}), "allow_code": True,
        "files": {"problems.jsonl": PROBLEMS, "score.py": code},
    }  # fmt: skip
    assert watched(tmp_path, models, part).unjudged() == (0, 2)
    alone = part | {"recipe": online({"kind": "ppo", "reward_functions": [PYTHON]})}
    (tmp_path / "alone").mkdir()
    assert watched(tmp_path / "alone", models, alone).unjudged() == (1, 2)


def test_without_a_reference_to_compare_with_there_is_no_trial(models, tmp_path):
    rows = [{"repeat": 12, "row": {"prompt": "Count to @"}}]
    case = case_of(tmp_path, models, {"recipe": online({"kind": "ppo"}), "files": {"problems.jsonl": rows}}, ["trial"])
    assert list(found_in(case)) == []
    assert case.trial.untried == ["no trial step: none of the first prompts has a reference"]


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


def _freeze_value(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    make = ppo_heads.ValueHead.__init__

    def frozen(head: Any, hidden_size: int) -> None:
        make(head, hidden_size)
        head.requires_grad_(False)

    monkeypatch.setattr(ppo_heads.ValueHead, "__init__", frozen)


BREAKS: dict[str, Callable[[pytest.MonkeyPatch, Path], None]] = {
    "optimizer-state": _lose_optimizer_state,
    "dropout": _keep_dropout,
    "chat-template": _lose_template,
    "isolation": _isolate_nothing,
    "value": _freeze_value,
    "disk": _fill_disk,
    "memory": _shrink_memory,
}


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3_text"])
def test_packed_documents_are_alone_with_our_collator_and_not_with_another(family):
    model = small.model(family)
    assert leak(model, collator_for(model, "sdpa", packed=True)) < 1e-3
    assert leak(model, CausalCollator(0)) > 1e-3


@pytest.mark.parametrize(
    ("error", "severity"),
    [(RuntimeError("sizes do not match"), "warning"), (ValueError("that option is none"), "error"), (None, "error")],
)
def test_what_breaks_in_a_trial_is_an_error_when_it_was_meant(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, severity: str
) -> None:
    def refuse(*_: object) -> None:
        raise StageError("it is refused", "change it") if error is None else error

    monkeypatch.setattr(train, "run", refuse)
    found = found_in(case_of(tmp_path, models, {"files": {"chats.jsonl": CHATS}}, ["trial"]))
    assert [(one.code, one.severity) for one in found] == [("LR385", severity)]
