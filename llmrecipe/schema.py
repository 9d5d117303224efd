"""Section, the base class of everything written in a recipe or a plan: closed, frozen, strict."""

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Attribute docstrings are the documentation of the language. Reading them takes longer than validating a recipe, so
# that only the generator of schemas and reference pages asks for them.
DOCUMENTED = os.environ.get("LLMRECIPE_DOCUMENTED") == "1"


class Section(BaseModel):
    """A mapping whose keys are all known, whose values keep their types, and which never changes."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        defer_build=True,
        use_attribute_docstrings=DOCUMENTED,
        protected_namespaces=(),
    )


class Placement:
    """Marks a field that says where something lies or how it is called, and not what it is.

    Such a field does not enter the address of an artifact.
    """

    def __repr__(self) -> str:
        return "Placement()"


PLACEMENT = Placement()

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=40)]
"""Lower-case letters, digits and hyphens, at most 40: it becomes the name of files, jobs and services."""

Fraction = Annotated[float, Field(gt=0, lt=1)]
"""A number strictly between 0 and 1."""

PositiveInt = Annotated[int, Field(gt=0)]

SecretName = Annotated[str, Field(pattern=r"^\$\{env:[A-Za-z_][A-Za-z0-9_]*\}$")]
"""A reference to a secret, `${env:NAME}`. The value itself never stands in a recipe."""
