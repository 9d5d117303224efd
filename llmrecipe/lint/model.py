"""LR2: base model, tokenizer and attention."""

import difflib
from collections.abc import Iterator
from pathlib import Path

from llmrecipe.facts import accelerators
from llmrecipe.lint import local
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.recipe.model import FromScratch
from llmrecipe.recipe.tokenizer import Reuse, TrainTokenizer
from llmrecipe.vocabulary import RecipeReference, is_path


@rule("LR201")
def missing_base_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a base that is a path leads to a folder. Relative paths start from the folder of the recipe.

    ## Why is this bad?
    The run would stop before its first step.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: ./bases}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: ./base}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    base = case.recipe.model.base
    if isinstance(base, str) and is_path(base):
        folder = case.folder("model.base")
        if not local.is_folder(base, folder):
            near = (folder / base).parent
            close = difflib.get_close_matches(Path(base).name, [each.name for each in local.neighbours(near)], n=1)
            help_ = "a Hub id is written without a leading `.`, `/` or `~`"
            help_ = f"did you mean `{base.removesuffix(Path(base).name)}{close[0]}`?" if close else help_
            yield Finding("model.base", f"there is no folder `{base}`", help_)


@rule("LR202")
def base_without_configuration(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the folder of a base model holds a `config.json`.

    ## Why is this bad?
    Transformers cannot tell what model it is. A folder with `adapter_config.json` alone is an adapter, not a model.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: ./adapter}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: ./base}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    base = case.recipe.model.base
    if isinstance(base, str) and is_path(base):
        folder = case.folder("model.base")
        if local.is_folder(base, folder) and not local.is_file(f"{base}/config.json", folder):
            adapter = local.is_file(f"{base}/adapter_config.json", folder)
            help_ = "merge the adapter into its base first" if adapter else "name the folder that holds `config.json`"
            yield Finding("model.base", f"`{base}` has no `config.json`", help_)


@rule("LR203")
def missing_chat_template(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a chat template other than `chatml` is a file.

    ## Why is this bad?
    Conversations could not be turned into tokens.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    tokenizer: {kind: reuse, chat_template: chat-ml}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    tokenizer: {kind: reuse, chat_template: chatml}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    template = case.recipe.tokenizer.chat_template
    if template in (None, "chatml"):
        return
    assert template is not None
    folder = case.folder("tokenizer.chat_template")
    if not local.is_file(template, folder):
        close = difflib.get_close_matches(template, ["chatml"], n=1)
        help_ = "did you mean `chatml`?" if close else f"write `chatml` or a Jinja file; it is looked for in `{folder}`"
        yield Finding("tokenizer.chat_template", f"there is no template `{template}`", help_)


@rule("LR204")
def new_tokenizer_for_a_trained_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a tokenizer is only trained for a model from scratch.

    ## Why is this bad?
    The embeddings of a trained model belong to the ids of its own tokenizer; under another one they mean nothing.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```
    """
    recipe = case.recipe
    if isinstance(recipe.tokenizer, TrainTokenizer) and not isinstance(recipe.model.base, FromScratch):
        message = "a trained model cannot use a new tokenizer"
        yield Finding("tokenizer.kind", message, "leave out `tokenizer`, or start from an `architecture`")


@rule("LR205")
def new_model_without_a_tokenizer(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with an `architecture` trains a tokenizer.

    ## Why is this bad?
    There is no base model whose tokenizer could be reused, and the size of the vocabulary is not known.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
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
    if isinstance(case.recipe.model.base, FromScratch) and isinstance(case.recipe.tokenizer, Reuse):
        help_ = "add `tokenizer: {kind: train, vocab_size: 4096}`"
        yield Finding("model.base", "a model from scratch has no tokenizer to reuse", help_)


@rule("LR210")
def positions_shorter_than_the_rows(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `training.max_length` is not above the longest sequence that the model has positions for.

    ## Why is this bad?
    A table of positions ends there, and rotary positions beyond were never learned: the loss of the tail is noise.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: HuggingFaceTB/SmolLM2-135M-Instruct}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 16384}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: HuggingFaceTB/SmolLM2-135M-Instruct}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_length: 8192}
    ```
    """
    recipe, figures = case.recipe, case.figures
    if recipe.method is None or figures is None or not figures.positions:
        return
    if recipe.training.max_length > figures.positions:
        message = f"rows of {recipe.training.max_length} tokens for a model with {figures.positions} positions"
        yield Finding("training.max_length", message, f"use at most {figures.positions}")


@rule("LR211")
def flash_attention_without_its_hardware(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the accelerator can compute the chosen attention: `flash_attention_2` needs compute capability 8.0,
    `flash_attention_3` needs 9.0.

    ## Why is this bad?
    The model does not load on that machine.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: flash_attention_2}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: cpu}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: sdpa}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    hardware: {accelerator: cpu}
    ```
    """
    recipe = case.recipe
    attention, preset = recipe.model.attention, accelerators().get(recipe.hardware.accelerator)
    needed = {"flash_attention_2": 8.0, "flash_attention_3": 9.0}.get(attention)
    if needed is not None and preset is not None and float(preset.compute_capability or 0) < needed:
        message = f"`{attention}` does not run on `{recipe.hardware.accelerator}`"
        yield Finding("model.attention", message, "use `sdpa`")


@rule("LR212")
def flash_attention_in_float32(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a model with flash attention is not trained in `float32`.

    ## Why is this bad?
    Flash attention computes in `bfloat16` and `float16` only, and stops.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: flash_attention_2}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: float32}
    hardware: {accelerator: a100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, attention: flash_attention_2}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: bfloat16}
    hardware: {accelerator: a100-80gb}
    ```
    """
    recipe = case.recipe
    in_float32 = recipe.training.precision == "float32" and recipe.model.dtype in ("auto", "float32")
    if recipe.method is not None and recipe.model.attention.startswith("flash") and in_float32:
        message = f"`{recipe.model.attention}` does not compute in `float32`"
        yield Finding("training.precision", message, "use `bfloat16`, or `attention: sdpa`")


@rule("LR213")
def random_weights_without_method(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with an `architecture` has a method.

    ## Why is this bad?
    There is nothing to evaluate, export or serve but random weights.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
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
    if isinstance(case.recipe.model.base, FromScratch) and case.recipe.method is None:
        yield Finding("model.base", "random weights that nothing trains", "add `data` and `method: {kind: pretrain}`")


@rule("LR214")
def adapter_as_a_base(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe taken as a base exports a whole model.

    ## Why is this bad?
    With `export: {merge: false}` it leaves an adapter alone, which no other recipe can start from.

    ## Example
    ```yaml
    version: 1
    name: first
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ---
    version: 1
    name: second
    model: {base: {recipe: first}}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: first
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ---
    version: 1
    name: second
    model: {base: {recipe: first}}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```
    """
    base = case.recipe.model.base
    if not isinstance(base, RecipeReference) or base.name not in case.recipes:
        return
    origin = case.recipes[base.name]
    if origin.method is not None and origin.model.adapter.kind != "full" and not origin.export.merge:
        message = f"`{base.name}` exports an adapter alone"
        yield Finding("model.base", message, f"leave out `export.merge: false` in `{base.name}`")
