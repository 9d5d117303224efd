"""How the process of a stage ended, written down even where the disk is full."""

import json
from pathlib import Path

from llmrecipe.plan import Outcome
from llmrecipe.stages.place import Place

BYTES = 8192
"""Blocks that are taken when the stage starts."""


def outcome_file(place: Place) -> Path:
    """Where this process says how it ended."""
    return place.work / ("outcome.json" if place.rank == 0 else f"outcome-{place.rank}.json")


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write over the same blocks, so that a stage that filled the disk can still say so."""
    text = json.dumps(outcome.model_dump(mode="json"), ensure_ascii=False).encode()
    with path.open("r+b" if outcome.status != "started" else "wb") as file:
        file.write(text.ljust(BYTES))
        file.truncate()
