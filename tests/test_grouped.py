"""GRPO and RLOO as the training stage runs them: prompts, rewards, runs that were killed between two generations."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import small
from data_stages import prepare_rows, tokenize_rows
from test_train import forked, kill, lines, weights
from trl import GRPOTrainer

from llmrecipe.plan import LocalModel
from llmrecipe.stages import train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.grouped import ResumableRepeatSampler
from llmrecipe.vocabulary import Length, LoRA, RegularExpression

TRAINERS = {"grpo": ("trl:GRPOTrainer", "trl:GRPOConfig"), "rloo": ("trl:RLOOTrainer", "trl:RLOOConfig")}
REWARDS = [
    Length(kind="length", name="length", target=5),
    RegularExpression(kind="regex", name="vowel", pattern="[aeiou]"),
]
ARGUMENTS = {
    "per_device_train_batch_size": 8, "per_device_eval_batch_size": 4, "num_generations": 4, "max_steps": 6,
    "save_steps": 3, "logging_steps": 1, "max_completion_length": 6, "learning_rate": 1e-3, "beta": 0.1,
}  # fmt: skip
PROMPTS: list[dict[str, Any]] = [
    {"prompt": [{"role": "user", "content": f"Say {word}."}], "reference": word}
    for word in ("sky", "legs", "blue", "eight", "a", "many colours", "spider", "naïve")
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, and rows of prompts as the data stages make them."""
    folder = tmp_path_factory.mktemp("world")
    small.saved_model(folder / "base")
    for name, rows in (("chat", PROMPTS), ("text", [{"prompt": r["prompt"][0]["content"]} for r in PROMPTS])):
        prepared = prepare_rows(folder / f"rows-{name}", rows, "prompt", validation_fraction=0.3)
        (folder / "tokenizer").exists() or small.tokenizer().save_pretrained(folder / "tokenizer")
        tokenize_rows(folder / f"dataset-{name}", prepared / "rows", folder / "tokenizer", objective="prompt")
    return folder


def spec(world: Path, method: str = "grpo", **changes: Any) -> Any:
    trainer, config = TRAINERS[method]
    arguments = ARGUMENTS | changes.pop("arguments", {})
    base = LocalModel(kind="local", path=str(world / "base"), sha256="")
    small.TRAINERS[method] = (trainer, config)
    return small.train_spec(method, model=base, packed=False, rewards=REWARDS, arguments=arguments, **changes)


def at(world: Path, folder: Path, rows: str = "chat") -> Place:
    return small.place(folder, dataset=world / f"dataset-{rows}" / "output" / "dataset", tokenizer=world / "tokenizer")


CASES: dict[str, dict[str, Any]] = {
    "grpo": {},
    "several steps of each answer": {
        "arguments": {"per_device_train_batch_size": 4, "steps_per_generation": 4, "num_iterations": 2, "max_steps": 12}
    },
    "accumulated": {
        "arguments": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 4}
    },
    "rloo": {"method": "rloo", "arguments": {"steps_per_generation": 2, "per_device_train_batch_size": 4}},
    "lora": {
        "adapter": LoRA(kind="lora", r=4),
        "arguments": {"steps_per_generation": 3, "per_device_train_batch_size": 4},
    },
}


FAST = ("several steps of each answer",)


