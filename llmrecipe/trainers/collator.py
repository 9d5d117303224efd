"""Rows of token ids -> one batch, in which packed documents do not see each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from llmrecipe.stages.place import StageError

IGNORED = -100
"""Label of a token that the loss is not over."""

Isolation = Literal["none", "positions", "blocks", "flat"]
"""How a model is told where packed documents begin.

`none`: one document per row, the rest is padding. `positions`: position ids that start over, and no attention mask.
`blocks`: a block-diagonal attention mask. `flat`: one long row with cumulative lengths, for FlashAttention.
"""


@dataclass(frozen=True)
class CausalCollator:
    """Pads rows to the longest of the batch, on the right.

    A row holds `input_ids` and `labels` of one length, and when packed `seq_lengths`, the lengths of its documents.
    The first token of a document is never predicted from the document before it. Every batch carries `num_tokens`,
    the tokens without padding, which the training loop takes out before the model sees it.
    """

    pad_token_id: int
    isolation: Isolation = "none"
    additive_mask: bool = False
    """Whether an attention mask is added to scores (`eager`) and not a truth value."""
    multiple: int = 1
    """Rows of one document are padded to a length that it divides."""

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """`input_ids` and `labels` [rows, longest]; for `flat` [1, tokens]."""
        ids = [np.asarray(row["input_ids"], dtype=np.int64) for row in rows]
        labels = [np.asarray(row["labels"], dtype=np.int64) for row in rows]
        count = torch.tensor(sum(map(len, ids)))
        if self.isolation == "none":
            batch = {
                "input_ids": _padded(ids, self.pad_token_id, self.multiple),
                "labels": _padded(labels, IGNORED, self.multiple),
                "attention_mask": _padded([np.ones_like(row) for row in ids], 0, self.multiple),
            }
            return batch | {"num_tokens": count}
        lengths = [np.asarray(row["seq_lengths"], dtype=np.int64) for row in rows]
        positions = [_positions(row) for row in lengths]
        labels = [np.where(at == 0, IGNORED, row) for row, at in zip(labels, positions, strict=True)]
        if self.isolation == "flat":
            return _flat(ids, labels, positions, np.concatenate(lengths)) | {"num_tokens": count}
        # Padding has position 0 throughout: every token of it is a document of its own, which nobody sees.
        batch = {
            "input_ids": _padded(ids, self.pad_token_id),
            "labels": _padded(labels, IGNORED),
            "position_ids": _padded(positions, 0),
        }
        if self.isolation == "blocks":
            batch["attention_mask"] = self._blocks(batch["position_ids"])
        return batch | {"num_tokens": count}

    def _blocks(self, positions: torch.Tensor) -> torch.Tensor:
        """Who sees whom [rows, 1, longest, longest]."""
        document = (positions == 0).cumsum(1)
        same = document[:, None, :, None] == document[:, None, None, :]
        seen = same & torch.ones(same.shape[-2:], dtype=torch.bool).tril()
        if not self.additive_mask:
            return seen
        return torch.zeros(seen.shape).masked_fill_(~seen, torch.finfo(torch.float32).min)


def _padded(rows: Sequence[np.ndarray[Any, Any]], filling: int, multiple: int = 1) -> torch.Tensor:
    longest = max(map(len, rows))
    batch = np.full((len(rows), longest + -longest % multiple), filling, dtype=np.int64)
    for i, row in enumerate(rows):
        batch[i, : len(row)] = row
    return torch.from_numpy(batch)


def _positions(lengths: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """0, 1, 2, ... for each document in turn."""
    ends = lengths.cumsum()
    positions: np.ndarray[Any, Any] = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return positions


def _flat(
    ids: list[np.ndarray[Any, Any]],
    labels: list[np.ndarray[Any, Any]],
    positions: list[np.ndarray[Any, Any]],
    lengths: np.ndarray[Any, Any],
) -> dict[str, Any]:
    ends = torch.from_numpy(np.concatenate([[0], lengths.cumsum()])).to(torch.int32)
    longest = int(lengths.max())
    return {
        "input_ids": torch.from_numpy(np.concatenate(ids))[None],
        "labels": torch.from_numpy(np.concatenate(labels))[None],
        "position_ids": torch.from_numpy(np.concatenate(positions))[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def collator_for(model: Any, attention: str, packed: bool, pad_token_id: int = 0, multiple: int = 1) -> CausalCollator:
    """The collator for rows of one kind and one model; of one document each, a `multiple` of tokens long.

    Raises:
        StageError: packed documents would see each other.
    """
    if not packed:
        return CausalCollator(pad_token_id, multiple=multiple)
    way = isolation(model, attention)
    if way is None:
        raise StageError(
            f"{type(model).__name__} lets packed documents see each other with `attention: {attention}`",
            "set `data.packing: none`, or another `model.attention`",
        )
    return CausalCollator(pad_token_id, way, additive_mask=attention == "eager")


def isolation(model: Any, attention: str) -> Isolation | None:
    """The first way of marking documents that this very model heeds; None when it heeds none.

    Heeding means: what the first document of a row says changes nothing in the logits of the second. FlashAttention
    cannot run on the processor, where models are loaded; there the documented way is taken.
    """
    if attention.startswith("flash"):
        return "flat"
    ways: tuple[Isolation, ...] = ("positions", "blocks")
    return next((way for way in ways if _heeds(model, attention, way)), None)


def _heeds(model: Any, attention: str, way: Isolation) -> bool:
    """Two rows that differ in their first document alone."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    first, other, second = (np.arange(start, start + 6) * 7 % vocabulary for start in (1, 11, 21))
    rows = [np.concatenate([first, second]), np.concatenate([other, second])]
    collate = CausalCollator(0, way, additive_mask=attention == "eager")
    batch = collate([{"input_ids": row, "labels": row, "seq_lengths": [6, 6]} for row in rows])
    inputs = {name: batch[name].to(model.device) for name in batch.keys() - {"labels", "num_tokens"}}
    training = model.training
    model.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # Compiling flex attention takes minutes.
        logits = model(**inputs, use_cache=False).logits[:, 6:]
    model.train(training)
    return bool(torch.allclose(logits[0], logits[1], rtol=0, atol=8 * torch.finfo(logits.dtype).eps))
