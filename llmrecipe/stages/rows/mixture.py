"""How many rows of each source are taken, and which: `max_samples`, weights and the stopping strategy."""

import math
from collections.abc import Sequence
from random import Random
from typing import Literal

from llmrecipe.plan import DataSource

Indices = Sequence[int]
"""Rows of one source in ascending order."""


def choose(
    counts: Sequence[int],
    sources: Sequence[DataSource],
    strategy: Literal["first_exhausted", "all_exhausted"],
    seed: int,
) -> list[list[Indices]]:
    """The rows to take of each source: one list of indices per pass over it.

    With weights w and row counts n (after `max_samples`), a mixture of N rows takes floor(w N) of each source:
    `first_exhausted` has N = min n/w, so that no row is taken twice; `all_exhausted` has N = max n/w, and repeats.
    """
    generators = [Random(f"{seed}/{number}") for number in range(len(counts))]
    taken = [
        _sample(range(count), source.max_samples, generator)
        for count, source, generator in zip(counts, sources, generators)
    ]
    weights = [source.weight for source in sources if source.weight is not None]
    if not weights:
        return [[rows] for rows in taken]
    sizes = [len(rows) / weight for rows, weight in zip(taken, weights, strict=True)]
    total = min(sizes) if strategy == "first_exhausted" else max(sizes)
    wanted = [math.floor(weight * total + 1e-6) for weight in weights]
    return [_passes(rows, number, generator) for rows, number, generator in zip(taken, wanted, generators)]


def _passes(rows: Indices, wanted: int, generator: Random) -> list[Indices]:
    if not rows:
        return []
    whole, rest = divmod(wanted, len(rows))
    partial = [_sample(rows, rest, generator)] if rest else []
    return [rows] * whole + partial


def _sample(rows: Indices, most: int | None, generator: Random) -> Indices:
    if most is None or most >= len(rows):
        return rows
    return sorted(generator.sample(rows, most))
