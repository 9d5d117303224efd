"""The tokenizer of a stage: where it comes from, and whether its chat template can be learned from."""

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import transformers

from llmrecipe import facts
from llmrecipe.plan import HubModel, LocalModel, Tokenize
from llmrecipe.stages.place import Place, StageError

PLAIN_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Classes that add nothing to `tokenizer.json`."""

PLAIN_FORMAT = {"mistral_format": False}
"""Where mistral-common is installed, as it is beside vLLM, Transformers would read Mistral's tokenizers with it, which
has no chat template: neither one of its own nor the one that a recipe writes."""

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def load_tokenizer(spec: Tokenize, place: Place) -> Any:
    """The tokenizer that a plan asks for, with the chat template in force.

    Raises:
        StageError: it is not there, cannot be reached, or needs code that may not run.
    """
    if spec.trust_remote_code and not place.allow_code:
        raise StageError(
            "`model.trust_remote_code` lets Python code that comes with the tokenizer run on this machine",
            "read that code, then `llmrecipe run --allow-code`",
        )
    folder = place.inputs.get("tokenizer") or place.inputs.get("model")
    match spec.tokenizer:
        case None:
            assert folder is not None
            tokenizer = from_folder(folder, spec.trust_remote_code)
        case LocalModel(path=path):
            tokenizer = from_folder(place.root / Path(path).expanduser(), spec.trust_remote_code)
        case HubModel():
            tokenizer = _from_hub(spec.tokenizer, spec.trust_remote_code)
    if spec.chat_template is not None:
        tokenizer.chat_template = spec.chat_template
    return tokenizer


def from_folder(folder: Path, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a folder.

    `AutoTokenizer` imports torch, which takes longer than tokenizing a small dataset; where it would do nothing but
    read `tokenizer.json`, that is done without it.

    Raises:
        StageError: the folder has no tokenizer that can be read.
    """
    if not folder.is_dir():
        raise StageError(f"{folder} is not a folder", "correct the path of the model")
    try:
        if _is_plain(folder):
            return transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, **PLAIN_FORMAT)
    except (OSError, ValueError, KeyError) as error:  # A file that is no tokenizer lacks whatever is asked for first.
        raise StageError(
            f"{folder} has no tokenizer that can be read: {error}", "use a folder with a tokenizer"
        ) from None


def _is_plain(folder: Path) -> bool:
    """Whether `AutoTokenizer` would only read `tokenizer.json`."""
    if not (folder / "tokenizer.json").is_file():
        return False
    config = _json(folder / "tokenizer_config.json")
    model_type = _json(folder / "config.json").get("model_type")
    own_class = config.get("tokenizer_class") in PLAIN_CLASSES and "auto_map" not in config
    return own_class and (model_type is None or model_type in facts.families())


def _json(path: Path) -> Mapping[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _from_hub(model: HubModel, trust_remote_code: bool) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(
            model.repo, revision=model.revision, trust_remote_code=trust_remote_code, **PLAIN_FORMAT
        )
    except OSError as error:
        raise StageError(
            f"the tokenizer of {model.repo} cannot be had: {_first_line(error)}",
            "check its name, `revision` and the network; a gated model needs its terms accepted and `hf auth login`; "
            "without a network, fetch it where there is one with `hf download`, and take the cache along (HF_HOME)",
        ) from None
    except ValueError as error:
        raise StageError(f"the tokenizer of {model.repo} cannot be read: {_first_line(error)}", CODE) from None


CODE = "if it comes with code of its own: `model.trust_remote_code: true` and `llmrecipe run --allow-code`"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def template_for_assistant_loss(tokenizer: Any) -> str | None:
    """The template that tells the assistant's tokens apart, where the tokenizer's own does not; else None.

    TRL knows such a variant of the templates of many models, and trains with it.

    Raises:
        StageError: neither the template nor a known variant of it marks them.
    """
    if GENERATION.search(tokenizer.get_chat_template()):
        return None
    try:
        template: str = importlib.import_module("trl.chat_template_utils").get_training_chat_template(tokenizer)
    except ValueError:
        raise StageError(
            "the chat template does not mark the assistant's turns, so that the loss cannot be over them alone",
            "put them between {% generation %} and {% endgeneration %} in a template of your own, write "
            "`tokenizer.chat_template: chatml`, or leave out `assistant_only_loss`",
        ) from None
    return template


def check_turns_end(tokenizer: Any, template: str | None, masked: bool) -> None:
    """Check that the model learns to stop: an assistant's turn ends with a token of its own, inside the loss.

    Args:
        template: used instead of the tokenizer's own.
        masked: whether the loss is over the tokens that the template marks, and no others.

    Raises:
        StageError: there is no such token, or the loss leaves it out.
    """
    try:
        end = _learned_end(tokenizer, template) if masked else _rendered_end(tokenizer, template)
    except jinja2.TemplateError as error:
        raise StageError(
            f"the chat template cannot render a question and its answer: {error}", "correct `tokenizer.chat_template`"
        ) from None
    if tokenizer.get_added_vocab().keys() & {end}:
        return
    if masked:
        raise StageError(
            "the chat template leaves the token that ends the assistant's turn out of the loss, so that the model "
            "would never learn to stop",
            "put it inside {% generation %} ... {% endgeneration %}",
        )
    what = f"{end!r}, which is not a token of its own" if end else "nothing"
    raise StageError(
        f"the chat template ends the assistant's turn with {what}, so that the model would never learn to stop",
        "use a template that ends a turn with a special token of this tokenizer, for instance its end of text "
        f"{tokenizer.eos_token!r}",
    )


def _learned_end(tokenizer: Any, template: str | None) -> str:
    """The last token of an assistant's turn that the template marks, blanks aside."""
    rendered = tokenizer.apply_chat_template(
        [*EXCHANGE, EXCHANGE[0]], chat_template=template, return_dict=True, return_assistant_tokens_mask=True
    )
    learned = [token for token, mark in zip(rendered["input_ids"], rendered["assistant_masks"]) if mark]
    ends = [token for token in learned if tokenizer.decode([token]).strip()]
    return tokenizer.convert_ids_to_tokens(ends[-1]) if ends else ""


def _rendered_end(tokenizer: Any, template: str | None) -> str:
    """The token that follows the words of an assistant's last turn; where there is none, the text that follows them."""
    text = tokenizer.apply_chat_template(EXCHANGE, chat_template=template, tokenize=False)
    after: str = text.rpartition(EXCHANGE[1]["content"])[2].strip()
    tokens: list[str] = tokenizer.tokenize(after)
    return tokens[0] if tokens and tokens[0] in tokenizer.get_added_vocab() else after


EXCHANGE = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
