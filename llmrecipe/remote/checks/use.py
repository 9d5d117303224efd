"""Whether a repository holds what it is used as, in files that Transformers and Datasets load."""

from collections.abc import Iterator, Mapping
from typing import Any

from llmrecipe.lint.rule import Finding
from llmrecipe.remote.check import Case, Sound, check
from llmrecipe.remote.named import Named
from llmrecipe.remote.repository import Repository

SAFE = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weights that `from_pretrained` looks for, in this order, at the top of a repository."""

SCORES = ("ForSequenceClassification", "ForTokenClassification")
WORDS = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration")
"""How the names of classes end whose models give scores, or words."""


@check("LR926")
def repository_of_another_kind(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that a repository is what it is used as: a model and no dataset, a
    whole model and no adapter, weights that can be trained and no GGUF files, a reward model where one is asked for.

    ## Why is this bad?
    The run stops when it is loaded; with PEFT an adapter is loaded together with a base that the recipe does not name.

    ## Example
    ```yaml
    version: 1
    name: second
    model: {base: house/style-lora}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: second
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    for one, refusal in case.refusals():
        if refusal.reason == "missing" and refusal.other_kind:
            repo, other = one.question.repo, "dataset" if one.question.kind == "model" else "model"
            yield Finding(one.at, f"`{repo}` is a {other}, and no {one.question.kind}", f"write the {other} elsewhere")
    for one, found in case.models():
        if "adapter_config.json" in found.files:
            base = (found.adapter_config or {}).get("base_model_name_or_path")
            under = f", `{base}`" if base else ""
            what = "an adapter beside its weights, which Transformers would load on its base" + under
            what = what if _weights(found) else "an adapter, and no model"
            help_ = f"start from its base{under}, or from a model that it was merged into"
            yield Finding(one.at, f"`{one.question.repo}` holds {what}", help_)
        elif not _weights(found) and any(name.endswith(".gguf") for name in found.files):
            message = f"`{one.question.repo}` holds GGUF files alone, which can be run and not loaded for training"
            yield Finding(one.at, message, f"use the model that they were made from{_origin(found)}")
        else:
            yield from _head(one, found)


def _weights(found: Repository) -> bool:
    named = (found.config or {}).get("transformers_weights")  # Files of another name, said in `config.json`.
    return named in found.files or any(name in found.files for name in (*SAFE, *PICKLED))


def _origin(found: Repository) -> str:
    """The model that the card names as the base of this one."""
    base = found.card.get("base_model")
    first = base[0] if isinstance(base, list) and base else base
    return f", `{first}`" if isinstance(first, str) else ""


def _head(one: Named, found: Repository) -> Iterator[Finding]:
    config: Mapping[str, Any] = found.config or {}
    classes = config.get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else ""
    if one.head == "reward" and not one.new_head and name.endswith(WORDS):
        message = f"`{one.question.repo}` is a language model ({name}), and a reward model is asked for"
        yield Finding(one.at, message, "use a model that ends in one score, as the method `reward` trains it")
    tied = config.get("tie_word_embeddings", False)
    if one.head == "causal" and name.endswith(SCORES) and not tied:
        message = f"`{one.question.repo}` ends in scores ({name}), and a language model is asked for"
        yield Finding(one.at, message, f"use the model that it was trained from{_origin(found)}")


@check("LR927")
def unloadable_repository(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that a model has a `config.json` and weights under the names that
    Transformers looks for, and that a dataset is not a Python script.

    ## Why is this bad?
    The run stops when it is loaded. Repositories of other libraries (Diffusers, ONNX, the original weights of Mistral
    or Llama) lack one or the other; Datasets has run no scripts since its version 4.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: house/original-weights}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    for one, found in case.models():
        files = set(found.files)
        if "adapter_config.json" in files or (not _weights(found) and any(name.endswith(".gguf") for name in files)):
            continue
        if "config.json" not in files:
            help_ = f"use a repository in the format of Transformers; this one has {_shown(found)}"
            yield Finding(one.at, f"`{one.question.repo}` has no `config.json`", help_)
        elif not _weights(found):
            help_ = f"use a repository that has one of them; this one has {_shown(found)}"
            yield Finding(one.at, f"`{one.question.repo}` has neither `{SAFE[0]}` nor `{PICKLED[0]}`", help_)
    for one, _, found in case.datasets():
        script = f"{found.id.rpartition('/')[2]}.py"
        if script in found.files:
            message = f"`{one.question.repo}` is a script (`{script}`), which Datasets no longer runs"
            help_ = "use `revision: refs/convert/parquet` if the Hub has converted it, or a copy in Parquet"
            yield Finding(one.at, message, help_)


def _shown(found: Repository) -> str:
    names = [name for name in sorted(found.files) if not name.startswith(".")]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "no files"


@check("LR928", "warning")
def pickled_weights(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that the weights of a model are in safetensors.

    ## Why is this bad?
    Pickled files are read whole before the first tensor is, and what PyTorch does not consider safe in them is refused.
    While they load, Transformers asks the Hub to convert them. Source:
    https://huggingface.co/docs/hub/security-pickle

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: house/pickled}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    for one, found in case.models():
        pickled = next((name for name in PICKLED if name in found.files), None)
        if pickled is not None and not any(name in found.files for name in SAFE):
            help_ = "use a copy in safetensors, or a `revision` of it that has them"
            yield Finding(one.at, f"the weights of `{one.question.repo}` are pickled alone (`{pickled}`)", help_)
