"""What a model weighs, from its configuration alone: parameters and bytes."""

from typing import Literal

from llmrecipe.facts import models
from llmrecipe.vocabulary import Architecture, Dtype

BYTES: dict[Dtype, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


def parameters(architecture: Architecture, vocab_size: int) -> int:
    """Trainable numbers of a model with random weights, exactly as Transformers builds it.

    What the architecture leaves out is derived as its fields say. Source: the modules of each family in Transformers.

    Raises:
        ValueError: `gpt2` or `bert` without `max_position_embeddings`; their positions are a table of weights.
    """
    hidden = architecture.hidden_size
    embeddings = vocab_size * hidden * (1 if architecture.tie_word_embeddings else 2)
    layers = architecture.num_hidden_layers * _layer(architecture)
    family = architecture.family
    match family:
        case "gpt2" | "bert" if architecture.max_position_embeddings is None:
            raise ValueError(f"{family} needs `max_position_embeddings`: its positions are weights")
        case "bert":  # Types of segments, norms, and a head with a layer of its own.
            embeddings += (architecture.max_position_embeddings or 0) * hidden + 2 * hidden
            biases = vocab_size * (1 if architecture.tie_word_embeddings else 2)
            return embeddings + layers + hidden * hidden + 5 * hidden + biases
        case "modernbert":  # The first layer has no norm before its attention.
            return embeddings + layers + hidden * hidden + 2 * hidden + vocab_size
        case "gpt2":
            assert architecture.max_position_embeddings is not None
            return embeddings + architecture.max_position_embeddings * hidden + layers + 2 * hidden
        case "falcon":
            return embeddings + layers + 2 * hidden
        case "qwen3" | "qwen3_moe" | "llama" | "mistral" | "gemma3_text" | "smollm3":
            return embeddings + layers + hidden


def _layer(architecture: Architecture) -> int:
    """Parameters of one layer: attention, feed-forward block, norms."""
    hidden = architecture.hidden_size
    heads = architecture.num_attention_heads
    head_dim = architecture.head_dim or hidden // heads
    key_value = (architecture.num_key_value_heads or heads) * head_dim
    intermediate = architecture.intermediate_size or 4 * hidden
    attention = 2 * hidden * heads * head_dim + 2 * hidden * key_value
    match architecture.family:
        case "bert":
            return 4 * hidden * hidden + 2 * hidden * intermediate + intermediate + 9 * hidden
        case "modernbert":
            return attention + 3 * hidden * intermediate + 2 * hidden
        case "gpt2":
            biases = 5 * hidden + intermediate
            return 4 * hidden * hidden + 2 * hidden * intermediate + biases + 4 * hidden
        case "falcon":
            return attention + 2 * hidden * intermediate + 4 * hidden
        case "qwen3":
            return attention + 3 * hidden * intermediate + 2 * hidden + 2 * head_dim
        case "qwen3_moe":
            experts, chosen = architecture.num_experts or 8, architecture.num_experts_per_tok or 2
            width = architecture.moe_intermediate_size or 4 * hidden // chosen
            return attention + experts * (3 * hidden * width + hidden) + 2 * hidden + 2 * head_dim
        case "gemma3_text":
            return attention + 3 * hidden * intermediate + 4 * hidden + 2 * head_dim
        case "llama" | "mistral" | "smollm3":
            return attention + 3 * hidden * intermediate + 2 * hidden


def weight_bytes(base: str, dtype: Dtype | Literal["auto"] = "auto") -> int | None:
    """Bytes of the weights of a Hub model; `auto` is the type of its checkpoint. None when nothing offline says it."""
    facts = models().get(base)
    if facts is None:
        return None
    return facts.parameters * BYTES[facts.dtype if dtype == "auto" else dtype]
