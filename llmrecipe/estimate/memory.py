"""Memory of one device at the moments of a training step, by what it is for; the peak is the largest moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmrecipe.estimate import activations, counting, loss_head, states
from llmrecipe.estimate.counting import BYTES
from llmrecipe.estimate.setting import Setting
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.online import OnlineMethod
from llmrecipe.methods.ppo import PPO
from llmrecipe.methods.reference import ReferenceMethod
from llmrecipe.methods.rloo import RLOO
from llmrecipe.optimization import Adafactor, Muon
from llmrecipe.strategies import DeepSpeed
from llmrecipe.vocabulary import NF4, DoRA, Int8

GIB = 2**30
CONTEXT = (0.4, 1.5)
"""GiB beside PyTorch's tensors: the context of the driver, its libraries, buffers of collectives. Our judgement."""
FRAGMENTS = 1.08
"""What the allocator reserves, of what tensors take, at most. Our judgement."""
COMPILED = 0.6
"""Activations of a compiled model, of those of a plain one, at least: 8B with LoRA in torchtune's README."""


@dataclass(frozen=True)
class Moment:
    """Bytes by what they are for, at one point of a step."""

    name: str
    terms: Mapping[str, float]

    @property
    def bytes(self) -> float:
        """All together."""
        return sum(self.terms.values())


@dataclass(frozen=True)
class Memory:
    """What one device needs."""

    moments: tuple[Moment, ...]
    """In the order of a step."""
    host: float
    """Bytes of host memory that one device keeps things in while training."""
    spare: float = 0
    """Bytes that the peak may be less by: what is compiled, or fused."""
    fixed: float = field(default=0)
    """Bytes of the peak that a vLLM beside the training takes."""

    @property
    def peak(self) -> Moment:
        """The largest moment."""
        return max(self.moments, key=lambda moment: moment.bytes)

    @property
    def low(self) -> float:
        """The least that a device may need."""
        return self.peak.bytes - self.spare + CONTEXT[0] * GIB

    @property
    def high(self) -> float:
        """The most, with what the allocator cannot use."""
        return (self.peak.bytes - self.fixed) * FRAGMENTS + self.fixed + CONTEXT[1] * GIB


def memory(setting: Setting, device: float = 0) -> Memory:
    """Bytes of one device.

    Args:
        device: bytes of its memory, of which a vLLM beside the training takes its share.
    """
    held = states.states(setting)
    always = _always(setting, held)
    beside = _vllm(setting, device)
    kept, layer = _kept(setting), _layer(setting)
    head, casts = loss_head.head(setting), _casts(setting)
    recomputed = setting.checkpointing is not None or setting.offload_activations
    again = layer * (2 if setting.offload_activations and setting.checkpointing is None else 1) if recomputed else 0
    inside = activations.backward(setting) * setting.tokens + _dequantized(setting)
    before = (held.accumulated or held.gradients) if setting.accumulation > 1 else 0
    at_loss, after = (each * setting.tokens for each in activations.of_last_norm(setting))
    kept_casts = 0 if recomputed else casts
    gathered, moving = held.gathered + held.layer, held.gathered + 2 * held.layer + held.reduced
    moments = [
        Moment("loss", always | {
            "gradients": before, "gathered": gathered, "activations": kept + at_loss, "loss head": head.peak,
            "cast weights": casts,
        }),
        Moment("backward, in the loss", always | {
            "gradients": before, "gathered": gathered, "activations": kept + after,
            "loss head": max(head.backward, head.left), "cast weights": kept_casts,
        }),
        Moment("backward, at its start", always | {
            "gradients": before, "gathered": moving, "activations": kept + after + again + inside,
            "loss head": head.left, "cast weights": kept_casts + (casts / setting.shape.layers if recomputed else 0),
        }),
        Moment("backward, at its end", always | {
            "gradients": (held.accumulated or held.gradients) + held.pending, "gathered": moving,
            "activations": layer + inside, "cast weights": casts / setting.shape.layers,
        }),
        Moment("backward, in the embeddings", always | {
            "gradients": (held.accumulated or held.gradients) + held.pending, "gathered": held.tables,
            "temporaries": _tables(setting),
        }),
        Moment("optimizer step", always | {"gradients": held.gradients, "temporaries": _temporaries(setting)}),
    ]  # fmt: skip
    if beside and not _sleeps(setting):
        moments = [Moment(m.name, {**m.terms, "vLLM": beside}) for m in moments]
    if isinstance(setting.method, OnlineMethod):
        generation = _generation(setting, beside, casts) | {"gathered": gathered}
        moments.insert(0, Moment("generation", always | generation))
    spare = (1 - COMPILED) * (kept + layer) if setting.compiled else 0.3 * kept if setting.liger else 0
    moments = [Moment(m.name, {name: size for name, size in m.terms.items() if size > 0}) for m in moments]
    return Memory(tuple(moments), held.host + _host(setting), spare, 0 if _sleeps(setting) else beside)


def _always(setting: Setting, held: states.States) -> dict[str, float]:
    """What is there at every moment."""
    found = {"weights": held.weights, "optimizer": held.optimizer, "buckets": held.buckets}
    count = states.trained(setting)
    if setting.averaged:
        found["average"] = 4 * count / setting.shards
    if setting.held:
        found["anchors"] = 8 * count / setting.shards
    return found | _others(setting)


