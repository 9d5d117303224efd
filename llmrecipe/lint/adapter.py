"""LR2: adapters."""

from collections.abc import Iterator
from math import sqrt

from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.recipe.model import FromScratch
from llmrecipe.vocabulary import Full

OF_TRL = ("trl:", "llmrecipe.trainers.distillation:")
"""How the trainers begin that are TRL's, or inherit from one."""


@rule("LR221")
def adapter_over_random_weights(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a model from scratch is trained whole.

    ## Why is this bad?
    An adapter leaves its base as it is, and the base is random.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
      adapter: {kind: lora}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```
    """
    model = case.recipe.model
    if isinstance(model.base, FromScratch) and not isinstance(model.adapter, Full):
        yield Finding("model.adapter", "an adapter over random weights", "leave out `adapter`")


@rule("LR222", "warning")
def unusual_adapter_scale(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the scale of an adapter, `lora_alpha / r` or `lora_alpha / sqrt(r)` with `use_rslora`, lies between 0.1
    and 8.

    ## Why is this bad?
    Below, the adapter hardly learns; above, it diverges. Most recipes use 1 or 2.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, r: 128, lora_alpha: 8}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, r: 128, lora_alpha: 256}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = case.recipe.model.adapter
    if isinstance(adapter, Full):
        return
    scale = adapter.lora_alpha / (sqrt(adapter.r) if adapter.use_rslora else adapter.r)
    if not 0.1 <= scale <= 8:
        help_ = f"use `lora_alpha: {2 * (round(sqrt(adapter.r)) if adapter.use_rslora else adapter.r)}`"
        yield Finding("model.adapter.lora_alpha", f"the update is scaled by {scale:.3g}", help_)


@rule("LR223")
def adapted_output_head(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `lm_head` is not among the `target_modules`.

    ## Why is this bad?
    The trainers of TRL compute the loss from the weights of the head directly and refuse an adapter over it, but only
    after the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, target_modules: [q_proj, v_proj, lm_head]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, target_modules: [q_proj, v_proj], modules_to_save: [lm_head]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, method = case.recipe.model.adapter, case.recipe.method
    if isinstance(adapter, Full) or method is None or not method.trainer.startswith(OF_TRL):
        return
    if "lm_head" in adapter.target_modules:
        help_ = "leave `lm_head` out, or train it whole with `modules_to_save: [lm_head]`"
        yield Finding("model.adapter.target_modules", f"`{method.kind}` cannot adapt `lm_head`", help_)


@rule("LR224")
def half_of_a_tied_pair(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that neither the embedding nor the output head is trained apart when both are the same weights.

    ## Why is this bad?
    Training makes two copies that drift apart, and the merged model keeps one of them: the other is lost without a
    word.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, modules_to_save: [lm_head]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, known = case.recipe.model.adapter, case.architecture
    if isinstance(adapter, Full) or known is None or not case.tied:
        return
    tied = (known.embeddings[0], known.output)
    targets = [] if adapter.target_modules == "all-linear" else list(adapter.target_modules)
    for name, modules in (("modules_to_save", adapter.modules_to_save), ("target_modules", targets)):
        for module in modules:
            trl_refuses = name == "target_modules" and module == "lm_head"
            if module in tied and not trl_refuses:
                message = f"`{module}` shares its weights with the other end of the model"
                yield Finding(f"model.adapter.{name}", message, "leave it out, or train every weight")


@rule("LR225")
def adapter_without_a_target(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `target_modules` is not an empty list, unless there are `target_parameters`.

    ## Why is this bad?
    No layer would get an update.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, target_modules: []}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, target_modules: all-linear}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = case.recipe.model.adapter
    if not isinstance(adapter, Full) and not adapter.target_modules and not adapter.target_parameters:
        yield Finding("model.adapter.target_modules", "no layer gets an adapter", "use `all-linear`")
