"""Batches of rows of similar length, in an order that seed and epoch alone decide."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

BATCHES_AT_A_TIME = 50
"""Rows of so many batches are sorted together: enough to match lengths, few enough to stay random."""


class GroupedByLength(Sampler[int]):  # type: ignore[misc]
    """Indices of rows: shuffled, then sorted by length within groups of some batches, the batches shuffled again.

    Unlike the sampler of Transformers, the order of an epoch does not depend on what was drawn before it, so that a
    resumed run sees the batches of an uninterrupted one.
    """

    def __init__(self, lengths: NDArray[np.int64], batch: int, seed: int) -> None:
        """`lengths` [rows] in tokens; `batch` rows are kept together."""
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Another order for another pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The longest rows come first, so that a batch that does not fit into memory is met at the start."""
        generator = np.random.default_rng((self.seed, self.epoch))
        shuffled, size = generator.permutation(len(self.lengths)), self.batch * BATCHES_AT_A_TIME
        groups = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
        ordered = np.concatenate([group[np.argsort(-self.lengths[group], kind="stable")] for group in groups])
        whole = len(ordered) // self.batch * self.batch
        batches = ordered[:whole].reshape(-1, self.batch)
        batches = batches[generator.permutation(len(batches))]
        if len(batches):
            longest = int(self.lengths[batches].max(1).argmax())
            batches[[0, longest]] = batches[[longest, 0]]
        return iter([*batches.ravel().tolist(), *ordered[whole:].tolist()])


class LengthGrouping:
    """A mixin before the trainer's class: `train_sampling_strategy: group_by_length` means the sampler above."""

    args: Any
    train_dataset: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(dataset)  # type: ignore[misc]
        batch = self.get_total_train_batch_size(self.args)  # type: ignore[attr-defined]
        return GroupedByLength(token_lengths(dataset), batch, self.args.seed)


def token_lengths(dataset: Any) -> NDArray[np.int64]:
    """Tokens of each row of a dataset with `input_ids` [rows]."""
    column = dataset.with_format("arrow").select_columns(["input_ids"])
    parts = [table["input_ids"].combine_chunks() for table in column.iter(batch_size=10_000)]
    found: NDArray[np.int64] = np.concatenate([part.value_lengths().to_numpy() for part in parts]).astype(np.int64)
    return found
