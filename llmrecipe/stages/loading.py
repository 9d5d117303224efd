"""Models and tokenizers in memory: from scratch, from the Hub, from a folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from llmrecipe.facts import architectures, families
from llmrecipe.plan import HubModel, InputModel, LocalModel, ModelOrigin, NewModel
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.tokenizer import PLAIN_FORMAT
from llmrecipe.vocabulary import Architecture, Head

AUTO_CLASSES: dict[Head, Any] = {
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
    "reward": AutoModelForSequenceClassification,
}
"""What a model ends in -> the class that loads it."""

HEADS: dict[Head, str] = {
    "causal": "causal language model",
    "masked": "masked language model",
    "reward": "reward model",
}


@dataclass(frozen=True)
class Wanted:
    """How a model is to be held in memory."""

    dtype: str = "auto"
    """Type of the weights; `auto`: that of the checkpoint."""
    attention: str = "sdpa"
    trust_remote_code: bool = False
    head: Head = "causal"
    new_head: bool = False
    """Whether a head that the checkpoint lacks may begin with random weights."""


def device() -> torch.device:
    """The accelerator of this process, or the processor."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.device("cpu")


def new_model(architecture: Architecture, tokenizer: Any, attention: str, dtype: str, seed: int) -> Any:
    """A language model with random weights, with the vocabulary and special tokens of the tokenizer.

    Raises:
        StageError: the family cannot be built with these numbers.
    """
    family = families()[architecture.family]
    values = _configuration(architecture) | {name: getattr(tokenizer, name) for name in family.tokens}
    try:
        config = AutoConfig.for_model(architecture.family, vocab_size=len(tokenizer), **values)
        _check_configuration(config, values)
        torch.manual_seed(seed)  # That of Transformers also seeds others, and loads PEFT and bitsandbytes for it.
        head = architectures()[architecture.family].head
        return AUTO_CLASSES[head].from_config(config, attn_implementation=attention, dtype=dtype)
    except (ValueError, TypeError, ImportError, StrictDataclassError) as error:
        raise StageError(
            f"a model of the family `{architecture.family}` cannot be built: {reason(error)}",
            "change the numbers of `model.base.architecture`, or `model.attention`",
        ) from error


def _configuration(architecture: Architecture) -> dict[str, Any]:
    """Fields of the family's configuration class."""
    family = families()[architecture.family]
    written = architecture.model_dump(exclude={"family"}, exclude_none=True)
    if missing := [name for name in written if name not in family.fields]:
        raise StageError(
            f"the family `{architecture.family}` has no `{'`, `'.join(missing)}`",
            "leave it out of `model.base.architecture`",
        )
    values: dict[str, Any] = dict(family.constants)
    values |= {family.fields[name]: value for name, value in written.items()}
    if architecture.family == "gemma3_text":  # The class's own scale belongs to heads of 256.
        values["query_pre_attn_scalar"] = values["head_dim"]
    return values


def _check_configuration(config: Any, values: dict[str, Any]) -> None:
    """Configuration classes take any keyword; see that each one arrived.

    Raises:
        ValueError: one did not.
    """
    for name, value in values.items():
        if name == "rope_theta":
            rope = config.rope_parameters
            found = [rope.get(name), *(part.get(name) for part in rope.values() if isinstance(part, dict))]
        else:
            found = [getattr(config, name, None)]
        if value not in found:
            raise ValueError(f"`{name}: {value}` has no effect on {type(config).__name__}")


def locate(origin: HubModel | LocalModel | InputModel, place: Place) -> tuple[str, str | None]:
    """What `from_pretrained` is told: a folder or a Hub id, and the commit."""
    match origin:
        case HubModel():
            return origin.repo, origin.revision
        case LocalModel():
            return str(place.root / Path(origin.path).expanduser()), None
        case InputModel():
            return str(place.inputs[origin.name]), None


