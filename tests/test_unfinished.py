"""Interrupted trainings under another recipe: said, begun anew or gone on with, and never silently left idle."""

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
import small

from llmrecipe import unfinished
from llmrecipe.plan import Job, Record, Train
from llmrecipe.stages import __main__ as stages_main
from llmrecipe.stages import checkpoints, train
from llmrecipe.store import RunError, Store
from llmrecipe.strategies import DDP
from llmrecipe.vocabulary import LoRA

NEW, OLD = "b" * 32, "a" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.create()
    for name, text in {"first": "one", "equal": "one", "other": "two"}.items():
        (made.artifact(name) / "tokenizer").mkdir(parents=True)
        (made.artifact(name) / "tokenizer/tokenizer.json").write_text(text)
    return made


def job(store: Store, address: str = NEW, tokenized: str = "first", **changes: Any) -> Job:
    fields = {"name": "sft/train", "run": "/runs/sft", "root": "/recipes", "packages": {"torch": "1"}}
    fields |= {name: changes.pop(name) for name in fields.keys() & changes.keys()}
    inputs = {name: str(store.artifact(tokenized) / name) for name in ("dataset", "tokenizer")}
    return Job(
        address=address, spec=small.train_spec(**changes), inputs=inputs, output=str(store.artifact(address)),
        work=str(store.work(address)), **fields,
    )  # fmt: skip


def interrupted(store: Store, address: str = OLD, step: int = 500, sealed: bool = True, **changes: Any) -> Job:
    """An interrupted training as a killed run leaves it."""
    made = job(store, address, **changes)
    checkpoint = store.work(address) / f"checkpoints/checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_text("weights")
    (checkpoint / "trainer_state.json").write_text('{"max_steps": 1000}')
    if sealed:
        checkpoints.seal(checkpoint)
    (store.work(address) / "job.json").write_text(made.model_dump_json())
    return made


def test_an_interrupted_training_of_the_same_stage_and_run_is_found(store: Store) -> None:
    interrupted(store, "c" * 32, step=100)
    interrupted(store)
    found = unfinished.find(store, job(store, arguments={"learning_rate": 0.5}))
    assert found is not None
    assert (found.job.address, found.step) == (OLD, 500)