def _others(setting: Setting) -> dict[str, float]:
    """Models that are asked and not trained."""
    found: dict[str, float] = {}
    spread = setting.shards if not (isinstance(setting.strategy, DeepSpeed) and setting.strategy.zero_stage < 3) else 1
    for role, shape in setting.others:
        if shape is not None and role != "value_model":
            size = BYTES[shape.dtype if role != "ref_model" else setting.weights]
            found[role.replace("_", " ")] = size * counting.total(shape) / spread
    if _copies_itself(setting):
        found["ref model"] = BYTES[setting.weights] * counting.total(setting.shape) / spread
    return found


def _copies_itself(setting: Setting) -> bool:
    """Whether the model before training is held beside the model, which an adapter makes needless."""
    if setting.adapted:
        return False
    match setting.method:
        case ReferenceMethod(ref_model=None, precompute_ref_log_probs=False):
            return True
        case GRPO(beta=beta) | RLOO(beta=beta):
            return beta > 0
        case PPO():
            return True
        case _:
            return False


def _kept(setting: Setting) -> float:
    """Activations of all layers between the passes."""
    layers, tokens = setting.shape.layers, setting.tokens
    if isinstance(setting.method, PPO) and setting.method.value_backbone == "separate":
        layers *= 2
    layer = _layer(setting)
    options = setting.checkpointing
    if options is None:
        return 2 * layer if setting.offload_activations else layers * layer
    recomputed = -(-layers // options.every_n_layers)
    each = activations.of_input(setting) * tokens
    if options.selective:
        each += (BYTES[setting.compute] * setting.shape.queries + 4 * setting.shape.heads) * tokens
    return (0 if options.offload else recomputed * each) + (layers - recomputed) * layer


def _layer(setting: Setting) -> float:
    """Activations of one layer, and the weights that its backward pass needs as they were with their update."""
    of_tokens = activations.of_layer(setting) * setting.tokens
    return of_tokens + activations.mask_bytes(setting) + activations.of_experts(setting)


def _host(setting: Setting) -> float:
    """Activations that wait in host memory."""
    layers, tokens = setting.shape.layers, setting.tokens
    if setting.checkpointing is not None and setting.checkpointing.offload:
        return layers * activations.of_input(setting) * tokens
    if setting.offload_activations:
        return layers * _layer(setting)
    return 0


def _casts(setting: Setting) -> float:
    """Weights in 16 bits that autocast makes of those in float32, and keeps as long as they are needed.

    Of a spread model, these are the gathered ones.
    """
    if setting.shards > 1 or not setting.mixed:
        return 0
    shape = setting.shape
    matrices = sum(linear.numbers for linear in counting.linears(shape)) + counting.experts(shape)
    return BYTES[setting.compute] * shape.layers * matrices


def _dequantized(setting: Setting) -> float:
    """The largest matrix in 16 bits, while it is multiplied with."""
    if not isinstance(setting.quantization, NF4 | Int8):
        return _whole_update(setting)
    largest = max(linear.numbers for linear in counting.linears(setting.shape))
    return 2 * largest + _whole_update(setting)


def _whole_update(setting: Setting) -> float:
    """DoRA's update as one matrix, and one of ones to make it, for the norm of the two; the gradient of experts."""
    if not isinstance(setting.adapter, DoRA):
        return activations.expert_gradient(setting)
    return 4 * max(linear.numbers + linear.inputs**2 for linear in counting.linears(setting.shape))


def _temporaries(setting: Setting) -> float:
    """What a step of the optimizer makes and throws away."""
    shape = setting.shape
    matrix = max(linear.numbers for linear in counting.linears(shape))
    match setting.optimizer:
        case Muon():
            return 2 * 3 * matrix + BYTES[setting.weights] * matrix
        case Adafactor() if not setting.adapted:
            return 8 * max(counting.embedding(shape), matrix)
        case _:
            return 0


def _tables(setting: Setting) -> float:
    """Gradients of the embeddings before they are one: a tied table has one of its own from either end."""
    if setting.adapted or setting.shards > 1:
        return 0
    parts = (2 if setting.shape.tied else 0) + (1 if setting.accumulation > 1 else 0)
    return parts * BYTES[setting.weights] * counting.embedding(setting.shape)


def _sleeps(setting: Setting) -> bool:
    return isinstance(setting.method, OnlineMethod) and setting.method.vllm_enable_sleep_mode


def _vllm(setting: Setting, device: float) -> float:
    method = setting.method
    inside = isinstance(method, OnlineMethod) and method.use_vllm and method.vllm_mode == "colocate"
    return method.vllm_gpu_memory_utilization * device if inside and isinstance(method, OnlineMethod) else 0


def _generation(setting: Setting, vllm: float, casts: float) -> dict[str, float]:
    """Keys and values of all answers that are made at once, and the logits of their next tokens."""
    method, shape, size = setting.method, setting.shape, BYTES[setting.compute]
    assert isinstance(method, OnlineMethod)
    if method.use_vllm:
        return {"vLLM": vllm}
    match method:
        case GRPO() | RLOO():
            rows = setting.rows * (method.steps_per_generation or setting.accumulation)
        case PPO():
            made = setting.rows * setting.accumulation * method.num_mini_batches
            rows = min(method.local_rollout_forward_batch_size, made)
        case _:
            rows = setting.rows
    cache = 2 * shape.layers * shape.keys * size * rows * setting.length
    prompt = max(1, setting.length - method.max_completion_length)
    reading = (6 * shape.hidden + 3 * size * max(shape.intermediate, shape.chosen * shape.expert_width)) * rows * prompt
    return {
        "generation cache": cache,
        "loss head": (size + 8) * rows * shape.vocabulary,
        "activations": reading,
        "cast weights": casts,
    }
