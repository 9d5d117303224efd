"""A name that nobody knows -> the one that was probably meant."""

import difflib
from collections.abc import Iterable

_SURE, _APART = 0.8, 0.05
"""How alike two words are, at least, when one is the other misspelt; and how much less alike any other is."""


def nearest(word: str, names: Iterable[str], cutoff: float = 0.75) -> tuple[str | None, bool]:
    """The name that a word was probably meant to be, and whether no other comes near it."""
    near = difflib.get_close_matches(word, list(names), 2, cutoff)
    if not near:
        return None, False
    ratios = [difflib.SequenceMatcher(None, name, word).ratio() for name in near]
    return near[0], ratios[0] >= _SURE and (len(near) == 1 or ratios[0] - ratios[1] >= _APART)
