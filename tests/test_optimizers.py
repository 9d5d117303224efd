"""Every optimizer of the language: its options arrive, it learns on a processor, and it resumes bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from pydantic import TypeAdapter
from resuming import assert_resumes
from transformers import get_scheduler

from llmrecipe.lower.arguments import _lr_scheduler, _optimizer
from llmrecipe.optimization import Adafactor, InverseSqrt, Muon, Optimizer
from llmrecipe.plan import NewModel, Train
from llmrecipe.stages import options, train
from llmrecipe.stages.place import Place, StageError

STEPS = 6
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adamw": ({"kind": "adamw", "beta2": 0.95, "epsilon": 1e-7}, {"betas": (0.9, 0.95), "eps": 1e-7, "fused": True}),
    "8 bits": ({"kind": "adamw", "bits": 8, "beta1": 0.8}, {"betas": (0.8, 0.999)}),
    "paged": ({"kind": "adamw", "bits": 8, "paged": True, "beta1": 0.8}, {"betas": (0.8, 0.999)}),
    "lion": ({"kind": "lion", "beta2": 0.98}, {"betas": (0.9, 0.98)}),
    "lion in 8 bits": ({"kind": "lion", "bits": 8, "beta2": 0.98}, {"betas": (0.9, 0.98)}),
    "ademamix": (
        {"kind": "ademamix", "beta3": 0.99, "alpha": 3.0, "ramp_steps": 5},
        {"betas": (0.9, 0.999, 0.99), "alpha": 3.0, "t_alpha": 5, "t_beta3": 5},
    ),
    "schedule-free": (
        {"kind": "schedule_free", "beta1": 0.95, "weight_lr_power": 1.0, "r": 0.5},
        {"betas": (0.95, 0.999), "weight_lr_power": 1.0, "r": 0.5, "warmup_steps": 2},
    ),
    "sgd": ({"kind": "sgd", "momentum": 0.8, "nesterov": True}, {"momentum": 0.8, "nesterov": True}),
    "adafactor": (
        {"kind": "adafactor", "beta1": 0.9, "decay_rate": -0.7, "clip_threshold": 0.5},
        {"beta1": 0.9, "decay_rate": -0.7, "clip_threshold": 0.5, "relative_step": False},
    ),
    "muon": ({"kind": "muon", "momentum": 0.9, "ns_steps": 4}, {"momentum": 0.9, "ns_steps": 4}),
}

each_optimizer = pytest.mark.parametrize("name", OPTIONS)


def section(name: str) -> Any:
    return TypeAdapter(Optimizer).validate_python(OPTIONS[name][0])


def spec(name: str, **arguments: Any) -> Train:
    optimizer = section(name)
    schedule = {"lr_scheduler_type": "constant", "warmup_steps": 2} if name == "schedule-free" else {}
    options = {"max_steps": STEPS, "save_steps": 3, "save_total_limit": 5, "logging_steps": 1, "warmup_steps": 0}
    own = optimizer if isinstance(optimizer, Muon | Adafactor) else None
    return small.train_spec(
        packed=False, optimizer=own, arguments=options | _optimizer(optimizer) | schedule | arguments
    )


@pytest.fixture
def at(tmp_path: Path) -> Callable[[str], Place]:
    rows = list(small.padded_rows(16))
    data = small.dataset(tmp_path / "data", rows, rows[:3])
    small.tokenizer().save_pretrained(tmp_path / "tokenizer")
    return lambda name: small.place(tmp_path / name, dataset=data, tokenizer=tmp_path / "tokenizer")


@each_optimizer
def test_an_optimizer_learns_and_resumes_bit_for_bit_with_its_options(
    name: str, at: Callable[[str], Place], tmp_path: Path
) -> None:
    _, resumed = assert_resumes(spec(name, learning_rate=3e-3), at("straight"), tmp_path / "resumed", 3)
    losses = [line["loss"] for line in small.log(resumed) if "loss" in line]
    assert losses[-1] < losses[0]
    state = torch.load(resumed.work / "checkpoints" / f"checkpoint-{STEPS}" / "optimizer.pt", weights_only=False)
    for group in state["param_groups"]:
        if "rule" not in group or group["rule"] == "muon":
            assert {option: group[option] for option in OPTIONS[name][1]} == OPTIONS[name][1]


@each_optimizer
def test_norms_and_biases_lose_nothing_to_weight_decay(name: str, at: Callable[[str], Place]) -> None:
    place = at("here")
    train.run(spec(name, max_steps=1, weight_decay=0.1), place)
    state = torch.load(place.work / "checkpoints" / "checkpoint-1" / "optimizer.pt", weights_only=False)
    assert {group["weight_decay"] for group in state["param_groups"]} == {0.1, 0.0}


def test_eight_bits_hold_large_matrices_in_eight_bits(at: Callable[[str], Place]) -> None:
    place = at("here")
    wide = NewModel(kind="new", architecture=small.architecture(intermediate_size=256))
    train.run(spec("8 bits", max_steps=1).model_copy(update={"model": wide}), place)
    state = torch.load(place.work / "checkpoints" / "checkpoint-1" / "optimizer.pt", weights_only=False)
    quantized = [entry["__bnb_optimizer_quant_state__"] for entry in state["state"].values()]
    assert torch.uint8 in {entry["state1"].dtype for entry in quantized}


@pytest.mark.parametrize("evaluates", [False, True])
def test_schedule_free_gives_the_average_that_validations_saw(evaluates: bool, at: Callable[[str], Place]) -> None:
    place = at("here")
    if not evaluates:
        place.inputs["dataset"] = small.dataset(place.work / "data", list(small.padded_rows(16)))
    train.run(spec("schedule-free"), place)
    state = torch.load(place.work / "checkpoints" / f"checkpoint-{STEPS}" / "optimizer.pt", weights_only=False)
    assert not state["param_groups"][0]["train_mode"]


def test_inverse_sqrt_has_fallen_to_071_after_its_timescale() -> None:
    kind, options = _lr_scheduler(InverseSqrt(kind="inverse_sqrt", timescale=50))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(
        kind, optimizer, num_warmup_steps=10, num_training_steps=1000, scheduler_specific_kwargs=options
    )
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert max(rates) == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5**0.5)


@pytest.mark.parametrize(("name", "extra"), [("schedule-free", "optimizers"), ("8 bits", "quantization")])
def test_the_package_of_an_optimizer_that_is_not_installed_is_named(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options.check_packages(spec(name))
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(StageError) as caught:
        options.check_packages(spec(name))
    assert caught.value.help == f"pip install 'llmrecipe[{extra}]'"
    options.check_packages(spec("sgd"))


def test_vllm_that_is_not_installed_is_named_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(StageError, match="vLLM is not installed here"):
        options.check_packages(spec("sgd", use_vllm=True))
