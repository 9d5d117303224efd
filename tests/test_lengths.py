"""Batches of similar length: little padding, every row once, the same order for the same seed and epoch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from datasets import Dataset

from llmrecipe.stages import train
from llmrecipe.stages.place import Place
from llmrecipe.trainers.lengths import GroupedByLength, token_lengths

LENGTHS = np.random.default_rng(0).integers(1, 400, 1003)


def test_every_row_comes_once_and_the_longest_batch_comes_first() -> None:
    order = list(GroupedByLength(LENGTHS, 8, seed=1))
    assert sorted(order) == list(range(len(LENGTHS)))
    assert LENGTHS[order[:8]].max() == LENGTHS.max()


def test_batches_hold_little_padding() -> None:
    def padding(order: list[int]) -> float:
        batches = LENGTHS[order[:1000]].reshape(-1, 8)
        return 1 - batches.sum() / (batches.max(1) * 8).sum()

    assert padding(list(range(1003))) > 0.4
    assert padding(list(GroupedByLength(LENGTHS, 8, seed=1))) < 0.05


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = GroupedByLength(LENGTHS, 8, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)


@pytest.mark.parametrize("rows", [1, 7, 8, 9])
def test_a_few_rows_are_enough(rows: int) -> None:
    assert sorted(GroupedByLength(LENGTHS[:rows], 8, seed=1)) == list(range(rows))


def test_lengths_are_read_in_order() -> None:
    rows = list(small.padded_rows(30))
    dataset = Dataset.from_list(rows).with_format("numpy").select(range(5, 25))
    assert token_lengths(dataset).tolist() == [len(row["input_ids"]) for row in rows[5:25]]


@pytest.fixture
def at(tmp_path: Path) -> Callable[[str], Place]:
    base, rows = small.saved_model(tmp_path / "base"), list(small.padded_rows(21))
    data = small.dataset(tmp_path / "data", rows)
    return lambda name: small.place(tmp_path / name, dataset=data, tokenizer=base, model=base)


def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(
    at: Callable[[str], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {
        "train_sampling_strategy": "group_by_length", "max_steps": 30, "save_steps": 16, "logging_steps": 1,
    }  # fmt: skip
    spec = small.train_spec("sft", packed=False, model=small.INPUT, arguments=arguments)
    whole, parted = at("whole"), at("parted")
    epochs: list[int] = []
    original = GroupedByLength.set_epoch
    with monkeypatch.context() as patched:
        patched.setattr(GroupedByLength, "set_epoch", lambda self, epoch: epochs.append(epoch) or original(self, epoch))
        train.run(spec, whole)
    assert set(epochs) == {0, 1, 2}

    with monkeypatch.context() as patched:
        patched.setattr("llmrecipe.trainers.callbacks.TrainingLog.on_step_begin", _dies_at(20), raising=False)
        with pytest.raises(RuntimeError, match="killed"):
            train.run(spec, parted)
    train.run(spec, parted)
    assert [line["loss"] for line in small.log(parted)] == [line["loss"] for line in small.log(whole)]


def _dies_at(step: int) -> Callable[..., None]:
    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == step:
            raise RuntimeError("killed")

    return on_step_begin
