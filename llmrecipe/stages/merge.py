"""The merge stage: a base and its adapter -> one model, and a proof that it is the same function."""

from typing import Any

import torch

from llmrecipe.plan import Merge
from llmrecipe.stages import adapters, checkpoints, loading
from llmrecipe.stages.loading import AUTO_CLASSES, Wanted
from llmrecipe.stages.place import Place, StageError

TOLERANCE = 1e-4
"""Largest difference of logits between merged and unmerged model, both in float32; relative to logits above 1."""


def run(spec: Merge, place: Place) -> dict[str, float]:
    """Merge in float32 and write in the type of the base.

    Returns:
        `max_logit_difference` between merged and adapter-on-base, in float32; `parameters`.

    Raises:
        StageError: the adapter does not fit, or what was written is not the same model.
    """
    adapter = place.inputs["adapter"]
    dtype = loading.stored_dtype(spec.model, place, spec.trust_remote_code)
    wanted = Wanted("float32", trust_remote_code=spec.trust_remote_code, head=spec.head, new_head=True)
    base = loading.pretrained(spec.model, place, wanted)
    if spec.head == "reward":  # A score is read before the padding, which the base need not know.
        base.config.get_text_config().pad_token_id = loading.tokenizer_at(adapter).pad_token_id
    adapted = adapters.with_adapter(base, adapter).eval()
    before = loading.probe(adapted)
    try:
        merged = adapted.merge_and_unload(safe_merge=True).eval()
    except ValueError as error:
        raise StageError(
            f"the adapter cannot be merged: {error}", "train it again with a lower learning rate"
        ) from error
    after = loading.probe(merged)
    difference = (before - after).abs().max().item()
    if not difference <= TOLERANCE * max(1.0, before.abs().max().item()):
        raise StageError(
            f"the merged model differs from the adapter on its base by {difference:.3g} in its logits",
            "set `export.merge: false` to export the adapter alone",
        )
    for weight in merged.parameters():  # `.to` would round the frequencies of the positions, too.
        weight.data = weight.data.to(dtype)
    folder = place.output / "model"
    with checkpoints.writing("the merged model", folder):
        merged.save_pretrained(folder)
        loading.tokenizer_at(adapter).save_pretrained(folder)
    _check_stored(merged, AUTO_CLASSES[spec.head].from_pretrained(folder, dtype="auto").eval())
    return {"max_logit_difference": difference, "parameters": float(sum(p.numel() for p in merged.parameters()))}


def _check_stored(model: Any, stored: Any) -> None:
    if not torch.equal(loading.probe(stored), loading.probe(model)):
        raise StageError(
            "the merged model gives other logits when it is loaded back from what was written",
            "set `export.merge: false` to export the adapter alone",
        )
