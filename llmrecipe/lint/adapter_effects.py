"""LR8: what an adapter names without effect."""

import re
from collections.abc import Iterator

from llmrecipe.lint.adapter_patterns import (
    AT,
    adapter_of,
    broken,
    embeddings_of,
    last_word,
    patterns_of,
    targets_of,
)
from llmrecipe.lint.rule import Case, Drop, Finding, rule


def _matches(pattern: str, layers: list[str]) -> bool:
    """Whether a key of `rank_pattern` is one of the layers, or an expression that one of them ends with.

    PEFT asks it of whole names; a layer that it leads to by more than its name is left alone here.
    """
    return "." in pattern or any(re.fullmatch(rf"(.*\.)?({pattern})", layer) for layer in layers)


@rule("LR820", "warning")
def pattern_of_a_layer_without_an_update(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the keys of `rank_pattern` and `alpha_pattern` name layers that get an update, where these are known.

    ## Why is this bad?
    A rank or a scale of a layer without an update means nothing, and most often the layer was forgotten in
    `target_modules`. Weights of `target_parameters` always have the rank `r`. Source: measured with PEFT 0.21, which
    ignores them.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, target_modules: [q_proj, v_proj], rank_pattern: {down_proj: 32}}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, target_modules: [q_proj, v_proj, down_proj], rank_pattern: {down_proj: 32}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = adapter_of(case.recipe)
    targets = None if adapter is None else targets_of(adapter, case)
    if adapter is None:
        return
    weights = {last_word(name) for name in adapter.target_parameters}
    for field, key in patterns_of(adapter):
        if last_word(key) in weights:
            message = f"`{key}` is one of `target_parameters`, which all have the rank and scale of the adapter"
            yield Finding((*AT, field, key), message, "leave it out", on_key=True, fix=Drop((*AT, field, key)))
    known = case.architecture
    if targets is None or weights or (known is not None and known.experts):
        return
    for field, key in patterns_of(adapter):
        unknown = known is not None and last_word(key) not in known.modules
        other = isinstance(adapter.target_modules, str) and unknown  # LR235 says so.
        if broken(key) is None and not other and not _matches(key, targets):
            at = (*AT, field, key)
            message = f"`{key}` gets no update: {', '.join(f'`{name}`' for name in targets) or 'no layer'} do"
            yield Finding(at, message, "add it to `target_modules`, or leave it out", on_key=True)


@rule("LR821", "warning")
def layer_trained_whole_and_updated(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no layer is both in `target_modules` and in `modules_to_save`.

    ## Why is this bad?
    It is trained whole and gets no update, although both are written. Source: measured with PEFT 0.21.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, target_modules: [q_proj, v_proj], modules_to_save: [v_proj]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, target_modules: [q_proj, v_proj]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = adapter_of(case.recipe)
    if adapter is None or isinstance(adapter.target_modules, str):
        return
    for i, name in enumerate(adapter.modules_to_save):
        if name in adapter.target_modules and name != "lm_head":
            message = f"`{name}` is trained whole, and gets no update"
            yield Finding((*AT, "modules_to_save", i), message, "keep it in one of the two")


@rule("LR822", "warning")
def layers_without_a_number(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `target_modules` names no embedding beside `layers_to_transform`.

    ## Why is this bad?
    Only layers of the decoder have a number. The embedding gets no update, and nobody says so. Source: measured with
    PEFT 0.21.

    ## Example
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, target_modules: [q_proj, embed_tokens], layers_to_transform: [0, 1]}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, target_modules: [q_proj, v_proj], layers_to_transform: [0, 1]}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = adapter_of(case.recipe)
    if adapter is None or adapter.layers_to_transform is None or isinstance(adapter.target_modules, str):
        return
    embeddings = embeddings_of(case)
    for i, name in enumerate(adapter.target_modules):
        if last_word(name) in embeddings:
            at = (*AT, "target_modules", i)
            message = f"`{name}` is no layer of the decoder, and gets no update beside `layers_to_transform`"
            yield Finding(at, message, "leave it out, or `layers_to_transform`", fix=Drop(at))


@rule("LR823", "warning")
def biases_of_a_model_without(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `bias` is left out where there are no biases: in any module of the model for `all`, in the layers that
    get an update for `lora_only`.

    ## Why is this bad?
    Nothing more is trained than without it. Source: measured with PEFT 0.21 and Transformers 5.23.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, bias: all}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, known = adapter_of(case.recipe), case.architecture
    if adapter is None or adapter.bias == "none" or known is None or case.figures is None:
        return  # A `config.json` may give biases to a family that has none by default.
    at, targets = (*AT, "bias"), targets_of(adapter, case) or []
    if not known.biases:
        message = f"models of the family `{case.family}` have no biases"
        yield Finding(at, message, "leave it out", fix=Drop(at))
    elif adapter.bias == "lora_only" and targets and not {last_word(name) for name in targets} & set(known.biases):
        message = f"the layers of `{case.family}` that get an update have no biases"
        yield Finding(at, message, "leave it out", fix=Drop(at))
