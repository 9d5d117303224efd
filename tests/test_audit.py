"""Whether everything that is to be trained is trained."""

from types import SimpleNamespace
from typing import Any

import pytest
import small
import torch

from llmrecipe.stages import adapters
from llmrecipe.trainers.audit import TrainedTensors, fingerprints
from llmrecipe.vocabulary import LoRA


def trained(model: Any, steps: int, lr: float = 1e-2, frozen: tuple[str, ...] = (), schedule: Any = None) -> list[Any]:
    """Train on one batch, and return what the audit says."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule or (lambda step: 1.0))
    audit, said = TrainedTensors(0.95), []
    ids = torch.arange(48).view(2, 24)
    for _ in range(steps):
        audit.begin_step(model)
        model(input_ids=ids, labels=ids).loss.backward()
        for name, parameter in model.named_parameters():
            if name in frozen:
                parameter.grad = None
        said.append(audit.gradients(model, optimizer))
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        said.append(audit.end_step(model, optimizer))
    assert audit.done or steps < 4 or schedule
    return [alarm for alarm in said if alarm is not None]


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_a_model_that_is_trained_passes(family: str) -> None:
    assert trained(small.model(family), 5) == []


def test_an_adapter_passes_though_half_of_it_has_no_gradient_at_first() -> None:
    assert trained(adapters.with_new_adapter(small.model(), LoRA(kind="lora", r=4), 0, "causal"), 5) == []


def test_tensors_without_a_gradient_are_named() -> None:
    model = small.model()
    frozen = tuple(name for name, _ in model.named_parameters() if "layers.0" in name)
    said = trained(model, 1, frozen=frozen)
    assert len(said) == 1
    assert f"{len(frozen)} of {len(list(model.parameters()))} tensors" in said[0].message
    assert frozen[0] in said[0].message
    assert "no gradient in the first step" in said[0].message


def test_steps_that_round_to_nothing_are_said() -> None:
    said = trained(small.model().to(torch.bfloat16), 5, lr=1e-7)
    assert "have not changed in 5 steps" in said[0].message
    assert "float32" in said[0].help


def test_the_verdict_waits_for_the_learning_rate() -> None:
    model = small.model().to(torch.bfloat16)
    assert trained(model, 6, lr=1e-7, schedule=lambda step: step / 100) == []


def test_a_skipped_step_does_not_count() -> None:
    model, audit = small.model(), TrainedTensors(0.95)
    audit.begin_step(model)
    optimizer = SimpleNamespace(param_groups=[{"lr": 1.0, "initial_lr": 1.0}], step_was_skipped=True)
    assert all(audit.end_step(model, optimizer) is None for _ in range(10))
    assert not audit.done


def test_fingerprints_change_with_one_number_and_leave_tensors_alone() -> None:
    model = small.model()
    before = fingerprints(model)
    assert fingerprints(model) == before
    with torch.no_grad():
        model.model.embed_tokens.weight[3, 4] += 1e-3
    after = fingerprints(model)
    assert [name for name in after if after[name] != before[name]] == ["model.embed_tokens.weight"]


def test_steps_without_any_gradient_do_not_count() -> None:
    """Where all answers to a prompt are rewarded alike, nothing is to be learned from them, and nothing is wrong."""
    model, audit = small.model(), TrainedTensors(0.95)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(10):
        audit.begin_step(model)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        assert audit.gradients(model, optimizer) is None
        assert audit.end_step(model, optimizer) is None
    assert not audit.done
