"""LR7: what may change from one run to the next, and what must not be in a recipe."""

import re
from collections.abc import Iterator
from typing import Any

from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.lint.sources import all_sources
from llmrecipe.recipe.combination import Combination
from llmrecipe.recipe.data import Hub
from llmrecipe.recipe.serving import VLLM
from llmrecipe.source import Path as Location
from llmrecipe.vocabulary import is_path

SECRET = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""Tokens of Hugging Face, OpenAI, AWS, GitHub and Slack, and private keys."""


@rule("LR701", "warning")
def unpinned_hub_artifact(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that models and datasets of the Hub have a `revision`, or that a lock stands beside the recipe.

    ## Why is this bad?
    The owner may change them at any time, and the same recipe then makes another model.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, revision: c1899de289a04d12100db370d81485cdf75e47ca}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    if case.locked:
        return
    model = case.recipe.model
    help_ = f"`llmrecipe lock {case.document.source.file}` pins it, or write a `revision`"
    if isinstance(model.base, str) and not is_path(model.base) and model.revision is None:
        yield Finding("model.base", f"nothing pins `{model.base}`", help_)
    if isinstance(model.base, Combination):
        for place, part in model.base.parts().items():
            if isinstance(part, str) and not is_path(part):
                at = f"model.base.merge.{place}" if place == "base" else f"model.base.merge.{place}.model"
                yield Finding(at, f"nothing pins `{part}`", f"`llmrecipe lock {case.document.source.file}` pins it")
    for at, source in all_sources(case.recipe):
        if isinstance(source, Hub) and source.revision is None:
            yield Finding(f"{at}.dataset", f"nothing pins `{source.dataset}`", help_)


@rule("LR702", "warning")
def foreign_code(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks for `trust_remote_code`.

    ## Why is this bad?
    Python code that comes with the model runs with your rights, here and wherever the recipe runs.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, trust_remote_code: true}
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
    if case.recipe.model.trust_remote_code:
        help_ = "leave it out when Transformers knows the model; else read the code and pin its `revision`"
        yield Finding("model.trust_remote_code", "code that comes with the model will run", help_)


@rule("LR703")
def secret_in_the_recipe(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no text of the recipe looks like an access token or a private key.

    ## Why is this bad?
    A recipe is shared, and it is written into the model card.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    metadata: {token: hf_ThisIsNoTokenThisIsNoTokenThisIsNoToken}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    metadata: {token: "the one in HF_TOKEN"}
    ```
    """
    for at, text in _texts(case.document.source.data, ()):
        if SECRET.search(text):
            help_ = "revoke it, and put the new one into an environment variable: `${env:NAME}`"
            yield Finding(at, "this looks like a secret", help_)


def _texts(value: Any, at: Location) -> Iterator[tuple[Location, str]]:
    """Every text of a document, keys of mappings among them."""
    match value:
        case str():
            yield at, value
        case dict():
            for key, item in value.items():
                yield from _texts(key, (*at, key))
                yield from _texts(item, (*at, key))
        case list():
            for i, item in enumerate(value):
                yield from _texts(item, (*at, i))


@rule("LR704", "warning")
def moving_image(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the image of a server has a tag other than `latest`, or a digest.

    ## Why is this bad?
    Two replicas that start on different days may run different servers.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, image: "vllm/vllm-openai:latest"}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, image: "vllm/vllm-openai:v0.33.0"}
    ```
    """
    serving = case.recipe.serving
    if isinstance(serving, VLLM) and "@" not in serving.image:
        tag = serving.image.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            yield Finding("serving.image", f"`{serving.image}` moves", "name a version, or better a digest")
