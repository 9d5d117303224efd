"""Packing lays every token where it belongs, as TRL does where it does it well."""

import time

import numpy as np
import pyarrow as pa
import pytest
from trl.data_utils import _pack_bfd

from llmrecipe.stages.packing import pack


def documents(lengths, sequences):
    """Each sequence as a list of fragments, a fragment as its (row, position) pairs."""
    tokens = [(row, position) for row, length in enumerate(lengths) for position in range(length)]
    fragments = [tokens[start : start + length] for start, length in zip(sequences.starts, sequences.lengths)]
    return [fragments[low:high] for low, high in zip(sequences.bounds, sequences.bounds[1:])]


@pytest.mark.parametrize(
    ("strategy", "laid"),
    [
        ("none", [[["a0", "a1", "a2", "a3"]], [["b0", "b1"]], [["c0", "c1", "c2"]], [["d0"]]]),
        ("bfd", [[["a0", "a1", "a2", "a3"]], [["c0", "c1", "c2"], ["d0"]], [["b0", "b1"]]]),
        ("bfd_split", [[["a0", "a1", "a2", "a3"]], [["c0", "c1", "c2"], ["a4"]], [["b0", "b1"], ["d0"]]]),
        ("wrapped", [[["a0", "a1", "a2", "a3"]], [["a4"], ["b0", "b1"], ["c0"]], [["c1", "c2"], ["d0"]]]),
    ],
)
def test_rows_of_5_2_3_and_1_tokens_are_laid_into_sequences_of_4(strategy, laid):
    lengths = np.array([5, 2, 3, 1])
    sequences = pack(lengths, 4, strategy)
    named = [[[f"{'abcd'[row]}{n}" for row, n in part] for part in parts] for parts in documents(lengths, sequences)]
    assert named == laid
    assert len(sequences) == len(laid)


@pytest.fixture(params=[0, 1, 2])
def lengths(request):
    generator = np.random.default_rng(request.param)
    return np.minimum(generator.lognormal(3, 1, 500).astype(np.int64) + 1, 300)


@pytest.mark.parametrize("strategy", ["none", "bfd", "bfd_split", "wrapped"])
def test_every_token_is_laid_once_in_order_and_no_sequence_is_too_long(lengths, strategy):
    sequences = documents(lengths, pack(lengths, 64, strategy))
    assert max(sum(map(len, parts)) for parts in sequences) <= 64
    assert all(len({row for row, _ in part}) == 1 for parts in sequences for part in parts)
    laid = [token for parts in sequences for part in parts for token in part]
    cut = strategy in ("none", "bfd")
    kept = [(row, n) for row, length in enumerate(lengths) for n in range(min(length, 64) if cut else length)]
    assert sorted(laid) == kept
    if strategy == "wrapped":
        assert laid == kept


@pytest.mark.parametrize(("strategy", "overflow"), [("bfd", "truncate"), ("bfd_split", "split")])
def test_best_fit_decreasing_lays_exactly_as_trl_does(lengths, strategy, overflow):
    rows = pa.table({"ids": pa.array([list(range(1000 * n, 1000 * n + length)) for n, length in enumerate(lengths)])})
    theirs = _pack_bfd(rows, 64, overflow)["ids"].to_pylist()
    ours = documents(lengths, pack(lengths, 64, strategy))
    assert [[1000 * row + n for part in parts for row, n in part] for parts in ours] == theirs


def test_a_hundred_thousand_rows_are_packed_in_a_moment():
    lengths = np.random.default_rng(0).integers(1, 5000, 100_000)
    started = time.monotonic()
    sequences = pack(lengths, 4096, "bfd_split")
    assert time.monotonic() - started < 5
    assert sequences.lengths.sum() / (len(sequences) * 4096) > 0.99
