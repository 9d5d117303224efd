"""`lint:` what the rules do not report of this recipe."""

from typing import Annotated

from pydantic import Field

from llmrecipe.schema import Section


class Lint(Section):
    """What the rules do not report of this recipe."""

    ignore: list[Annotated[str, Field(min_length=1)]] = []
    """Codes or names of rules: `LR305`, `unusual-beta`. Errors of the document itself (LR0) always show."""
