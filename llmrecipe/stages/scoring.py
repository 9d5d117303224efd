"""Answers against references, as SQuAD v1.1 scores them.

Source: https://arxiv.org/abs/1606.05250, section 6.1, and its evaluation script: lower case, without ASCII punctuation
and the articles `a`, `an`, `the`, words between blanks.
"""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """The words of a text that scoring looks at, with single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, reference: str) -> bool:
    """Whether both are the same words in the same order."""
    return normalize(answer) == normalize(reference)


def f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, each counted as often as it stands there; 0 to 1.

    Two texts without words are equal: 1.
    """
    answered, referred = normalize(answer).split(), normalize(reference).split()
    if not answered or not referred:
        return float(answered == referred)
    shared = (Counter(answered) & Counter(referred)).total()
    return 2 * shared / (len(answered) + len(referred))
