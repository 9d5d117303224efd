"""The order in which rows are learned from: by chance, or from easy to hard; a function of seed and epoch alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from llmrecipe.optimization import Competence, RowOrder, Sorted

Indices = NDArray[np.int64]


class Order(Protocol):
    """Numbers of the rows in the order of an epoch."""

    def __call__(self, epoch: int) -> Indices: ...


@dataclass(frozen=True)
class Shuffled:
    """By chance, anew in every epoch."""

    rows: int
    seed: int

    def __call__(self, epoch: int) -> Indices:
        return np.random.default_rng((self.seed, epoch)).permutation(self.rows)


@dataclass(frozen=True)
class EasyFirst:
    """From easy to hard; equally hard ones by chance."""

    difficulties: NDArray[np.float64]
    """[rows]"""
    epochs: int | None
    seed: int

    def __call__(self, epoch: int) -> Indices:
        shuffled = Shuffled(len(self.difficulties), self.seed)(epoch)
        if self.epochs is not None and epoch >= self.epochs:
            return shuffled
        found: Indices = shuffled[np.argsort(self.difficulties[shuffled], kind="stable")]
        return found


@dataclass(frozen=True)
class Competent:
    """By chance among the easiest, of which there are more and more.

    After a share t of the time in which the competence grows, rows are drawn from the easiest sqrt(t (1 - c0^2) + c0^2)
    of them, where c0 is the share at the beginning. Source: https://arxiv.org/abs/1903.09848, equation 8
    """

    difficulties: NDArray[np.float64]
    pacing: Competence
    draws: int
    """Rows of the whole training."""
    seed: int

    def __call__(self, epoch: int) -> Indices:
        rows = len(self.difficulties)
        order = Shuffled(rows, self.seed)(0)
        easiest = order[np.argsort(self.difficulties[order], kind="stable")]
        time = (epoch * rows + np.arange(rows)) / max(1.0, self.draws * self.pacing.full_ratio)
        begin = self.pacing.start_ratio**2
        share = np.sqrt(np.minimum(1.0, time * (1 - begin) + begin))
        among = np.maximum(1, np.ceil(share * rows - 1e-9)).astype(np.int64)
        drawn = np.random.default_rng((self.seed, epoch, 1)).random(rows)
        found: Indices = easiest[(drawn * among).astype(np.int64)]
        return found


@dataclass
class OrderSampler(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """An order as the data loader asks for it."""

    order: Order
    rows: int
    listeners: Sequence[Callable[[int], None]] = ()
    """Told of every epoch; the data loader of several processes tells the sampler alone."""
    epoch: int = field(default=0)

    def set_epoch(self, epoch: int) -> None:
        """Go through the rows in the order of that epoch."""
        self.epoch = epoch
        for listener in self.listeners:
            listener(epoch)

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch).tolist())


class Ordered:
    """A mixin before the trainer's class that takes the rows in an order of ours."""

    row_order: RowOrder | None = None
    difficulties: NDArray[np.float64] | None = None
    """The smaller the earlier [rows]."""
    epoch_listeners: Sequence[Callable[[int], None]] = ()
    args: Any
    train_dataset: Any

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        if self.row_order is None and not self.epoch_listeners:
            return super()._get_train_sampler(*args, **kwargs)  # type: ignore[misc]
        rows = len(self.train_dataset)
        return OrderSampler(self._order(rows), rows, self.epoch_listeners)

    def _order(self, rows: int) -> Order:
        seed = self.args.seed
        if self.row_order is None or self.difficulties is None:
            return Shuffled(rows, seed)
        match self.row_order.pacing:
            case Sorted() as pacing:
                return EasyFirst(self.difficulties, pacing.epochs, seed)
            case Competence() as pacing:
                return Competent(self.difficulties, pacing, self._draws(rows), seed)

    def _draws(self, rows: int) -> int:
        batch: int = self.get_total_train_batch_size(self.args)  # type: ignore[attr-defined]
        passes = ceil(rows * self.args.num_train_epochs)
        return int(self.args.max_steps) * batch if self.args.max_steps > 0 else passes
