"""Rewards of a recipe -> a plan: what is pinned, what moves what, and what is refused before the first stage."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from llmrecipe.accelerating import Launched
from llmrecipe.cli import main
from llmrecipe.diagnostics import RecipeError
from llmrecipe.lock import pin
from llmrecipe.lower import LoweringError, lower
from llmrecipe.plan import (
    Evaluate,
    HubModel,
    InputModel,
    PinnedFunction,
    Plan,
    RewardModel,
    RewardSuite,
    Tokenize,
    Train,
)
from llmrecipe.vocabulary import JSONSchema, NumericAnswer

CODE = "open('ran', 'w')\ndef score(prompts, **columns):\n    return [0.0] * len(prompts)\n"

RECIPE = """
version: 1
name: solver
model: {base: Qwen/Qwen3-0.6B}
data: {train: [{kind: files, paths: [problems.jsonl], format: question, columns: {reference: answer}}]}
method:
  kind: grpo
  reward_model: some/judge
  reward_model_weight: 0.5
  reward_functions:
    - {kind: numeric_answer, weight: 2.0}
    - {kind: json_schema, name: form, json_schema: form.json}
    - {kind: python, path: rewards.py, function: score}
  num_generations: 4
  max_completion_length: 100
training: {max_length: 300, per_device_train_batch_size: 8}
evaluation:
  suites:
    - {kind: reward, sources: [{kind: files, paths: [problems.jsonl], format: question, columns: {reference: answer}}]}
    - kind: reward
      name: numbers
      sources: [{kind: files, paths: [problems.jsonl], format: question, columns: {reference: answer}}]
      reward_functions: [{kind: numeric_answer}]
"""


@pytest.fixture
def planned(read: Any, write: Any, tmp_path: Path) -> Any:
    write("problems.jsonl", '{"question": "1 + 1?", "answer": "2"}\n')
    write("form.json", '{"type": "object"}')
    write("rewards.py", CODE)

    def planned(text: str = RECIPE, *overrides: str, world_size: int | None = None) -> Plan:
        documents = read(text, *overrides)
        launched = None if world_size is None else Launched(1, world_size)
        return lower([d.recipe for d in documents], pin(documents, tmp_path), launched)

    return planned


def spec(plan: Plan, stage: str) -> Any:
    return plan.stage(f"solver/{stage}").spec


def test_rewards_stand_in_the_plan_with_their_files_pinned(planned: Any) -> None:
    train = spec(planned(), "train")
    assert isinstance(train, Train)
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    numbers, form, function, model = train.rewards
    assert numbers == NumericAnswer(kind="numeric_answer", name="numeric_answer", weight=2.0)
    assert form == JSONSchema(kind="json_schema", name="form", json_schema={"type": "object"})
    assert isinstance(function, PinnedFunction)
    assert (function.name, function.file.path, function.file.sha256) == ("score", "rewards.py", digest)
    assert model == RewardModel(kind="reward_model", weight=0.5)
    assert train.models == {"reward_model": HubModel(kind="hub", repo="some/judge", revision=None)}


def test_a_suite_has_its_own_rewards_or_those_of_the_method(planned: Any) -> None:
    plan = planned()
    inherited, own = spec(plan, "evaluate-reward"), spec(plan, "evaluate-numbers")
    assert isinstance(inherited, Evaluate)
    assert isinstance(inherited.suite, RewardSuite)
    assert inherited.suite.rewards == spec(plan, "train").rewards
    assert inherited.models == spec(plan, "train").models
    assert [reward.kind for reward in own.suite.rewards] == ["numeric_answer"]
    assert own.models == {}


def test_the_judge_of_another_document_is_an_input_of_training_and_of_the_suite(planned: Any) -> None:
    judge = """
