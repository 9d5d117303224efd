"""Arithmetic of a training, and the hours, price and carbon that follow from it, as ranges."""

from dataclasses import dataclass

from llmrecipe.estimate import counting
from llmrecipe.estimate.setting import Setting
from llmrecipe.facts import Accelerator
from llmrecipe.methods.distillation import Distillation
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.online import OnlineMethod
from llmrecipe.methods.ppo import PPO
from llmrecipe.methods.reference import ReferenceMethod
from llmrecipe.methods.rloo import RLOO
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.hardware import Hardware
from llmrecipe.strategies import FSDP, DeepSpeed
from llmrecipe.vocabulary import NF4, Int8

Range = tuple[float, float]

UTILIZATION: Range = (0.20, 0.50)
"""Share of the peak of an accelerator that training reaches. torchtune's README: 0.49 to 0.52 on one A100."""
SLOW: Range = (0.05, 0.25)
"""The same of small models, short rows and what waits for host memory. Our judgement."""
SMALL = 1_000_000_000
QUANTIZED = 1.28
"""A step of QLoRA takes that much longer than one of LoRA: torchtune's README, 3,083 to 2,413 tokens a second."""
DECODING: Range = (0.25, 0.7)
"""Share of its memory bandwidth that an accelerator reaches while it generates. Our judgement."""


PADDING = 2.0
"""Most that rows of unequal length grow by padding. Our judgement."""


@dataclass(frozen=True)
class Amount:
    """What one epoch reads."""

    rows: Range
    """Sequences, where rows are packed already."""
    tokens: Range
    """Without padding."""
    counted: bool = False
    """Whether it was tokenized, and not told by the size of files."""


@dataclass(frozen=True)
class Work:
    """What there is to do."""

    steps: Range
    """Optimizer steps."""
    tokens: Range
    """That are learned from, padding included, over all devices and steps."""
    known: bool
    """Whether steps are written or rows counted; otherwise all follows from the size of files."""


@dataclass(frozen=True)
class Cost:
    """What it takes."""

    flops: Range
    hours: Range | None
    """None where the accelerator has no figures."""
    price: Range | None
    currency: str
    kilograms: Range | None
    """Carbon dioxide, where an intensity is given."""


def work(setting: Setting, steps: Range, known: bool) -> Work:
    """Tokens of so many optimizer steps: rows that are packed are full, others have a quarter of it or more."""
    shared = setting.tensor * setting.context
    at_once = setting.sequences * setting.accumulation * setting.processes // shared * setting.length
    least = 1.0 if setting.packed else 0.25
    return Work(steps, (least * at_once * steps[0], at_once * steps[1]), known)


def todo(recipe: Recipe, setting: Setting, amount: Amount | None) -> Work | None:
    """What a recipe trains: the steps that it writes, or its epochs of rows of which something is known.

    None for epochs of methods that generate most of what they learn from.
    """
    steps = recipe.training.max_steps
    if steps is not None:
        return work(setting, (steps, steps), known=True)
    if amount is None or isinstance(setting.method, OnlineMethod):
        return None
    return _of_epochs(setting, amount, recipe.training.num_train_epochs or 1)


def _of_epochs(setting: Setting, amount: Amount, epochs: float) -> Work:
    at_once = setting.rows * setting.accumulation * setting.processes // (setting.tensor * setting.context)
    rows, tokens = ((low * epochs, high * epochs) for low, high in (amount.rows, amount.tokens))
    if setting.packed and not amount.counted:
        rows = (tokens[0] / setting.length, tokens[1] / setting.length)
    room = rows[1] * setting.sequences // setting.rows * setting.length
    if not setting.packed:
        tokens = (min(tokens[0], room), min(tokens[1] * PADDING, room))
    steps = (max(1.0, rows[0] / at_once), max(1.0, rows[1] / at_once))
    return Work(steps, tokens, amount.counted)


def flops_per_token(setting: Setting) -> float:
    """Operations for one token that is learned from, forward and backward, what is asked of other models included.

    Two for each number that computes and pass; the backward pass takes two more for each that has a gradient to make
    further up, and two for each that is trained; attention adds its scores. Sources: https://arxiv.org/abs/2001.08361,
    section 2.1; https://arxiv.org/abs/2205.05198, appendix A.
    """
    forward = _forward(setting)
    passes = 2.0 if setting.adapted else 3.0
    if setting.checkpointing is not None:
        passes += 1 / setting.checkpointing.every_n_layers
    match setting.method:
        case ReferenceMethod():
            passes += 1
        case PPO(num_ppo_epochs=epochs):
            passes = passes * epochs + 2
        case GRPO(num_iterations=again, beta=beta) | RLOO(num_iterations=again, beta=beta):
            passes = passes * again + (1 if beta else 0) + (1 if again > 1 else 0)
    others = 0.0
    if isinstance(setting.method, Distillation):
        others = sum(2.0 * counting.active(other) for _, other in setting.others if other is not None)
    return passes * forward + others


