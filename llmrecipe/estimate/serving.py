"""What serving a model takes: weights, keys and values of the tokens in memory, how fast, and for how much."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmrecipe.estimate import counting, setting, shape
from llmrecipe.estimate.counting import BYTES
from llmrecipe.estimate.shape import Shape
from llmrecipe.facts import Accelerator
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.serving import VLLM
from llmrecipe.vocabulary import Dtype, Full

GIB = 2**30
UTILIZATION = 0.9
"""Share of the memory that vLLM takes when nothing is written."""
BLOCK = 16
"""Tokens of one block of the cache."""
SEQUENCES, BATCHED_TOKENS = 256, 8192
"""vLLM's own limits of requests and of tokens in one pass on large accelerators; less on small ones."""
OUTSIDE = (0.35, 1.5)
"""GiB that vLLM holds beside weights, cache and activations: context, and graphs. 0.35: the log of vllm#10517."""
DECODING = 0.7
"""Share of the memory's bandwidth that generation reaches at best. Our judgement."""
HOURS_OF_MONTH = 730
CACHE_BYTES = {"auto": 0, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}


@dataclass(frozen=True)
class Serving:
    """One replica; bytes are of one device."""

    weights: float
    token: float
    """Bytes of the keys and values of one token."""
    pool: tuple[float, float]
    """Bytes that are left for them, at least and at most."""
    length: int
    """Longest prompt and answer."""
    sequences: int
    """Requests that may be answered at once, as they are limited."""
    tokens_per_second: tuple[float, float]
    """Bounds of one request alone, and of all that fit at a quarter of the longest length."""
    price_per_million: tuple[float, float] | None
    """Of generated tokens: with all places taken, and at a tenth of that."""
    price_per_hour: float | None
    """Of the replicas that always run."""
    break_even: float | None
    """Tokens a month from which serving is cheaper than the hosted model that the recipe names."""

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens of the cache, at least and at most."""
        low, high = (max(0, int(size // (BLOCK * self.token))) * BLOCK for size in self.pool)
        return low, high

    @property
    def concurrency(self) -> tuple[float, float]:
        """Requests of the longest length that fit, at least and at most."""
        low, high = self.tokens
        return low / self.length, high / self.length


def serving(recipe: Recipe, recipes: Mapping[str, Recipe], device: float, preset: Accelerator) -> Serving | None:
    """What vLLM has for this recipe; None where another engine serves, or the model is not known offline.

    Args:
        device: bytes of the memory of one device.
    """
    options = recipe.serving
    model = shape.of_recipe(recipe, recipes)
    if not isinstance(options, VLLM) or model is None:
        return None
    spread = options.tensor_parallel_size
    size = BYTES[dtype(recipe, recipes, model)]
    length = options.max_model_len or model.positions or recipe.training.max_length
    sequences = options.max_num_seqs or SEQUENCES
    weights = size * counting.total(model) / spread + _adapters(recipe, recipes, model, size)
    token = cache_bytes_per_token(model, spread, CACHE_BYTES.get(str(options.extra.get("kv_cache_dtype")), 0) or size)
    batched = options.extra.get("max_num_batched_tokens")
    passing = batched if isinstance(batched, int) else min(BATCHED_TOKENS, max(2048, length))
    wide = 6 * (model.intermediate + model.chosen * model.expert_width) / spread + 6 * model.hidden
    active = passing * wide + min(sequences, passing) * model.vocabulary * 4
    room = (options.gpu_memory_utilization or UTILIZATION) * device - weights
    pool = (room - active - OUTSIDE[1] * GIB, room - OUTSIDE[0] * GIB - active / 4)
    speed = _speed(model, preset, size, spread, token, min(sequences, pool[1] / token / max(1, length / 4)), length)
    each = recipe.hardware.price_per_hour
    if each is None and preset.price is not None:
        each = sum(preset.price) / 2
    hourly = None if each is None else each * spread
    price = None
    if hourly is not None and speed[1] > 0:
        best = hourly / (speed[1] * 3600) * 1e6
        price = (best, 10 * best)
    asked = recipe.hardware.api_price_per_million_tokens
    running = None if hourly is None else hourly * options.replicas.min
    even = None if asked is None or running is None else running * HOURS_OF_MONTH / asked * 1e6
    return Serving(weights, token, pool, length, sequences, speed, price, running, even)


def cache_bytes_per_token(model: Shape, tensor_parallel_size: int, bytes_per_value: int) -> float:
    """Bytes of keys and values that one token takes on one device.

    Two tensors of [key-value heads, head_dim] for each layer; heads are split over the devices, never below one.
    Source: https://arxiv.org/abs/2309.06180, section 2.2
    """
    heads = max(1.0, model.key_value_heads / tensor_parallel_size)
    return 2 * model.layers * heads * model.head_dim * bytes_per_value


def dtype(recipe: Recipe, recipes: Mapping[str, Recipe], model: Shape) -> Dtype:
    """The type in which weights are served: as written, or that of what is exported, float32 becoming 16 bits."""
    options = recipe.serving
    if isinstance(options, VLLM) and options.dtype != "auto":
        return options.dtype
    trained = recipe.method is not None
    found = setting.weights_of(recipe, recipes, model) if trained else setting.stored(recipe, recipes, model)
    written = (recipe.export.formats[0].dtype if trained else None) or found
    return "bfloat16" if written == "float32" else written


def _adapters(recipe: Recipe, recipes: Mapping[str, Recipe], model: Shape, size: int) -> float:
    """Slots for adapters beside the model, each with room for the largest rank."""
    assert isinstance(recipe.serving, VLLM)
    found = [recipes[ref.name].model.adapter for ref in recipe.serving.adapters if ref.name in recipes]
    ranks = [adapter.r for adapter in found if not isinstance(adapter, Full)]
    widths = sum(linear.inputs + linear.outputs for linear in counting.linears(model))
    return len(ranks) * max(ranks, default=0) * widths * model.layers * size


def _speed(
    model: Shape, preset: Accelerator, size: int, spread: int, token: float, places: float, length: int
) -> tuple[float, float]:
    """Tokens a second: each pass reads the weights of the experts that are asked, and what every request has seen."""
    if preset.bandwidth is None:
        return 0.0, 0.0
    second = DECODING * preset.bandwidth * 1e9
    everything = size * counting.total(model) / spread
    alone = 1 / ((size * counting.active(model) / spread + token * length / 4) / second)
    many = max(1.0, places)
    return alone, many / ((everything + many * token * length / 4) / second)
