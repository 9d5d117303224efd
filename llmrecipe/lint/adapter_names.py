"""LR2: how an adapter names layers."""

import re
from collections.abc import Iterator

from llmrecipe.lint.adapter_patterns import AT, adapter_of, last_word
from llmrecipe.lint.rule import Case, Finding, Put, rule

SIGNS = re.compile(r"[\\^$*+?()\[\]{}|]")
"""What stands in regular expressions and in no name."""


def is_expression(name: str) -> bool:
    """Whether a text is meant as a regular expression, since no layer can be called so."""
    return SIGNS.search(name) is not None


@rule("LR227")
def expression_instead_of_a_name(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `target_modules` and `exclude_modules` hold names, or their ends, and no regular expressions.

    ## Why is this bad?
    PEFT compares each entry of a list with the names of the layers, letter by letter. An expression is the name of
    none: as a target it leaves its layers without an update, and training stops when there is no other; as an exclusion
    it excludes nothing, and nobody says so. Source: `check_target_module_exists` of PEFT 0.21.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, target_modules: [".*q_proj", v_proj]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, target_modules: [q_proj, v_proj]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = adapter_of(case.recipe)
    if adapter is None:
        return
    targets = adapter.target_modules if isinstance(adapter.target_modules, list) else []
    for field, names in (("target_modules", targets), ("exclude_modules", adapter.exclude_modules)):
        for i, name in enumerate(names):
            if is_expression(name):
                plain = SIGNS.sub("", last_word(name.replace("\\.", ".").rstrip("$")))
                known = case.architecture is not None and plain in case.architecture.modules
                help_ = f"write `{plain}`" if known else "write names of layers, each for itself: [q_proj, v_proj]"
                change = Put((*AT, field, i), plain) if known else ()
                message = f"`{name}` is compared with names as it is written, and no layer is called so"
                yield Finding((*AT, field, i), message, help_, fix=change, safe=False)
