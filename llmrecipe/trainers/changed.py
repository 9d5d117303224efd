"""Going on from a checkpoint with other options: its state is taken over, and the options of the recipe stay."""

from typing import Any

Options = list[dict[str, Any]]


def optimizer_options(optimizer: Any) -> Options:
    """Learning rate, decay and whatever else stands beside the tensors of each group."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def set_optimizer_options(optimizer: Any, scheduler: Any, options: Options) -> None:
    """Bring the options back after a state was loaded, at the place of the schedule that the state has reached."""
    inner = getattr(scheduler, "scheduler", scheduler)
    bases = [values.get("initial_lr", values["lr"]) for values in options]
    inner.base_lrs = bases
    shapes = getattr(inner, "lr_lambdas", [lambda step: 1.0] * len(bases))
    inner._last_lr = [base * shape(inner.last_epoch) for base, shape in zip(bases, shapes, strict=True)]
    for group, values, rate in zip(optimizer.param_groups, options, inner._last_lr, strict=True):
        group.update(values | {"lr": rate})
