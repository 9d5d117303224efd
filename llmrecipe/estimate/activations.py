"""Bytes that the forward pass keeps for the backward pass, per token and layer, in the layers of Transformers.

Every coefficient was measured: PyTorch's memory tracker over models of one and of two layers and of many widths, which
gives whole numbers. `benchmarks/estimates.py` compares whole training steps.
"""

from dataclasses import dataclass

from llmrecipe.estimate.counting import BYTES, LinearLayer, experts, linears
from llmrecipe.estimate.setting import Setting
from llmrecipe.estimate.shape import Shape
from llmrecipe.facts import architectures
from llmrecipe.vocabulary import DoRA, Full


@dataclass(frozen=True)
class Kept:
    """Bytes per token of a layer, for each unit of a width."""

    hidden: int
    queries: int
    keys: int
    wide: int
    heads: int = 4
    """Of each query head: the sums of attention's exponentials."""
    key_heads: int = 0
    token: int = 8
    """Whatever the widths: one number of each norm."""

    def of(self, shape: Shape, split: int = 1) -> int:
        """Bytes per token of one layer whose heads and feed-forward block are split over so many devices."""
        wide = shape.intermediate + shape.chosen * shape.expert_width
        within = (
            self.queries * shape.queries
            + self.keys * shape.keys
            + self.wide * wide
            + self.heads * shape.heads
            + self.key_heads * shape.key_value_heads
        )
        return self.hidden * shape.hidden + within // split + self.token


_HALF: dict[str, Kept] = {
    "llama": Kept(16, 4, 4, 8),
    "qwen3": Kept(16, 10, 10, 8, 8, 4),
    "gemma3_text": Kept(36, 12, 12, 8, 8, 4, 16),
    "olmo2": Kept(20, 12, 12, 8, 4, 0, 16),
    "phi3": Kept(20, 4, 6, 8),
    "gpt2": Kept(8, 4, 4, 10),
}
"""Weights and products in 16 bits."""
_MIXED: dict[str, Kept] = {
    "llama": Kept(26, 4, 4, 8),
    "qwen3": Kept(26, 10, 10, 8, 8, 4),
    "gemma3_text": Kept(42, 12, 12, 8, 8, 4, 16),
    "olmo2": Kept(26, 12, 12, 8, 4, 0, 16),
    "phi3": Kept(24, 4, 6, 8),
    "gpt2": Kept(12, 4, 4, 10, 4, 0, 16),
}
"""Weights in float32, products in 16 bits."""
_SINGLE: dict[str, Kept] = {
    "llama": Kept(24, 8, 8, 16),
    "qwen3": Kept(24, 16, 16, 16, 8, 4),
    "gemma3_text": Kept(40, 16, 16, 16, 8, 4, 16),
    "olmo2": Kept(24, 16, 16, 16, 4, 0, 16),
    "phi3": Kept(32, 8, 12, 16),
    "gpt2": Kept(16, 8, 8, 20, 4, 0, 16),
}
"""Weights and products in float32."""
_ADAPTED: dict[str, Kept] = {
    "llama": Kept(18, 6, 4, 8),
    "qwen3": Kept(18, 10, 8, 8, 8, 4),
    "gemma3_text": Kept(26, 10, 8, 8, 8, 4, 16),
    "olmo2": Kept(18, 10, 8, 8, 4, 0, 16),
    "phi3": Kept(14, 6, 6, 8),
    "gpt2": Kept(10, 4, 4, 10, 4, 0, 16),
}
"""A frozen base in 16 bits, and an adapter in float32 on all of its linear layers; without what follows the rank."""
_LIKE = {
    "qwen3_moe": "qwen3",
    "gpt_oss": "llama",
    "gemma2": "gemma3_text",
    "bert": "gpt2",
    "falcon": "gpt2",
    "modernbert": "phi3",
}
"""Family -> the family that keeps about the same. Others keep what a Llama keeps."""

WINDOWS = {"gemma3_text": (512, 5 / 6)}
"""Families with SDPA some of whose layers see a window: its tokens, at least, and the share of such layers."""


def of_layer(setting: Setting) -> int:
    """Bytes per token that one layer keeps when nothing is recomputed, the mask of packed rows aside."""
    shape = setting.shape
    family = _LIKE.get(shape.family, shape.family)
    table = _table(setting)
    found = table.get(family, table["llama"]).of(shape, setting.tensor) + _adapter(setting)
    if setting.attention == "eager":  # Scores in the type of the products, softmax in float32 and rounded.
        found += shape.heads * setting.length * (4 + 2 * BYTES[setting.compute])
    return found + _router(setting)


def mask_bytes(setting: Setting) -> float:
    """Bytes of one layer for the mask of packed rows, which SDPA turns into numbers to add, of its own in every layer.

    With a mask, the keys and values of grouped queries are repeated for every query head. Rows that are longer than the
    window of a layer have a mask in any case: this is the mean over all layers.
    """
    if setting.attention != "sdpa":
        return 0
    size, shape = BYTES[setting.compute], setting.shape
    window, share = WINDOWS.get(shape.family, (0, 0.0))
    masked = 1.0 if setting.packed else share if setting.length >= window else 0.0
    repeated = 2 * size * (shape.queries - shape.keys) * setting.tokens
    return masked * (size * setting.sequences * setting.length**2 + repeated)


