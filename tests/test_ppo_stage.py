"""PPO as the training stage runs it: a kill in the middle of a rollout, and a plain model at the end."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from data_stages import prepare_rows, tokenize_rows
from test_train import forked, kill, lines, weights
from transformers import AutoModelForCausalLM

from llmrecipe.optimization import Muon
from llmrecipe.plan import LocalModel
from llmrecipe.stages import train
from llmrecipe.stages.place import Place
from llmrecipe.vocabulary import Length, LoRA, RegularExpression

ARGUMENTS = {
    "num_ppo_epochs": 2, "num_mini_batches": 2, "max_completion_length": 6, "learning_rate": 1e-3, "max_steps": 12,
    "save_steps": 5, "logging_steps": 1, "weight_decay": 0.0, "target_kl": 0.1, "horizon": 100,
}  # fmt: skip
PROMPTS = [{"prompt": f"Say {word}.", "reference": word} for word in ("sky", "legs", "blue", "eight", "a", "spider")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, a reward model, and rows of prompts as the data stages make them."""
    folder = tmp_path_factory.mktemp("world")
    small.saved_model(folder / "base")
    small.tokenizer().save_pretrained(folder / "tokenizer")
    prepared = prepare_rows(folder / "rows", PROMPTS, "prompt", validation_fraction=0.3)
    tokenize_rows(folder / "dataset", prepared / "rows", folder / "tokenizer", objective="prompt")
    return folder


def spec(world: Path, **changes: Any) -> Any:
    small.TRAINERS["ppo"] = ("llmrecipe.trainers.ppo:PPOTrainer", "llmrecipe.trainers.ppo:PPOConfig")
    base = LocalModel(kind="local", path=str(world / "base"), sha256="")
    rewards = [
        Length(kind="length", name="brief", unit="characters", target=12),
        RegularExpression(kind="regex", name="vowel", pattern="[aeiou]"),
    ]
    arguments = ARGUMENTS | changes.pop("arguments", {})
    return small.train_spec("ppo", model=base, packed=False, rewards=rewards, arguments=arguments, **changes)


def at(world: Path, folder: Path) -> Place:
    return small.place(folder, dataset=world / "dataset" / "output" / "dataset", tokenizer=world / "tokenizer")


CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "muon": {"optimizer": Muon(kind="muon"), "arguments": {"value_backbone": "separate"}},
    "lora": {"adapter": LoRA(kind="lora", r=4, lora_dropout=0.2), "arguments": {"value_backbone": "separate"}},
}


@pytest.mark.parametrize("case", ["full", *(pytest.param(c, marks=pytest.mark.slow) for c in ("muon", "lora"))])
def test_a_killed_run_ends_with_the_very_weights_and_log_of_one_that_was_not(
    case: str, world: Path, tmp_path: Path
) -> None:
    wanted = spec(world, **CASES[case])
    straight, resumed = at(world, tmp_path / "straight"), at(world, tmp_path / "resumed")
    expected = train.run(wanted, straight)
    assert os.WTERMSIG(forked(resumed, wanted, 7, kill)) == signal.SIGKILL
    assert [p.name for p in (resumed.work / "checkpoints").iterdir()] == ["checkpoint-5"]
    found = train.run(wanted, resumed)
    assert lines(straight) == lines(resumed)
    assert weights(straight).keys() == weights(resumed).keys()
    assert all(torch.equal(tensor, weights(resumed)[name]) for name, tensor in weights(straight).items())
    assert found["train_tokens"] == expected["train_tokens"]


def test_the_stage_leaves_a_plain_model_and_the_reward_of_held_out_prompts(world: Path, tmp_path: Path) -> None:
    place = at(world, tmp_path / "run")
    train.run(spec(world, arguments={"max_steps": 4, "save_steps": 9}), place)
    assert not any("value" in name for name in weights(place))
    _, information = AutoModelForCausalLM.from_pretrained(place.output / "model", output_loading_info=True)
    assert not any(information.values())
    assert "eval_reward" in lines(place)[-1]