def pretrained(origin: ModelOrigin, place: Place, wanted: Wanted, **options: Any) -> Any:
    """A model with its weights, on the processor. `options` go to `from_pretrained` as they are.

    Raises:
        StageError: it cannot be found, reached or read, lacks weights, or wants to run code that is not allowed.
    """
    if isinstance(origin, NewModel):
        raise StageError(
            "a model from scratch has no weights before it is trained",
            "train every weight: `adapter: {kind: full}`",
        )
    allow(wanted.trust_remote_code, origin, place)
    name, revision = locate(origin, place)
    if wanted.head == "reward":
        options["num_labels"] = 1
    with readable(name, origin):
        model, found = AUTO_CLASSES[wanted.head].from_pretrained(
            name,
            revision=revision,
            dtype=wanted.dtype,
            attn_implementation=wanted.attention,
            trust_remote_code=wanted.trust_remote_code,
            output_loading_info=True,
            **options,
        )
    if missing := lacking(model, found, wanted.new_head):
        raise StageError(
            f"the checkpoint of `{name}` lacks {len(missing)} weights of a {HEADS[wanted.head]}: {missing[0]}, ...",
            f"use the checkpoint of a {HEADS[wanted.head]}",
        )
    return model


def lacking(model: Any, found: Mapping[str, Any], new_head: bool) -> list[str]:
    """The weights that a checkpoint lacks, of what `from_pretrained` says of it; with a new head those beneath it."""
    missing = sorted(found["missing_keys"])
    return [key for key in missing if not new_head or key.startswith(f"{model.base_model_prefix}.")]


def stored_dtype(origin: ModelOrigin, place: Place, trust_remote_code: bool) -> torch.dtype:
    """The type in which a checkpoint holds its weights, as its configuration says; float32 when it does not."""
    assert not isinstance(origin, NewModel)
    allow(trust_remote_code, origin, place)
    name, revision = locate(origin, place)
    with readable(name, origin):
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    return config.dtype or torch.float32


def tokenizer_of(origin: ModelOrigin, place: Place, trust_remote_code: bool) -> Any:
    """The tokenizer that comes with a model.

    Raises:
        StageError: there is none, or it cannot be reached or read.
    """
    assert not isinstance(origin, NewModel)
    allow(trust_remote_code, origin, place)
    name, revision = locate(origin, place)
    with readable(name, origin):
        return AutoTokenizer.from_pretrained(
            name, revision=revision, trust_remote_code=trust_remote_code, **PLAIN_FORMAT
        )


def tokenizer_at(folder: Path) -> Any:
    """The tokenizer of a folder that a stage left."""
    return AutoTokenizer.from_pretrained(str(folder))


def is_adapter(folder: Path) -> bool:
    """Whether a model folder holds an adapter alone."""
    return (folder / "adapter_config.json").is_file()


def probe(model: Any) -> torch.Tensor:
    """Logits [2, 24, vocabulary] of a fixed batch: equal for equal models."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(48, device=model.device) * 7919 % vocabulary).view(2, 24)
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


def allow(trust_remote_code: bool, origin: ModelOrigin, place: Place) -> None:
    """See that code that comes with a model may run here.

    Raises:
        StageError: the recipe asks for it, and the person did not allow it.
    """
    if trust_remote_code and not place.allow_code:
        name = origin.repo if isinstance(origin, HubModel) else "this model"
        raise StageError(
            f"`model.trust_remote_code` lets Python code that comes with {name} run on this machine",
            "read that code, then `llmrecipe run --allow-code`",
        )


@contextmanager
def readable(name: str, origin: ModelOrigin) -> Iterator[None]:
    """Turn the ways in which `from_pretrained` fails into what a person can do about them."""
    try:
        yield
    except ImportError as error:
        raise StageError(
            f"`{name}` needs a package: {reason(error)}", "install it, or set `model.attention: sdpa`"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, StrictDataclassError) as error:
        if "trust_remote_code" in str(error):
            help_ = "set `model.trust_remote_code: true` and run with `--allow-code`, once you have read that code"
        elif isinstance(origin, HubModel):
            help_ = (
                "check the name, the network and, for a gated model, HF_TOKEN; "
                "without a network, download it first (`hf download`) and use its folder as `model.base`"
            )
        else:
            help_ = "the folder must hold config.json, weights and tokenizer as `save_pretrained` writes them"
        raise StageError(f"`{name}` cannot be loaded: {reason(error)}", help_) from error


def reason(error: Exception) -> str:
    """The first line of what went wrong; configuration classes wrap it."""
    cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
    return str(cause).strip().partition("\n")[0]
