"""What a tokenizer made of the rows: the part of the data report that counts tokens."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pydantic import JsonValue

from llmrecipe.stages.rows.quantiles import quantiles

SAMPLES = 3
SAMPLE_TOKENS = 2_000

MANY_CUT = 0.05
MANY_DROPPED = 0.02


@dataclass
class TokenReport:
    """What became of the rows of one split."""

    max_length: int
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    lengths: "array[int]" = field(default_factory=lambda: array("q"))
    """Tokens of each kept row before it was cut."""
    tokens: int = 0
    """Tokens written."""
    supervised: int = 0
    """Tokens that the loss is over: predicted ones, so that the first of a row or document never counts."""
    truncated: int = 0
    """Kept rows that were cut."""
    cut_off: int = 0
    """Tokens that they lost."""
    doubled_bos: int = 0
    """Rows that begin with two beginnings of text."""
    sequences: int = 0
    samples: list[JsonValue] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """Rows that are learned from."""
        return len(self.lengths)

    @property
    def truncated_share(self) -> float:
        """Cut rows, of the kept ones."""
        return self.truncated / max(1, self.kept)

    @property
    def supervised_share(self) -> float:
        """Tokens that the loss is over, of the written ones."""
        return self.supervised / max(1, self.tokens)

    @property
    def packing_efficiency(self) -> float:
        """Written tokens, of the room that the sequences have."""
        return self.tokens / max(1, self.sequences * self.max_length)

    def reasons(self) -> str:
        """Every reason for a drop with its count, the most frequent first."""
        return "; ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common())

    def as_dict(self) -> dict[str, JsonValue]:
        """The account as the report has it; shares between 0 and 1."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "tokens": self.tokens,
            "supervised_tokens": self.supervised,
            "supervised_share": round(self.supervised_share, 4),
            "length": {**quantiles(self.lengths)},
            "truncated_rows": self.truncated,
            "truncated_share": round(self.truncated_share, 4),
            "tokens_cut_off": self.cut_off,
            "sequences": self.sequences,
            "packing_efficiency": round(self.packing_efficiency, 4),
            "samples": self.samples,
        }

    def warnings(self) -> list[str]:
        """What should make a reader look twice."""
        found = []
        if self.truncated_share > MANY_CUT:
            found.append(
                f"{self.truncated_share:.0%} of the rows are longer than {self.max_length} tokens and lose their end; "
                "raise `training.max_length`, or pack with `bfd_split` or `wrapped`"
            )
        dropped = self.dropped.total()
        if dropped > MANY_DROPPED * self.rows:
            found.append(f"{dropped / self.rows:.0%} of the rows are dropped: {self.reasons()}")
        if self.doubled_bos:
            found.append(
                f"{self.doubled_bos:,} rows begin with the beginning of text twice: leave it out of the data, since "
                "the tokenizer adds it"
            )
        return found


def spans(tokenizer: Any, ids: Sequence[int], learned: Sequence[bool]) -> list[JsonValue]:
    """A row as text, in stretches that the loss is over or not: `{"text", "learned"}`."""
    marked = zip(list(ids)[:SAMPLE_TOKENS], learned)
    return [
        {"text": tokenizer.decode([token for token, _ in stretch]), "learned": bool(mark)}
        for mark, stretch in groupby(marked, key=lambda pair: pair[1])
    ]
