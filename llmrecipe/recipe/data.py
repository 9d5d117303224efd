"""`data`: sources, mixture, preparation, validation split and packing."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from llmrecipe.optimization import Pacing, Sorted
from llmrecipe.schema import Fraction, PositiveInt, Section
from llmrecipe.vocabulary import Format, ModelReference, PrepareStep


class _Source(Section):
    format: Format
    """How the rows are written."""
    columns: dict[str, str] = {}
    """Column names of the format -> column names of the data, where they differ: `{prompt: question}`."""
    weight: Annotated[float, Field(gt=0)] | None = None
    """Share of this source in the mixture, relative to the other weights. All sources have one, or none has."""
    max_samples: PositiveInt | None = None
    """Take at most so many rows, chosen by the seed."""


class Files(_Source):
    """Files of this machine or of any file system that fsspec knows."""

    kind: Literal["files"]
    paths: Annotated[list[str], Field(min_length=1)]
    """Paths, globs or fsspec URLs of jsonl, json, csv, tsv, parquet or txt files, compressed with gzip or not.

    Relative ones start from the recipe's folder. Rows come in the order of the list, globs sorted by name.
    """
    sample_by: Literal["document", "paragraph", "line"] = "document"
    """What is one row of a txt file: the whole file, a block between empty lines, or a line."""


class Hub(_Source):
    """A dataset of the Hugging Face Hub."""

    kind: Literal["hub"]
    dataset: Annotated[str, Field(min_length=1)]
    """`owner/name`."""
    config: str | None = None
    """Configuration (subset) of the dataset."""
    split: Annotated[str, Field(min_length=1)] = "train"
    """Split of the dataset."""
    revision: str | None = None
    """Branch, tag or commit; `llmrecipe lock` pins the commit."""


Source = Annotated[Files | Hub, Field(discriminator="kind")]


class Validation(Section):
    """Held-out rows: a fraction of the training rows, or sources of their own."""

    fraction: Fraction | None = None
    """Share of the prepared training rows. A hash of its content chooses a row: equal rows stay on one side."""
    sources: Annotated[list[Source], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.fraction is None) == (self.sources is None):
            raise ValueError("write either `fraction` or `sources`")
        return self


class _Curriculum(Section):
    descending: bool = False
    """Begin with the largest values."""
    pacing: Pacing = Sorted(kind="sorted")
    """How the order is gone through."""


class ByLength(_Curriculum):
    """Short rows are easy: tokens of a row."""

    kind: Literal["length"]


class ByColumn(_Curriculum):
    """The data says what is easy."""

    kind: Literal["column"]
    column: Annotated[str, Field(min_length=1)]
    """Column of every training source that holds a number."""


class ByPerplexity(_Curriculum):
    """Rows that another model expects are easy."""

    kind: Literal["perplexity"]
    model: ModelReference
    """A model with the same tokenizer: `{recipe: NAME}`, a folder or a Hub id."""


Curriculum = Annotated[ByLength | ByColumn | ByPerplexity, Field(discriminator="kind")]


class Data(Section):
    """What the model learns from."""

    train: Annotated[list[Source], Field(min_length=1)]
    """Training sources; several are mixed."""
    validation: Validation | None = None
    """Held-out rows for the validation loss and the perplexity."""
    stopping_strategy: Literal["first_exhausted", "all_exhausted"] = "first_exhausted"
    """With weights: stop when the first source is used up (no row twice), or repeat rows until all are."""
    prepare: list[PrepareStep] = []
    """Steps over every row, in this order."""
    curriculum: Curriculum | None = None
    """The order in which rows are learned from. Left out: by chance, anew in every epoch."""
    packing: Literal["none", "bfd", "bfd_split", "wrapped"] | None = None
    """How rows share a sequence of `training.max_length` tokens.

    `bfd`: best-fit decreasing, longer rows are cut; `bfd_split`: the same, longer rows are split and nothing is lost;
    `wrapped`: one stream of tokens cut at every `max_length`. Packed rows never see each other. Left out: `bfd_split`
    for the method `pretrain` without a curriculum, `none` otherwise.
    """
