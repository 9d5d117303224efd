"""Code that comes with a model: needed and not allowed, or allowed and not there."""

from collections.abc import Iterator, Mapping
from typing import Any

from llmrecipe.facts import model_types, transformers_version
from llmrecipe.lint.rule import Drop, Finding
from llmrecipe.remote.check import Case, Sound, check
from llmrecipe.vocabulary import Head

AUTO: dict[Head, str] = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "reward": "AutoModelForSequenceClassification",
}
"""What a model ends in -> the class that loads it, as `auto_map` names it."""


def brings(config: Mapping[str, Any] | None, *classes: str) -> bool:
    """Whether a configuration names code of the repository, for one of these classes or any."""
    found = (config or {}).get("auto_map")
    return isinstance(found, dict) and bool(set(classes) & found.keys() if classes else found)


@check("LR929")
def code_without_trust(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that a model which Transformers knows only through code in its
    repository (`auto_map` in its `config.json`) has `trust_remote_code`. Models that Transformers has itself need none.

    ## Why is this bad?
    The model does not load. The code would run with your rights: read it, and pin the commit that was read.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: house/own-architecture}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: house/own-architecture, revision: v1.0, trust_remote_code: true}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    if case.recipe.model.trust_remote_code:
        return
    for one, found in case.models():
        assert one.head is not None
        kind = (found.config or {}).get("model_type")
        unknown = kind not in model_types() and brings(found.config, "AutoConfig")
        headless = kind in model_types() - model_types(one.head) and brings(found.config, AUTO[one.head])
        if unknown or headless:
            library = f"Transformers {transformers_version()}"
            message = f"`{one.question.repo}` needs code of its own: {library} has no model for it"
            help_ = f"read it, then write `trust_remote_code: true` and `revision: {found.commit}`"
            yield Finding(one.at, message, help_)


@check("LR930", "warning")
def trust_without_code(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that with `trust_remote_code` at least one of the models comes with
    code.

    ## Why is this bad?
    It does nothing today, and runs whatever the owner adds tomorrow.

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
    models = list(case.models())
    asked = sum(one.question.kind == "model" for one in case.named)
    if not case.recipe.model.trust_remote_code or case.base is None or len(models) < asked:
        return
    if not any(brings(found.config) or brings(found.tokenizer_config) for _, found in models):
        at, names = "model.trust_remote_code", " and ".join(f"`{one.question.repo}`" for one, _ in models)
        yield Finding(at, f"{names} come{'s' * (asked == 1)} with no code", "leave it out", fix=Drop(at), safe=False)
