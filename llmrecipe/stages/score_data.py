"""The scoring stage: training rows and a model -> how surprising the model finds each of them."""

import json
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from llmrecipe.plan import ScoreData
from llmrecipe.stages import loading
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.token_rows import read_rows
from llmrecipe.trainers.collator import IGNORED, collator_for


def run(spec: ScoreData, place: Place) -> dict[str, float]:
    """Fill `scores/scores.json`: the perplexity of every training row, over its supervised tokens, in their order.

    Returns:
        `rows`, and the smallest, middle and largest perplexity.

    Raises:
        StageError: the model cannot be loaded, or does not know all tokens of the rows.
    """
    wanted = loading.Wanted(spec.dtype, spec.attention, spec.trust_remote_code)
    model = loading.pretrained(spec.model, place, wanted).to(loading.device()).eval()
    rows = read_rows(place.inputs["dataset"] / "train")
    known = model.get_input_embeddings().weight.shape[0]
    if any(int(row["input_ids"].max()) >= known for row in rows):
        raise StageError(
            f"the rows have tokens that the model of `data.curriculum` does not know: it has {known}",
            "use a model with the same tokenizer",
        )
    collate = collator_for(model, spec.attention, packed=False)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    scores = [0.0] * len(rows)
    for start in range(0, len(order), spec.batch_size):
        chosen = order[start : start + spec.batch_size]
        for i, score in zip(chosen, _perplexities(model, collate([rows[i] for i in chosen])), strict=True):
            scores[i] = score
        place.event(event="progress", done=start + len(chosen), total=len(order), unit="rows")
    (place.output / "scores").mkdir(parents=True)
    (place.output / "scores" / "scores.json").write_text(json.dumps(scores) + "\n", encoding="utf-8")
    in_order = sorted(scores)
    return {
        "rows": float(len(rows)),
        "perplexity_min": in_order[0],
        "perplexity_median": in_order[len(rows) // 2],
        "perplexity_max": in_order[-1],
    }


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _perplexities(model: Any, batch: dict[str, Any]) -> list[float]:
    """Of each row of a batch."""
    labels = batch["labels"][:, 1:].to(model.device)
    inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    means = [
        cross_entropy(row.float(), target, ignore_index=IGNORED) for row, target in zip(logits, labels, strict=True)
    ]
    found: list[float] = torch.stack(means).exp().tolist()
    return found
