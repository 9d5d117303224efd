"""LR2: options of adapters that a model does not have, or that do not go together."""

import re
from collections.abc import Iterator

from llmrecipe.facts import ArchitectureFacts
from llmrecipe.lint.adapter_names import is_expression
from llmrecipe.lint.adapter_patterns import embeddings_of, last_word, reaches
from llmrecipe.lint.rule import Case, Finding, Put, Rename, rule
from llmrecipe.mending import nearest
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.online import OnlineMethod
from llmrecipe.methods.reference import ReferenceMethod
from llmrecipe.methods.rloo import RLOO
from llmrecipe.recipe import Recipe
from llmrecipe.vocabulary import DoRA, Full, LoRA

LAST_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")


def _adapter(recipe: Recipe) -> LoRA | DoRA | None:
    adapter = recipe.model.adapter
    return None if isinstance(adapter, Full) else adapter


def _targets(adapter: LoRA | DoRA) -> list[str]:
    return [] if isinstance(adapter.target_modules, str) else adapter.target_modules


def takes_from_weights(adapter: LoRA | DoRA) -> bool:
    """Whether the adapter begins as a part of the weights, which the rest of the model then lacks."""
    return adapter.init_lora_weights.startswith(("pissa", "olora"))


def _is_expression_of(pattern: str, names: set[str]) -> bool:
    """Whether a key of a pattern is an expression that one of the names matches, or none at all, which LR229 tells."""
    try:
        expression = re.compile(rf"(.*\.)?({pattern})")
    except re.error:
        return True
    return any(expression.fullmatch(name) for name in names)


@rule("LR235")
def unknown_layer(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `target_modules`, `exclude_modules`, `rank_pattern` and `alpha_pattern` name layers that the family of
    the base has, where it is known.

    ## Why is this bad?
    A target that is not there has no effect and nobody says so; where none is there, or it is no layer, training stops
    after the model is loaded. Families name their layers differently: what is `q_proj` in most is a part of `c_attn` in
    GPT-2 and of `qkv_proj` in Phi-3. Projections that became one weight of all experts are taken together or not at
    all. Source: measured with PEFT 0.21.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, target_modules: [q_proj, query_key_value]}}
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
    adapter, family = _adapter(case.recipe), case.architecture
    if adapter is None or family is None:
        return
    layers = {*family.linear, *family.outside, *family.embeddings, *family.convolutions, *family.renamed, family.output}
    weights = {last_word(name): name for name in family.experts}
    yield from _parts_of_a_weight(adapter, family)
    for at, name in _names(adapter):
        word, on_key = LAST_WORD.search(name), at[2].endswith("_pattern")
        known = layers if at[2] == "target_modules" else {*layers, *weights}
        if word is None or word[0] in known or (on_key and _is_expression_of(name, known)):
            continue
        if not on_key and is_expression(name):  # LR227 says so.
            continue
        near, sure = (None, False) if word[0] in weights else nearest(word[0], known, 0.6)
        help_ = f"did you mean `{near}`?" if near else f"its layers are {', '.join(family.linear)}"
        if word[0] in weights:
            help_ = f"write `target_parameters: [{weights[word[0]]}]`"
        message = f"models of the family `{case.family}` have no layer `{word[0]}`"
        meant = name[: word.start()] + (near or "") + name[word.end() :]
        change = Rename(at, meant) if on_key else Put(at, meant)
        yield Finding(at, message, help_, on_key=on_key, fix=change if near else (), safe=sure)


def _names(adapter: LoRA | DoRA) -> Iterator[tuple[tuple[str, str, str, str | int], str]]:
    """Where names of layers are written, and what they are."""
    for field, names in (("target_modules", _targets(adapter)), ("exclude_modules", adapter.exclude_modules)):
        yield from ((("model", "adapter", field, i), name) for i, name in enumerate(names))
    for field, pattern in (("rank_pattern", adapter.rank_pattern), ("alpha_pattern", adapter.alpha_pattern)):
        yield from ((("model", "adapter", field, name), name) for name in pattern)


