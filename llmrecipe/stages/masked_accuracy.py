"""How many hidden tokens a masked language model guesses, beside the guess that needs no model."""

from typing import Any

import numpy as np
import torch

from llmrecipe.plan import MaskedAccuracySuite
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.token_rows import TokenRow, has_rows, read_rows
from llmrecipe.trainers.losses import IGNORED
from llmrecipe.trainers.masked import SET_ASIDE, MaskedRows, collator_for
from llmrecipe.vocabulary import Masking

SEED = 0
"""What is hidden is the same for every model that has the tokenizer."""


def masked_accuracy(
    suite: MaskedAccuracySuite, place: Place, model: Any, tokenizer: Any, attention: str
) -> dict[str, float]:
    """Measure over the validation rows.

    Returns:
        `accuracy` over the hidden tokens, `unigram_accuracy` of guessing the most frequent token of the training rows
        each time, `accuracy_ratio` of both, `loss` (mean nats per hidden token) and `tokens` (hidden ones).

    Raises:
        StageError: there are no validation rows, nothing is hidden in them, or the tokenizer has no mask token.
    """
    folder = place.inputs["dataset"] / "validation"
    if not has_rows(folder):
        raise StageError("there are no validation rows to hide tokens of", "add `data.validation`")
    if tokenizer.mask_token_id is None:
        raise StageError("the tokenizer has no mask token", "evaluate a model that was trained with `mlm`")
    rows = read_rows(folder)
    masking = Masking(mlm_probability=suite.mlm_probability, mask_replace_prob=1, random_replace_prob=0)
    hidden = MaskedRows(rows, masking, tokenizer.mask_token_id, len(tokenizer), SEED)
    collate = collator_for(model, attention, "seq_lengths" in rows[0], tokenizer.pad_token_id or 0)
    frequent = _most_frequent(read_rows(place.inputs["dataset"] / "train"))
    # Correct guesses, the constant guess, loss, tokens; rows of similar length share a batch.
    sums = np.zeros(4)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    for start in range(0, len(order), suite.batch_size):
        sums += _measure(model, collate([hidden[i] for i in order[start : start + suite.batch_size]]), frequent)
        place.event(event="progress", done=min(start + suite.batch_size, len(order)), total=len(order), unit="rows")
    correct, constant, loss, tokens = sums.tolist()
    if not tokens:
        raise StageError("no token of the validation rows was hidden", "add validation rows")
    return {
        "accuracy": correct / tokens,
        "unigram_accuracy": constant / tokens,
        "accuracy_ratio": correct / max(1.0, constant),
        "loss": loss / tokens,
        "tokens": tokens,
    }


def _most_frequent(rows: list[TokenRow]) -> int:
    """The token that may be hidden most often."""
    labels = np.concatenate([row["labels"] for row in rows])
    return int(np.bincount(labels[labels != IGNORED]).argmax())


def _measure(model: Any, batch: dict[str, Any], frequent: int) -> "np.ndarray[Any, Any]":
    labels = batch["labels"].to(model.device)
    inputs = {name: value.to(model.device) for name, value in batch.items() if name not in SET_ASIDE}
    chosen = labels != IGNORED
    logits, wanted = model(**inputs).logits[chosen].float(), labels[chosen]
    loss = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
    return np.asarray(
        [
            (logits.argmax(-1) == wanted).sum().item(),
            (wanted == frequent).sum().item(),
            loss.item() if len(wanted) else 0.0,
            len(wanted),
        ]
    )
