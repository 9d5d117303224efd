"""The memory of a training step by PyTorch's own tracker over fake tensors: from figures alone, with no weights.

The real model classes, adapters and losses run; only the numbers in the tensors are missing. On a processor the tracker
sees what an accelerator would hold, since shapes and types are the same: kernels that only a GPU has are not seen.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed import DeviceMesh
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from llmrecipe.estimate import activations
from llmrecipe.estimate.setting import PAIRS, Setting
from llmrecipe.estimate.shape import Shape
from llmrecipe.facts import families
from llmrecipe.preflight import fake_shards
from llmrecipe.stages import adapters
from llmrecipe.strategies import DDP, FSDP, Single, together
from llmrecipe.trainers import losses, supervised
from llmrecipe.vocabulary import Full

OURS = ("pretrain", "sft")
LIBRARY = ("dpo", "kto", "grpo", "rloo")
FEWEST_LAYERS = 4
"""A model is traced with so many, and with two more or a whole pattern of unlike layers: further ones take the same."""


MOMENTS = ("loss", "top", "bottom", "step")


class TraceError(ValueError):
    """Nothing of the kind can be traced: what, and what to do."""


@dataclass(frozen=True)
class Traced:
    """Peak bytes of one device at the moments of the second step, in which the optimizer has its state."""

    layers: int
    """Layers that were traced; fewer than the model has when the rest was extrapolated."""
    loss: float
    """From the first layer to the loss."""
    top: float
    """The backward pass of the loss and of the last two layers."""
    bottom: float
    """That of the first two layers, and of the embeddings; what is in between takes less than the one or the other."""
    step: float
    """The step of the optimizer."""

    @property
    def backward(self) -> float:
        """The largest of the backward pass."""
        return max(self.top, self.bottom)

    @property
    def peak(self) -> float:
        """The largest."""
        return max(self.loss, self.backward, self.step)


def trace(setting: Setting) -> Traced:
    """What one device holds in a training step, every token being learned from.

    Raises:
        TraceError: the method, the quantization or the strategy is none that runs over fake tensors.
    """
    check(setting)
    sharded = isinstance(setting.strategy, FSDP)
    with fake_shards.mesh(setting) if sharded else nullcontext() as over:
        layers, (few, more) = setting.shape.layers, _few(setting)
        if layers <= more:
            return _trace(setting, layers, over)
        one, other = _trace(setting, few, over), _trace(setting, more, over)
    beyond = (layers - more) / (more - few)
    moments = {name: (getattr(one, name), getattr(other, name)) for name in MOMENTS}
    return Traced(layers=more, **{name: b + (b - a) * beyond for name, (a, b) in moments.items()})


def _few(setting: Setting) -> tuple[int, int]:
    """Two numbers of layers, between which lie as many of each kind as there are in every such part of the model."""
    config = AutoConfig.for_model(setting.shape.family, **configuration(setting.shape, setting.shape.layers))
    kinds = getattr(config, "layer_types", None) or [None]
    period = next(n for n in range(1, len(kinds) + 1) if kinds[n:] == kinds[:-n] or n == len(kinds))
    few = period * -(-FEWEST_LAYERS // period)
    return few, few + period * -(-2 // period)


def check(setting: Setting) -> None:
    """See that a setting can be traced.

    Raises:
        TraceError: it cannot.
    """
    what = None
    if setting.method.kind not in (*OURS, *LIBRARY):
        what = f"the method `{setting.method.kind}`"
    elif setting.shape.experts and setting.seen == "float32":
        what = "a mixture of experts in float32"
    elif setting.shape.experts and setting.shape.family not in families():
        what = f"a mixture of experts of the family `{setting.shape.family}`"
    elif setting.quantization.kind != "none" and importlib.util.find_spec("bitsandbytes") is None:
        what = f"`quantization: {setting.quantization.kind}` without the package bitsandbytes"
    elif (spread := _spread(setting)) is not None:
        what = spread
    elif setting.optimizer.kind not in ("adamw", "sgd") or getattr(setting.optimizer, "bits", 32) == 8:
        what = f"the optimizer `{setting.optimizer.kind}` as it is written"
    elif setting.attention not in ("sdpa", "eager"):
        what = f"`attention: {setting.attention}`"
    if what is not None:
        raise TraceError(f"{what} cannot be traced; the estimate without --trace covers it")


def _spread(setting: Setting) -> str | None:
    """What of the strategy cannot be traced."""
    match setting.strategy:
        case FSDP(cpu_offload=True):
            return "`cpu_offload`"
        case FSDP() as strategy if together(strategy) > 1:
            return "a model that is split over devices"
        case FSDP() if setting.adapted and setting.weights != "float32":
            return "`fsdp` with an adapter in another type than its base"
        case Single() | DDP() | FSDP():
            return None
        case _:
            return f"`distributed: {setting.strategy.kind}`"


def _trace(setting: Setting, layers: int, over: DeviceMesh | None) -> Traced:
    quantized = _quantized(setting)  # Loaded first: it makes tables of numbers.
    model = _skeleton(setting, layers)
    with FakeTensorMode(allow_non_fake_inputs=True), quantized.as_on_an_accelerator() if quantized else nullcontext():
        beside = quantized.materialize(model) if quantized else []
        _materialize(model)
        if over is not None:
            fake_shards.shard(model, setting, over)
        return _steps(setting, model, beside, layers, over)


def _quantized(setting: Setting) -> Any:
    """The module that knows quantized layers; None where there are none."""
    if setting.quantization.kind == "none":
        return None
    return importlib.import_module("llmrecipe.preflight.fake_quantized")


def _skeleton(setting: Setting, layers: int) -> Any:
    """The model as the training stage has it, on the meta device."""
    config = AutoConfig.for_model(setting.shape.family, **configuration(setting.shape, layers))
    config.use_cache = False
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation=setting.attention, dtype=getattr(torch, setting.weights)
        )
        if (quantized := _quantized(setting)) is not None:
            quantized.replace_layers(model, setting)
        if setting.method.kind in OURS:
            supervised.attach(model)
        else:
            add_fused_lm_head(model)
        if not isinstance(setting.adapter, Full):
            model = adapters.with_new_adapter(model, setting.adapter, seed=0)
    if setting.checkpointing is not None:
        options = setting.checkpointing.model_dump(exclude_defaults=True)
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False, **options})
        if setting.adapted:
            model.enable_input_require_grads()
    return model.train()


def configuration(shape: Shape, layers: int) -> dict[str, Any]:
    """Fields of the family's configuration class that say this shape."""
    known = families().get(shape.family)
    values = {
        "hidden_size": shape.hidden, "num_hidden_layers": layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads, "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate, "max_position_embeddings": shape.positions or 4096,
        "tie_word_embeddings": shape.tied,
    }  # fmt: skip
    if shape.experts:
        values |= {"num_experts": shape.experts, "num_experts_per_tok": shape.chosen,
                   "moe_intermediate_size": shape.expert_width}  # fmt: skip
    fields = dict.fromkeys(values) if known is None else known.fields
    named = {(fields[name] or name): value for name, value in values.items() if name in fields}
    constants = {} if known is None else dict(known.constants)
    window = {"sliding_window": activations.WINDOWS[shape.family][0]} if shape.family in activations.WINDOWS else {}
    return {**constants, **named, **window, "vocab_size": shape.vocabulary, "pad_token_id": 0}


