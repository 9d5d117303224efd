"""Numbers of a model: in all, in one layer, in its linear layers, and those that compute for a token."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llmrecipe.estimate.shape import Shape, of_architecture
from llmrecipe.facts import models
from llmrecipe.vocabulary import Architecture, Dtype

BYTES: dict[Dtype, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


def parameters(architecture: Architecture, vocab_size: int) -> int:
    """Trainable numbers of a model with random weights, exactly as Transformers builds it.

    What the architecture leaves out is derived as its fields say. Source: the modules of each family in Transformers.

    Raises:
        ValueError: `gpt2` or `bert` without `max_position_embeddings`; their positions are a table of weights.
    """
    return total(of_architecture(architecture, vocab_size))


def total(shape: Shape) -> int:
    """All numbers of a model.

    Raises:
        ValueError: `gpt2` or `bert` without positions, which are a table of weights.
    """
    hidden, vocabulary = shape.hidden, shape.vocabulary
    embeddings = vocabulary * hidden * (1 if shape.tied else 2)
    layers = shape.layers * layer(shape)
    if shape.family in ("gpt2", "bert") and shape.positions is None:
        raise ValueError(f"{shape.family} needs `max_position_embeddings`: its positions are weights")
    match shape.family:
        case "bert":  # Types of segments, norms, and a head with a layer of its own.
            embeddings += (shape.positions or 0) * hidden + 2 * hidden
            biases = vocabulary * (1 if shape.tied else 2)
            return embeddings + layers + hidden * hidden + 5 * hidden + biases
        case "modernbert":  # The first layer has no norm before its attention.
            return embeddings + layers + hidden * hidden + 2 * hidden + vocabulary
        case "gpt2":
            return embeddings + (shape.positions or 0) * hidden + layers + 2 * hidden
        case "falcon":
            return embeddings + layers + 2 * hidden
        case _:
            return embeddings + layers + hidden


def active(shape: Shape) -> int:
    """Numbers that compute for one token: all of them, or those of its experts."""
    idle = shape.experts - shape.chosen
    return total(shape) - shape.layers * idle * 3 * shape.hidden * shape.expert_width


def embedding(shape: Shape) -> int:
    """Numbers of the table of tokens, which is looked up and not multiplied with."""
    return shape.vocabulary * shape.hidden


def layer(shape: Shape) -> int:
    """Parameters of one layer: attention, feed-forward block or experts, norms."""
    return sum(linear.numbers for linear in linears(shape)) + experts(shape) + _rest(shape)


@dataclass(frozen=True)
class LinearLayer:
    """A matrix of one layer of a model."""

    name: str
    inputs: int
    outputs: int

    @property
    def numbers(self) -> int:
        """Weights, without a bias."""
        return self.inputs * self.outputs


def linears(shape: Shape) -> tuple[LinearLayer, ...]:
    """The linear layers of one layer by their names in Transformers; experts are one tensor each and not among them."""
    return tuple(_linears(shape))


def _linears(shape: Shape) -> Iterator[LinearLayer]:
    hidden, queries, keys, wide = shape.hidden, shape.queries, shape.keys, shape.intermediate
    names: tuple[tuple[str, int, int], ...]
    match shape.family:
        case "gpt2":
            names = (("c_attn", hidden, 3 * hidden), ("c_proj", hidden, hidden), ("c_fc", hidden, wide),
                     ("c_proj", wide, hidden))  # fmt: skip
        case "bert":
            names = (("query", hidden, hidden), ("key", hidden, hidden), ("value", hidden, hidden),
                     ("dense", hidden, hidden), ("dense", hidden, wide), ("dense", wide, hidden))  # fmt: skip
        case "modernbert":
            names = (("Wqkv", hidden, 3 * hidden), ("Wo", hidden, hidden), ("Wi", hidden, 2 * wide),
                     ("Wo", wide, hidden))  # fmt: skip
        case "falcon":
            names = (("query_key_value", hidden, queries + 2 * keys), ("dense", queries, hidden),
                     ("dense_h_to_4h", hidden, wide), ("dense_4h_to_h", wide, hidden))  # fmt: skip
        case "phi3":
            names = (("qkv_proj", hidden, queries + 2 * keys), ("o_proj", queries, hidden),
                     ("gate_up_proj", hidden, 2 * wide), ("down_proj", wide, hidden))  # fmt: skip
        case _:
            names = (("q_proj", hidden, queries), ("k_proj", hidden, keys), ("v_proj", hidden, keys),
                     ("o_proj", queries, hidden), ("gate_proj", hidden, wide), ("up_proj", hidden, wide),
                     ("down_proj", wide, hidden))  # fmt: skip
    return (LinearLayer(name, inputs, outputs) for name, inputs, outputs in names if inputs and outputs)


def experts(shape: Shape) -> int:
    """Weights of the experts of one layer, and of the router before them."""
    if not shape.experts:
        return 0
    hidden, width = shape.hidden, shape.expert_width
    biases = (2 * width + hidden) + 1 if shape.family == "gpt_oss" else 0
    return shape.experts * (3 * hidden * width + hidden + biases)


def _rest(shape: Shape) -> int:
    """Norms and biases of one layer."""
    hidden = shape.hidden
    match shape.family:
        case "bert":
            return 9 * hidden + shape.intermediate
        case "gpt2":
            return 9 * hidden + shape.intermediate
        case "falcon":
            return 4 * hidden
        case "qwen2":
            return 2 * hidden + shape.queries + 2 * shape.keys
        case "qwen3" | "qwen3_moe":
            return 2 * hidden + 2 * shape.head_dim
        case "gemma2":
            return 4 * hidden
        case "gemma3_text":
            return 4 * hidden + 2 * shape.head_dim
        case "olmo2":
            return 2 * hidden + shape.queries + shape.keys
        case "gpt_oss":  # Biases of all projections, and one number of each head that attention may go to.
            return 2 * hidden + shape.queries + 2 * shape.keys + hidden + shape.heads
        case _:
            return 2 * hidden


def weight_bytes(base: str, dtype: Dtype | Literal["auto"] = "auto") -> int | None:
    """Bytes of the weights of a Hub model; `auto` is the type of its checkpoint. None when nothing offline says it."""
    facts = models().get(base)
    if facts is None:
        return None
    return facts.parameters * BYTES[facts.dtype if dtype == "auto" else dtype]
