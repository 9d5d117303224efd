"""LR2: bases that are held in 8 or 4 bits."""

import re
from collections.abc import Iterator

from llmrecipe.facts import architectures, models
from llmrecipe.lint.adapter_options import takes_from_weights
from llmrecipe.lint.rule import Case, Drop, Finding, rule
from llmrecipe.vocabulary import NF4, DoRA, Dtype, Full, Int8, Unquantized, is_path

QUANTIZED_NAME = re.compile(
    r"[-_](AWQ|GPTQ|GGUF|FP8|NVFP4|MXFP4|(bnb-)?4bit|(bnb-)?8bit|Int4|Int8|w\d+a\d+)\b", re.IGNORECASE
)


@rule("LR240")
def quantized_rest_of_the_weights(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that an adapter that begins as a part of the weights (`pissa`, `olora`) is not trained on a quantized base.

    ## Why is this bad?
    What is quantized is then the rest of the weights. The trained adapter belongs to that rest with its rounding, and
    there is no adapter for the base as it was that does the same: the merged model would be another than the trained.

    ## Example
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, init_lora_weights: pissa}
      quantization: {kind: nf4}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora}
      quantization: {kind: nf4}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    model = case.recipe.model
    if isinstance(model.quantization, Unquantized) or isinstance(model.adapter, Full):
        return
    if takes_from_weights(model.adapter):
        message = f"`{model.adapter.init_lora_weights}` on a quantized base cannot be merged exactly"
        yield Finding("model.adapter.init_lora_weights", message, "use `default`, or leave out `quantization`")


@rule("LR262")
def orthogonal_on_packed_weights(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `init_lora_weights: orthogonal` is not used on a base whose weights are stored as whole numbers.

    ## Why is this bad?
    PEFT gives the adapter the type of the weights beneath it. Whole numbers cannot be trained, and making the adapter
    fails. NF4 weights that are stored in a type of the other weights can be trained that way.

    ## Example
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, init_lora_weights: orthogonal}
      quantization: {kind: nf4}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora}
      quantization: {kind: nf4}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    adapter, quantization = case.recipe.model.adapter, case.recipe.model.quantization
    if isinstance(adapter, Full) or adapter.init_lora_weights != "orthogonal":
        return
    if isinstance(quantization, Int8) or (isinstance(quantization, NF4) and quantization.quant_storage == "uint8"):
        message = "`orthogonal` gives the adapter the type of the weights, which are whole numbers"
        yield Finding("model.adapter.init_lora_weights", message, "use `default` or `gaussian`")


