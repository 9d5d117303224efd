"""Plans of real stages that cost next to nothing, for whoever tests the runner."""

import hashlib
from pathlib import Path

from llmrecipe.plan import CheckGates, DataSource, PinnedFile, PinnedFiles, Plan, PrepareData, Resources, Stage
from llmrecipe.vocabulary import Gate

ROWS = "".join(f'{{"text": "row number {i}"}}\n' for i in range(10))


def prepare(root: Path, name: str = "base/prepare-data", seed: int = 0) -> Stage:
    """Ten rows of a file that is written into `root`."""
    file = root / "rows.jsonl"
    file.write_text(ROWS, encoding="utf-8")
    digest = hashlib.sha256(ROWS.encode()).hexdigest()
    pinned = PinnedFile(path=file.name, suffix=file.suffix, size=len(ROWS), sha256=digest)
    source = DataSource(
        origin=PinnedFiles(kind="files", files=[pinned], sample_by="document"),
        format="text", columns={}, weight=None, max_samples=None, label="data.train[0]",
    )  # fmt: skip
    spec = PrepareData(
        kind="prepare_data", train=[source], validation=[], validation_fraction=None, rows="text", steps=[],
        stopping_strategy="first_exhausted", seed=seed,
    )  # fmt: skip
    return Stage(name=name, spec=spec, inputs={}, launcher="process", resources=Resources())


def gates(name: str = "base/check-gates", *metrics: str, inputs: dict[str, str] | None = None) -> Stage:
    """Gates; one for a metric that nobody measures fails."""
    spec = CheckGates(kind="check_gates", gates=[Gate(metric=metric, min=0.0) for metric in metrics])
    return Stage(name=name, spec=spec, inputs=inputs or {}, launcher="process", resources=Resources())


def plan(*stages: Stage) -> Plan:
    """A plan of these stages."""
    return Plan(
        name="small", stages=list(stages), services=[], derived=[], packages={"llmrecipe": "0.1.0"}, unpinned=[]
    )
