"""The Fisher stage: old rows and the model that knows them -> how much each weight matters to their likelihood."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from llmrecipe.plan import Fisher
from llmrecipe.stages import loading
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.token_rows import has_rows, read_rows
from llmrecipe.trainers import masked
from llmrecipe.trainers.collator import IGNORED, collator_for
from llmrecipe.trainers.losses import next_tokens
from llmrecipe.trainers.masked import SET_ASIDE, MaskedRows


def run(spec: Fisher, place: Place) -> dict[str, float]:
    """Fill `fisher/fisher.safetensors`: the mean over sequences of the squared gradient of their log-likelihood.

    With `true`, the likelihood is that of tokens drawn from the model, so that the mean is the Fisher information; with
    `empirical`, that of the rows. Sources: https://arxiv.org/abs/1612.00796; https://arxiv.org/abs/1905.12558

    Returns:
        `sequences`, `tokens` (those whose likelihood it is), `fisher_mean` and `fisher_max` over all weights.

    Raises:
        StageError: there are no rows, or the model cannot be loaded.
    """
    if not has_rows(place.inputs["dataset"] / "train"):
        raise StageError("there are no old rows to measure", "correct `training.ewc.data`")
    wanted = loading.Wanted("float32", spec.attention, spec.trust_remote_code, spec.head)
    model = loading.pretrained(spec.model, place, wanted).to(loading.device()).eval()
    parameters = dict(model.named_parameters())
    totals = {name: torch.zeros_like(p) for name, p in parameters.items()}
    generator = torch.Generator().manual_seed(spec.seed)
    sequences, tokens = 0, 0
    for batch, total in _batches(spec, place, model):
        likelihood, count = _log_likelihood(spec, model, batch, generator)
        found = torch.autograd.grad(likelihood, list(parameters.values()), allow_unused=True)
        for square, gradient in zip(totals.values(), found, strict=True):
            if gradient is not None:
                square += gradient.square()
        sequences, tokens = sequences + 1, tokens + count
        place.event(event="progress", done=sequences, total=total, unit="sequences")
    fisher = {name: (total / sequences).cpu().contiguous() for name, total in totals.items()}
    (place.output / "fisher").mkdir(parents=True)
    save_file(fisher, place.output / "fisher" / "fisher.safetensors")
    weights = sum(tensor.numel() for tensor in fisher.values())
    return {
        "sequences": float(sequences),
        "tokens": float(tokens),
        "fisher_mean": sum(tensor.sum().item() for tensor in fisher.values()) / weights,
        "fisher_max": max(tensor.max().item() for tensor in fisher.values()),
    }


def _batches(spec: Fisher, place: Place, model: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """One sequence at a time, chosen by the seed, and how many there will be."""
    rows: Any = read_rows(place.inputs["dataset"] / "train")
    chosen = np.sort(np.random.default_rng(spec.seed).permutation(len(rows))[: spec.max_samples])
    if spec.masking is not None:
        tokenizer = loading.tokenizer_at(place.inputs["tokenizer"])
        rows = MaskedRows(rows, spec.masking, tokenizer.mask_token_id, len(tokenizer), spec.seed)
        collate: Any = masked.collator_for(model, spec.attention, spec.packed, 0)
    else:
        collate = collator_for(model, spec.attention, spec.packed)
    for i in chosen.tolist():
        yield collate([rows[i]]), len(chosen)


def _log_likelihood(
    spec: Fisher, model: Any, batch: dict[str, Any], generator: torch.Generator
) -> tuple[torch.Tensor, int]:
    """Summed log-likelihood of the tokens of a batch that have a label, and their number."""
    inputs = {name: value.to(model.device) if isinstance(value, torch.Tensor) else value
              for name, value in batch.items() if name not in SET_ASIDE}  # fmt: skip
    labels = batch["labels"].to(model.device)
    targets = labels if spec.head == "masked" else next_tokens(labels)
    counted = targets != IGNORED
    log_probs = torch.log_softmax(model(**inputs).logits[counted].float(), -1)
    wanted = targets[counted]
    if spec.estimate == "true":
        wanted = torch.multinomial(log_probs.detach().exp().cpu(), 1, generator=generator)[:, 0].to(wanted.device)
    return log_probs.gather(-1, wanted[:, None]).sum(), len(wanted)
