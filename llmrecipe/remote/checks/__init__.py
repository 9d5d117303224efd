"""The checks, one module for each family; importing this package enters all of them in `CHECKS`."""

from llmrecipe.remote.check import CHECKS
from llmrecipe.remote.checks import (  # noqa: F401  each module enters its checks
    access,
    code,
    dataset,
    disk,
    model,
    use,
)

__all__ = ["CHECKS"]
