"""The models that training compares with the trained one: loaded by their role, which is the keyword of the trainer."""

from typing import Any

from llmrecipe.plan import ModelOrigin, Train
from llmrecipe.stages import loading
from llmrecipe.stages.place import Place, StageError
from llmrecipe.vocabulary import Head

HEADS: dict[str, Head] = {"reward_model": "reward", "value_model": "reward"}
"""What the model of a role ends in, where that is not the head of the trained model."""

NAMES = {"ref_model": "the reference model", "teacher_model": "the teacher", "value_model": "the model of the value"}
"""Roles that read the very tokens of the trained model. Reward models score texts."""


def load(spec: Train, place: Place, model: Any, tokenizer: Any) -> dict[str, Any]:
    """The models of the spec, on the processor.

    The reference has the type of the trained weights, so that both begin with the same numbers; a teacher has that of
    its checkpoint.

    Raises:
        StageError: one cannot be loaded, has another vocabulary than the model that is compared with it, or is to
            follow it and has other weights.
    """
    found = {}
    for role, origin in spec.models.items():
        if role not in NAMES:
            continue
        _check_tokenizer(role, origin, place, spec, tokenizer)
        dtype = "auto" if role == "teacher_model" else str(model.dtype).removeprefix("torch.")
        wanted = loading.Wanted(dtype, spec.attention, spec.trust_remote_code, HEADS.get(role, "causal"))
        found[role] = loading.pretrained(origin, place, wanted)
        _check_sizes(role, model, found[role])
    if spec.arguments.get("sync_ref_model") and "ref_model" in found:
        _check_alike(model, found["ref_model"])
    return found


def precomputed(spec: Train) -> bool:
    """Whether the reference is asked before training, while the policy still is the reference: no copy is needed."""
    return bool(spec.arguments.get("precompute_ref_log_probs")) and spec.distributed.kind != "fsdp"


def _check_tokenizer(role: str, origin: ModelOrigin, place: Place, spec: Train, tokenizer: Any) -> None:
    """See that a token has the same number in both."""
    theirs, ours = loading.tokenizer_of(origin, place, spec.trust_remote_code).get_vocab(), tokenizer.get_vocab()
    if theirs == ours:
        return
    token = next((t for t, i in ours.items() if theirs.get(t) != i), None) or next(t for t in theirs if t not in ours)
    raise StageError(
        f"{NAMES[role]} has another tokenizer: {token!r} is token {theirs.get(token)} there and {ours.get(token)} here",
        "use two models of one family, or train the second with the tokenizer of the first: `{recipe: NAME}`",
    )


def _check_sizes(role: str, model: Any, other: Any) -> None:
    ours, theirs = (each.config.get_text_config().vocab_size for each in (model, other))
    if ours != theirs:
        raise StageError(
            f"{NAMES[role]} gives probabilities to {theirs} tokens, the trained model to {ours}",
            "use two models whose embeddings have the same number of rows",
        )


def _check_alike(model: Any, reference: Any) -> None:
    """See that a reference that follows the policy has its weights: they are mixed one by one, in their order."""
    ours, theirs = ({name: tuple(p.shape) for name, p in each.named_parameters()} for each in (model, reference))
    if ours == theirs:
        return
    name = next(name for name in [*ours, *theirs] if ours.get(name) != theirs.get(name))
    raise StageError(
        f"the reference model cannot follow the trained one: `{name}` is {_shape(theirs.get(name))} there and "
        f"{_shape(ours.get(name))} here",
        "use a reference of the same architecture, or leave out `sync_ref_model`",
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else " x ".join(map(str, shape))
