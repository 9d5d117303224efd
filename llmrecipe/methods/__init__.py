"""Training methods, one file each: their options and what they ask of their trainer."""

from typing import Annotated

from pydantic import Field

from llmrecipe.methods.base import BaseMethod
from llmrecipe.methods.dpo import DPO
from llmrecipe.methods.pretrain import Pretrain
from llmrecipe.methods.sft import SFT

Method = Annotated[Pretrain | SFT | DPO, Field(discriminator="kind")]

METHODS: tuple[type[BaseMethod], ...] = (Pretrain, SFT, DPO)

__all__ = ["METHODS", "BaseMethod", "Method"]
