"""Tokenized rows -> sequences of at most `max_length` tokens. Deterministic, and pure arithmetic on lengths."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

Strategy = Literal["none", "bfd", "bfd_split", "wrapped"]


@dataclass(frozen=True)
class Sequences:
    """Which tokens make which sequence. Token positions count through all rows laid end to end."""

    starts: Integers
    """First token of each fragment [fragments]."""
    lengths: Integers
    """Tokens of each fragment [fragments]; a fragment is a row or a part of one."""
    bounds: Integers
    """Sequence i is made of the fragments from bounds[i] to bounds[i + 1] [sequences + 1]."""

    def __len__(self) -> int:
        return len(self.bounds) - 1


def pack(lengths: Integers, max_length: int, strategy: Strategy) -> Sequences:
    """Lay rows into sequences.

    `none`: every row is a sequence. `bfd`: best-fit decreasing over rows that are cut to `max_length`. `bfd_split`: the
    same over rows that are split into parts of `max_length`, so that nothing is lost.
    Source: https://arxiv.org/abs/2404.10830. `wrapped`: one stream of tokens, cut at every `max_length`.

    Args:
        lengths: tokens of each row, all positive [rows].
        max_length: most tokens of a sequence.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    match strategy:
        case "none":
            cut = np.minimum(lengths, max_length)
            return Sequences(starts[:-1], cut, np.arange(len(lengths) + 1, dtype=np.int64))
        case "bfd":
            return _best_fit_decreasing(starts[:-1], np.minimum(lengths, max_length), max_length)
        case "bfd_split":
            return _best_fit_decreasing(*_split(starts, max_length), max_length)
        case "wrapped":
            return _wrap(starts, max_length)


def _split(starts: Integers, max_length: int) -> tuple[Integers, Integers]:
    """Starts and lengths of parts of at most `max_length` tokens, in the order of the rows."""
    lengths = np.diff(starts)
    parts = -(-lengths // max_length)
    first = np.repeat(np.cumsum(parts) - parts, parts)
    offsets = (np.arange(parts.sum()) - first) * max_length
    return np.repeat(starts[:-1], parts) + offsets, np.minimum(np.repeat(lengths, parts) - offsets, max_length)


def _best_fit_decreasing(starts: Integers, lengths: Integers, max_length: int) -> Sequences:
    """Longest first, each into the fullest sequence that has room; the oldest one of equally full ones.

    The rooms that exist are the bits of one integer, so that the smallest that is large enough is its lowest set bit.
    """
    order = np.argsort(-lengths, kind="stable")
    sequences: list[list[int]] = []
    with_room: dict[int, deque[int]] = {}
    rooms = 0
    for fragment, length in zip(order.tolist(), lengths[order].tolist()):
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            sequence = with_room[room].popleft()
            if not with_room[room]:
                rooms &= ~(1 << room)
        else:
            room, sequence = max_length, len(sequences)
            sequences.append([])
        sequences[sequence].append(fragment)
        if room > length:
            with_room.setdefault(room - length, deque()).append(sequence)
            rooms |= 1 << (room - length)
    laid = np.fromiter((fragment for sequence in sequences for fragment in sequence), np.int64, len(lengths))
    bounds = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    return Sequences(starts[laid], lengths[laid], bounds)


def _wrap(starts: Integers, max_length: int) -> Sequences:
    """Cut the stream where a sequence ends and where a row ends."""
    total = int(starts[-1])
    edges = np.arange(0, total, max_length, dtype=np.int64)
    cuts = np.union1d(starts, edges)
    first = cuts[:-1]
    bounds = np.append(np.searchsorted(first, edges), len(first)).astype(np.int64)
    return Sequences(first, np.diff(cuts), bounds)
