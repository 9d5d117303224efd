"""Python values -> Arrow arrays, straight from their bytes.

`pyarrow.array` would import pandas, where that is installed, before it looks at a single value: a third of a second
at the start of every stage.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def integers(values: Iterable[int]) -> pa.Array:
    """Array of int64 [n]."""
    numbers = array("q", values)
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])


def strings(values: Iterable[str]) -> pa.Array:
    """Array of strings [n], less than 2 GiB in all."""
    encoded = [value.encode() for value in values]
    return pa.Array.from_buffers(pa.string(), len(encoded), [None, _offsets(encoded), pa.py_buffer(b"".join(encoded))])


def conversations(values: Sequence[list[dict[str, str]]]) -> pa.Array:
    """Array of lists of `{role, content}` [n]."""
    turns = [turn for conversation in values for turn in conversation]
    parts = [strings(turn["role"] for turn in turns), strings(turn["content"] for turn in turns)]
    struct = pa.Array.from_buffers(MESSAGES.value_type, len(turns), [None], children=parts)
    return pa.Array.from_buffers(MESSAGES, len(values), [None, _offsets(values)], children=[struct])


def integer_lists(flat: "array[int] | NDArray[np.int32]", lengths: Iterable[int]) -> pa.Array:
    """Array of lists of int32 [n, any length].

    Args:
        flat: all lists laid end to end, less than 2 billion integers of 4 bytes.
        lengths: of each list [n].
    """
    offsets = array("i", accumulate(lengths, initial=0))
    values = pa.Array.from_buffers(pa.int32(), len(flat), [None, pa.py_buffer(flat)])
    return pa.Array.from_buffers(
        pa.list_(pa.int32()), len(offsets) - 1, [None, pa.py_buffer(offsets)], children=[values]
    )


def _offsets(values: Iterable[Sequence[object]]) -> pa.Buffer:
    return pa.py_buffer(array("i", accumulate(map(len, values), initial=0)))