OTHERS: dict[str, dict[str, Any]] = {
    "without a complete checkpoint": {"sealed": False},
    "of another stage": {"name": "dpo/train"},
    "of another run": {"run": "/runs/trial-1"},
    "of another recipe folder": {"root": "/elsewhere"},
    "of the same address": {"address": NEW},
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_training_is_none_of_this_one(case: str, store: Store) -> None:
    interrupted(store, **OTHERS[case])
    assert unfinished.find(store, job(store)) is None


def test_a_training_that_goes_on_itself_asks_nothing(store: Store) -> None:
    interrupted(store)
    interrupted(store, NEW, step=10)
    assert unfinished.find(store, job(store)) is None


def test_a_training_that_is_running_is_left_alone(store: Store) -> None:
    interrupted(store)
    with (store.root / "locks" / f"{OLD}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert unfinished.find(store, job(store)) is None
    assert unfinished.find(store, job(store)) is not None


def test_a_training_that_was_left_behind_is_not_asked_about_again(store: Store) -> None:
    interrupted(store)
    found = unfinished.find(store, job(store))
    assert found is not None
    unfinished.leave(found)
    assert unfinished.find(store, job(store)) is None
    assert found.checkpoint.is_dir()


CHANGES: dict[str, tuple[dict[str, Any], str, bool]] = {
    "the learning rate": ({"arguments": {"learning_rate": 0.5}}, "arguments.learning_rate: 0.01 -> 0.5", True),
    "the batch": (
        {"arguments": {"per_device_train_batch_size": 8}}, "arguments.per_device_train_batch_size: 2 -> 8", True,
    ),
    "the seed": ({"seed": 9}, "seed: 1 -> 9", True),
    "the data": ({"tokenized": "equal"}, "input dataset: made from something else", True),
    "a package": ({"packages": {"torch": "2"}}, "package torch: 1 -> 2", True),
    "the tokenizer": ({"tokenized": "other"}, "input tokenizer: made from something else", False),
    "the world size": ({"world_size": 2}, "world_size: 1 -> 2", False),
    "the optimizer": ({"arguments": {"optim": "adafactor"}}, 'arguments.optim: "adamw_torch_fused"', False),
    "the adapter": ({"adapter": LoRA(kind="lora")}, "adapter", False),
    "the strategy": ({"distributed": DDP(kind="ddp")}, "distributed.kind", False),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_a_refusal_says_what_changed_and_how_far_it_was_and_the_ways_on(case: str, store: Store) -> None:
    changes, line, possible = CHANGES[case]
    interrupted(store)
    new = job(store, **changes)
    found = unfinished.find(store, new)
    assert found is not None
    error = unfinished.refusal(found, new)
    assert "sft/train would begin anew, and it was interrupted at step 500 of 1000" in error.message
    assert line in error.message
    assert "--start-anew" in str(error.help)
    assert ("--resume-changed" in str(error.help)) == possible
    if not possible:
        with pytest.raises(RunError):
            unfinished.take_over(found, new)
        assert not store.work(NEW).exists()


def test_processes_may_be_more_where_each_holds_the_whole_model(store: Store) -> None:
    old, new = (job(store, distributed=DDP(kind="ddp"), world_size=size) for size in (2, 4))
    assert unfinished.obstacles(old, new) == []


def test_placement_is_no_change(store: Store) -> None:
    assert unfinished.changes(job(store), job(store, accelerator="h100-80gb")) == []


def test_a_checkpoint_is_shared_and_belongs_to_the_new_training(store: Store) -> None:
    old = interrupted(store)
    new = job(store, arguments={"learning_rate": 0.5})
    found = unfinished.find(store, new)
    assert found is not None
    unfinished.take_over(found, new)
    taken = store.work(NEW) / "checkpoints/checkpoint-500"
    assert checkpoints.newest_complete(taken.parent) == taken
    assert checkpoints.newest_complete(found.checkpoint.parent) == found.checkpoint
    assert (taken / "model.safetensors").stat().st_nlink == 2
    [part] = json.loads((store.work(NEW) / unfinished.CONTINUED).read_bytes())
    assert part == {"address": OLD, "step": 500, "changes": ["arguments.learning_rate: 0.01 -> 0.5"]}
    record = unfinished.training_record(new.spec, new.inputs)
    assert checkpoints.belongs(taken, record)
    with pytest.raises(train.StageError, match="another specification, data or number of processes"):
        checkpoints.belongs(taken, unfinished.training_record(old.spec, old.inputs))
    assert unfinished.find(store, new) is None


def test_a_history_of_changes_is_kept_whole(store: Store) -> None:
    interrupted(store)
    (store.work(OLD) / unfinished.CONTINUED).write_text('[{"address": "z", "step": 9, "changes": ["seed: 0 -> 1"]}]')
    new = job(store, arguments={"learning_rate": 0.5})
    found = unfinished.find(store, new)
    assert found is not None
    unfinished.take_over(found, new)
    parts = json.loads((store.work(NEW) / unfinished.CONTINUED).read_bytes())
    assert [part["step"] for part in parts] == [9, 500]


# -- for real --


def place(folder: Path, store: Store, address: str) -> Any:
    """Where a training of this address works, on data that lie in the store."""
    if not (store.artifact("data") / "dataset").exists():
        small.dataset(store.artifact("data") / "dataset", list(small.packed_rows(20)))
        small.tokenizer().save_pretrained(store.artifact("data") / "tokenizer")
    inputs = {name: store.artifact("data") / name for name in ("dataset", "tokenizer")}
    made = small.place(folder, **inputs)
    return type(made)(made.inputs, made.output, store.work(address), made.root, name="sft/train")


def test_a_changed_learning_rate_is_in_force_after_the_checkpoint(store: Store, tmp_path: Path) -> None:
    arguments = {"max_steps": 6, "logging_steps": 1, "warmup_steps": 0, "lr_scheduler_type": "linear"}
    old = job(store, OLD, "data", arguments=arguments)
    store.work(OLD).mkdir()
    train.run(old.spec, place(tmp_path / "old", store, OLD))
    (store.work(OLD) / "job.json").write_text(old.model_dump_json())
    new = job(store, NEW, "data", arguments=arguments | {"max_steps": 12, "learning_rate": 0.002, "weight_decay": 0.0})
    found = unfinished.find(store, new)
    assert found is not None
    assert found.step == 6
    unfinished.take_over(found, new)
    here = place(tmp_path / "new", store, NEW)
    metrics = train.run(new.spec, here)
    assert metrics["steps"] == 12
    rates = {line["step"]: line["learning_rate"] for line in small.log(here) if "loss" in line}
    assert rates[6] == pytest.approx(0.01 / 6)
    assert [rates[step] for step in (7, 12)] == pytest.approx([0.002 * 6 / 12, 0.002 / 12])
    [part] = stages_main._continued(here)
    assert part.step == 6
    assert Record.model_fields["continued"].default == []


def test_a_checkpoint_of_another_training_is_refused_by_the_stage(store: Store, tmp_path: Path) -> None:
    store.work(OLD).mkdir()
    here = place(tmp_path / "here", store, OLD)
    spec: Train = small.train_spec(arguments={"max_steps": 5})
    train.run(spec, here)
    other = small.train_spec(arguments={"max_steps": 5, "learning_rate": 0.5})
    with pytest.raises(train.StageError, match="another specification, data or number of processes"):
        train.run(other, here)