def _forward(setting: Setting) -> float:
    """Of one token: the table of tokens is looked up, the head multiplied with."""
    shape = setting.shape
    computing = counting.active(shape) - (0 if shape.tied else counting.embedding(shape))
    if setting.method.head == "reward":
        computing -= counting.embedding(shape)
    causal = 1 if setting.method.head == "masked" else 0.5
    return 2.0 * computing + 4.0 * causal * shape.layers * shape.queries * setting.length


def cost(setting: Setting, todo: Work, hardware: Hardware, preset: Accelerator | None) -> Cost:
    """Hours and price of a training on what the recipe declares."""
    each = flops_per_token(setting)
    flops = (each * todo.tokens[0], each * todo.tokens[1])
    peak = _peak(setting, preset)
    if peak is None:
        return Cost(flops, None, None, "USD", None)
    least, most = _utilization(setting)
    slower = QUANTIZED if isinstance(setting.quantization, NF4 | Int8) else 1.0
    devices = setting.processes
    seconds = [flops[0] * slower / (devices * peak * most), flops[1] * slower / (devices * peak * least)]
    made = _generating(setting, todo, preset)
    hours = ((seconds[0] + made[0]) / 3600, (seconds[1] + made[1]) / 3600)
    rented = hardware.num_accelerators * hardware.num_nodes
    price, currency = _price(hours, rented, hardware, preset)
    return Cost(flops, hours, price, currency, _carbon(hours, rented, hardware, preset))


def _peak(setting: Setting, preset: Accelerator | None) -> float | None:
    """Operations a second of one device."""
    if preset is None:
        return None
    half = preset.bfloat16_tflops if setting.compute == "bfloat16" else preset.float16_tflops
    found = preset.float32_tflops if setting.compute == "float32" else half
    return None if found is None else 1e12 * found


def _utilization(setting: Setting) -> Range:
    offloaded = (isinstance(setting.strategy, DeepSpeed) and setting.strategy.offload_optimizer != "none") or (
        isinstance(setting.strategy, FSDP) and setting.strategy.cpu_offload
    )
    small = counting.active(setting.shape) < SMALL or setting.tokens < 2048
    return SLOW if offloaded or small or setting.offload_activations else UTILIZATION


def _generating(setting: Setting, todo: Work, preset: Accelerator | None) -> Range:
    """Seconds in which answers are generated: each token reads the weights and what was attended to before."""
    method = setting.method
    if not isinstance(method, OnlineMethod) or preset is None or preset.bandwidth is None:
        return (0.0, 0.0)
    again = method.num_ppo_epochs if isinstance(method, PPO) else getattr(method, "num_iterations", 1)
    rows = setting.rows * (1 if isinstance(method, PPO) else setting.accumulation)
    rounds = [steps * setting.accumulation * setting.rows / rows / again for steps in todo.steps]
    weights = (2 if setting.compute != "float32" else 4) * counting.active(setting.shape)
    cache = 4 * setting.shape.layers * setting.shape.keys * rows * setting.length / 2
    token = (weights + cache) / (preset.bandwidth * 1e9)
    answer = method.max_completion_length
    return (rounds[0] * 0.25 * answer * token / DECODING[1], rounds[1] * answer * token / DECODING[0])


def _price(hours: Range, rented: int, hardware: Hardware, preset: Accelerator | None) -> tuple[Range | None, str]:
    """With the price that the recipe says, or the range of what clouds ask."""
    if hardware.price_per_hour is not None:
        each = hardware.price_per_hour
        return (hours[0] * rented * each, hours[1] * rented * each), ""
    if preset is None or preset.price is None:
        return None, "USD"
    return (hours[0] * rented * preset.price[0], hours[1] * rented * preset.price[1]), "USD"


def _carbon(hours: Range, rented: int, hardware: Hardware, preset: Accelerator | None) -> Range | None:
    """Energy at 60 to 100 % of the power of the devices, with 10 to 50 % more for what is around them."""
    if hardware.carbon_intensity is None or preset is None or preset.watts is None:
        return None
    kilowatts = rented * preset.watts / 1000
    each = hardware.carbon_intensity / 1000
    return (hours[0] * kilowatts * 0.6 * 1.1 * each, hours[1] * kilowatts * 1.5 * each)
