"""The training stage: all methods, resuming, stopping, diverging, and what it says when something does not fit."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmrecipe.optimization import Muon
from llmrecipe.plan import HubModel, InputModel, NewModel, Train
from llmrecipe.stages import adapters, loading, train
from llmrecipe.stages.place import Interrupted, Place, StageError
from llmrecipe.strategies import DDP
from llmrecipe.trainers.callbacks import TrainingLog
from llmrecipe.trainers.telemetry import CLOCKED
from llmrecipe.vocabulary import DoRA, LoRA

ROWS = {"packed": small.packed_rows, "padded": small.padded_rows, "preference": small.preference_rows}
LORA = LoRA(kind="lora", r=4, lora_alpha=8, lora_dropout=0.2)


@pytest.fixture
def at(tmp_path: Path) -> Callable[..., Place]:
    """Makes a place with a dataset and a tokenizer."""

    def at(name: str, kind: str = "packed", rows: int = 20, validation: int = 3, **inputs: Path) -> Place:
        if not (tmp_path / "tokenizer").exists():
            small.tokenizer().save_pretrained(tmp_path / "tokenizer")
        data = tmp_path / f"{kind}-{rows}-{validation}"
        if not data.exists():
            small.dataset(data, list(ROWS[kind](rows)), list(ROWS[kind](validation, seed=9)))
        return small.place(tmp_path / name, dataset=data, tokenizer=tmp_path / "tokenizer", **inputs)

    return at


def weights(place: Place) -> dict[str, torch.Tensor]:
    """Everything that was trained."""
    return {k: v for file in sorted((place.output / "model").glob("*.safetensors")) for k, v in load_file(file).items()}


def lines(place: Place) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    return [{k: v for k, v in line.items() if k not in CLOCKED} for line in small.log(place)]


def events(place: Place) -> list[dict[str, Any]]:
    """What the live progress reads."""
    return [json.loads(line) for line in (place.work / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def forked(place: Place, spec: Train, at_step: int, action: Callable[[], None]) -> int:
    """Train in a child process that does something after a step. Returns its wait status."""
    child = os.fork()
    if child == 0:
        on_step_end = TrainingLog.on_step_end

        def and_then(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            on_step_end(self, args, state, control, **kwargs)
            if state.global_step == at_step:
                action()

        TrainingLog.on_step_end = and_then  # type: ignore[method-assign]
        code = 1
        try:
            train.run(spec, place)
            code = 0
        except Interrupted:
            code = 130
        except StageError as error:
            (place.work / "error").write_text(f"{error.message}\n{error.help}", encoding="utf-8")
            code = 3
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("packed", {}),
    "accumulation": ("padded", {"packed": False, "arguments": {"gradient_accumulation_steps": 2}}),
    "lora with dropout": ("packed", {"method": "sft", "adapter": LORA}),
    "muon": ("packed", {"optimizer": Muon(kind="muon")}),
    "dropout of gpt2": ("packed", {"family": "gpt2"}),
    "evaluation between": ("padded", {"packed": False, "arguments": {"eval_strategy": "steps", "eval_steps": 3}}),
    "preferences": ("preference", {"method": "dpo", "packed": False, "arguments": {"loss_type": ["sigmoid"]}}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_ends_with_the_very_weights_and_log_of_one_that_was_not(
    case: str, at: Callable[..., Place]
) -> None:
    kind, changes = CASES[case]
    spec = small.train_spec(**changes)
    straight, resumed = at("straight", kind), at("resumed", kind)
    expected = train.run(spec, straight)
    assert os.WTERMSIG(forked(resumed, spec, 7, kill)) == signal.SIGKILL
    assert [p.name for p in (resumed.work / "checkpoints").iterdir()] == ["checkpoint-5"]
    seen = len(events(resumed))
    found = train.run(spec, resumed)
    assert events(resumed)[seen]["done"] == 5
    assert weights(straight).keys() == weights(resumed).keys()
    assert all(torch.equal(weights(straight)[name], tensor) for name, tensor in weights(resumed).items())
    assert lines(straight) == lines(resumed)
    assert {**found, "tokens_per_second": 0} == {**expected, "tokens_per_second": 0}


def test_a_run_killed_after_its_last_checkpoint_takes_no_further_step(at: Callable[..., Place]) -> None:
    spec = small.train_spec()
    straight, again = at("straight"), at("again")
    train.run(spec, straight)
    train.run(spec, again)
    (again.output / "model").rename(again.output / "gone")
    (again.output / "metrics").rename(again.output / "gone-too")
    metrics = train.run(spec, again)
    assert metrics["steps"] == 12
    assert all(torch.equal(weights(straight)[name], tensor) for name, tensor in weights(again).items())
    assert lines(straight) == lines(again)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_goes_on_later(number: int, at: Callable[..., Place]) -> None:
    spec = small.train_spec(arguments={"logging_steps": 1})
    straight, stopped = at("straight"), at("stopped")
    train.run(spec, straight)
    status = forked(stopped, spec, 6, lambda: os.kill(os.getpid(), number))
    assert os.WEXITSTATUS(status) == 130
    assert {p.name for p in (stopped.work / "checkpoints").iterdir()} == {"checkpoint-5", "checkpoint-7"}
    train.run(spec, stopped)
    assert all(torch.equal(weights(straight)[name], tensor) for name, tensor in weights(stopped).items())
    assert lines(straight) == lines(stopped)


def test_a_full_disk_loses_nothing_that_was_complete(at: Callable[..., Place]) -> None:
    resource = pytest.importorskip("resource")
    spec = small.train_spec()
    place = at("full")
    status = forked(place, spec, 6, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)))
    assert os.WEXITSTATUS(status) == 3
    message = (place.work / "error").read_text(encoding="utf-8")
    assert message.startswith(f"the checkpoint of step 10 cannot be written to {place.work / 'checkpoints'}")
    assert "MB are free there" in message
    assert [p.name for p in (place.work / "checkpoints").iterdir()] == ["checkpoint-5"]
    assert train.run(spec, place)["steps"] == 12


def test_only_complete_checkpoints_are_kept_and_at_most_so_many(at: Callable[..., Place]) -> None:
    place = at("here")
    train.run(small.train_spec(arguments={"save_steps": 2, "save_total_limit": 3}), place)
    assert {p.name for p in (place.work / "checkpoints").iterdir()} == {
        "checkpoint-8",
        "checkpoint-10",
        "checkpoint-12",
    }


def test_a_loss_that_is_no_number_stops_training_before_anything_of_it_is_saved(at: Callable[..., Place]) -> None:
    place = at("here")
    spec = small.train_spec(arguments={"learning_rate": 1e30, "max_grad_norm": 0.0, "warmup_steps": 0, "save_steps": 1})
    with pytest.raises(StageError, match="diverged") as caught:
        train.run(spec, place)
    assert "training.learning_rate" in str(caught.value.help)
    for checkpoint in (place.work / "checkpoints").iterdir():
        stored = load_file(checkpoint / "model.safetensors")
        assert all(torch.isfinite(tensor).all() for tensor in stored.values())


@pytest.mark.parametrize("method", small.TRAINERS)
def test_defaults_of_the_libraries_that_hide_or_change_something_are_off(method: str, at: Callable[..., Place]) -> None:
    found = train._arguments(small.train_spec(method), at("here"), evaluates=True)
    assert not found.logging_nan_inf_filter
    assert not found.activation_checkpointing
    assert not found.bf16
    assert not found.remove_unused_columns
    assert found.save_total_limit is None
    assert found.report_to in ([], "none")
    assert found.prediction_loss_only
    assert getattr(found, "max_length", None) is None


def test_a_process_takes_one_of_the_devices_that_it_sees(
    at: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(train.strategy, "on_processor", lambda strategy: False)
    assert train._arguments(small.train_spec("pretrain"), at("here"), evaluates=False).n_gpu == 1


@pytest.mark.parametrize("error", [ImportError, NotImplementedError, ConnectionError])
def test_what_a_trainer_refuses_in_other_ways_is_told_as_well(
    error: type[Exception], at: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise error("the server does not answer")

    monkeypatch.setattr(train, "staged", lambda *parts: refuse)
    with pytest.raises(StageError, match="refuses this recipe: the server does not answer"):
        train.run(small.train_spec("pretrain"), at("here"))


@pytest.mark.parametrize("method", ["pretrain", "sft"])
def test_the_loss_of_a_packed_batch_is_that_of_its_documents_alone(method: str, at: Callable[..., Place]) -> None:
    place = at("here")
    spec = small.train_spec(method, arguments={"learning_rate": 0.0, "max_steps": 1})
    metrics = train.run(spec, place)
    model = AutoModelForCausalLM.from_pretrained(place.output / "model").eval()
    means = []
    rows = list(small.packed_rows(3, seed=9))
    for batch in (rows[:2], rows[2:]):
        losses = []
        for row in batch:
            for document in torch.tensor(row["input_ids"]).split(row["seq_lengths"]):
                with torch.no_grad():
                    scores = model(input_ids=document[None]).logits[0, :-1].log_softmax(-1)
                losses += (-scores.gather(-1, document[1:, None])).flatten().tolist()
        means += [sum(losses) / len(losses)] * len(batch)
    assert metrics["eval_loss"] == pytest.approx(sum(means) / len(means), abs=1e-4)


@pytest.mark.parametrize("method", ["pretrain", "sft"])
@pytest.mark.parametrize("adapter", [LORA, DoRA(kind="dora", r=4, lora_alpha=8)])
def test_an_adapter_is_trained_alone_and_saved_with_the_tokenizer(
    method: str, adapter: LoRA | DoRA, at: Callable[..., Place], tmp_path: Path
) -> None:
    base = small.saved_model(tmp_path / "base")
    place = at("here", model=base)
    metrics = train.run(small.train_spec(method, model=small.INPUT, adapter=adapter), place)
    assert 0 < metrics["trainable_parameters"] < metrics["parameters"] / 2
    assert metrics["parameters"] == small.model().num_parameters() + metrics["trainable_parameters"]
    adapted = adapters.with_adapter(AutoModelForCausalLM.from_pretrained(base), place.output / "model")
    changed = [name for name, p in adapted.named_parameters() if "lora_B" in name and p.abs().max() > 0]
    assert len(changed) == 14
    assert loading.is_adapter(place.output / "model")
    assert len(AutoTokenizer.from_pretrained(place.output / "model")) == len(small.tokenizer())


def test_full_training_of_preferences_holds_on_to_the_model_it_began_with(at: Callable[..., Place]) -> None:
    place = at("here", "preference")
    arguments = {"loss_type": ["sigmoid"], "beta": 0.1, "logging_steps": 1, "learning_rate": 1e-3}
    train.run(small.train_spec("dpo", packed=False, arguments=arguments), place)
    log = [line for line in small.log(place) if "loss" in line]
    assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert log[-1]["rewards/margins"] > log[0]["rewards/margins"]


def test_the_log_has_one_line_per_interval_and_what_it_needs(at: Callable[..., Place]) -> None:
    place = at("here")
    metrics = train.run(small.train_spec(), place)
    trained = [line for line in small.log(place) if "loss" in line]
    assert [line["step"] for line in trained] == [2, 4, 5, 6, 8, 10, 12]
    assert all(
        {"epoch", "learning_rate", "grad_norm", "tokens_per_second", "num_tokens"} <= line.keys() for line in trained
    )
    assert trained[-1]["num_tokens"] == metrics["train_tokens"]
    counted = sum(sum(row["seq_lengths"]) for row in small.packed_rows(20))
    assert next(line for line in trained if line["step"] == 10)["num_tokens"] == counted
    assert small.log(place)[-1]["eval_loss"] == metrics["eval_loss"]


def test_progress_says_how_far_it_is(at: Callable[..., Place]) -> None:
    place = at("here")
    train.run(small.train_spec(), place)
    found = events(place)
    assert {(e["event"], e["total"], e["unit"]) for e in found} == {("progress", 12, "steps")}
    assert [found[0]["done"], found[-1]["done"]] == [0, 12]
    assert any("loss" in e and "learning_rate" in e for e in found)


def test_the_saved_model_caches_when_it_generates_and_tells_nothing_of_the_run(at: Callable[..., Place]) -> None:
    place = at("here")
    train.run(small.train_spec(), place)
    folder = place.output / "model"
    assert json.loads((folder / "config.json").read_bytes())["use_cache"] is True
    assert not (folder / "training_args.bin").exists()
    assert not any(str(place.root).encode() in file.read_bytes() for file in folder.iterdir())


def test_a_model_from_scratch_has_the_tokens_of_its_tokenizer(at: Callable[..., Place]) -> None:
    place = at("here")
    train.run(small.train_spec(), place)
    config, tokenizer = (json.loads((place.output / "model" / "config.json").read_bytes()), small.tokenizer())
    assert config["vocab_size"] == len(tokenizer)
    assert [config[f"{name}_token_id"] for name in ("eos", "pad", "bos")] == [
        tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id,
    ]  # fmt: skip


HUB = HubModel(kind="hub", repo="a/b", revision=None)
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another number of processes": ({"world_size": 2}, {}, "planned for 2 processes, and 1 run"),
    "no rows": ({}, {"rows": 0}, "0 training rows"),
    "validation steps without rows": (
        {"arguments": {"eval_strategy": "steps", "eval_steps": 5}}, {"validation": 0}, "no validation rows",
    ),
    "an unknown option": ({"arguments": {"learning_rat": 1.0}}, {}, "learning_rat"),
    "a module that is not there": ({"adapter": LoRA(kind="lora", target_modules=["nothing"])}, {}, "nothing"),
    "code without permission": ({"model": HUB, "trust_remote_code": True}, {}, "Python code that comes with a/b run"),
    "a Hub that cannot be reached": ({"model": HUB}, {}, "`a/b` cannot be loaded"),
    "an impossible architecture": (
        {"model": NewModel(kind="new", architecture=small.architecture(head_dim=7))}, {}, "cannot be built",
    ),
    "a field the family lacks": (
        {"model": NewModel(kind="new", architecture=small.architecture("gpt2", num_key_value_heads=2))}, {},
        "has no `num_key_value_heads`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_said(case: str, at: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    changes, data, message = REFUSED[case]
    with pytest.raises(StageError, match=message) as caught:
        train.run(small.train_spec(**changes), at("here", **data))
    assert caught.value.help


def test_a_tokenizer_larger_than_the_model_is_refused(at: Callable[..., Place], tmp_path: Path) -> None:
    model = small.model()
    model.resize_token_embeddings(100)
    model.save_pretrained(tmp_path / "base")
    with pytest.raises(StageError, match="only 100 embeddings"):
        train.run(small.train_spec(model=InputModel(kind="input")), at("here", model=tmp_path / "base"))


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one_with_twice_the_batch(
    at: Callable[..., Place], tmp_path: Path
) -> None:
    alone, together = at("alone"), at("together")
    shared = {"arguments": {"learning_rate": 1e-3}}
    train.run(small.train_spec(arguments={**shared["arguments"], "per_device_train_batch_size": 4}), alone)
    spec = small.train_spec(world_size=2, distributed=DDP(kind="ddp"), **shared)
    config = tmp_path / "accelerate.yaml"
    config.write_text(
        "distributed_type: MULTI_GPU\nuse_cpu: true\nnum_machines: 1\nmachine_rank: 0\nnum_processes: 2\n"
        "mixed_precision: 'no'\nrdzv_backend: static\nsame_network: true\nmain_process_port: 0\n",
        encoding="utf-8",
    )
    script = tmp_path / "one_rank.py"
    script.write_text(
        "import os, sys\nfrom pathlib import Path\nfrom llmrecipe.plan import Train\n"
        "from llmrecipe.stages import train\nfrom llmrecipe.stages.place import Place\n"
        "folder, data, tokenizer = map(Path, sys.argv[2:])\n"
        "place = Place(inputs={'dataset': data, 'tokenizer': tokenizer}, output=folder / 'output',\n"
        "    work=folder / 'work', root=folder,\n"
        "    rank=int(os.environ['RANK']), world_size=int(os.environ['WORLD_SIZE']))\n"
        "train.run(Train.model_validate_json(Path(sys.argv[1]).read_bytes()), place)\n",
        encoding="utf-8",
    )
    (tmp_path / "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, script, tmp_path / "spec.json",
         tmp_path / "together", together.inputs["dataset"], together.inputs["tokenizer"]],
        check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert [line["step"] for line in small.log(together)] == [line["step"] for line in small.log(alone)]
    one, two = weights(alone), weights(together)
    assert all((one[name] - two[name]).abs().max() < 1e-4 for name in one)