def _materialize(model: Any) -> None:
    """Put a fake tensor in the place of every meta tensor, tied ones in the place of tied ones."""
    made: dict[int, Any] = {}
    kept = []
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, old in table.items():
                if old is None or not old.is_meta:
                    continue
                if id(old) not in made:
                    new = torch.empty(old.shape, dtype=old.dtype, device="cpu")
                    weight = isinstance(old, torch.nn.Parameter)
                    made[id(old)] = torch.nn.Parameter(new, old.requires_grad) if weight else new
                    kept.append(old)  # Its id stays its own.
                table[name] = made[id(old)]


def _steps(setting: Setting, model: Any, beside: list[Any], layers: int, over: DeviceMesh | None) -> Traced:
    """Two optimizer steps; the second is what every later one is like."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = (
        torch.optim.AdamW(trained, fused=True) if setting.optimizer.kind == "adamw" else torch.optim.SGD(trained)
    )
    reference = _frozen_copy(setting, layers, over) if _has_reference(setting) else None
    batch = _batch(setting)
    tracker = _Tracker()
    tracker.track_external(optimizer, model, *beside, *([reference] if reference is not None else []), *batch.values())
    phases = _Phases(tracker)
    phases.follow(model, layers)
    for _ in range(2):
        phases.peaks.clear()
        batches = min(setting.accumulation, 2)
        for number in range(batches):
            if isinstance(setting.strategy, FSDP) and not setting.strategy.sync_each_batch:
                model.set_requires_gradient_sync(number == batches - 1)
            with phases.of("loss"), _Answers(setting), _as_on_an_accelerator():
                loss = _loss(setting, model, reference, batch)
            with phases.of("bottom"), _Answers(setting), _as_on_an_accelerator():
                loss.backward()
            del loss
        with phases.of("step"):
            optimizer.step()
        optimizer.zero_grad()
    return Traced(layers=layers, **{name: phases.peaks.get(name, 0.0) for name in MOMENTS})


def _has_reference(setting: Setting) -> bool:
    return setting.method.kind in ("dpo", "kto") and not setting.adapted


def _frozen_copy(setting: Setting, layers: int, over: DeviceMesh | None) -> Any:
    model = _skeleton(setting, layers).requires_grad_(False)
    _materialize(model)
    if over is not None:
        fake_shards.shard(model, setting, over)
    return model


def _batch(setting: Setting) -> dict[str, Any]:
    ids = torch.zeros(setting.sequences, setting.length, dtype=torch.int64)
    return {"input_ids": ids, "labels": ids}


def _loss(setting: Setting, model: Any, reference: Any, batch: dict[str, Any]) -> Any:
    """The part of a step before the backward pass, as our trainers and those of TRL do it."""
    mixed = setting.compute != "float32"
    with torch.autocast("cpu", getattr(torch, setting.compute)) if mixed else nullcontext():
        if setting.method.kind in OURS:
            return model(**batch, scoring=losses.Scoring())[0] / setting.tokens
        found = model(**batch, fused_lm_head=True).log_probs
        if setting.method.kind not in PAIRS:
            return -found.exp().mean()
        with torch.no_grad():
            other = (reference if reference is not None else model)(**batch, fused_lm_head=True).log_probs
        chosen, rejected = (found - other).sum(1).chunk(2)
        return -torch.nn.functional.logsigmoid(chosen - rejected).mean()


class _Tracker(MemTracker):  # type: ignore[misc]
    """PyTorch's, for whole devices: it would also count by module, which wants no module called twice."""

    def _pre_fw_hook(self, module: Any, inputs: Any) -> None:
        pass

    def _post_fw_hook(self, module: Any, inputs: Any, outputs: Any) -> None:
        pass

    def _pre_bw_hook(self, module: Any, args: Any) -> None:
        pass

    def _post_bw_hook(self, module: Any, args: Any) -> None:
        pass


