"""Weights, gradients and optimizer state: what a training holds from step to step, on a device and in host memory."""

from dataclasses import dataclass, replace

from llmrecipe.estimate import activations, counting
from llmrecipe.estimate.counting import BYTES
from llmrecipe.estimate.setting import Setting
from llmrecipe.estimate.shape import Shape
from llmrecipe.methods.ppo import PPO
from llmrecipe.optimization import SGD, Adafactor, AdamW, AdEMAMix, Lion, Muon, Optimizer
from llmrecipe.strategies import DDP, FSDP, DeepSpeed
from llmrecipe.vocabulary import NF4, DoRA, Full, Int8, LoRA

BLOCK = 256
"""Numbers of 8-bit optimizer state that share a scale."""
DEEPSPEED_BUCKET = 500_000_000
"""Numbers of one bucket of DeepSpeed, as it sets them itself."""


@dataclass(frozen=True)
class States:
    """Bytes on one device, and in the memory of its host for that device."""

    weights: float
    """Those of the trained model; of a quantized base as it is held."""
    gradients: float
    optimizer: float
    gathered: float = 0
    """Weights that are whole throughout the two passes."""
    layer: float = 0
    """Weights of one gathered layer."""
    reduced: float = 0
    """Gradients of one layer that are whole, and what they are sent from."""
    tables: float = 0
    """The most that the embeddings and all else that is in no layer take beside the shares of what is trained."""
    accumulated: float = 0
    """Gradients that stay whole until the step."""
    pending: float = 0
    """Sums within a node that wait for those of other nodes, until the backward pass has ended."""
    buckets: float = 0
    host: float = 0


def numbers(setting: Setting) -> int:
    """All numbers of the trained model, a value function of its own included; an adapter's aside."""
    found = _headless(setting.shape) if setting.method.head == "reward" else counting.total(setting.shape)
    if isinstance(setting.method, PPO) and setting.method.value_backbone == "separate":
        found += _headless(setting.shape)
    return found


def _headless(shape: Shape) -> int:
    return counting.total(shape) - (0 if shape.tied else counting.embedding(shape)) + shape.hidden


def trained(setting: Setting) -> int:
    """Numbers that get gradients."""
    if isinstance(setting.adapter, Full):
        return numbers(setting)
    backbones = 2 if isinstance(setting.method, PPO) and setting.method.value_backbone == "separate" else 1
    head = setting.shape.hidden if setting.method.head == "reward" else 0
    return backbones * _adapter(setting, setting.adapter) + head


def _adapter(setting: Setting, adapter: LoRA | DoRA) -> int:
    shape = setting.shape
    layers = shape.layers if adapter.layers_to_transform is None else len(adapter.layers_to_transform)
    found = 0
    for linear in activations.adapted_linears(setting):
        rank = next((r for name, r in adapter.rank_pattern.items() if name.endswith(linear.name)), adapter.r)
        found += rank * (linear.inputs + linear.outputs) + (linear.outputs if isinstance(adapter, DoRA) else 0)
    for experts in activations.adapted_experts(setting):
        found += experts.rank * experts.copies * (experts.inputs + experts.outputs)
    saved = sum(name.endswith(("lm_head", "embed_tokens")) for name in adapter.modules_to_save)
    return layers * found + (saved * counting.embedding(shape)) + len(adapter.trainable_token_indices) * shape.hidden


def base_bytes(setting: Setting) -> float:
    """Bytes of the weights of the model as they are held, an adapter's aside."""
    size = BYTES[setting.weights]
    matrices = setting.shape.layers * sum(linear.numbers for linear in counting.linears(setting.shape))
    match setting.quantization:
        case NF4(double_quantization=double):
            # Blocks of 64 weights have a scale of 4 bytes, or of 1 with 4 more for 256 of them.
            each = 0.5 + (1 / 64 + 4 / (64 * 256) if double else 4 / 64)
        case Int8():
            each = 1.0
        case _:
            each = float(size)
    return size * (numbers(setting) - matrices) + each * matrices


def optimizer_bytes(optimizer: Optimizer, shape: Shape, count: int, size: int) -> float:
    """Bytes of the state over `count` trained numbers of `size` bytes each."""
    eight = (1 + 4 / BLOCK) * count
    match optimizer:
        case AdamW(bits=32, paged=False):
            return 2 * size * count
        case AdamW(bits=bits):
            return 2 * eight if bits == 8 else 8 * count
        case Lion(bits=bits):
            return eight if bits == 8 else 4 * count
        case AdEMAMix(bits=bits):
            return 3 * eight if bits == 8 else 12 * count
        case Muon():
            tables = min(count, counting.embedding(shape) * (1 if shape.tied else 2))
            return size * (count + tables)
        case Adafactor(beta1=beta1):  # A row and a column for each matrix: about a thousandth.
            return (0 if beta1 is None else 4 * count) + 4 * count / 1000
        case SGD(momentum=momentum):
            return size * count if momentum else 0
        case _:
            return 2 * size * count