version: 1
name: judge
model: {base: Qwen/Qwen3-0.6B}
data: {train: [{kind: files, paths: [problems.jsonl], format: preference}]}
method: {kind: reward}
---"""
    plan = planned(judge + RECIPE.replace("some/judge", "{recipe: judge}"))
    for stage in ("train", "evaluate-reward"):
        assert plan.stage(f"solver/{stage}").inputs["reward_model"] == "judge/export.model"
        assert spec(plan, stage).models == {"reward_model": InputModel(kind="input", name="reward_model")}


def test_a_prompt_leaves_room_for_its_answer(planned: Any) -> None:
    tokenize = spec(planned(), "tokenize")
    assert isinstance(tokenize, Tokenize)
    assert (tokenize.objective, tokenize.max_length) == ("prompt", 200)


@pytest.mark.parametrize(("file", "text"), [("rewards.py", CODE + "# more\n"), ("form.json", '{"type": "array"}')])
def test_another_content_of_a_file_is_another_training(file: str, text: str, planned: Any, write: Any) -> None:
    before = planned().addresses()
    write(file, text)
    after = planned().addresses()
    changed = {name.partition("/")[2] for name in before if before[name] != after[name]}
    assert changed == {"train", "evaluate-reward", "evaluate-numbers", "export"}


def test_a_lock_tells_that_code_has_changed(read: Any, write: Any, planned: Any, tmp_path: Path) -> None:
    planned()
    documents = read(RECIPE)
    lock = pin(documents, tmp_path)
    write("rewards.py", "def score(): ...\n")
    write("form.json", "{}")
    with pytest.raises(RecipeError) as caught:
        pin(documents, tmp_path, lock)
    messages = [found.message for found in caught.value.diagnostics]
    assert any("`rewards.py` has changed since it was locked" in message for message in messages)
    assert any("`solver:method.reward_functions.1.json_schema` has changed" in message for message in messages)


@pytest.mark.parametrize("text", ["[1]", "no json"])
def test_a_file_that_is_no_schema_is_told_at_its_line(
    text: str, planned: Any, write: Any, read: Any, tmp_path: Path
) -> None:
    write("form.json", text)
    with pytest.raises(RecipeError) as caught:
        pin(read(RECIPE), tmp_path)
    (found,) = caught.value.diagnostics
    assert (found.code, found.span.line, found.message) == ("LR791", 12, "`form.json` is not a JSON schema")


def test_a_group_that_does_not_fit_the_processes_of_a_launcher_is_told(planned: Any) -> None:
    text = RECIPE.replace("num_generations: 4", "num_generations: 8")
    planned(text)
    spread = text + "distributed: {kind: ddp}\nhardware: {num_accelerators: 2}\n"
    fitting = spread.replace("per_device_train_batch_size: 8", "per_device_train_batch_size: 4")
    planned(fitting)
    with pytest.raises(LoweringError, match="12 answers are generated at once: no multiple of 8"):
        planned(fitting, world_size=3)


# -- code --


def test_code_runs_neither_when_a_recipe_is_checked_nor_planned_nor_compiled_nor_without_leave(
    write: Any, planned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write("solver.yaml", RECIPE)
    assert main(["validate", "solver.yaml"]) == 0
    assert main(["plan", "solver.yaml"]) == 0
    shown = capsys.readouterr().out
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    assert f"runs code: rewards.py: score (sha256 {digest[:12]}), needs --allow-code or your trust list" in shown
    assert main(["compile", "solver.yaml", "--target", "local", "-o", "compiled"]) == 0
    assert main(["run", "solver.yaml"]) == 1
    refused = capsys.readouterr().err
    assert "the reward function `score` of `rewards.py` is Python code" in refused
    assert "--allow-code" in refused
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "runs").exists()
    (tmp_path / "config" / "llmrecipe").mkdir(parents=True)
    (tmp_path / "config" / "llmrecipe" / "trust").write_text(f"{digest}  rewards.py\n")
    assert main(["plan", "solver.yaml"]) == 0
    assert "in your trust list" in capsys.readouterr().out
