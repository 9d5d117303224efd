"""The checks, one module for each family; importing this package enters all of them in `CHECKS`."""

from llmrecipe.preflight.check import CHECKS
from llmrecipe.preflight.checks import (  # noqa: F401  each module enters its checks
    adapter,
    conversation,
    length,
    machine,
    preference,
    reward,
    rows,
    schedule,
    split,
    token,
    trying,
)

__all__ = ["CHECKS"]