def states(setting: Setting) -> States:
    """What is held between steps, by the strategy."""
    count, size, base = trained(setting), _trained_size(setting), base_bytes(setting)
    own = size * count if setting.adapted else 0
    steps = optimizer_bytes(setting.optimizer, setting.shape, count, size)
    n = setting.shards
    match setting.strategy:
        case FSDP() as strategy:
            # Quantized weights are not split unless their storage has the type of the others.
            split = base + own if setting.adapted else size * count
            found = States(split / n, size * count / n, steps / n, **_whole(setting, strategy, count))
            if not strategy.cpu_offload:
                return found
            host = found.weights + found.gradients + found.optimizer
            return replace(found, weights=0, gradients=0, optimizer=0, host=host)
        case DeepSpeed():
            return _zero(setting, setting.strategy, base + (2 * count if setting.adapted else 0), count)
        case DDP():  # Reduced in buckets that hold all gradients once more.
            return States(base + own, size * count, steps, buckets=size * count if setting.processes > 1 else 0)
        case _:
            return States(base + own, size * count, steps)


def _trained_size(setting: Setting) -> int:
    """Bytes of a trained number: adapters are float32, and FSDP holds what is trained in float32 under autocast."""
    if setting.adapted or (isinstance(setting.strategy, FSDP) and setting.compute != "float32"):
        return 4
    return BYTES[setting.weights]


def _whole(setting: Setting, strategy: FSDP, count: int) -> dict[str, float]:
    """What FSDP has whole, and for how long: the layer at hand and the next one, the embeddings throughout.

    Gradients are made in the type of the products, and summed in float32 out of a copy.
    """
    size, layer, tables = BYTES[setting.compute], counting.layer(setting.shape), _tables(setting.shape)
    kept = setting.shape.layers * layer if strategy.sharding == "grad" else 0
    found: dict[str, float] = {"gathered": size * (tables + kept), "layer": 0 if kept else size * layer}
    if not setting.adapted:
        table = counting.embedding(setting.shape)
        whole = max((size + 4) * tables, 4 * size * table)  # In the sum, or in the gradient from either end.
        share = 4 * tables / setting.shards if setting.accumulation == 1 else 0  # Which is not there yet.
        found |= {"reduced": (size + 4) * layer, "tables": whole - share}
    if setting.accumulation > 1 and not strategy.sync_each_batch:
        found["accumulated"] = 4 * count
    elif setting.accumulation > 1 and strategy.sharding == "hybrid" and not setting.adapted:
        found["pending"] = 4 * setting.shape.layers * layer / setting.shards
    return found


def _tables(shape: Shape) -> int:
    return counting.embedding(shape) * (1 if shape.tied else 2)


def _zero(setting: Setting, strategy: DeepSpeed, base: float, count: int) -> States:
    """ZeRO holds weights and gradients in 16 bits, and spreads a float32 copy with the state of the optimizer.

    Source: https://arxiv.org/abs/1910.02054, section 5
    """
    n, stage = setting.shards, strategy.zero_stage
    size = 4 if setting.compute == "float32" else 2
    weights = base if setting.adapted or setting.weights != "float32" else size * numbers(setting)
    master = 0 if size == 4 else 4 * count
    steps = master + optimizer_bytes(setting.optimizer, setting.shape, count, 4)
    gradients = size * count
    bucket = 2 * size * min(DEEPSPEED_BUCKET, count)
    gathered = _of_a_layer(setting) if stage == 3 else 0
    found = {
        "weights": weights / (n if stage == 3 else 1),
        "gradients": gradients / (n if stage >= 2 else 1),
        "optimizer": steps / n,
    }
    host = 0.0
    if strategy.offload_optimizer != "none":
        moved = found["optimizer"] + (found["gradients"] if stage >= 2 else 0)
        host += moved if strategy.offload_optimizer == "cpu" else 0
        found |= {"optimizer": 0} | ({"gradients": 0} if stage >= 2 else {})
    if strategy.offload_parameters != "none":
        host += found["weights"] if strategy.offload_parameters == "cpu" else 0
        found["weights"] = 0
    return States(**found, gathered=gathered, buckets=bucket, host=host)


def _of_a_layer(setting: Setting) -> float:
    """Weights that ZeRO-3 has whole: two layers and the embeddings, and the gradients of a layer."""
    layer = counting.layer(setting.shape)
    gradients = 0 if setting.adapted else layer
    return BYTES[setting.compute] * (min(2, setting.shape.layers) * layer + _tables(setting.shape) + gradients)
