"""Optimizers that the configuration classes of the trainers cannot name, or not with the options of a recipe."""

from typing import Any

import torch
from transformers.optimization import Adafactor as FactoredAdam

from llmrecipe.optimization import Adafactor, Muon, OwnOptimizer
from llmrecipe.trainers.muon import MuonWithAdamW


def build(options: OwnOptimizer, model: Any, args: Any, decayed: set[str]) -> torch.optim.Optimizer:
    """The optimizer over the trainable parameters of a model.

    Args:
        args: arguments of the trainer: `learning_rate` and `weight_decay`.
        decayed: names of the parameters with weight decay.
    """
    match options:
        case Muon():
            plain = {name for name, _ in model.named_parameters()} - decayed
            return MuonWithAdamW(model, options, args.learning_rate, args.weight_decay, plain)
        case Adafactor():
            named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
            groups = [
                {"params": [p for name, p in named if name in decayed], "weight_decay": args.weight_decay},
                {"params": [p for name, p in named if name not in decayed], "weight_decay": 0.0},
            ]
            return FactoredAdam(
                [group for group in groups if group["params"]],
                lr=args.learning_rate,
                scale_parameter=False,
                relative_step=False,
                warmup_init=False,
                **options.model_dump(exclude={"kind"}),
            )
