"""`tokenizer`: the one of the base model, or one that is trained."""

from typing import Annotated, Literal

from pydantic import Field

from llmrecipe.schema import Section
from llmrecipe.vocabulary import TrainedTokenizer

ChatTemplate = Annotated[str, Field(min_length=1)]


class Reuse(Section):
    """The tokenizer of the base model."""

    kind: Literal["reuse"]
    chat_template: ChatTemplate | None = None
    """`chatml` or a path to a Jinja file, instead of the template that the tokenizer brings."""


class TrainTokenizer(TrainedTokenizer):
    """A tokenizer trained on the training text."""

    chat_template: ChatTemplate = "chatml"
    """`chatml` or a path to a Jinja file."""


Tokenizer = Annotated[Reuse | TrainTokenizer, Field(discriminator="kind")]
