"""Muon for hidden matrices and AdamW for everything else, as one optimizer with one state."""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim._muon import DEFAULT_A, DEFAULT_B, DEFAULT_C, EPS, muon
from torch.optim.adamw import adamw

from llmrecipe.optimization import Muon


class MuonWithAdamW(torch.optim.Optimizer):  # type: ignore[misc]
    """Both rules in one optimizer, so that one schedule moves both and a checkpoint holds both."""

    def __init__(self, model: Any, options: Muon, lr: float, weight_decay: float, no_decay: Iterable[str]) -> None:
        """Sort the trainable parameters of `model`.

        Matrices inside the network get Muon. Embeddings, the output head, norms, biases and the one row that gives a
        score get AdamW. `no_decay` names parameters without weight decay.
        """
        tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
        head = model.get_output_embeddings()  # A reward model has none.
        outer = {id(p) for module in (*tables, *([] if head is None else [head])) for p in module.parameters()}
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        hidden = [p for _, p in named if p.ndim == 2 and min(p.shape) > 1 and id(p) not in outer]
        inner = {id(p) for p in hidden}
        spared = set(no_decay)
        other = [p for name, p in named if id(p) not in inner and name not in spared]
        plain = [p for name, p in named if id(p) not in inner and name in spared]
        groups = [
            {"params": hidden, "rule": "muon", "weight_decay": weight_decay},
            {"params": other, "rule": "adamw", "weight_decay": weight_decay},
            {"params": plain, "rule": "adamw", "weight_decay": 0.0},
        ]
        defaults = {"lr": lr, **options.model_dump(exclude={"kind"})}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Any = None) -> Any:
        """Change every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["rule"] == "muon":
                self._muon(group, parameters)
            else:
                self._adamw(group, parameters)
        return loss

    def _muon(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        muon(
            parameters,
            [p.grad for p in parameters],
            [self.state[p]["momentum_buffer"] for p in parameters],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            nesterov=group["nesterov"],
            ns_coefficients=(DEFAULT_A, DEFAULT_B, DEFAULT_C),
            ns_steps=group["ns_steps"],
            eps=EPS,
            adjust_lr_fn=group["adjust_lr_fn"],
            has_complex=False,
        )

    def _adamw(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p]["step"] = torch.zeros((), dtype=torch.float32)
                self.state[p]["exp_avg"] = torch.zeros_like(p)
                self.state[p]["exp_avg_sq"] = torch.zeros_like(p)
        states = [self.state[p] for p in parameters]
        adamw(
            parameters,
            [p.grad for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=group["beta1"],
            beta2=group["beta2"],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["epsilon"],
            maximize=False,
        )
