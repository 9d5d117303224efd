"""Metrics against the bounds that the recipe sets: a run goes on only when all hold."""

import json

from llmrecipe.plan import CheckGates
from llmrecipe.stages.place import Place, StageError
from llmrecipe.vocabulary import Gate


def run(spec: CheckGates, place: Place) -> dict[str, float]:
    """Check every gate and write down what was found.

    Returns:
        The metrics that gates look at, by their full names.

    Raises:
        StageError: a bound does not hold, or there is no such metric; names all of them.
    """
    metrics = {
        f"{suite}/{name}": float(value)
        for suite, folder in place.inputs.items()
        for name, value in json.loads((folder / "metrics.json").read_bytes()).items()
    }
    if missing := [gate.metric for gate in spec.gates if gate.metric not in metrics]:
        raise StageError(
            f"no suite measures `{'`, `'.join(missing)}`",
            f"`evaluation.gates` can bound {', '.join(f'`{name}`' for name in sorted(metrics))}",
        )
    checked = [
        gate.model_dump() | {"value": metrics[gate.metric], "passed": _passes(gate, metrics)} for gate in spec.gates
    ]
    if failed := [gate for gate in spec.gates if not _passes(gate, metrics)]:
        raise StageError(
            "; ".join(f"`{gate.metric}` is {metrics[gate.metric]:.6g}, {_bound(gate)}" for gate in failed),
            "the model is not good enough to be exported; its metrics stay in the store",
        )
    (place.output / "gates").mkdir()
    (place.output / "gates" / "gates.json").write_text(json.dumps(checked, indent=2) + "\n", encoding="utf-8")
    return {gate.metric: metrics[gate.metric] for gate in spec.gates}


def _passes(gate: Gate, metrics: dict[str, float]) -> bool:
    value = metrics[gate.metric]  # A metric that is no number passes no bound.
    return (gate.min is None or value >= gate.min) and (gate.max is None or value <= gate.max)


def _bound(gate: Gate) -> str:
    bounds = [("at least", gate.min), ("at most", gate.max)]
    return " and ".join(f"{words} {value:.6g} is asked for" for words, value in bounds if value is not None)
