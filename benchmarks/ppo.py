"""PPO beside the last one that TRL had: reward at equal KL, and seconds per update, in turns on one machine.

    python -m venv peer && peer/bin/pip install torch==2.13.0 trl==1.12.0 transformers==5.23.0
    python benchmarks/ppo.py --peer-python peer/bin/python

Both sides start from the same weights, with the same prompts, reward and options (ppo_task.py). Runs alternate, so that
other load on the machine meets both; the seconds of the processor are the ones to look at where there is any.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SMOOTHED = 4
"""Rollouts of a moving mean."""
Curve = dict[str, Any]


def smoothed(points: list[list[float]]) -> list[tuple[float, float]]:
    """Moving means of KL and score."""
    windows = [points[i : i + SMOOTHED] for i in range(len(points) - SMOOTHED + 1)]
    return [(statistics.fmean(kl for kl, _ in w), statistics.fmean(score for _, score in w)) for w in windows]


def score_at(kl: float, points: list[list[float]]) -> float:
    """The score when a run first came to a KL, between two of its moving means."""
    before = (0.0, points[0][1])
    for point in smoothed(points):
        if point[0] >= kl:
            share = (kl - before[0]) / (point[0] - before[0])
            return before[1] + share * (point[1] - before[1])
        before = point
    return before[1]


def run(python: str, script: str, seed: int, folder: Path) -> Curve:
    """One side once, unless its curve is there already."""
    output = folder / f"{script}-{seed}.json"
    if output.is_file():
        kept: Curve = json.loads(output.read_text("utf-8"))
        return kept
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    command = [python, str(FOLDER / script), str(seed), str(output)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stderr[-3000:]}")
    found: Curve = json.loads(output.read_text("utf-8"))
    return found


def compared(ours: list[float], theirs: list[float]) -> str:
    """Means of both sides, their ratio, and the difference with its standard error over the seeds."""
    means = [statistics.fmean(side) for side in (ours, theirs)]
    error = math.sqrt(sum(statistics.variance(side) / len(side) for side in (ours, theirs)))
    ratio, difference = means[0] / means[1], means[0] - means[1]
    return f"{means[0]:.3f} | {means[1]:.3f} | {ratio:.2f} | {difference:+.3f} ± {error:.3f}"


def table(ours: list[Curve], theirs: list[Curve]) -> str:
    """The comparison, as Markdown."""
    sides = (ours, theirs)
    last = [[smoothed(curve["points"])[-1] for curve in side] for side in sides]
    lines = ["| | ours | TRL 1.12.0 | ours / TRL | difference |", "|---|---|---|---|---|"]

    def row(name: str, values: Callable[[Curve], float]) -> None:
        lines.append(f"| {name} | {compared(*([values(curve) for curve in side] for side in sides))} |")

    row("score of the first rollout", lambda curve: curve["points"][0][1])
    row("score at the end", lambda curve: smoothed(curve["points"])[-1][1])
    row("KL at the end, nats per answer", lambda curve: smoothed(curve["points"])[-1][0])
    for share in (0.25, 0.5, 0.75, 0.95):
        kl = share * min(statistics.fmean(kl for kl, _ in side) for side in last)
        row(f"score at a KL of {kl:.2f}", lambda curve, kl=kl: score_at(kl, curve["points"]))  # type: ignore[misc]
    row("seconds of the processor per update", lambda curve: curve["cpu"])
    row("seconds per update", lambda curve: curve["wall"])
    return "\n".join(lines)


def main() -> None:
    """Run both sides for every seed, in turns, and print the comparison."""
    parser = argparse.ArgumentParser(description="PPO beside that of TRL 1.12.0.")
    parser.add_argument("--peer-python", required=True, help="the interpreter of an environment with trl 1.12.0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--curves", type=Path, help="a folder that keeps the curves; those in it are not made again")
    arguments = parser.parse_args()
    if len(arguments.seeds) < 2:
        parser.error("one seed tells nothing about the spread: give two or more")
    ours, theirs = list[Curve](), list[Curve]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.curves or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            ours.append(run(sys.executable, "ppo_ours.py", seed, folder))
            theirs.append(run(arguments.peer_python, "ppo_trl.py", seed, folder))
            print(f"seed {seed} done", file=sys.stderr)
    print(table(ours, theirs))


if __name__ == "__main__":
    main()
