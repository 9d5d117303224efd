"""Gates: all hold, or the run stops and says which did not."""

import json
from pathlib import Path

import pytest
import small

from llmrecipe.plan import CheckGates
from llmrecipe.stages import check_gates
from llmrecipe.stages.place import Place, StageError
from llmrecipe.vocabulary import Gate


def checked(folder: Path, *gates: Gate) -> tuple[Place, dict[str, float]]:
    inputs = {}
    for suite, metrics in {"perplexity": {"perplexity": 8.25, "tokens": 100}, "answers": {"f1": float("nan")}}.items():
        inputs[suite] = folder / suite
        inputs[suite].mkdir()
        (inputs[suite] / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    place = small.place(folder, **inputs)
    return place, check_gates.run(CheckGates(kind="check_gates", gates=list(gates)), place)


def test_bounds_that_hold_are_written_down(tmp_path: Path) -> None:
    place, metrics = checked(
        tmp_path, Gate(metric="perplexity/perplexity", max=8.25), Gate(metric="perplexity/tokens", min=100, max=100)
    )
    assert metrics == {"perplexity/perplexity": 8.25, "perplexity/tokens": 100}
    found = json.loads((place.output / "gates" / "gates.json").read_bytes())
    assert [gate["passed"] for gate in found] == [True, True]


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (Gate(metric="perplexity/perplexity", max=8), r"`perplexity/perplexity` is 8.25, at most 8 is asked for"),
        (Gate(metric="perplexity/tokens", min=101), r"`perplexity/tokens` is 100, at least 101 is asked for"),
        (Gate(metric="answers/f1", min=0), r"`answers/f1` is nan, at least 0 is asked for"),
        (Gate(metric="answers/exact_match", min=0), r"no suite measures `answers/exact_match`"),
    ],
)
def test_a_bound_that_does_not_hold_stops_the_run(gate: Gate, message: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=message) as caught:
        checked(tmp_path, gate)
    assert caught.value.help


def test_all_broken_bounds_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"perplexity/perplexity.*perplexity/tokens"):
        checked(tmp_path, Gate(metric="perplexity/perplexity", max=1), Gate(metric="perplexity/tokens", max=1))
