"""What became of every row: the data report of a preparation."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from llmrecipe.plan import DataSource, PinnedFiles
from llmrecipe.stages.rows.quantiles import quantiles
from llmrecipe.stages.rows.record import Row
from llmrecipe.stages.rows.steps import Drop, texts

Split = Literal["train", "validation"]

SAMPLES = 5
SAMPLE_CHARACTERS = 200


@dataclass
class Account:
    """What became of the rows of one source."""

    source: DataSource
    split: Split
    rows_in: int = 0
    kept: int = 0
    """Rows that no step dropped."""
    used: int = 0
    """Rows taken for the mixture, repeated ones counted each time."""
    dropped: Counter[str] = field(default_factory=Counter)

    def reasons(self) -> str:
        """Every reason for a drop with its count, the most frequent first."""
        return "; ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common())

    def as_dict(self) -> dict[str, JsonValue]:
        """The account as the report has it."""
        return {
            "label": self.source.label,
            "names": [*names(self.source)],
            "split": self.split,
            "weight": self.source.weight,
            "rows_in": self.rows_in,
            "kept": self.kept,
            "used": self.used,
            "dropped": dict(self.dropped),
        }


@dataclass
class Report:
    """The accounts of all sources, and examples of what was dropped."""

    accounts: list[Account] = field(default_factory=list)
    samples: dict[str, list[JsonValue]] = field(default_factory=dict)
    train_rows_also_in_validation: int = 0
    """Training rows that are equal to a row of own validation sources."""

    def drop(self, account: Account, drop: Drop, where: str, row: Row) -> None:
        """Count a dropped row, and keep the first ones of each reason."""
        account.dropped[drop.reason] += 1
        samples = self.samples.setdefault(drop.reason, [])
        if len(samples) < SAMPLES:
            beginning = "\n".join(texts(row))[:SAMPLE_CHARACTERS]
            samples.append({"where": where, "text": beginning.encode(errors="replace").decode()})

    def write(self, path: Path, train: Sequence[int], validation: Sequence[int]) -> None:
        """Write the report; `train` and `validation` are the characters of each written row."""
        content: dict[str, JsonValue] = {
            "sources": [account.as_dict() for account in self.accounts],
            "train": {"rows": len(train), "characters": {**quantiles(train)}},
            "validation": {"rows": len(validation), "characters": {**quantiles(validation)}},
            "train_rows_also_in_validation": self.train_rows_also_in_validation,
            "drop_samples": {**self.samples},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def names(source: DataSource) -> list[str]:
    """The files of a source as the recipe names them, or its dataset."""
    if isinstance(source.origin, PinnedFiles):
        return [file.path for file in source.origin.files]
    config = f" ({source.origin.config})" if source.origin.config else ""
    return [f"{source.origin.dataset}{config}: {source.origin.split}"]
