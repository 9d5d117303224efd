"""What every training method says of itself."""

from typing import ClassVar, Literal

from pydantic import JsonValue

from llmrecipe.schema import Section
from llmrecipe.vocabulary import Head, Masking, ModelReference, Objective, RowKind, TooLong


class BaseMethod(Section):
    """A training method is data: its trainer, what rows it learns from, and its options.

    `trainer` and `config` are import paths, `module:name`, loaded by the training stage alone.
    """

    trainer: ClassVar[str]
    config: ClassVar[str]
    rows: ClassVar[tuple[RowKind, ...]]
    """Kinds of prepared rows that it learns from."""
    objective: ClassVar[Objective]
    """What tokenization makes of a row."""
    too_long: ClassVar[TooLong] = "cut"
    """What becomes of a preference with an answer that is longer than `training.max_length`."""
    learning_rate: ClassVar[float]
    """Peak learning rate when the recipe has none and every weight is trained."""
    head: ClassVar[Head] = "causal"
    """What the trained model ends in."""
    experimental: ClassVar[str | None] = None
    """Why an upgrade may break it: it lives in a module whose library promises nothing. `plan` says so."""

    def loss_on(self, rows: RowKind) -> Literal["all", "completion", "assistant"]:
        """Which tokens of a row the loss is over."""
        return "all"

    def options(self) -> dict[str, JsonValue]:
        """Keyword arguments for the class named by `config`."""
        return {}

    def masking(self) -> Masking | None:
        """Which tokens are hidden from the model; none."""
        return None

    def models(self) -> dict[str, ModelReference]:
        """Other models that training needs, by their role: `{"teacher_model": ...}`."""
        return {}
