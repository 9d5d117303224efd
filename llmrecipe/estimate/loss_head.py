"""What a step takes between the last hidden states and the loss, and what of it is left afterwards."""

from dataclasses import dataclass

from llmrecipe.estimate import counting
from llmrecipe.estimate.counting import BYTES
from llmrecipe.estimate.setting import Setting
from llmrecipe.methods.mlm import MLM
from llmrecipe.methods.ppo import PPO

TILE_BYTES = 2**30
"""Largest tile of logits in float32 of our loss. `trainers/losses.py` says the same, and a test compares them."""
FEWEST_ROWS = 128
LIBRARY_ROWS, LIBRARY_WIDTH = 4096, 32768
"""Tile of TRL's loss of preferences and rewards: tokens by tokens of the vocabulary."""
SOFTCAPPED = ("gemma2",)


@dataclass(frozen=True)
class Head:
    """Bytes beyond the hidden states."""

    peak: float
    """While the loss is computed."""
    left: float
    """While the layers have their backward pass."""
    backward: float = 0
    """While the loss has its own."""


def head(setting: Setting) -> Head:
    """The loss of a method, over as many tokens as it may be over."""
    match setting.method.kind:
        case "pretrain" | "sft":
            return _tiles(setting)
        case "dpo" | "kto" | "grpo" | "rloo":
            return _library_tiles(setting, 1)
        case "distillation":
            return _library_tiles(setting, 2)
        case "reward":
            return Head(0, 0)
        case _:
            return _all_logits(setting)


def _tiles(setting: Setting) -> Head:
    """Our own: positions in tiles, each with its gradient, so that no logits are left.

    A tile of E logits in 16 bits takes 10 E: itself, a copy in float32, and its log-probabilities.
    """
    shape, count, size = setting.shape, min(setting.learned, setting.tokens), BYTES[setting.compute]
    rows = min(count, max(FEWEST_ROWS, TILE_BYTES // (4 * shape.vocabulary)))
    tile = rows * shape.vocabulary
    states = 4 if setting.seen == "float32" else 2
    kept = states * count * shape.hidden  # The gradient of the hidden states.
    table = counting.embedding(shape)
    trained = not setting.adapted
    cast = size * table if setting.mixed else 0
    within = (size + 4 + (0 if size == 4 else 4)) * tile + (4 * tile if shape.family in SOFTCAPPED else 0)
    product = size * table if trained and size != 4 else 0
    peak = 2 * kept + cast + (4 * table if trained else 0) + max(within, size * tile + product)
    return Head(peak, kept + (BYTES[setting.seen] * table if trained else 0))


def _library_tiles(setting: Setting, models: int) -> Head:
    """TRL's: log-probabilities of the tokens by tiles, which are computed again in the backward pass.

    Source: `trl/kernels/chunked_logprob.py` of TRL 1.16.
    """
    shape, count, size = setting.shape, setting.learned, BYTES[setting.compute]
    tile = min(count, LIBRARY_ROWS) * LIBRARY_WIDTH * size * models
    states = 4 if setting.seen == "float32" else 2
    chosen = states * count * shape.hidden
    rounded = 0 if setting.seen == "float32" else BYTES[setting.seen]
    table = 0 if setting.adapted else (4 + rounded) * counting.embedding(shape)
    left = states * count * shape.hidden + (0 if setting.adapted else BYTES[setting.seen] * counting.embedding(shape))
    return Head(chosen + tile + 28 * count, left, chosen + tile + 4 * count * shape.hidden + table + 28 * count)


def _all_logits(setting: Setting) -> Head:
    """Losses that look at all logits at once: of hidden tokens, of odds ratios, and of PPO's answers."""
    shape, size = setting.shape, BYTES[setting.compute]
    if isinstance(setting.method, MLM):
        hidden = setting.method.mlm_probability * setting.tokens * shape.vocabulary
        logits = size * setting.tokens * shape.vocabulary
        return Head(logits + (size + 8) * hidden, 2 * logits + (2 * size + 8) * hidden)
    logits = setting.learned * shape.vocabulary
    if isinstance(setting.method, PPO):  # Divided by the temperature; log-probabilities and entropy in float32.
        return Head((2 * size + 20) * logits, (size + 12) * logits)
    whole = setting.tokens * shape.vocabulary  # Autocast gives them in float32 once more.
    return Head((size + 12) * whole, (size + 16) * whole)
