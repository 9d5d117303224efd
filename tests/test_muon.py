"""Muon for hidden matrices, AdamW for the rest, one state."""

import copy
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from transformers import AutoModelForSequenceClassification

from llmrecipe.optimization import Muon
from llmrecipe.trainers.muon import MuonWithAdamW

OPTIONS = Muon(kind="muon")


def optimizer(model: Any, **changes: Any) -> MuonWithAdamW:
    plain = [name for name, p in model.named_parameters() if p.ndim == 1]
    return MuonWithAdamW(model, OPTIONS.model_copy(update=changes), 1e-2, 0.1, plain)


def one_step(model: Any, *optimizers: torch.optim.Optimizer, seed: int = 0) -> None:
    torch.manual_seed(seed)
    ids = torch.randint(5, 250, (2, 16))
    model(input_ids=ids, labels=ids).loss.backward()
    for each in optimizers:
        each.step()
    model.zero_grad()


@pytest.mark.parametrize("family", small.FAMILIES)
def test_every_parameter_has_one_rule_and_embeddings_and_norms_get_adamw(family: str) -> None:
    model = small.model(family, tie_word_embeddings=False)
    groups = optimizer(model).param_groups
    sorted_ = [id(p) for group in groups for p in group["params"]]
    assert sorted(sorted_) == sorted(id(p) for p in model.parameters())
    hidden = {id(p) for group in groups if group["rule"] == "muon" for p in group["params"]}
    for name, p in model.named_parameters():
        outer = p is model.get_input_embeddings().weight or p is model.get_output_embeddings().weight
        assert (id(p) in hidden) == (p.ndim == 2 and not outer and name != "transformer.wpe.weight"), name


def test_the_row_that_gives_a_score_gets_adamw(tmp_path: Path) -> None:
    folder = small.saved_model(tmp_path / "base")
    judge = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    assert judge.score.weight.shape == (1, 32)
    rules = {id(p): group["rule"] for group in optimizer(judge).param_groups for p in group["params"]}
    assert rules.keys() == {id(p) for p in judge.parameters()}
    assert rules[id(judge.score.weight)] == "adamw"


def test_a_step_equals_the_two_optimizers_of_torch() -> None:
    model = small.model()
    twin = copy.deepcopy(model)
    ours = optimizer(model)
    outer = twin.get_input_embeddings().weight
    muon = torch.optim.Muon(
        [p for p in twin.parameters() if p.ndim == 2 and p is not outer],
        lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    adamw = torch.optim.AdamW(
        [{"params": [outer], "weight_decay": 0.1},
         {"params": [p for p in twin.parameters() if p.ndim == 1], "weight_decay": 0.0}],
        lr=1e-2, betas=(0.9, 0.95), eps=1e-8,
    )  # fmt: skip
    for step in range(3):
        one_step(model, ours, seed=step)
        one_step(twin, muon, adamw, seed=step)
    for (name, a), (_, b) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_its_state_resumes_exactly() -> None:
    straight, halved = small.model(), small.model()
    first, second = optimizer(straight), optimizer(halved)
    for step in range(2):
        one_step(straight, first, seed=step)
        one_step(halved, second, seed=step)
    resumed = optimizer(halved)
    resumed.load_state_dict(copy.deepcopy(second.state_dict()))
    for step in range(2, 4):
        one_step(straight, first, seed=step)
        one_step(halved, resumed, seed=step)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), halved.parameters(), strict=True))


def test_one_schedule_moves_both_rules() -> None:
    ours = optimizer(small.model())
    schedule = torch.optim.lr_scheduler.LambdaLR(ours, lambda step: 1 / (1 + step))
    ours.step()
    schedule.step()
    assert {group["lr"] for group in ours.param_groups} == {5e-3}
