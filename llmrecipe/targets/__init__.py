"""Plan -> files: one module per target, in a table."""

from llmrecipe.targets import compose, kubernetes, local, slurm, vllm
from llmrecipe.targets.base import Files, Target, TargetError

TARGETS: dict[str, Target] = {
    "local": local,
    "slurm": slurm,
    "vllm": vllm,
    "compose": compose,
    "kubernetes": kubernetes,
}

__all__ = ["TARGETS", "Files", "Target", "TargetError"]
