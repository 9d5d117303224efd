"""The suite `preference_accuracy`: whether a model puts the chosen answer before the rejected one, and by how much."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from llmrecipe.plan import Evaluate, PreferenceAccuracySuite
from llmrecipe.stages.answers import chosen_rows
from llmrecipe.stages.encode import Encoder, Ids, Preference
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.rows.record import Row

Samples = list[dict[str, Any]]


def preference_accuracy(
    spec: Evaluate, suite: PreferenceAccuracySuite, place: Place, model: Any, tokenizer: Any
) -> tuple[dict[str, float], Samples]:
    """Compare both answers of every pair: by the score of a reward model, or by summed log-probabilities in nats.

    Returns:
        `accuracy`: share of pairs whose chosen answer is ahead; `margin`: mean difference; `pairs`: their number. And
        every pair with its two numbers.

    Raises:
        StageError: there is no pair, a row is not in its format, or a pair is longer than the model can read.
    """
    rows = _rows(suite, place)
    pairs = _encoded(rows, tokenizer)
    _check_lengths(model, pairs)
    measure = _scores if spec.head == "reward" else _log_probabilities
    pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    if spec.head == "reward":
        model.config.get_text_config().pad_token_id = pad  # A score is read before the padding.
    # Pairs of similar length share a batch, so that little of it is padding.
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].prompt) + len(pairs[i].chosen))
    found: dict[int, tuple[float, float]] = {}
    for start in range(0, len(order), suite.batch_size):
        batch = [pairs[i] for i in order[start : start + suite.batch_size]]
        numbers = measure(model, batch, pad).view(2, len(batch)).tolist()
        found |= dict(zip(order[start : start + suite.batch_size], zip(*numbers, strict=True), strict=True))
        place.event(event="progress", done=len(found), total=len(order), unit="pairs")
    numbers = [found[i] for i in range(len(pairs))]
    samples = [{**row, "chosen_value": a, "rejected_value": b} for row, (a, b) in zip(rows, numbers, strict=True)]
    return {
        "accuracy": sum(chosen > rejected for chosen, rejected in numbers) / len(numbers),
        "margin": sum(chosen - rejected for chosen, rejected in numbers) / len(numbers),
        "pairs": float(len(numbers)),
    }, samples


def _rows(suite: PreferenceAccuracySuite, place: Place) -> list[Row]:
    found = []
    for where, row in chosen_rows(suite.sources, place.root):
        if "chosen" not in row:
            raise StageError(f"{where}: the row is no pair of answers", "use the format `preference`")
        found.append(row)
    return found


def _encoded(rows: list[Row], tokenizer: Any) -> list[Preference]:
    """Pairs as the training tokenizes them."""
    if any(not isinstance(row["prompt"], str) for row in rows) and tokenizer.chat_template is None:
        raise StageError(
            "the pairs are conversations, and the tokenizer has no chat template",
            "set `tokenizer.chat_template`, or write the pairs as strings",
        )
    encoder = Encoder(tokenizer, "all")
    return [pair for row in rows for pair in encoder.preferences([row])]


def _check_lengths(model: Any, pairs: list[Preference]) -> None:
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) for pair in pairs)
    if most is not None and longest > most:
        raise StageError(
            f"the longest pair has {longest} tokens, the model {most} positions", "leave out pairs with long answers"
        )


def _whole(pairs: list[Preference]) -> list[tuple[Ids, Ids]]:
    """Prompt and answer: first of all chosen ones, then of all rejected ones."""
    return [(pair.prompt, pair.chosen) for pair in pairs] + [(pair.prompt, pair.rejected) for pair in pairs]


def _batch(model: Any, texts: list[tuple[Ids, Ids]], pad: int) -> dict[str, torch.Tensor]:
    ids = [torch.tensor(prompt + answer) for prompt, answer in texts]
    mask = [torch.ones_like(row) for row in ids]
    return {
        "input_ids": pad_sequence(ids, True, pad).to(model.device),
        "attention_mask": pad_sequence(mask, True).to(model.device),
    }


def _scores(model: Any, pairs: list[Preference], pad: int) -> torch.Tensor:
    """Scores [2 x pairs]."""
    scores: torch.Tensor = model(**_batch(model, _whole(pairs), pad), use_cache=False).logits.float().squeeze(-1)
    return scores


def _log_probabilities(model: Any, pairs: list[Preference], pad: int) -> torch.Tensor:
    """Log-probabilities of the answers given their prompts, summed over tokens, in nats [2 x pairs]."""
    texts = _whole(pairs)
    logits = model(**_batch(model, texts, pad), use_cache=False).logits
    sums = []
    # One row at a time: in float32, the logits of a batch take four times the room of the weights of its last layer.
    for row, (prompt, answer) in zip(logits, texts, strict=True):
        first = max(len(prompt), 1)
        targets = torch.tensor((prompt + answer)[first:], device=row.device)
        sums.append(-cross_entropy(row[first - 1 : first - 1 + len(targets)].float(), targets, reduction="sum"))
    return torch.stack(sums)
