"""Packed documents do not see each other: logits, losses and gradients, for every family and attention."""

from collections.abc import Iterator
from typing import Any

import pytest
import small
import torch
from transformers import PreTrainedModel, modeling_flash_attention_utils, modeling_utils
from transformers.integrations import flash_attention
from transformers.models.falcon import modeling_falcon

from llmrecipe.facts import architectures
from llmrecipe.lint.attention import has
from llmrecipe.stages.place import StageError
from llmrecipe.trainers import collator
from llmrecipe.trainers.collator import collator_for
from llmrecipe.trainers.losses import IGNORED, Scoring
from llmrecipe.trainers.supervised import attach

ROWS = list(small.packed_rows(2))
ATTENTIONS = ("sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3")


def varlen(q: Any, k: Any, v: Any, cu_seqlens_q: Any, cu_seqlens_k: Any, causal: bool, **options: Any) -> torch.Tensor:
    """What FlashAttention computes of [tokens, heads, width], document by document, with nothing but softmax."""
    assert causal
    assert torch.equal(cu_seqlens_q, cu_seqlens_k)
    left = options.get("window_size", (-1, -1))[0]
    scale = options.get("softmax_scale") or q.shape[-1] ** -0.5
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    found = []
    for start, end in zip(cu_seqlens_q.tolist(), cu_seqlens_q.tolist()[1:], strict=False):
        scores = torch.einsum("qhd,khd->hqk", q[start:end], k[start:end]) * scale
        ahead = torch.arange(end - start)[:, None] - torch.arange(end - start)
        hidden = (ahead < 0) | ((ahead > left) if left >= 0 else torch.zeros_like(ahead, dtype=torch.bool))
        found.append(torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, -torch.inf).softmax(-1), v[start:end]))
    return torch.cat(found)


def dense(q: Any, k: Any, v: Any, causal: bool, **options: Any) -> torch.Tensor:
    """The same for whole rows [rows, length, heads, width]."""
    ends = torch.arange(q.shape[0] + 1) * q.shape[1]
    flat = (x.flatten(0, 1) for x in (q, k, v))
    return varlen(*flat, cu_seqlens_q=ends, cu_seqlens_k=ends, causal=causal, **options).view_as(q)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Attentions that need a GPU, as the processor can compute them: flex uncompiled, FlashAttention by `varlen`."""

    def known(causal: bool, softmax_scale: Any = None, sliding_window: Any = None, **_: Any) -> dict[str, Any]:
        window = {} if sliding_window is None else {"window_size": (sliding_window - 1, 0)}
        return {"causal": causal, "softmax_scale": softmax_scale, **window}

    loaded = ((dense, varlen, None, None, None), (lambda is_causal, **o: known(is_causal, **o), None))
    monkeypatch.setattr(PreTrainedModel, "_flash_attn_can_dispatch", lambda *_, **__: True)
    for module in (modeling_flash_attention_utils, modeling_utils):
        monkeypatch.setattr(module, "lazy_import_flash_attention", lambda *_, **__: loaded)
    forward = modeling_flash_attention_utils._flash_attention_forward
    monkeypatch.setattr(modeling_falcon, "_flash_attention_forward", forward, raising=False)
    monkeypatch.setattr(flash_attention, "get_target_dtype", lambda *_: None)  # All is float32 here.
    with torch.compiler.set_stance("force_eager"):
        yield


def inputs_of(batch: dict[str, Any], *left_out: str) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in ("num_tokens", *left_out)}


def documents() -> Iterator[torch.Tensor]:
    for row in ROWS:
        yield from torch.tensor(row["input_ids"]).split(row["seq_lengths"])


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("family", small.FAMILIES)
def test_packed_documents_give_the_logits_they_give_alone(family: str, attention: str, kernels: None) -> None:
    if not has(architectures()[family], attention):
        with pytest.raises(StageError, match="does not support an attention implementation through torch's flex"):
            small.model(family, attention)
        return
    model, alone = small.model(family, attention), small.model(family, "eager")
    collate = collator_for(model, attention, packed=True)
    with torch.no_grad():
        logits = model(**inputs_of(collate(ROWS), "labels"), use_cache=False).logits
        rows = logits.split([len(row["input_ids"]) for row in ROWS], 1) if len(logits) == 1 else logits
        found = [part for row, packed in zip(ROWS, rows, strict=True) for part in
                 packed.reshape(-1, packed.shape[-1])[: len(row["input_ids"])].split(row["seq_lengths"])]  # fmt: skip
        for document, packed in zip(documents(), found, strict=True):
            assert (packed - alone(input_ids=document[None], use_cache=False).logits[0]).abs().max() < 1e-3


@pytest.mark.parametrize("attention", [a for a in ATTENTIONS if a != "flex_attention"])
@pytest.mark.parametrize("family", small.FAMILIES)
def test_the_gradient_of_a_packed_batch_is_the_sum_of_those_of_its_documents(
    family: str, attention: str, kernels: None
) -> None:
    model, alone = small.model(family, attention), small.model(family, "eager")
    batch = collator_for(model, attention, packed=True)(ROWS)
    for one in (model, alone):
        attach(one)
    loss, tokens, *_ = model(**inputs_of(batch), scoring=Scoring())
    loss.backward()
    total = 0.0
    for document in documents():
        part, *_ = alone(input_ids=document[None], labels=document[None], scoring=Scoring())
        part.backward()
        total += part.item()
    assert tokens == sum(len(document) - 1 for document in documents())
    assert loss.item() == pytest.approx(total, rel=1e-5)
    for (name, one), other in zip(model.named_parameters(), alone.parameters(), strict=True):
        assert (one.grad - other.grad).abs().max() <= 1e-4 * max(1.0, other.grad.abs().max().item()), name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_what_one_document_says_moves_nothing_that_another_teaches(attention: str) -> None:
    model = small.model("qwen3", attention)
    attach(model)
    collate = collator_for(model, attention, packed=True)
    first = ROWS[0]["seq_lengths"][0]
    gradients = []
    for shift in (0, 1):
        ids = [(token + shift) % 250 if i < first else token for i, token in enumerate(ROWS[0]["input_ids"])]
        labels = [IGNORED] * first + ids[first:]
        batch = collate([{"input_ids": ids, "labels": labels, "seq_lengths": ROWS[0]["seq_lengths"]}])
        loss, *_ = model(**inputs_of(batch), scoring=Scoring())
        gradients.append(torch.autograd.grad(loss, model.lm_head.weight)[0])
    assert torch.allclose(*gradients, atol=1e-6)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_isolation_is_tried_without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small.model("qwen3", "flex_attention")
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", lambda *_, **__: pytest.fail("compiled"))
    assert collator.isolation(model, "flex_attention") == "positions"
