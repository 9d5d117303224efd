"""The evaluation stage: one suite over one model -> metrics, and for generated answers every one of them."""

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from llmrecipe.plan import (
    Evaluate,
    GenerationSuite,
    MaskedAccuracySuite,
    PerplexitySuite,
    PreferenceAccuracySuite,
    RewardSuite,
)
from llmrecipe.stages import loading, reward_suite
from llmrecipe.stages.answers import Question, answers, questions
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.preference_accuracy import preference_accuracy
from llmrecipe.stages.scoring import exact_match, f1
from llmrecipe.stages.token_rows import has_rows, read_rows
from llmrecipe.trainers.collator import IGNORED, collator_for


def run(spec: Evaluate, place: Place) -> dict[str, float]:
    """Measure one model.

    Returns:
        For `perplexity`: `loss` (mean nats per supervised token), `perplexity` (its exponential), `tokens`. For
        `generation`: `exact_match` and `f1` (means, 0 to 1), `answers` (their number). For others what the functions of
        their modules return.

    Raises:
        StageError: model, data or template cannot be used.
    """
    adapted = spec.head == "reward" and "adapter" in place.inputs  # It brings the head that its base may lack.
    wanted = loading.Wanted(spec.dtype, spec.attention, spec.trust_remote_code, spec.head, new_head=adapted)
    model = loading.pretrained(spec.model, place, wanted)
    if "adapter" in place.inputs:
        adapters = importlib.import_module("llmrecipe.stages.adapters")
        model = adapters.with_adapter(model, place.inputs["adapter"])
    model = model.to(loading.device()).eval()
    with torch.inference_mode():
        match spec.suite:
            case PerplexitySuite():
                metrics = _perplexity(spec, place, model)
            case MaskedAccuracySuite():
                masked = importlib.import_module("llmrecipe.stages.masked_accuracy")
                metrics = masked.masked_accuracy(spec.suite, place, model, _tokenizer(spec, place), spec.attention)
            case PreferenceAccuracySuite():
                metrics, samples = preference_accuracy(spec, spec.suite, place, model, _tokenizer(spec, place))
                _write_samples(place, samples)
            case RewardSuite():
                metrics, samples = reward_suite.measure(spec, spec.suite, place, model, _tokenizer(spec, place))
                _write_samples(place, samples)
            case GenerationSuite():
                metrics = _generation(spec, spec.suite, place, model)
    _write_json(place.output / "metrics" / "metrics.json", metrics)
    return metrics


def _perplexity(spec: Evaluate, place: Place, model: Any) -> dict[str, float]:
    folder = place.inputs["dataset"] / "validation"
    if not has_rows(folder):
        raise StageError("there are no validation rows to measure perplexity on", "add `data.validation`")
    rows = read_rows(folder)
    collate = collator_for(model, spec.attention, packed="seq_lengths" in rows[0])
    # Rows of similar length share a batch, so that little of it is padding.
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    loss, tokens = 0.0, 0
    for start in range(0, len(order), spec.suite.batch_size):
        batch = collate([rows[i] for i in order[start : start + spec.suite.batch_size]])
        row_loss, row_tokens = _negative_log_likelihood(model, batch)
        loss, tokens = loss + row_loss, tokens + row_tokens
        place.event(
            event="progress", done=min(start + spec.suite.batch_size, len(order)), total=len(order), unit="rows"
        )
    if not tokens:
        raise StageError("no token of the validation rows has a label", "the data report says which tokens have one")
    mean = loss / tokens
    perplexity = torch.tensor(mean, dtype=torch.float64).exp().item()
    return {"loss": mean, "perplexity": perplexity, "tokens": float(tokens)}


def _negative_log_likelihood(model: Any, batch: dict[str, Any]) -> tuple[float, int]:
    """Sum over the supervised tokens of a batch in nats, and their number."""
    inputs = {name: value.to(model.device) if isinstance(value, torch.Tensor) else value
              for name, value in batch.items() if name not in ("labels", "num_tokens")}  # fmt: skip
    labels = batch["labels"][:, 1:].to(model.device)
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    # One row at a time: in float32, the logits of a batch take four times the room of the weights of its last layer.
    sums = [
        cross_entropy(row.float(), target, ignore_index=IGNORED, reduction="sum").item()
        for row, target in zip(logits, labels, strict=True)
    ]
    return sum(sums), int((labels != IGNORED).sum())


def _tokenizer(spec: Evaluate, place: Place) -> Any:
    """The tokenizer of the model, or that of its adapter."""
    if "adapter" in place.inputs:
        return loading.tokenizer_at(place.inputs["adapter"])
    return loading.tokenizer_of(spec.model, place, spec.trust_remote_code)


def _generation(spec: Evaluate, suite: GenerationSuite, place: Place, model: Any) -> dict[str, float]:
    tokenizer = _tokenizer(spec, place)
    asked = questions(suite.sources, place.root, tokenizer)
    given = answers(model, tokenizer, asked, suite, place)
    samples = [_sample(question, answer) for question, answer in zip(asked, given, strict=True)]
    _write_samples(place, samples)
    return {
        "exact_match": sum(sample["correct"] for sample in samples) / len(samples),
        "f1": sum(sample["f1"] for sample in samples) / len(samples),
        "answers": float(len(samples)),
    }


def _sample(question: Question, answer: str) -> dict[str, Any]:
    return {
        "prompt": question.prompt,
        "answer": answer,
        "reference": question.reference,
        "correct": exact_match(answer, question.reference),
        "f1": f1(answer, question.reference),
    }


def _write_samples(place: Place, samples: list[dict[str, Any]]) -> None:
    folder = place.output / "samples"
    folder.mkdir()
    lines = (json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
    (folder / "samples.jsonl").write_text("".join(lines), encoding="utf-8")


def _write_json(path: Path, content: dict[str, float]) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