def _parts_of_a_weight(adapter: LoRA | DoRA, family: ArchitectureFacts) -> Iterator[Finding]:
    """Targets that PEFT takes for a weight of all experts, of which another part is missing."""
    words = [last_word(name) for name in _targets(adapter)]
    for i, word in enumerate(words):
        weight = family.renamed.get(word)
        missing = [name for name, whole in family.renamed.items() if whole == weight and name not in words]
        if weight is not None and missing:
            message = f"`{word}` is a part of the weight `{weight}` of all experts, and so is `{missing[0]}`"
            yield Finding(f"model.adapter.target_modules.{i}", message, f"add `{missing[0]}`, or leave out `{word}`")


@rule("LR236")
def layers_that_cannot_be_chosen(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `layers_to_transform` stands beside names in `target_modules`, and holds numbers of layers that exist.

    ## Why is this bad?
    PEFT chooses among layers by name; with `all-linear` it refuses, and a number beyond the last layer has no effect.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, layers_to_transform: [26, 27, 28]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-0.6B
      adapter: {kind: lora, target_modules: [q_proj, v_proj], layers_to_transform: [25, 26, 27]}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, figures = _adapter(case.recipe), case.figures
    if adapter is None or adapter.layers_to_transform is None:
        return
    at = "model.adapter.layers_to_transform"
    if not adapter.layers_to_transform:
        yield Finding(at, "no layer gets an adapter", "leave it out for all layers")
    elif not _targets(adapter):
        message = f"layers are chosen by name, and `target_modules` is `{adapter.target_modules or []}`"
        yield Finding(at, message, "write names into `target_modules`: [q_proj, v_proj]")
    for i, number in enumerate(adapter.layers_to_transform):
        if figures is not None and number >= figures.layers:
            message = f"the model has {figures.layers} layers, numbered from 0"
            yield Finding(f"{at}.{i}", message, f"use at most {figures.layers - 1}")


@rule("LR237")
def experts_with_what_only_layers_can(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that an adapter on weights that are no layers is a plain LoRA: no dropout, no DoRA, and an initialisation
    that does not look at the weights. `target_parameters` are such weights; in families such as Qwen3 with experts, so
    is what `all-linear`, `gate_proj`, `up_proj` and `down_proj` name.

    ## Why is this bad?
    A weight that is no layer gets its update added to it before the layer around it computes, so that there are no
    inputs to drop and no outputs to scale. PEFT refuses these, but only after the model is loaded. Source: measured
    with PEFT 0.21.

    ## Example
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-30B-A3B
      adapter: {kind: lora, target_modules: [], target_parameters: [mlp.experts.down_proj], lora_dropout: 0.05}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-30B-A3B
      adapter: {kind: lora, target_modules: [], target_parameters: [mlp.experts.down_proj]}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, family = _adapter(case.recipe), case.architecture
    if adapter is None:
        return
    if adapter.target_parameters:
        weights, otherwise = "`target_parameters`", ""
    elif family is not None and reaches(adapter, family):
        weights, otherwise = f"the experts of `{case.family}`", ", or name the layers around them in `target_modules`"
    else:
        return
    if isinstance(adapter, DoRA):
        yield Finding("model.adapter.kind", f"`dora` does not adapt {weights}", f"use `lora`{otherwise}")
    if adapter.lora_dropout:
        message = f"{weights} have no inputs that could be dropped"
        yield Finding("model.adapter.lora_dropout", message, f"leave it out{otherwise}")
    if adapter.init_lora_weights not in ("default", "gaussian"):
        message = f"`{adapter.init_lora_weights}` is for layers, not for {weights}"
        yield Finding("model.adapter.init_lora_weights", message, f"use `default`{otherwise}")


@rule("LR238")
def experts_of_a_model_without(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `target_parameters` are weights of the family of the base, where it is known.

    ## Why is this bad?
    They are for mixtures of experts, whose feed-forward blocks are one weight; the layers of other models are named by
    `target_modules`.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, target_parameters: [mlp.experts.gate_up_proj]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, target_modules: [gate_proj, up_proj]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, family = _adapter(case.recipe), case.architecture
    if adapter is None or family is None:
        return
    experts = family.experts
    for i, name in enumerate(adapter.target_parameters):
        if not any(known.endswith(name) for known in experts):
            help_ = (
                f"use {' or '.join(f'`{known}`' for known in experts)}"
                if experts
                else "name layers, in `target_modules`"
            )
            message = f"models of the family `{case.family}` have no weight `{name}`"
            yield Finding(f"model.adapter.target_parameters.{i}", message, help_)


@rule("LR239")
def reference_without_a_part_of_its_weights(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that an adapter that begins as a part of the weights (`pissa`, `olora`) is not trained by a method whose
    reference is the base with the adapter switched off.

    ## Why is this bad?
    Without the adapter the base lacks that part: the policy would be held to a broken model.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, init_lora_weights: pissa}}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```
    """
    adapter, method = _adapter(case.recipe), case.recipe.method
    if adapter is None or method is None or not takes_from_weights(adapter):
        return
    if isinstance(method, ReferenceMethod):
        held = method.ref_model is None
    elif isinstance(method, GRPO | RLOO):
        held = method.beta > 0
    else:
        held = isinstance(method, OnlineMethod)
    if held:
        message = (
            f"the reference of `{method.kind}` is the base without a part, which `{adapter.init_lora_weights}` took"
        )
        yield Finding("model.adapter.init_lora_weights", message, "use `default`")


@rule("LR241")
def orthogonal_with_an_odd_rank(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every rank is even with `init_lora_weights: orthogonal`.

    ## Why is this bad?
    Half of an orthogonal matrix goes to each side of the update.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, r: 7, lora_alpha: 14, init_lora_weights: orthogonal}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, r: 8, lora_alpha: 16, init_lora_weights: orthogonal}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = _adapter(case.recipe)
    if adapter is None or adapter.init_lora_weights != "orthogonal":
        return
    ranks: list[tuple[tuple[str, ...], int]] = [(("r",), adapter.r)]
    ranks += [(("rank_pattern", name), rank) for name, rank in adapter.rank_pattern.items()]
    for at, rank in ranks:
        if rank % 2:
            yield Finding(
                ("model", "adapter", *at), f"`orthogonal` halves the rank, and {rank} is odd", f"use {rank + 1}"
            )


@rule("LR242")
def loraplus_without_groups(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `loraplus_lr_ratio` is not used with Muon.

    ## Why is this bad?
    LoRA+ makes up for how Adam steps in the two matrices of an update. Muon makes every step of a matrix the same size
    by itself, and groups weights in its own way.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, loraplus_lr_ratio: 16}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: muon}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, loraplus_lr_ratio: 16}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: adamw}}
    ```
    """
    adapter, optimizer = _adapter(case.recipe), case.recipe.training.optimizer
    if adapter is not None and adapter.loraplus_lr_ratio is not None and optimizer.kind == "muon":
        yield Finding("model.adapter.loraplus_lr_ratio", "Muon has no rates for the two matrices", "use `adamw`")


@rule("LR243")
def tokens_of_embeddings_that_are_trained_anyway(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `trainable_token_indices` does not stand beside an embedding in `modules_to_save` or `target_modules`.

    ## Why is this bad?
    Both would train the same numbers; PEFT refuses after the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, modules_to_save: [embed_tokens], trainable_token_indices: [151644, 151645]}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, trainable_token_indices: [151644, 151645]}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter = _adapter(case.recipe)
    if adapter is None or not adapter.trainable_token_indices:
        return
    embeddings = embeddings_of(case)
    for name in [*adapter.modules_to_save, *_targets(adapter)]:
        if name in embeddings:
            message = f"`{name}` is trained already"
            yield Finding("model.adapter.trainable_token_indices", message, f"leave it out, or `{name}`", on_key=True)
