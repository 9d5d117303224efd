"""A tiny model with random weights, of the architecture of another: two layers, narrow, with the whole vocabulary."""

from pathlib import Path
from typing import Any

from transformers import set_seed

from llmrecipe.plan import HubModel, InputModel, LocalModel, ModelOrigin, NewModel
from llmrecipe.preflight.case import Case
from llmrecipe.preflight.skeleton import configuration
from llmrecipe.stages import loading
from llmrecipe.vocabulary import Architecture, Head

HEADS, HEAD_SIZE, WIDTH, EXPERTS = 4, 16, 64, 4
STUDENT = "model"
"""The name of the model that is trained."""
SCORES = "ForSequenceClassification"
"""What the class of a reward model is called."""

SMALL: dict[str, int] = {
    "hidden_size": WIDTH,
    "embedding_size": WIDTH,
    "intermediate_size": 96,
    "num_attention_heads": HEADS,
    "head_dim": HEAD_SIZE,
    "num_experts": EXPERTS,
    "num_local_experts": EXPERTS,
    "n_routed_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
"""Numbers of a configuration and what they become; names of the family lead to the same."""


def folder_of(case: Case, wanted: ModelOrigin, head: Head, name: str) -> Path:
    """Write the tiny model that stands for another, with the tokenizer of the case, or its own if it is no student.

    Raises:
        StageError: the architecture cannot be made so small, or the tokenizer cannot be had.
    """
    origin = case.artifacts.origin(case.stage, wanted)
    folder = case.place(f"tiny-{name}").output / "model"
    if not folder.is_dir():
        # A teacher with the weights of its student would have nothing to teach.
        model = _model(case, origin, head, case.spec.seed + (name != STUDENT))
        model.save_pretrained(folder)
        tokenizer = case.tokenizer if name == STUDENT else _tokenizer(case, wanted)
        tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(case: Case, wanted: ModelOrigin) -> Any:
    """The tokenizer that comes with another model of the training."""
    found = case.artifacts.tokenizer(case.stage.inputs[wanted.name]) if isinstance(wanted, InputModel) else wanted
    if isinstance(found, Path):
        return loading.tokenizer_at(found)
    return loading.tokenizer_of(found, case.place("other-tokenizer"), case.spec.trust_remote_code)


def _model(case: Case, origin: HubModel | LocalModel | NewModel, head: Head, seed: int) -> Any:
    attention = attention_of(case)
    if isinstance(origin, NewModel) and head != "reward":
        return loading.new_model(_smaller(origin.architecture), case.tokenizer, attention, "float32", seed)
    if isinstance(origin, NewModel):
        model = loading.new_model(_smaller(origin.architecture), case.tokenizer, attention, "float32", seed)
        config = model.config
        config.num_labels = 1
    else:
        config = shrunk(configuration(case, origin))
        if head == "reward" and not any(SCORES in name for name in config.architectures or ()):
            config.num_labels = 1  # Of a base that another training makes a reward model of.
    config.pad_token_id = case.tokenizer.pad_token_id if case.tokenizer.pad_token_id is not None else 0
    set_seed(seed)
    name = origin.repo if isinstance(origin, HubModel) else case.recipe
    with loading.readable(name, origin):
        return loading.AUTO_CLASSES[head].from_config(
            config, attn_implementation=attention, dtype="float32", trust_remote_code=case.spec.trust_remote_code
        )


def attention_of(case: Case) -> str:
    """The attention of the trial: FlashAttention needs a GPU, and compiling flex attention takes minutes."""
    return case.spec.attention if case.spec.attention in ("eager", "sdpa") else "sdpa"


def _smaller(architecture: Architecture) -> Architecture:
    changes: dict[str, object] = {"num_hidden_layers": min(2, architecture.num_hidden_layers)}
    for name, value in SMALL.items():
        if getattr(architecture, name, None) is not None:
            changes[name] = value
    heads, groups = architecture.num_attention_heads, architecture.num_key_value_heads
    changes["num_attention_heads"] = HEADS
    if groups is not None:
        changes["num_key_value_heads"] = _groups(heads, groups, HEADS)
    return architecture.model_copy(update=changes)


def _groups(heads: int, groups: int, fewer: int) -> int:
    """Key-value heads of fewer heads, in about the same proportion; each serves as many."""
    most = fewer if groups >= heads else max(1, fewer * groups // heads)
    return next(count for count in range(most, 0, -1) if fewer % count == 0)


def shrunk(config: Any) -> Any:
    """A configuration with two layers, or one of each kind of layer where there are more, and narrow ones."""
    text = config.get_text_config()
    heads, groups = text.num_attention_heads, getattr(text, "num_key_value_heads", None)
    kinds = list(dict.fromkeys(getattr(text, "layer_types", None) or []))
    layers = min(text.num_hidden_layers, max(2, len(kinds)))
    for name, value in SMALL.items():
        if getattr(text, name, None) is not None:
            setattr(text, name, min(value, getattr(text, name)))
    if groups is not None:
        text.num_key_value_heads = _groups(heads, groups, text.num_attention_heads)
    if getattr(text, "layer_types", None):
        text.layer_types = (kinds * layers)[:layers]
    text.num_hidden_layers = layers
    config.torch_dtype = None
    return config
