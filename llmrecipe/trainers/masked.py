"""Masked language modelling: which tokens are hidden, batches of them, and the loss over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrecipe.stages.place import StageError
from llmrecipe.trainers.losses import IGNORED, Objective
from llmrecipe.vocabulary import Masking

Row = Mapping[str, Any]


@dataclass
class MaskedRows:
    """Rows with some of their tokens hidden, as a dataset.

    What is hidden follows from the seed, the epoch and the number of the row alone: it is the same for every batch
    size, every number of processes, and after a resumption. In `rows`, tokens that are never hidden have the label
    -100.
    """

    rows: Any
    masking: Masking
    mask_token_id: int
    vocab_size: int
    """Ids below it may stand in for a hidden token."""
    seed: int
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Hide other tokens; the data loader calls it."""
        self.epoch = epoch

    @property
    def column_names(self) -> list[str]:
        """Columns of the rows."""
        names: list[str] = self.rows.column_names
        return names

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        """`input_ids` with hidden tokens and `labels`, -100 where nothing is hidden [length]."""
        row = self.rows[i]
        ids, labels = (np.asarray(row[name], np.int64) for name in ("input_ids", "labels"))
        rng = np.random.default_rng((self.seed, self.epoch, int(i)))
        words = np.asarray(row["word_ids"]) if self.masking.whole_word else None
        chosen = self._chosen(rng, labels != IGNORED, words)
        fate = rng.random(len(ids))
        masked = chosen & (fate < self.masking.mask_replace_prob)
        random = chosen & ~masked & (fate < self.masking.mask_replace_prob + self.masking.random_replace_prob)
        other = rng.integers(self.vocab_size, size=len(ids))
        seen = np.where(masked, self.mask_token_id, np.where(random, other, ids))
        return dict(row) | {"input_ids": seen, "labels": np.where(chosen, ids, IGNORED)}

    def _chosen(
        self, rng: np.random.Generator, allowed: NDArray[np.bool_], words: NDArray[Any] | None
    ) -> NDArray[np.bool_]:
        """Tokens to be guessed [length], each word whole or not at all when there are words."""
        draws = rng.random(len(allowed))
        if words is not None:
            first = np.append(True, words[1:] != words[:-1])
            draws = draws[first][first.cumsum() - 1]
        chosen: NDArray[np.bool_] = allowed & (draws < self.masking.mlm_probability)
        return chosen


@dataclass(frozen=True)
class MaskedCollator:
    """Pads rows to the longest of the batch, on the right. Packed documents see themselves and nothing else."""

    pad_token_id: int
    packed: bool = False
    additive_mask: bool = False
    """Whether an attention mask is added to scores (`eager`) and not a truth value."""

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """`input_ids` and `labels` [rows, longest], and what keeps padding and documents apart."""
        lengths = [np.asarray(row["seq_lengths"] if self.packed else [len(row["input_ids"])]) for row in rows]
        longest = max(int(row.sum()) for row in lengths)
        documents = _filled([np.repeat(np.arange(len(row)), row) for row in lengths], -1, longest)
        batch = {
            "input_ids": _filled([row["input_ids"] for row in rows], self.pad_token_id, longest),
            "labels": _filled([row["labels"] for row in rows], IGNORED, longest),
            "attention_mask": (documents >= 0).long(),
            "num_tokens": (documents >= 0).sum(),
        }
        if self.packed:
            positions = [np.concatenate([np.arange(n) for n in row]) for row in lengths]
            batch["position_ids"] = _filled(positions, 0, longest)
            batch["attention_mask"] = self._blocks(documents)
        return batch

    def _blocks(self, documents: torch.Tensor) -> torch.Tensor:
        """Who sees whom [rows, 1, longest, longest]; padding sees itself."""
        seen = documents[:, None, :, None] == documents[:, None, None, :]
        if not self.additive_mask:
            return seen
        return torch.zeros(seen.shape).masked_fill_(~seen, torch.finfo(torch.float32).min)


def _filled(rows: Sequence[Any], filling: int, longest: int) -> torch.Tensor:
    batch = np.full((len(rows), longest), filling, dtype=np.int64)
    for i, row in enumerate(rows):
        batch[i, : len(row)] = row
    return torch.from_numpy(batch)


def collator_for(model: Any, attention: str, packed: bool, pad_token_id: int) -> MaskedCollator:
    """The collator for rows of one kind and one model.

    Raises:
        StageError: packed documents would see each other, or not all of themselves.
    """
    collate = MaskedCollator(pad_token_id, packed, additive_mask=attention == "eager")
    if packed and not _heeds(model, collate):
        raise StageError(
            f"{type(model).__name__} cannot keep packed documents apart with `attention: {attention}`",
            "set `data.packing: none`",
        )
    return collate


def _heeds(model: Any, collate: MaskedCollator) -> bool:
    """Whether a document among others has the logits that it has alone."""
    config = model.config.get_text_config()
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        return False  # A mask of blocks would replace the window.
    first, second = (np.arange(start, start + 6) * 7 % config.vocab_size for start in (1, 21))
    both = np.concatenate([first, second])
    training = model.training
    model.eval()
    with torch.no_grad():
        together, alone = (
            model(**{name: value.to(model.device) for name, value in batch.items() if name not in SET_ASIDE}).logits
            for batch in (
                collate([{"input_ids": both, "labels": both, "seq_lengths": [6, 6]}]),
                collate([{"input_ids": second, "labels": second, "seq_lengths": [6]}]),
            )
        )
    model.train(training)
    return bool(torch.allclose(together[0, 6:], alone[0], rtol=0, atol=1e-4 * alone.abs().max().item()))


SET_ASIDE = ("labels", "num_tokens")
"""What a batch carries that is not for the model."""


class MaskedLoss:
    """A mixin before the trainer's class: the mean over the hidden tokens of the whole optimizer step.

    The models' own loss is a mean over each micro-batch, which weighs tokens by how many are hidden beside them.
    """

    args: Any
    model: Any
    accelerator: Any

    def take_over(self) -> None:
        """Let the trainer count the hidden tokens of all micro-batches and processes."""
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True
        self._loss_shifts_labels = False
        self.objective = Objective(label_smoothing=self.args.label_smoothing_factor)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch: a sum over its hidden tokens, divided by those of the optimizer step."""
        labels = inputs.pop("labels")
        logits = model(**inputs).logits
        hidden = labels != IGNORED
        log_probs = torch.log_softmax(logits[hidden], -1, dtype=torch.float32)
        items = hidden.sum() if num_items_in_batch is None else num_items_in_batch
        total = self.objective.losses(log_probs, labels[hidden]).sum()
        loss = total / torch.as_tensor(items, device=total.device).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss
