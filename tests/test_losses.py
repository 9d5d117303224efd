"""The loss over supervised tokens: its value and its gradients are those of all logits."""

from typing import Any

import pytest
import torch

from llmrecipe.trainers import losses
from llmrecipe.trainers.losses import Head, Objective, Scoring, next_tokens, supervised

VOCABULARY, WIDTH = 37, 8
OBJECTIVES = {
    "nll": Objective(),
    "dft": Objective(dft=True),
    "smoothed": Objective(label_smoothing=0.1),
    "smoothed dft": Objective(dft=True, label_smoothing=0.1),
}
HEADS = {"linear": Head(), "scaled and capped": Head(scale=0.5, softcap=3.0)}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "FEWEST_ROWS", 4)
    monkeypatch.setattr(losses, "TILE_BYTES", {"cpu": 1})


def problem(bias: bool = True) -> tuple[Any, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    head = torch.nn.Linear(WIDTH, VOCABULARY, bias=bias)
    hidden = (3 * torch.randn(3, 9, WIDTH)).requires_grad_()
    labels = torch.randint(0, VOCABULARY, (3, 9))
    labels[0, :5] = labels[2, 4:] = losses.IGNORED
    return head, hidden, next_tokens(labels)


def slowly(head: Any, shape: Head, hidden: torch.Tensor, targets: torch.Tensor, objective: Objective) -> torch.Tensor:
    """Token by token, from the definitions."""
    total = torch.zeros((), dtype=torch.float64)
    for state, target in zip(hidden.flatten(0, 1), targets.flatten().tolist(), strict=True):
        if target == losses.IGNORED:
            continue
        logits = (head.weight @ state + (0 if head.bias is None else head.bias)).double() * shape.scale
        if shape.softcap:
            logits = shape.softcap * torch.tanh(logits / shape.softcap)
        probabilities = torch.exp(logits) / torch.exp(logits).sum()
        wanted = torch.full((VOCABULARY,), objective.label_smoothing / VOCABULARY, dtype=torch.float64)
        wanted[target] += 1 - objective.label_smoothing
        loss = -(wanted * probabilities.log()).sum()
        total = total + (loss * probabilities[target].item() if objective.dft else loss)
    return total


def gradients(loss: torch.Tensor, head: Any, hidden: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, [hidden, *head.parameters()]))


@pytest.mark.parametrize("plain", [True, False], ids=["tiles", "module"])
@pytest.mark.parametrize("shape", HEADS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_loss_and_gradients_are_those_of_the_definition(
    objective: str, shape: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, hidden, targets = problem()
    monkeypatch.setattr(losses, "_linear", lambda _: plain)
    found = supervised(head, hidden, targets, Scoring(HEADS[shape], OBJECTIVES[objective]))
    wanted = slowly(head, HEADS[shape], hidden, targets, OBJECTIVES[objective])
    assert found.tokens == (targets != losses.IGNORED).sum() > 4
    assert found.loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    scaled = zip(gradients(found.loss * 3, head, hidden), gradients(wanted * 3, head, hidden), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in scaled)


@pytest.mark.parametrize("plain", [True, False], ids=["tiles", "module"])
def test_entropy_and_right_guesses_are_measured_when_asked_for(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    head, hidden, targets = problem()
    monkeypatch.setattr(losses, "_linear", lambda _: plain)
    log_probs = torch.log_softmax(head(hidden), -1)[targets != losses.IGNORED]
    right = (log_probs.argmax(-1) == targets[targets != losses.IGNORED]).sum()
    entropy = torch.distributions.Categorical(logits=log_probs).entropy().sum()
    measured = supervised(head, hidden, targets, Scoring(measure=True))
    assert measured.correct == right
    assert measured.entropy.item() == pytest.approx(entropy.item(), rel=1e-5)
    unmeasured = supervised(head, hidden, targets, Scoring())
    assert unmeasured.entropy == unmeasured.correct == 0
    assert unmeasured.loss == measured.loss


@pytest.mark.parametrize("plain", [True, False], ids=["tiles", "module"])
def test_a_batch_without_supervised_tokens_is_a_zero_with_gradients(
    plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, hidden, targets = problem()
    monkeypatch.setattr(losses, "_linear", lambda _: plain)
    found = supervised(head, hidden, torch.full_like(targets, losses.IGNORED), Scoring(measure=True))
    assert found.loss == found.tokens == 0
    assert all((gradient == 0).all() for gradient in gradients(found.loss, head, hidden))


def test_a_frozen_head_gets_no_gradient_and_an_evaluation_computes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    head, hidden, targets = problem(bias=False)
    head.requires_grad_(False)
    supervised(head, hidden, targets, Scoring()).loss.backward()
    assert head.weight.grad is None
    assert hidden.grad is not None
    monkeypatch.setattr(losses, "_gradient", lambda *_: pytest.fail("a gradient in an evaluation"))
    with torch.no_grad():
        supervised(head, hidden, targets, Scoring())


def test_under_autocast_the_logits_are_computed_in_bfloat16_and_the_gradient_of_the_weights_is_float32() -> None:
    head, hidden, targets = problem()
    exact = supervised(head, hidden, targets, Scoring())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = supervised(head, hidden, targets, Scoring())
    assert rounded.loss.dtype == torch.float32
    assert 0 < abs(rounded.loss - exact.loss) < 0.02 * exact.loss
    for one, other in zip(gradients(rounded.loss, head, hidden), gradients(exact.loss, head, hidden), strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()


def test_what_a_position_predicts_is_the_label_after_it() -> None:
    labels = torch.tensor([[5, 6, losses.IGNORED, 7]])
    assert next_tokens(labels).tolist() == [[6, losses.IGNORED, 7, losses.IGNORED]]


def test_tiles_are_as_large_as_the_cache_of_the_device_and_never_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert losses.tile_rows(4096, "cpu") == 256
    assert losses.tile_rows(151_936, "cpu") == losses.FEWEST_ROWS
    assert losses.tile_rows(151_936, "cuda") > 1000