@pytest.mark.parametrize(
    "case", [case if case in FAST else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_a_killed_run_ends_with_the_very_weights_and_log_of_one_that_was_not(
    case: str, world: Path, tmp_path: Path
) -> None:
    wanted = spec(world, **CASES[case])
    straight, resumed = at(world, tmp_path / "straight"), at(world, tmp_path / "resumed")
    expected = train.run(wanted, straight)
    assert os.WTERMSIG(forked(resumed, wanted, 5, kill)) == signal.SIGKILL
    assert [p.name for p in (resumed.work / "checkpoints").iterdir()] == ["checkpoint-3"]
    found = train.run(wanted, resumed)
    clock = ("step_time",)
    stripped = [[{k: v for k, v in line.items() if k not in clock} for line in lines(p)] for p in (straight, resumed)]
    assert stripped[0] == stripped[1]
    assert weights(straight).keys() == weights(resumed).keys()
    assert all((tensor == weights(resumed)[name]).all() for name, tensor in weights(straight).items())
    assert found["train_tokens"] == expected["train_tokens"]


def test_the_trainer_sees_the_tokens_that_were_written(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, list[int]]] = []
    tokenize = GRPOTrainer._tokenize_prompts

    def noted(self: Any, prompts: list[Any]) -> Any:
        found = tokenize(self, prompts)
        seen.extend(zip(prompts, found[0], strict=True))
        return found

    monkeypatch.setattr(GRPOTrainer, "_tokenize_prompts", noted)
    for rows in ("chat", "text"):
        here = at(world, tmp_path / rows, rows)
        train.run(spec(world, arguments={"max_steps": 3, "save_steps": 9}), here)
        dataset = train._dataset(here.inputs["dataset"] / "train")
        assert dataset is not None
        written = {json.dumps(row["prompt"]): row["prompt_ids"] for row in dataset}
        assert seen
        assert {json.dumps(prompt) for prompt, _ in seen} <= written.keys() | {
            json.dumps(r["prompt"]) for r in validation(here)
        }
        for prompt, ids in seen:
            if json.dumps(prompt) in written:
                assert written[json.dumps(prompt)] == list(ids)
        seen.clear()


def validation(place: Place) -> Any:
    return train._dataset(place.inputs["dataset"] / "validation")


def test_rewards_stand_in_the_log_under_their_names(world: Path, tmp_path: Path) -> None:
    here = at(world, tmp_path / "a")
    metrics = train.run(spec(world, arguments={"max_steps": 2}), here)
    logged = [line for line in small.log(here) if "loss" in line]
    assert {"reward", "kl", "entropy", "rewards/length/mean", "rewards/vowel/mean"} <= logged[-1].keys()
    for line in logged:
        assert line["reward"] == pytest.approx(line["rewards/length/mean"] + line["rewards/vowel/mean"], abs=1e-5)
    assert metrics["train_tokens"] > 0
    assert any("eval_reward" in line for line in small.log(here))


def test_weights_of_rewards_count(world: Path, tmp_path: Path) -> None:
    here = at(world, tmp_path / "a")
    weighted = [REWARDS[0].model_copy(update={"weight": 0.0}), REWARDS[1].model_copy(update={"weight": 2.0})]
    train.run(spec(world, arguments={"max_steps": 1}).model_copy(update={"rewards": weighted}), here)
    line = next(line for line in small.log(here) if "loss" in line)
    assert line["reward"] == pytest.approx(2 * line["rewards/vowel/mean"], abs=1e-5)


def test_too_few_prompts_for_one_generation_are_told(world: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="prompts are too few: 16 are answered at once"):
        train.run(spec(world, arguments={"per_device_train_batch_size": 64}), at(world, tmp_path / "a"))


def test_a_pass_over_the_prompts_depends_on_its_number_alone() -> None:
    def passes(*numbers: int) -> list[list[int]]:
        sampler = ResumableRepeatSampler(range(10), mini_repeat_count=1, shuffle=True, seed=7)
        found = []
        for number in numbers:
            sampler.set_epoch(number)
            found.append(list(sampler))
        return found

    first, second = passes(0, 1)
    assert passes(1) == [second]
    assert first != second


def test_prompts_that_leave_no_room_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [{"prompt": "short", "reference": {"a": 1}}, {"prompt": "long " * 40, "reference": None}]
    prepared = prepare_rows(tmp_path / "rows", rows, "prompt")
    small.tokenizer().save_pretrained(tmp_path / "tokenizer")
    output = tokenize_rows(
        tmp_path / "dataset", prepared / "rows", tmp_path / "tokenizer", objective="prompt", max_length=20
    )
    report = json.loads((output / "report" / "report.json").read_text())["train"]
    assert (report["rows"], report["kept"]) == (2, 1)
    assert list(report["dropped"]) == ["the prompt leaves no room for an answer of max_completion_length"]
    dataset = train._dataset(output / "dataset" / "train")
    assert dataset is not None
    assert [(row["prompt"], row["reference"]) for row in dataset] == [("short", '{"a": 1}')]
