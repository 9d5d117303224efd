"""What is asked of a preflight process, and what it answers: two JSON files."""

from typing import Literal

from llmrecipe.diagnostics import Severity
from llmrecipe.plan import Plan
from llmrecipe.preflight.check import Tier
from llmrecipe.schema import Section


class Examination(Section):
    """Which trainings of a plan to look at, and how closely."""

    plan: Plan
    stages: list[str]
    """Names of training stages."""
    store: str
    """Folder of the store: what is complete there is looked at itself, of the rest a sample is made."""
    root: str
    """Folder from which pinned relative paths start."""
    scratch: str
    """Folder for samples and tiny models."""
    tiers: list[Tier]
    allow_code: bool = False
    show: int = 0
    """How many rows to show as the model will see them."""


class Found(Section):
    """One finding of one check."""

    code: str
    severity: Severity
    at: str
    message: str
    help: str


class Stretch(Section):
    """Neighbouring tokens of a row."""

    text: str
    tokens: list[str]
    """The text of each token alone; parts of a character that is spread over several are replacement characters."""
    learned: bool
    """Whether the loss is over them."""


class ShownRow(Section):
    """One row as the model will see it."""

    split: Literal["train", "validation"]
    length: int
    """Tokens."""
    stretches: list[Stretch]
    note: str = ""
    """What the tokens do not say: `rejected`, `label: 0`."""


class Size(Section):
    """Parameters of a model."""

    total: int
    trainable: int


class Examined(Section):
    """What came out for one training."""

    stage: str
    sampled: bool | None = None
    """Whether rows were a sample of the sources; null when they could not be read."""
    findings: list[Found] = []
    rows: list[ShownRow] = []
    untried: list[str] = []
    """What could not be tried, and why."""
    size: Size | None = None
    cached: bool = False
    seconds: float = 0.0


class Answer(Section):
    """What a preflight process leaves."""

    examined: list[Examined]
