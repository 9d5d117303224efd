"""Tensor parallelism: the layers of a model are split over processes that see the same rows.

Transformers says how the layers of a family are split, and has the layers that do it. It splits while it reads, and
training what was split so cannot be resumed; Accelerate 1.15 then looks for a class that Transformers 5.23 no longer
has. So the whole model is split here, when Accelerate prepares it, and FSDP spreads what each process holds after that:
checkpoints and the trained model are those of FSDP. Source: https://arxiv.org/abs/1909.08053
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from peft.tuners.lora import LoraLayer
from torch.distributed.device_mesh import DeviceMesh
from transformers import DistributedConfig
from transformers.distributed.tensor_parallel import apply_tensor_parallelism

from llmrecipe.stages.place import StageError

Plan = dict[str, str]
"""Name of a module or weight -> how it is split, in the words of Transformers."""
SUMMED = "replicated_with_grad_allreduce"
"""How Transformers names weights that every process has whole and uses for its own heads."""
LAID_OUT = frozenset({"colwise", "rowwise", "colwise_gather_output", "embedding_rowwise", SUMMED})
"""Ways of which each process holds one stretch of a weight, as checkpoints need it. Of experts it holds several."""


def split_when_prepared(trainer: Any) -> None:
    """Let Accelerate split the model of a trainer when it takes it. The mesh has been made.

    Raises:
        StageError: the model cannot be split.
    """
    mesh = trainer.accelerator.torch_device_mesh["tp"]
    model, plan = _base(trainer.model), plan_of(trainer.model, mesh.size())

    def prepared(*objects: Any) -> tuple[Any, ...]:
        """What `Accelerator._prepare_tp` is to do: the model is split, and the optimizer is told of its weights."""
        if not any(found is trainer.model for found in objects):
            return objects
        before = {name: id(weight) for name, weight in model.named_parameters()}
        _split(model, mesh, plan)
        after = dict(model.named_parameters())
        found = {place: after[name] for name, place in before.items()}
        for optimizer in objects:
            if isinstance(optimizer, torch.optim.Optimizer):
                for group in optimizer.param_groups:
                    group["params"] = [found.get(id(weight), weight) for weight in group["params"]]
        return objects

    trainer.accelerator._prepare_tp = prepared


def _base(model: Any) -> Any:
    """The model of Transformers, without what an adapter puts around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def plan_of(model: Any, size: int) -> Plan:
    """How a whole model is split over so many processes; adapters with the layers that they are on.

    Raises:
        StageError: the family has no plan, the heads cannot be shared out, or an adapter is on what cannot be split.
    """
    base = _base(model)
    name, config = type(base).__name__, base.config.get_text_config()
    instead = "leave out `distributed.tensor_parallel_size`"
    if not base.tp_plan:
        raise StageError(f"Transformers does not know how to split a {name}", instead)
    for field in ("num_attention_heads", "num_key_value_heads"):
        heads = getattr(config, field, None)
        if heads is not None and heads % size:
            raise StageError(
                f"`tensor_parallel_size: {size}` does not divide the {heads} `{field}` of {name}",
                f"use a divisor of {heads}",
            )
    plan, _, _ = base._resolve_parallel_plans(DistributedConfig(tp_size=size))
    if others := sorted(set(plan.values()) - LAID_OUT):
        raise StageError(f"the layers of a {name} are split in a way that cannot be saved: `{others[0]}`", instead)
    found: Plan = {}
    modules = dict(base.named_modules())
    for path, style in plan.items():
        if path in base.all_tied_weights_keys:  # Split once, and tied again.
            continue
        layer = modules.get(path)
        if isinstance(layer, LoraLayer):
            found |= _adapted(path, layer, style, instead)
        else:
            found[path] = style
    return found


def _adapted(path: str, layer: LoraLayer, style: str, instead: str) -> Plan:
    """A layer with low-rank matrices: those are split along with it, on the side on which it is split.

    Raises:
        StageError: it is no linear layer.
    """
    inner = {"colwise": "lora_B", "rowwise": "lora_A"}.get(style)
    if inner is None:
        raise StageError(f"an adapter on `{path}` cannot be split with it", instead)
    split = [f"{path}.base_layer", *(f"{path}.{inner}.{name}" for name in getattr(layer, inner))]
    linear = layer.get_base_layer()
    weights = ["weight"] if linear.bias is None else ["weight", "bias"]
    found = {f"{split[0]}.{weight}": style for weight in weights}
    return found | {f"{name}.weight": style for name in split[1:]} | dict.fromkeys(split, style)


def _split(model: Any, mesh: DeviceMesh, plan: Plan) -> None:
    """Each process keeps its part of every weight, and the layers exchange what they have to."""
    modules = dict(model.named_modules())
    summed = {name for name, style in plan.items() if style == SUMMED}
    apply_tensor_parallelism(model, mesh, {name: style for name, style in plan.items() if name not in summed})
    for name in summed & modules.keys():
        _sum_gradients(modules[name], mesh)
    model.tie_weights()


def _sum_gradients(module: torch.nn.Module, mesh: DeviceMesh) -> None:
    """Add up what the processes find of the gradients of a module that each has whole.

    Of every micro-batch by itself: Transformers adds up what has been accumulated, and once more with the next one.
    FSDP puts other weights into the module for the forward pass, which is where they are met first.
    """
    forward: Callable[..., Any] = module.forward
    met: dict[str, torch.Tensor] = {}
    group = mesh.get_group()

    def over_processes(gradient: torch.Tensor) -> torch.Tensor:
        whole = gradient.contiguous().clone()
        dist.all_reduce(whole, group=group)
        return whole

    @functools.wraps(forward)
    def watched(*args: Any, **kwargs: Any) -> Any:
        for name, weight in module.named_parameters(recurse=False):
            if torch.is_grad_enabled() and weight.requires_grad and met.get(name) is not weight:
                weight.register_hook(over_processes)
                met[name] = weight
        return forward(*args, **kwargs)

    module.forward = watched
