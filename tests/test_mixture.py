"""How many rows of each source are taken, and which."""

import pytest
from data_stages import source

from llmrecipe.stages.rows.mixture import choose


def sources(*weights, most=None):
    return [source("a.txt", weight=weight, max_samples=most) for weight in weights]


@pytest.mark.parametrize(
    ("counts", "weights", "strategy", "taken"),
    [
        ([5, 3], [None, None], "first_exhausted", [5, 3]),
        ([100, 100], [3.0, 1.0], "first_exhausted", [100, 33]),
        ([100, 100], [0.75, 0.25], "first_exhausted", [100, 33]),
        ([10, 100], [0.1, 0.9], "first_exhausted", [10, 90]),
        ([100, 100], [3.0, 1.0], "all_exhausted", [300, 100]),
        ([4, 10], [1.0, 1.0], "all_exhausted", [10, 10]),
        ([0, 10], [1.0, 1.0], "all_exhausted", [0, 10]),
    ],
)
def test_weights_are_shares_of_rows(counts, weights, strategy, taken):
    chosen = choose(counts, sources(*weights), strategy, seed=1)
    assert [sum(map(len, passes)) for passes in chosen] == taken


def test_no_row_comes_twice_before_its_source_is_used_up():
    ((first, second, third), _) = choose([4, 10], sources(1.0, 1.0), "all_exhausted", seed=1)
    assert list(first) == list(second) == [0, 1, 2, 3]
    assert len(set(third)) == 2
    (passes, _) = choose([100, 10], sources(1.0, 1.0), "first_exhausted", seed=1)
    assert len(passes) == 1
    assert len(set(passes[0])) == 10


def test_max_samples_takes_so_many_by_the_seed_and_keeps_their_order():
    ((rows,),) = choose([1000], sources(None, most=10), "first_exhausted", seed=1)
    assert list(rows) == sorted(rows)
    assert len(set(rows)) == 10
    assert choose([1000], sources(None, most=10), "first_exhausted", seed=1) == [[rows]]
    assert choose([1000], sources(None, most=10), "first_exhausted", seed=2) != [[rows]]


def test_the_choice_is_the_same_in_every_version_of_python_and_of_this_project():
    assert choose([20], sources(None, most=5), "first_exhausted", seed=42) == [[[3, 8, 12, 13, 18]]]
