"""Exact match and token F1 against a slow, independent implementation."""

import random
import re

import pytest

from llmrecipe.stages.scoring import exact_match, f1, normalize

WORDS = ["the", "a", "An", "cat", "Cat.", "sat", "on", "mat!", "3,5", "it's", "", "  ", "é", "THE-END", "\n"]


def slow_words(text: str) -> list[str]:
    """Character by character, word by word."""
    kept = [c for c in text.lower() if not re.fullmatch(r"[!-/:-@\[-`{-~]", c)]
    return [word for word in "".join(kept).split() if word not in ("a", "an", "the")]


def slow_f1(answer: str, reference: str) -> float:
    answered, left = slow_words(answer), slow_words(reference)
    if not answered or not left:
        return 1.0 if answered == left else 0.0
    total, shared = len(left), 0
    for word in answered:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(answered), shared / total
    return 2 * precision * recall / (precision + recall)


def test_random_texts_score_as_the_slow_implementation_says() -> None:
    generator = random.Random(0)
    for _ in range(2000):
        answer, reference = (" ".join(generator.choices(WORDS, k=generator.randint(0, 6))) for _ in range(2))
        assert exact_match(answer, reference) == (slow_words(answer) == slow_words(reference))
        assert f1(answer, reference) == pytest.approx(slow_f1(answer, reference))


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "score"),
    [
        ("The answer is 42.", "answer is 42", True, 1.0),
        ("Tuesday", "Wednesday", False, 0.0),
        ("a red, red rose", "red rose", False, 0.8),
        ("", "", True, 1.0),
        ("", "something", False, 0.0),
        ("the", "", True, 1.0),
        ("another theory", "theory", False, 2 / 3),
    ],
)
def test_known_scores(answer: str, reference: str, exact: bool, score: float) -> None:
    assert exact_match(answer, reference) is exact
    assert f1(answer, reference) == pytest.approx(score)


def test_articles_go_and_words_that_begin_with_them_stay() -> None:
    assert normalize("The theatre, an ant; a  B-2!") == "theatre ant b2"
