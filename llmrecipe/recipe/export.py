"""`export`: how the model leaves."""

from typing import Annotated

from pydantic import Field

from llmrecipe.schema import Section
from llmrecipe.vocabulary import ExportFormat, Safetensors


class Export(Section):
    """What is written at the end: weights, tokenizer, template, generation configuration, model card, checksums."""

    merge: bool = True
    """Merge the adapter into the base. `false` exports the adapter alone."""
    formats: Annotated[list[ExportFormat], Field(min_length=1, max_length=1)] = [Safetensors(kind="safetensors")]
    """How the weights are written."""
    license: str | None = None
    """SPDX identifier for the model card."""
    description: str | None = None
    """A paragraph for the model card."""
