"""Options of `training`: best checkpoint, early stopping, averages, elastic weights, orders of rows, smooth labels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from resuming import assert_resumes, cut_off, weights
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from llmrecipe.optimization import EMA, SWA, Best, Competence, EarlyStopping, Elastic, RowOrder, Sorted
from llmrecipe.plan import Fisher, LocalModel, ScoreData, Train
from llmrecipe.stages import fisher, score_data, train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.best import best_step, exhausted
from llmrecipe.trainers.losses import Objective
from llmrecipe.trainers.ordering import Competent, EasyFirst, OrderSampler, Shuffled

EVALUATE = {"eval_strategy": "steps", "eval_steps": 2}


def spec(arguments: dict[str, Any] | None = None, **changes: Any) -> Train:
    options = {"max_steps": 8, "save_steps": 4, "save_total_limit": 5, "logging_steps": 1, "warmup_steps": 0}
    return small.train_spec(packed=False, arguments=options | (arguments or {}), **changes)


@pytest.fixture
def at(tmp_path: Path) -> Callable[..., Place]:
    data = small.dataset(tmp_path / "data", list(small.padded_rows(16)), list(small.padded_rows(3, seed=1)))
    small.tokenizer().save_pretrained(tmp_path / "tokenizer")
    return lambda name, **inputs: small.place(tmp_path / name, dataset=data, tokenizer=tmp_path / "tokenizer", **inputs)


# -- the best validation --


def history(*values: float) -> list[dict[str, Any]]:
    return [{"step": 2 * i, "eval_loss": value} for i, value in enumerate(values, 1)]


def test_the_best_validation_is_the_first_of_equal_ones() -> None:
    found = history(3.0, 1.0, 2.0, 1.0)
    assert best_step(found, Best()) == 4
    assert best_step(found, Best(greater_is_better=True)) == 2
    assert best_step([], Best()) is None


@pytest.mark.parametrize(
    ("values", "threshold", "ends"),
    [
        ((3.0, 2.0, 1.0), 0.0, False),
        ((3.0, 1.0, 2.0), 0.0, False),
        ((3.0, 1.0, 2.0, 1.0), 0.0, True),
        ((3.0, 2.9, 2.8), 0.5, True),
        ((3.0, 3.1, 2.0, 2.1), 0.0, False),
    ],
)
def test_training_ends_after_as_many_validations_without_a_better_one_as_patience_says(
    values: tuple[float, ...], threshold: float, ends: bool
) -> None:
    assert exhausted(history(*values), EarlyStopping(patience=2, threshold=threshold)) is ends


def overfitting(steps: int = 10, **changes: Any) -> Train:
    """Validations of random rows get worse soon."""
    return spec(EVALUATE | {"learning_rate": 3e-2, "max_steps": steps, "save_total_limit": 1}, **changes)


def test_the_best_checkpoint_outlives_the_limit_and_is_what_training_gives(
    at: Callable[..., Place], tmp_path: Path
) -> None:
    place = at("straight")
    metrics = train.run(overfitting(best=Best()), place)
    losses = {line["step"]: line["eval_loss"] for line in small.log(place) if "eval_loss" in line}
    assert metrics["best_eval_loss"] == min(losses.values())
    assert metrics["best_step"] == min(losses, key=lambda step: losses[step]) < 10
    kept = {path.name for path in (place.work / "checkpoints").iterdir()}
    best = f"checkpoint-{metrics['best_step']:.0f}"
    assert kept == {best, "checkpoint-10"}
    stored = load_file(place.work / "checkpoints" / best / "model.safetensors")
    assert all(torch.equal(tensor, stored[name]) for name, tensor in weights(place).items())
    resumed = cut_off(place, tmp_path / "resumed", int(metrics["best_step"]))
    assert train.run(overfitting(best=Best()), resumed)["best_step"] == metrics["best_step"]
    assert all(torch.equal(tensor, stored[name]) for name, tensor in weights(resumed).items())


def test_training_ends_early_and_does_not_begin_again(at: Callable[..., Place]) -> None:
    place = at("here")
    stopping = overfitting(40, early_stopping=EarlyStopping(patience=2))
    metrics = train.run(stopping, place)
    assert metrics["steps"] < 40
    before = weights(place)
    (place.output / "model").rename(place.output / "gone")
    (place.output / "metrics").rename(place.output / "gone-too")
    assert train.run(stopping, place)["steps"] == metrics["steps"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(place).items())


def test_a_metric_that_validations_lack_is_refused_with_those_that_they_have(at: Callable[..., Place]) -> None:
    with pytest.raises(StageError, match="eval_accuracy") as caught:
        train.run(overfitting(best=Best(metric="eval_accuracy")), at("here"))
    assert "`eval_loss`" in str(caught.value.help)


# -- averages --


def checkpointed(place: Place, step: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(place.work / "checkpoints" / f"checkpoint-{step}" / "model.safetensors")
    return found


def test_an_exponential_average_is_that_of_the_formula_and_survives_a_resumption(
    at: Callable[..., Place], tmp_path: Path
) -> None:
    averaged = spec(EVALUATE | {"save_steps": 1, "save_total_limit": 20}, averaging=EMA(kind="ema", decay=0.5))
    assert_resumes(averaged, at("straight"), tmp_path / "resumed", 3)
    straight = tmp_path / "straight"
    place = Place(inputs={}, output=straight / "output", work=straight / "work", root=tmp_path)
    start = AutoModelForCausalLM.from_pretrained(_untrained(at, averaged)).state_dict()
    expected = {name: start[name].double() for name in weights(place)}
    for step in range(1, 9):
        decay = min(0.5, (1 + step) / (10 + step))
        for name, tensor in checkpointed(place, step).items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
    for name, tensor in weights(place).items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(weights(place)["model.norm.weight"], checkpointed(place, 8)["model.norm.weight"])


def _untrained(at: Callable[..., Place], like: Train) -> Path:
    place = at("untrained")
    arguments = like.arguments | {"max_steps": 1, "learning_rate": 0.0, "eval_strategy": "no"}
    train.run(like.model_copy(update={"averaging": None, "arguments": arguments}), place)
    return place.output / "model"


def test_a_plain_mean_is_over_the_last_weights(at: Callable[..., Place]) -> None:
    place = at("here")
    swa = SWA(kind="swa", start_ratio=0.5, every_steps=2)
    train.run(spec({"save_steps": 1, "save_total_limit": 20}, averaging=swa), place)
    for name, tensor in weights(place).items():
        mean = torch.stack([checkpointed(place, step)[name] for step in (6, 8)]).mean(0)
        torch.testing.assert_close(tensor, mean, rtol=1e-5, atol=1e-7)


def test_validations_are_of_the_average(at: Callable[..., Place]) -> None:
    plain, averaged = at("plain"), at("averaged")
    train.run(spec(EVALUATE), plain)
    train.run(spec(EVALUATE, averaging=EMA(kind="ema", decay=0.9)), averaged)
    losses = [[line for line in small.log(place) if "loss" in line] for place in (plain, averaged)]
    assert [line["loss"] for line in losses[0]] == [line["loss"] for line in losses[1]]
    evaluated = [[line["eval_loss"] for line in small.log(p) if "eval_loss" in line] for p in (plain, averaged)]
    assert all(a != b for a, b in zip(*evaluated, strict=True))


# -- elastic weights --


def old_model(folder: Path) -> LocalModel:
    return LocalModel(kind="local", path=str(small.saved_model(folder)), sha256="")


def fisher_spec(model: LocalModel, **changes: Any) -> Fisher:
    fields: dict[str, Any] = {
        "kind": "fisher", "model": model, "estimate": "empirical", "max_samples": 3, "attention": "sdpa",
        "packed": False, "seed": 1, "trust_remote_code": False,
    }  # fmt: skip
    return Fisher(**(fields | changes))


def test_fisher_information_is_the_mean_of_squared_gradients_of_each_row(
    at: Callable[..., Place], tmp_path: Path
) -> None:
    data = small.dataset(tmp_path / "old", rows := list(small.padded_rows(3)))
    place = small.place(tmp_path / "fisher", dataset=data, tokenizer=tmp_path / "tokenizer")
    metrics = fisher.run(fisher_spec(old_model(tmp_path / "model")), place)
    found = load_file(place.output / "fisher" / "fisher.safetensors")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for row in rows:
        ids, labels = (torch.tensor([row[name]]) for name in ("input_ids", "labels"))
        log_probs = torch.log_softmax(model(input_ids=ids).logits, -1)[0, :-1]
        model.zero_grad()
        sum(log_probs[i, token] for i, token in enumerate(labels[0, 1:]) if token != -100).backward()
        for name, p in model.named_parameters():
            expected[name] += p.grad**2 / len(rows)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-6)
    assert metrics["sequences"] == 3


def test_true_fisher_information_asks_the_model_and_not_the_rows(tmp_path: Path) -> None:
    model, tokens = old_model(tmp_path / "model"), small.tokenizer()
    tokens.save_pretrained(tmp_path / "tokenizer")
    found = []
    for estimate in ("true", "true", "empirical"):
        place = small.place(tmp_path / f"{len(found)}", dataset=small.dataset(tmp_path / f"d{len(found)}",
                            list(small.padded_rows(2))), tokenizer=tmp_path / "tokenizer")  # fmt: skip
        fisher.run(fisher_spec(model, estimate=estimate), place)
        found.append(load_file(place.output / "fisher" / "fisher.safetensors")["model.norm.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_penalty_moves_weights_as_its_formula_says(
    accumulation: int, at: Callable[..., Place], tmp_path: Path
) -> None:
    """One step of plain SGD differs by nothing at the beginning; the second by rate * lambda * F * distance."""
    model = old_model(tmp_path / "model")
    start = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    values = {name: torch.rand_like(p) for name, p in start.named_parameters()}
    (tmp_path / "fisher").mkdir()
    save_file(values, tmp_path / "fisher" / "fisher.safetensors")
    sgd = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "weight_decay": 0.0, "max_steps": 2,
           "lr_scheduler_type": "constant", "save_steps": 1, "gradient_accumulation_steps": accumulation}  # fmt: skip
    plain, elastic = at("plain"), at("elastic", fisher=tmp_path / "fisher")
    train.run(spec(sgd, model=model), plain)
    train.run(spec(sgd, model=model, ewc=Elastic(ewc_lambda=0.7)), elastic)
    first = checkpointed(plain, 1)
    for name, p in start.named_parameters():
        torch.testing.assert_close(checkpointed(elastic, 1)[name], first[name])
        expected = checkpointed(plain, 2)[name] - 0.1 * 0.7 * values[name] * (first[name] - p)
        torch.testing.assert_close(checkpointed(elastic, 2)[name], expected, rtol=1e-4, atol=1e-6)
    logged = [line["ewc_penalty"] for line in small.log(elastic) if "ewc_penalty" in line]
    slow = sum((0.35 * values[name] * (first[name] - p) ** 2).sum().item() for name, p in start.named_parameters())
    assert logged[0] == 0.0
    assert logged[1] == pytest.approx(slow, rel=1e-4)


# -- the order of rows --


def test_easy_rows_come_first_and_equal_ones_by_chance() -> None:
    difficulties = np.asarray([3.0, 1.0, 2.0, 1.0, 2.0, 3.0])
    orders = [EasyFirst(difficulties, 2, seed=1)(epoch).tolist() for epoch in range(3)]
    for order in orders[:2]:
        assert sorted(order) == list(range(6))
        assert [difficulties[i] for i in order] == sorted(difficulties)
    assert len({tuple(EasyFirst(difficulties, None, seed)(0)) for seed in range(20)}) > 1
    assert orders[2] == Shuffled(6, 1)(2).tolist()


def test_competence_grows_with_the_root_of_time_until_all_rows_are_drawn() -> None:
    difficulties = np.arange(100.0)
    pacing = Competence(kind="competence", start_ratio=0.1, full_ratio=0.5)
    orders = [Competent(difficulties, pacing, 400, seed=1)(epoch) for epoch in range(4)]
    assert orders[0][0] < 11
    for i in range(200):
        bound = np.sqrt(i / 200 * (1 - 0.01) + 0.01) * 100
        assert orders[i // 100][i % 100] <= bound
    assert orders[3].max() > 90
    assert np.array_equal(orders[1], Competent(difficulties, pacing, 400, seed=1)(1))


def test_a_sampler_tells_its_listeners_of_the_epoch() -> None:
    heard: list[int] = []
    sampler = OrderSampler(Shuffled(5, 1), 5, [heard.append])
    sampler.set_epoch(3)
    assert (heard, list(sampler)) == ([3], Shuffled(5, 1)(3).tolist())


@pytest.mark.parametrize("pacing", [Sorted(kind="sorted"), Competence(kind="competence")], ids=lambda p: p.kind)
def test_a_curriculum_by_length_resumes_bit_for_bit(pacing: Any, at: Callable[..., Place], tmp_path: Path) -> None:
    order = RowOrder(by="length", pacing=pacing)
    assert_resumes(spec({"max_steps": 12}, order=order), at("straight"), tmp_path / "resumed", 8)


def test_rows_are_scored_by_their_perplexity(at: Callable[..., Place], tmp_path: Path) -> None:
    model = old_model(tmp_path / "model")
    place = at("scores")
    score_data.run(
        ScoreData(
            kind="score_data", model=model, dtype="auto", attention="sdpa", batch_size=5, trust_remote_code=False
        ),
        place,
    )
    scores = json.loads((place.output / "scores" / "scores.json").read_text())
    lm = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    for row, score in zip(small.padded_rows(16), scores, strict=True):
        ids, labels = (torch.tensor([row[name]]) for name in ("input_ids", "labels"))
        with torch.no_grad():
            assert score == pytest.approx(lm(input_ids=ids, labels=labels).loss.exp().item(), rel=1e-4)


# -- label smoothing and noise --


def test_label_smoothing_is_a_mixture_with_the_uniform_distribution() -> None:
    logits, labels = torch.randn(4, 7), torch.tensor([0, 3, 6, 2])
    found = Objective(label_smoothing=0.2).losses(torch.log_softmax(logits, -1), labels)
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(found, expected)


def test_label_smoothing_reaches_the_loss_of_packed_rows(tmp_path: Path) -> None:
    data = small.dataset(tmp_path / "data", list(small.packed_rows(8)))
    small.tokenizer().save_pretrained(tmp_path / "tokenizer")
    losses = []
    for smoothing in (0.0, 0.3):
        place = small.place(tmp_path / str(smoothing), dataset=data, tokenizer=tmp_path / "tokenizer")
        arguments = {"label_smoothing_factor": smoothing, "max_steps": 1, "logging_steps": 1}
        losses.append(train.run(small.train_spec("sft", arguments=arguments), place)["train_loss"])
    assert losses[0] != losses[1]


def test_noise_on_embeddings_is_the_same_after_a_resumption_and_not_in_validations(
    at: Callable[..., Place], tmp_path: Path
) -> None:
    _, noisy = assert_resumes(
        spec(EVALUATE | {"neftune_noise_alpha": 5.0, "learning_rate": 0.0}), at("straight"), tmp_path / "resumed", 4
    )
    plain = at("plain")
    train.run(spec(EVALUATE | {"learning_rate": 0.0}), plain)
    for name, equal in (("loss", False), ("eval_loss", True)):
        values = [[line[name] for line in small.log(place) if name in line] for place in (plain, noisy)]
        assert (values[0] == values[1]) is equal