class _Phases:
    """The peaks of the parts of a step."""

    def __init__(self, tracker: MemTracker) -> None:
        self.tracker = tracker
        self.peaks: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Note the peak of a block: it begins anew with each."""
        with self.tracker:
            yield
        self._note(name)

    def follow(self, model: Any, count: int) -> None:
        """Let the backward pass of the layers say how far it has come."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        for number, layer in enumerate(base.get_decoder().layers):
            name = "top" if number >= count - 2 else "bottom" if number < 2 else "between"
            layer.register_forward_pre_hook(partial(self._watch, name), with_kwargs=True)

    def _watch(self, name: str, _: Any, inputs: Any, others: Any) -> None:
        hidden = inputs[0] if inputs else others["hidden_states"]
        if hidden.requires_grad:
            hidden.register_hook(partial(self._passed, name))

    def _passed(self, name: str, _: Any) -> None:
        self._note(name)
        self.tracker._peak_mem_snap = self.tracker.get_tracker_snapshot("current")
        self.tracker._peak_mem = {device: found["Total"] for device, found in self.tracker._peak_mem_snap.items()}

    def _note(self, name: str) -> None:
        found = sum(device["Total"] for device in self.tracker.get_tracker_snapshot("peak").values())
        self.peaks[name] = max(self.peaks.get(name, 0.0), found)


class _Answers(TorchDispatchMode):  # type: ignore[misc]
    """Answers what no fake tensor can: every token is learned from, and whether rows are packed."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.packed = setting.packed
        quantized = _quantized(setting)
        self.others = {} if quantized is None else quantized.ANSWERS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.nonzero.default:
            return torch.empty((args[0].numel(), args[0].dim()), dtype=torch.int64, device=args[0].device)
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype is torch.bool:
            return not self.packed
        if func in self.others:
            return self.others[func](*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@contextmanager
def _as_on_an_accelerator() -> Iterator[None]:
    """Tiles of the loss as large as on a GPU and computed in their place, and masks left out as on real tensors."""
    tiles = "trl.kernels.chunked_logprob."
    with (
        mock.patch.dict(losses.TILE_BYTES, clear=True),
        mock.patch("transformers.masking_utils.is_tracing", return_value=False),
        mock.patch(f"{tiles}_forward_tile", _in_place),
        mock.patch(f"{tiles}_backward_tile", _in_place),
        mock.patch(f"{tiles}_addmm_fp32", _in_place),
    ):
        yield


def _in_place(*_: Any, **__: Any) -> None:
    """What kernels of a GPU do to a tile: nothing that takes memory."""