def of_input(setting: Setting) -> int:
    """Bytes per token of the input of a layer: all that is kept of one that is recomputed."""
    size = 4 if setting.seen == "float32" else 2
    return size * setting.shape.hidden


def backward(setting: Setting) -> int:
    """Bytes per token of the gradients inside of a feed-forward block, beside what it kept."""
    shape = setting.shape
    wide = shape.intermediate + shape.chosen * shape.expert_width
    size = 4 if setting.compute == "float32" else 2
    again = size * wide + 10 * shape.hidden if setting.adapted and setting.checkpointing is not None else 0
    return 2 * size * wide // setting.tensor + again


def of_last_norm(setting: Setting) -> tuple[int, int]:
    """Bytes per token of the norm after all layers: while the loss is computed, and when the backward pass begins."""
    if setting.adapted:
        at_loss, after = 2, 2
    elif setting.mixed or setting.compute == "float32":
        at_loss, after = 12, 4
    else:
        at_loss, after = 8, 6
    return at_loss * setting.shape.hidden, after * setting.shape.hidden


def _table(setting: Setting) -> dict[str, Kept]:
    if setting.adapted and setting.compute != "float32":
        return _ADAPTED
    if setting.compute == "float32":
        return _SINGLE
    return _MIXED if setting.mixed else _HALF


def _adapter(setting: Setting) -> int:
    """What the two matrices of each update keep beside the inputs that the tables count."""
    if isinstance(setting.adapter, Full):
        return 0
    adapter, size = setting.adapter, BYTES[setting.compute]
    targets = adapted_linears(setting)
    found = sum(size * adapter.r for _ in targets)
    # The tables count the input of every layer, of which each update has a copy of its own.
    found -= sum(size * linear.inputs for linear in linears(setting.shape) if linear not in targets)
    if adapter.lora_dropout:  # One byte for each input that may be dropped.
        found += sum(linear.inputs for linear in targets)
    if isinstance(adapter, DoRA):  # What the layer gives with and without the update.
        found += sum(2 * size * linear.outputs for linear in targets)
    return found


def adapted_linears(setting: Setting) -> list[LinearLayer]:
    """The linear layers of one layer that get an update."""
    assert not isinstance(setting.adapter, Full)
    names = setting.adapter.target_modules
    return [
        linear for linear in linears(setting.shape) if names == "all-linear" or any(linear.name in n for n in names)
    ]


@dataclass(frozen=True)
class Experts:
    """A weight of all experts of a layer that gets an update."""

    inputs: int
    outputs: int
    copies: int
    rank: int

    @property
    def numbers(self) -> int:
        """Weights."""
        return self.inputs * self.outputs * self.copies


def adapted_experts(setting: Setting) -> list[Experts]:
    """The weights of a mixture of experts that get an update, as PEFT makes it; the router among them.

    `target_parameters` names them. Where the layers of a family became one weight in Transformers 5, `all-linear` and
    their old names mean it: of two that were joined, the update has twice the rank.
    """
    shape, adapter = setting.shape, setting.adapter
    if isinstance(adapter, Full) or not shape.experts:
        return []
    known = architectures().get(shape.family)
    renamed = {} if known is None else known.renamed
    written = adapter.target_modules
    old = set(renamed) if written == "all-linear" else {name.rpartition(".")[2] for name in written}
    joined = {weight: sum(name in old for name in renamed if renamed[name] == weight) for weight in renamed.values()}
    named = {name.rpartition(".")[2]: 1 for name in adapter.target_parameters}
    hidden, width, count = shape.hidden, shape.expert_width, shape.experts
    found = []
    for name, times in (joined | named).items():
        rank = adapter.r * times
        match name.rpartition(".")[2]:
            case "gate_up_proj" if times:
                found.append(Experts(hidden, 2 * width, count, rank))
            case "down_proj" if times:
                found.append(Experts(width, hidden, count, rank))
            case "weight" if times:
                found.append(Experts(hidden, count, 1, rank))
    return found


def of_experts(setting: Setting) -> int:
    """Bytes of one layer, whatever its tokens: adapted experts are whole weights again, beside their two matrices."""
    size = BYTES[setting.compute]
    return sum(size * (e.numbers + e.rank * e.copies * (e.inputs + e.outputs)) for e in adapted_experts(setting))


def expert_gradient(setting: Setting) -> int:
    """Bytes of the gradient of a whole weight of experts, out of which those of an update are made."""
    return BYTES[setting.compute] * min((e.numbers for e in adapted_experts(setting) if e.copies > 1), default=0)


def _router(setting: Setting) -> int:
    """Scores of the experts in float32, and copies of a token for each that computes for it.

    Experts that are not trained need no inputs for gradients of theirs.
    """
    shape = setting.shape
    if not experts(shape):
        return 0
    size, wide = BYTES[setting.compute], shape.chosen * shape.expert_width
    if not setting.adapted:
        return 8 * shape.experts + 2 * size * (shape.chosen - 1) * shape.hidden
    updated = {each.inputs for each in adapted_experts(setting) if each.copies > 1}
    inputs = (shape.chosen * shape.hidden if shape.hidden in updated else 0) + (
        wide if shape.expert_width in updated else 0
    )
    return 8 * shape.experts + size * (wide + inputs)
