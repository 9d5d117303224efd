"""Training methods, one file each: their options and what they ask of their trainer."""

from typing import Annotated

from pydantic import Field

from llmrecipe.methods.base import BaseMethod
from llmrecipe.methods.cpo import CPO
from llmrecipe.methods.distillation import Distillation
from llmrecipe.methods.dpo import DPO
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.kto import KTO
from llmrecipe.methods.mlm import MLM
from llmrecipe.methods.orpo import ORPO
from llmrecipe.methods.ppo import PPO
from llmrecipe.methods.pretrain import Pretrain
from llmrecipe.methods.reward import Reward
from llmrecipe.methods.rloo import RLOO
from llmrecipe.methods.sft import SFT

Method = Annotated[
    Pretrain | MLM | SFT | Reward | DPO | KTO | ORPO | CPO | Distillation | GRPO | RLOO | PPO,
    Field(discriminator="kind"),
]

METHODS: tuple[type[BaseMethod], ...] = (
    Pretrain,
    MLM,
    SFT,
    Reward,
    DPO,
    KTO,
    ORPO,
    CPO,
    Distillation,
    GRPO,
    RLOO,
    PPO,
)

__all__ = ["METHODS", "BaseMethod", "Method"]
