"""Our loss in the library's trainers: the same curves, in every way that a causal model is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from trl import SFTTrainer

from llmrecipe.stages import train
from llmrecipe.stages.place import Place
from llmrecipe.trainers import supervised
from llmrecipe.trainers.losses import Head
from llmrecipe.trainers.supervised import SupervisedLoss, understood
from llmrecipe.vocabulary import LoRA

LORA = LoRA(kind="lora", r=4, lora_alpha=8)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs the training stage and gives its log."""
    base = small.saved_model(tmp_path / "base")
    data = {
        True: small.dataset(tmp_path / "packed", list(small.packed_rows(20)), list(small.packed_rows(3, seed=9))),
        False: small.dataset(tmp_path / "padded", list(small.padded_rows(20)), list(small.padded_rows(3, seed=9))),
    }
    count = iter(range(10))

    def run(method: str, packed: bool, **changes: Any) -> list[dict[str, Any]]:
        arguments = {"logging_steps": 1, "max_steps": 6, "save_steps": 50, **changes.pop("arguments", {})}
        spec = small.train_spec(method, packed=packed, model=small.INPUT, arguments=arguments, **changes)
        place: Place = small.place(tmp_path / str(next(count)), dataset=data[packed], tokenizer=base, model=base)
        train.run(spec, place)
        return small.log(place)

    return run


CASES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "sft": ("sft", False, {}),
    "sft, packed": ("sft", True, {}),
    "sft, dft": ("sft", False, {"arguments": {"loss_type": "dft"}}),
    "sft, LoRA": ("sft", False, {"adapter": LORA}),
    "sft, smoothed": ("sft", False, {"arguments": {"label_smoothing_factor": 0.1}}),
    "sft, accumulated": ("sft", False, {"arguments": {"gradient_accumulation_steps": 3}}),
    "sft, checkpointed": ("sft", True, {"arguments": {"activation_checkpointing": True}}),
    "pretrain": ("pretrain", True, {}),
    "pretrain, LoRA": ("pretrain", True, {"adapter": LORA}),
    "pretrain, smoothed": ("pretrain", True, {"arguments": {"label_smoothing_factor": 0.1}}),
    "pretrain, accumulated": ("pretrain", True, {"arguments": {"gradient_accumulation_steps": 3}}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_curves_are_those_of_the_library(
    case: str, run: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, packed, changes = CASES[case]
    ours = run(method, packed, **dict(changes))
    asked: list[str] = []

    def libraries_own(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(type(trainer).__name__)
        return super(SupervisedLoss, trainer).compute_loss(*args, **kwargs)

    monkeypatch.setattr(SupervisedLoss, "take_over", lambda trainer: setattr(trainer, "ours", True))
    monkeypatch.setattr(SupervisedLoss, "compute_loss", libraries_own)
    library = run(method, packed, **dict(changes))
    assert len(asked) >= 8
    assert len(ours) == len(library) == 7
    for one, other in zip(ours, library, strict=True):
        for name in {"loss", "eval_loss", "grad_norm"} & other.keys():
            assert one[name] == pytest.approx(other[name], rel=1e-5), (name, one["step"])
        for name in {"entropy", "mean_token_accuracy"} & other.keys():
            if "accumulated" not in case:  # TRL takes the mean of the means of micro-batches.
                assert one[name] == pytest.approx(other[name], rel=1e-4), (name, one["step"])


def test_entropy_and_accuracy_are_measured_where_a_step_is_logged(
    run: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[bool] = []
    original = supervised._loss

    def watched(head: Any, hidden: Any, targets: Any, scoring: Any) -> Any:
        measured.append(scoring.measure)
        return original(head, hidden, targets, scoring)

    monkeypatch.setattr(supervised, "_loss", watched)
    log = run("pretrain", True, arguments={"logging_steps": 2})
    assert measured[:6] == [False, True] * 3
    assert all(measured[6:])
    assert all(0 < line["entropy"] < 6 and 0 <= line["mean_token_accuracy"] <= 1 for line in log if "loss" in line)
    assert {"eval_loss", "eval_entropy", "eval_mean_token_accuracy"} <= log[-1].keys()


@pytest.mark.parametrize("family", small.FAMILIES)
def test_logits_of_every_family_are_understood_and_padding_on_the_right_needs_no_mask(family: str) -> None:
    assert understood(small.model(family)) == (Head(), False)


def test_a_soft_cap_and_a_scale_are_read_from_the_configuration() -> None:
    model = small.model("gemma3_text")
    model.config.final_logit_softcapping = 5.0
    assert understood(model) == (Head(softcap=5.0), False)


def test_a_model_that_makes_logits_in_another_way_keeps_the_loss_of_the_library(
    run: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "_shape", lambda _: Head(scale=2.0))
    assert understood(small.model()) is None
    asked: list[str] = []
    original = SFTTrainer.compute_loss
    monkeypatch.setattr(SFTTrainer, "compute_loss", lambda *a, **k: asked.append("TRL") or original(*a, **k))
    assert run("sft", False)[-1]["eval_loss"] > 0
    assert len(asked) == 8


def test_a_model_that_sees_padding_is_told_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small.model()
    body = model.base_model
    original = body.forward

    def looks_ahead(*args: Any, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        found = original(*args, attention_mask=attention_mask, **kwargs)
        states = found.last_hidden_state
        seen = states if attention_mask is None else states * attention_mask[..., None]
        found.last_hidden_state = states + seen.sum(1, keepdim=True)
        return found

    monkeypatch.setattr(body, "forward", looks_ahead)
    assert understood(model) == (Head(), True)