@rule("LR245")
def quantization_without_an_adapter(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a model that is trained on a quantized base has an adapter.

    ## Why is this bad?
    Numbers of 8 or 4 bits cannot take the small steps of training. They hold a base that stays as it is.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    recipe = case.recipe
    quantized = not isinstance(recipe.model.quantization, Unquantized)
    if recipe.method is not None and quantized and isinstance(recipe.model.adapter, Full):
        message = "weights that are quantized cannot be trained"
        yield Finding("model.quantization", message, "add `adapter: {kind: lora}`, or leave out `quantization`")


@rule("LR246", "warning")
def quantization_without_training(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with `quantization` has a method.

    ## Why is this bad?
    It says how the base is held while an adapter is trained. Models are evaluated, merged and exported in their own
    type.

    ## Example
    ```yaml
    version: 1
    name: base
    model: {base: Qwen/Qwen3-8B, quantization: {kind: nf4}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: base
    model: {base: Qwen/Qwen3-8B}
    ```
    """
    recipe = case.recipe
    if recipe.method is None and not isinstance(recipe.model.quantization, Unquantized):
        at = "model.quantization"
        yield Finding(at, "nothing is trained on the quantized base", "leave it out", on_key=True, fix=Drop(at))


@rule("LR247")
def adapter_that_cannot_be_trained_on_8_bits(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that DoRA is not trained on a base in 8 bits.

    ## Why is this bad?
    DoRA reads the weights to know their lengths, and bitsandbytes loses the scales of its 8-bit layers on the way: the
    first step fails.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: dora}, quantization: {kind: int8}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: dora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    model = case.recipe.model
    if isinstance(model.quantization, Int8) and isinstance(model.adapter, DoRA):
        yield Finding("model.quantization.kind", "`dora` does not train on 8 bits", "use `nf4`, or `lora`")


def _quantized_layers(case: Case) -> set[str]:
    """Names of the layers that are quantized; where the family is not known, those that are layers in every family."""
    if (known := case.architecture) is not None:
        return {*known.linear, *known.outside}
    families = architectures().values()
    named = {name for family in families for name in (*family.linear, *family.outside)}
    return named - {name for family in families for name in family.modules - {*family.linear, *family.outside}}


@rule("LR248")
def quantized_module_trained_whole(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `modules_to_save` names no layer that is quantized: those of the decoder are, embeddings, norms and the
    output head are not.

    ## Why is this bad?
    What is trained whole has to be held whole.

    ## Example
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, target_modules: [q_proj, v_proj], modules_to_save: [down_proj]}
      quantization: {kind: nf4}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model:
      base: Qwen/Qwen3-8B
      adapter: {kind: lora, target_modules: [q_proj, v_proj, down_proj]}
      quantization: {kind: nf4}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    model = case.recipe.model
    if isinstance(model.quantization, Unquantized) or isinstance(model.adapter, Full):
        return
    layers = _quantized_layers(case)
    for i, name in enumerate(model.adapter.modules_to_save):
        if name.rpartition(".")[2] in layers:
            help_ = "adapt it, in `target_modules`"
            yield Finding(f"model.adapter.modules_to_save.{i}", f"`{name}` is quantized and cannot be trained", help_)


@rule("LR249")
def quantized_weights_that_cannot_be_split(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a quantized base can be spread as `distributed` says: `fsdp` and ZeRO-3 split weights of one type, which
    4 bits have with `quant_storage: bfloat16` (or what the rest of the model has), and 8 bits never.

    ## Why is this bad?
    Training stops when the model is split, after it was loaded by every process.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp}
    hardware: {accelerator: l40s-48gb, num_accelerators: 2}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4, quant_storage: bfloat16}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp}
    hardware: {accelerator: l40s-48gb, num_accelerators: 2}
    ```
    """
    recipe, quantization = case.recipe, case.recipe.model.quantization
    spread = recipe.distributed
    splits = spread.kind == "fsdp" or (spread.kind == "deepspeed" and spread.zero_stage == 3)
    if not splits or recipe.method is None or isinstance(quantization, Unquantized):
        return
    if isinstance(quantization, Int8):
        message = f"`{spread.kind}` cannot split weights of 8 bits"
        yield Finding("model.quantization.kind", message, "use `nf4` with `quant_storage: bfloat16`, or `ddp`")
        return
    held = _held_type(case)
    if quantization.quant_storage == "uint8" or held not in (None, quantization.quant_storage):
        message = (
            f"`{spread.kind}` splits weights of one type, and these are `{quantization.quant_storage}` beside others"
        )
        yield Finding("model.quantization", message, f"write `quant_storage: {held or 'bfloat16'}`")


def _held_type(case: Case) -> Dtype | None:
    """The type of the weights that are not quantized; None where nothing says it."""
    model = case.recipe.model
    if model.dtype != "auto":
        return model.dtype
    if isinstance(model.adapter, Full):
        return "float32"
    return case.figures.dtype if case.figures is not None else None


@rule("LR263")
def two_half_precisions(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that weights are not held in one of `float16` and `bfloat16` and computed with in the other, where training
    runs on a processor.

    ## Why is this bad?
    Weights under an adapter keep the type of the checkpoint, or of `model.dtype`. On a processor layer norms, NF4
    layers and single trained tokens cannot put the two types together, and the first step fails.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}, quantization: {kind: nf4}, dtype: float16}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: bfloat16}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}, quantization: {kind: nf4}, dtype: bfloat16}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: bfloat16}
    ```
    """
    recipe, precision = case.recipe, case.recipe.training.precision
    if recipe.method is None or recipe.hardware.accelerator != "cpu":
        return
    held = _held_type(case)
    if {held, precision} == {"float16", "bfloat16"}:
        message = f"weights are in `{held}`, and a processor cannot put them together with `{precision}`"
        yield Finding("training.precision", message, f"write `model.dtype: {precision}`, or `precision: {held}`")


@rule("LR250")
def base_that_is_quantized_already(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a model that is trained does not begin with a checkpoint that was quantized for serving, by the name of
    its repository, or by what is known of a published model such as GPT-OSS.

    ## Why is this bad?
    What is learned on rounded weights can only be added to rounded weights, and rounds again. Most ways to quantize
    cannot be trained on, which is said after the model is loaded; weights in MXFP4 are rounded back to `bfloat16`
    without a word where the package `kernels` is missing, and refused where it is installed.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: unsloth/Qwen3-8B-bnb-4bit, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    base = case.recipe.model.base
    if case.recipe.method is None or not isinstance(base, str) or is_path(base):
        return
    help_ = "start from the checkpoint in 16 bits; `quantization: {kind: nf4}` holds it in 4 bits while it is trained"
    known = models().get(base)
    if (found := QUANTIZED_NAME.search(base)) is not None:
        yield Finding("model.base", f"`{found[1]}` in its name says that `{base}` is quantized", help_)
    elif known is not None and known.quantization is not None:
        yield Finding("model.base", f"`{base}` is stored quantized ({known.quantization})", help_)


@rule("LR251", "warning")
def half_precision_of_4_bits(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that layers of 4 bits do not compute in less than the rest of the training.

    ## Why is this bad?
    `float16` overflows where `bfloat16` and `float32` do not, and nothing scales the loss for it.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4, compute_dtype: float16}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: bfloat16}
    hardware: {accelerator: h100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: bfloat16}
    hardware: {accelerator: h100-80gb}
    ```
    """
    quantization, precision = case.recipe.model.quantization, case.recipe.training.precision
    if not isinstance(quantization, NF4) or case.recipe.method is None:
        return
    if quantization.compute_dtype == "float16" and precision != "float16":
        help_ = "leave it out: layers compute in `training.precision`"
        yield Finding("model.quantization.compute_dtype", "`float16` without the scaling of the loss", help_)
