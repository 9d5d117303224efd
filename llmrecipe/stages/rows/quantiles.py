"""How long things are, in a few numbers."""

from collections.abc import Sequence

LEVELS = {"min": 0.0, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def quantiles(values: Sequence[int]) -> dict[str, float]:
    """Minimum, some quantiles (the nearest value that occurs), maximum and mean; empty without values."""
    if not values:
        return {}
    ordered = sorted(values)
    found: dict[str, float] = {name: ordered[round(level * (len(ordered) - 1))] for name, level in LEVELS.items()}
    return {**found, "mean": round(sum(ordered) / len(ordered), 1)}
