"""What the `config.json` of a model says, and what its tokenizer brings."""

from collections.abc import Iterator, Mapping
from typing import Any

from llmrecipe.facts import accelerators, model_types, transformers_version
from llmrecipe.lint.rule import Finding, Put
from llmrecipe.lint.sources import training_sources
from llmrecipe.lint.tokenizers import CONVERSATIONS
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.serving import VLLM
from llmrecipe.recipe.tokenizer import Reuse
from llmrecipe.remote.check import Case, Sound, check
from llmrecipe.remote.checks.code import AUTO, brings
from llmrecipe.remote.repository import Repository
from llmrecipe.vocabulary import Head

HEADS: dict[Head, str] = {
    "causal": "causal language model",
    "masked": "masked language model",
    "reward": "model that ends in a score",
}
FURTHER_TEMPLATES = "additional_chat_templates/"
"""A folder that Transformers reads as well."""


def said(config: Mapping[str, Any] | None, *names: str) -> Any:
    """The first of these fields that a configuration has, itself or in the section of its text model."""
    whole = config or {}
    text = whole.get("text_config")
    sections = (whole, text if isinstance(text, dict) else {})
    return next((part[name] for part in sections for name in names if part.get(name) is not None), None)


@check("LR931")
def unknown_model_type(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that the pinned Transformers knows the `model_type` in the
    `config.json` of a model, and has a model of it with the head that the recipe asks for.

    ## Why is this bad?
    The run stops when the model is loaded: it is newer than the library, of another library, or an encoder-decoder or a
    speech model where a language model is meant.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: google-t5/t5-small}
    data: {train: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}
    method: {kind: sft}
    ```
    """
    for one, found in case.models():
        if found.config is None:
            continue
        assert one.head is not None
        kind, library = found.config.get("model_type"), f"Transformers {transformers_version()}"
        newer = f"use another model; it may be newer than {library}, or made for another library"
        if brings(found.config, "AutoConfig", AUTO[one.head]):
            continue
        if kind is None:
            yield Finding(one.at, f"the `config.json` of `{one.question.repo}` names no `model_type`", newer)
        elif kind not in model_types():
            message = f"`{one.question.repo}` is of the type `{kind}`, which {library} does not know"
            yield Finding(one.at, message, newer)
        elif kind not in model_types(one.head):
            message = f"`{one.question.repo}` is of the type `{kind}`, of which {library} has no {HEADS[one.head]}"
            yield Finding(one.at, message, "use another model, or another method")


@check("LR932", instead_of=("LR250",))
def quantized_checkpoint(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that the base of a training is not stored quantized, by the
    `quantization_config` in its `config.json`. What that says counts, and not the name of the repository (LR250).

    ## Why is this bad?
    What is learned on rounded weights can only be added to rounded weights, and rounds again; and a `quantization` in
    the recipe would round what is rounded already.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: house/rounded, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    base, recipe = case.base, case.recipe
    if base is None or base.config is None or recipe.method is None:
        return
    stored = base.config.get("quantization_config")
    if not stored:
        yield Sound("model.base")
        return
    way = stored.get("quant_method") if isinstance(stored, dict) else None
    message = f"`{recipe.model.base}` is stored quantized{f' ({way})' if way else ''}"
    help_ = "start from the checkpoint in 16 bits; `quantization: {kind: nf4}` holds it in 4 bits while it is trained"
    yield Finding("model.base", message, help_)


@check("LR933", instead_of=("LR210",))
def rows_beyond_the_positions(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that `training.max_length` is not above the longest sequence that
    the `config.json` of the base has positions for. What that says counts, and not the table of known models (LR210).

    ## Why is this bad?
    A table of positions ends there, and rotary positions beyond were never learned: the loss of the tail is noise.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: openai-community/gpt2}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    training: {max_length: 2048}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: openai-community/gpt2}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    training: {max_length: 1024}
    ```
    """
    origin, length = case.origin, case.recipe.training.max_length
    positions = said(origin.config, "max_position_embeddings", "n_positions") if origin is not None else None
    if not isinstance(positions, int) or case.recipe.method is None:
        return
    if length <= positions:
        yield Sound("training.max_length")
    else:
        message = f"rows of {length} tokens for a model with {positions} positions"
        yield Finding("training.max_length", message, f"use at most {positions}")


@check("LR934", "warning", instead_of=("LR319", "LR624"))
def narrower_than_the_checkpoint(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that a model whose `config.json` says `bfloat16` is not held,
    trained, exported or served in `float16`. What that says counts, and not the table of known models (LR319, LR624).

    ## Why is this bad?
    Weights and activations of such models go beyond 65,504, the largest number of `float16`, and become infinite.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, dtype: float16, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, dtype: bfloat16, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    origin = case.origin
    stored = said(origin.config, "dtype", "torch_dtype") if origin is not None else None
    for at in _in_float16(case.recipe) if stored is not None else ():
        if stored == "bfloat16":
            message = "the weights of this model were made for the range of `bfloat16`"
            yield Finding(at, message, "use `bfloat16`", fix=Put(at, "bfloat16"), safe=False)
        else:
            yield Sound(at)


def _in_float16(recipe: Recipe) -> Iterator[str]:
    """Where a recipe says `float16`, of training and serving where the accelerator has the choice."""
    preset = accelerators().get(recipe.hardware.accelerator)
    chosen = preset is not None and preset.compute_capability is not None and preset.bfloat16
    if recipe.model.dtype == "float16":
        yield "model.dtype"
    if recipe.method is not None and recipe.training.precision == "float16" and chosen:
        yield "training.precision"
    if isinstance(recipe.serving, VLLM) and recipe.serving.dtype == "float16" and chosen:
        yield "serving.dtype"
    for i, written in enumerate(recipe.export.formats):
        if written.dtype == "float16":
            yield f"export.formats.{i}.dtype"


@check("LR935", instead_of=("LR258",))
def conversations_without_a_published_template(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that rows which are conversations meet a chat template: one that the
    recipe writes, or one in the repository of the base (`chat_template.jinja`, `tokenizer_config.json`). What is there
    counts, and not the table of known tokenizers (LR258).

    ## Why is this bad?
    Base models often come without one, and the run stops when the first row is to be tokenized. Source:
    https://huggingface.co/docs/transformers/chat_templating

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: openai-community/gpt2}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: openai-community/gpt2}
    tokenizer: {kind: reuse, chat_template: turns.jinja}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    base, recipe = case.base, case.recipe
    if base is None or recipe.method is None or not isinstance(recipe.tokenizer, Reuse):
        return
    place = next((at for at, source in training_sources(recipe) if source.format in CONVERSATIONS), None)
    if place is None or recipe.tokenizer.chat_template is not None or (has := _template(base)) is None:
        return
    if has:
        yield Sound(f"{place}.format")
        return
    message = f"the tokenizer of {recipe.model.base} has no chat template, and the rows are conversations"
    tokens = str((base.tokenizer_config or {}).get("added_tokens_decoder"))
    if "<|im_start|>" in tokens and "<|im_end|>" in tokens:
        section = {"kind": "reuse", "chat_template": "chatml"}
        help_ = "write `tokenizer: {kind: reuse, chat_template: chatml}`, whose tokens it has"
        yield Finding(f"{place}.format", message, help_, fix=Put("tokenizer", section), safe=False)
    else:
        help_ = "write one: `tokenizer: {kind: reuse, chat_template: turns.jinja}`, or start from the chat variant"
        yield Finding(f"{place}.format", message, help_)


def _template(base: Repository) -> bool | None:
    """Whether a repository has a chat template; None where it has no tokenizer of Transformers, or none to be read."""
    if any(name == "chat_template.jinja" or name.startswith(FURTHER_TEMPLATES) for name in base.files):
        return True
    if "tokenizer_config.json" in base.files:
        return None if base.tokenizer_config is None else bool(base.tokenizer_config.get("chat_template"))
    return False if "tokenizer.json" in base.files else None
