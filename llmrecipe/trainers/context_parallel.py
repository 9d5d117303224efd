"""Context parallelism: sequences are shared out over processes, which pass keys and values around.

Transformers and Accelerate do the work. They drop the attention mask of every layer, so that what is left is "each
token sees all before it"; where a model means something else they refuse in the first step, or do not notice.
Source: https://arxiv.org/abs/2310.01889
"""

from typing import Any

from llmrecipe.stages.place import StageError

INSTEAD = "leave out `distributed.context_parallel_size`"


def multiple(size: int) -> int:
    """What the length of a sequence has to be a multiple of: each process takes an early and a late stretch of it."""
    return 1 if size == 1 else 2 * size


def check(model: Any) -> None:
    """See that attention over shares of a sequence is the attention of this model.

    Raises:
        StageError: it has windows, drops scores, or has attention where Accelerate does not look for it.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    name, config = type(base).__name__, base.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds or (getattr(config, "layer_types", None) is None and getattr(config, "sliding_window", None)):
        raise StageError(f"{name} has layers whose attention does not see the whole sequence", INSTEAD)
    if not any(path.endswith("self_attn") for path, _ in base.named_modules()):
        raise StageError(f"the attention of {name} cannot be computed over shares of a sequence", INSTEAD)
    if getattr(config, "attention_dropout", 0):
        raise StageError(
            f"{name} drops {config.attention_dropout:g} of its attention, which shares of a sequence cannot",
            f"{INSTEAD}, or set `attention_dropout` in the model's config.json to 0",
        )
