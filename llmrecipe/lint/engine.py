"""LR6: what vLLM 0.33 refuses when it starts (`vllm/config/`): devices, batches, numbers, loaders, drafts."""

from collections.abc import Iterator, Mapping
from typing import Any

from llmrecipe.facts import accelerators, models
from llmrecipe.lint.rule import Case, Drop, Finding, Put, rule
from llmrecipe.recipe.serving import VLLM
from llmrecipe.vocabulary import DoRA, LoRA

OF_CHECKPOINTS = (
    "auto_awq", "auto_gptq", "awq", "awq_marlin", "compressed-tensors", "deepseek_v4_fp8", "gpt_oss_mxfp4", "gptq",
    "gptq_marlin", "modelopt", "modelopt_fp4", "modelopt_mixed", "modelopt_mxfp8", "moe_wna16", "quark", "torchao",
)  # fmt: skip
"""Ways of `quantization` that read weights which were quantized before."""
ON_THE_FLY = ("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "mxfp8", "mxfp4", "online")
"""Ways of `quantization` that take the weights as they are exported."""
RETIRED = ("fbgemm_fp8", "fp_quant")
OF_OTHER_FILES = {
    "dummy": "random weights",
    "npcache": "a cache of PyTorch files",
    "pt": "PyTorch files",
    "mistral": "the files of Mistral's own format",
    "sharded_state": "files that vLLM has sharded before",
    "runai_streamer_sharded": "files that vLLM has sharded before",
    "tensorizer": "tensorized files",
}
"""Loader -> what it reads instead of safetensors."""
WITHOUT_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")
"""Families that vLLM does not compute in `float16`."""
CAPABLE = 7.5
"""Compute capability from which vLLM quantizes on the fly."""
FANNED_OUT = ("pipeline_parallel_size", "data_parallel_size", "prefill_context_parallel_size")
"""Options that multiply the devices of a server."""


def _served(case: Case) -> tuple[VLLM, Mapping[str, Any]] | None:
    """The server and its further options."""
    serving = case.recipe.serving
    return (serving, serving.extra) if isinstance(serving, VLLM) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@rule("LR606")
def rank_without_room(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `max_lora_rank` under `serving.extra` holds the largest rank of `serving.adapters`, and that
    `max_cpu_loras` is not below `max_loras`, which is the number of adapters.

    ## Why is this bad?
    An adapter of a greater rank is refused at its first request; fewer adapters in host memory than on the device are
    refused when the server starts.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, r: 64, lora_alpha: 64}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ---
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, adapters: [{recipe: style}], extra: {max_lora_rank: 16}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, r: 64, lora_alpha: 64}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ---
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, adapters: [{recipe: style}]}
    ```
    """
    if (served := _served(case)) is None:
        return
    serving, extra = served
    adapters = [case.recipes[one.name].model.adapter for one in serving.adapters if one.name in case.recipes]
    ranks = [max([each.r, *each.rank_pattern.values()]) for each in adapters if isinstance(each, LoRA | DoRA)]
    room, at_once = _whole(extra.get("max_lora_rank")), _whole(extra.get("max_loras")) or max(1, len(adapters))
    if ranks and room is not None and room < max(ranks):
        at = "serving.extra.max_lora_rank"
        message = f"there is room for adapters of rank {room}, and one of these has rank {max(ranks)}"
        yield Finding(at, message, "leave it out: it follows from the adapters", fix=Drop(at))
    kept = _whole(extra.get("max_cpu_loras"))
    if kept is not None and kept < at_once:
        message = f"{kept} adapter(s) in host memory are fewer than the {at_once} on the device"
        yield Finding("serving.extra.max_cpu_loras", message, f"use {at_once} or more, or leave it out")


@rule("LR607")
def server_of_more_devices(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no option under `serving.extra` multiplies the devices of a server: `pipeline_parallel_size`,
    `data_parallel_size` and `prefill_context_parallel_size`.

    ## Why is this bad?
    A server is given `tensor_parallel_size` devices by whatever starts it. One that looks for more stops: its world
    is larger than the devices that it sees.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb, num_accelerators: 4}
    serving: {kind: vllm, tensor_parallel_size: 2, extra: {pipeline_parallel_size: 2}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb, num_accelerators: 4}
    serving: {kind: vllm, tensor_parallel_size: 4}
    ```
    """
    if (served := _served(case)) is None:
        return
    serving, extra = served
    for name in FANNED_OUT:
        times, at = _whole(extra.get(name)) or 1, f"serving.extra.{name}"
        if times > 1:
            size = serving.tensor_parallel_size
            message = f"the server needs {times * size} devices, and is given {size} (`tensor_parallel_size`)"
            copies = f"use `replicas: {{min: {times}}}`"
            help_ = copies if name == "data_parallel_size" else f"use `tensor_parallel_size: {times * size}`"
            yield Finding(at, message, help_, on_key=True, fix=Drop(at), safe=False)


@rule("LR608")
def quantization_of_another_checkpoint(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `quantization` under `serving.extra` is one that takes weights as they are exported, which is
    unquantized.

    ## Why is this bad?
    Ways such as `awq` and `gptq` read weights that were quantized before. vLLM looks for their configuration beside
    the model, does not find it, and stops. `fbgemm_fp8` and `fp_quant` are refused as retired.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, extra: {quantization: awq}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, extra: {quantization: fp8_per_tensor}}
    ```
    """
    if (served := _served(case)) is None:
        return
    way, at = served[1].get("quantization"), "serving.extra.quantization"
    help_ = "use `fp8_per_tensor`, which quantizes while the server starts, or leave it out"
    if way in OF_CHECKPOINTS and not _quantized_already(case):
        yield Finding(at, f"`{way}` reads weights that were quantized before, and these are not", help_)
    elif way in RETIRED:
        yield Finding(at, f"`{way}` is retired, and vLLM refuses it", help_)


def _quantized_already(case: Case) -> bool:
    """Whether the served model may be a checkpoint that somebody quantized, which is passed on as it is."""
    base = case.recipe.model.base
    if case.recipe.method is not None or not isinstance(base, str):
        return False
    known = models().get(base)
    return known is None or known.quantization is not None


@rule("LR609")
def numbers_that_vllm_does_not_compute_in(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks `serving.dtype` against the model and the quantization: not `float16` for Gemma and GLM, and not `float32`
    with weights that are quantized on the fly.

    ## Why is this bad?
    vLLM refuses both when it starts: those models overflow in `float16`, and the kernels of quantized weights take
    `bfloat16` and `float16` alone.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, dtype: float32, extra: {quantization: fp8_per_tensor}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, dtype: bfloat16, extra: {quantization: fp8_per_tensor}}
    ```
    """
    if (served := _served(case)) is None:
        return
    serving, extra = served
    way, change = extra.get("quantization"), Put("serving.dtype", "bfloat16")
    if serving.dtype == "float32" and way in (*ON_THE_FLY, *OF_CHECKPOINTS):
        message = f"weights in `{way}` are not computed with in `float32`"
        yield Finding("serving.dtype", message, "use `bfloat16` or `auto`", fix=change, safe=False)
    if serving.dtype == "float16" and case.family in WITHOUT_FLOAT16:
        message = f"models of the family `{case.family}` overflow in `float16`, and vLLM refuses it"
        yield Finding("serving.dtype", message, "use `bfloat16` or `auto`", fix=change, safe=False)


@rule("LR610")
def batch_that_holds_no_sequence(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks `max_num_batched_tokens` under `serving.extra`: at least `max_num_seqs`, and, where prompts are not taken
    in chunks, at least `max_model_len`; and `long_prefill_token_threshold`, which is at most `max_model_len`.

    ## Why is this bad?
    A step that has fewer tokens than sequences, or than one prompt, cannot be made. vLLM stops when it starts.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, max_num_seqs: 512, extra: {max_num_batched_tokens: 256}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, max_num_seqs: 512, extra: {max_num_batched_tokens: 2048}}
    ```
    """
    if (served := _served(case)) is None:
        return
    serving, extra = served
    tokens, longest = _whole(extra.get("max_num_batched_tokens")), serving.max_model_len
    at = "serving.extra.max_num_batched_tokens"
    if tokens is not None and serving.max_num_seqs is not None and tokens < serving.max_num_seqs:
        message = f"a step of {tokens} tokens cannot serve {serving.max_num_seqs} sequences"
        yield Finding(at, message, f"use {max(2048, serving.max_num_seqs)}, or a smaller `max_num_seqs`")
    elif tokens is not None and tokens < (longest or 0) and extra.get("enable_chunked_prefill") is False:
        message = f"a step of {tokens} tokens cannot take a prompt of {longest}, and prompts are not cut into chunks"
        yield Finding(at, message, f"use {longest} or more, or leave out `enable_chunked_prefill: false`")
    threshold = _whole(extra.get("long_prefill_token_threshold"))
    if threshold is not None and longest is not None and threshold > longest:
        message = f"no prompt has more than {longest} tokens, and long ones begin at {threshold}"
        yield Finding("serving.extra.long_prefill_token_threshold", message, f"use at most {longest}")


@rule("LR611")
def draft_that_nobody_writes(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks `speculative_config` under `serving.extra`: it has a `method` or a `model`, `num_speculative_tokens`, a
    draft over one device or over all, and `prompt_lookup_min` is not above `prompt_lookup_max`.

    ## Why is this bad?
    vLLM stops when it starts: it does not know who guesses ahead, or how far.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, extra: {speculative_config: {method: ngram, prompt_lookup_max: 4}}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, extra: {speculative_config: {method: ngram, prompt_lookup_max: 4, num_speculative_tokens: 3}}}
    ```
    """
    served = _served(case)
    drafts = served[1].get("speculative_config") if served is not None else None
    if served is None or not isinstance(drafts, dict):
        return
    for key, message, help_ in _of_drafts(drafts, served[0].tensor_parallel_size):
        yield Finding(("serving", "extra", "speculative_config", *key), message, help_)


def _of_drafts(drafts: Mapping[str, Any], size: int) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Key of the configuration of drafts, what is wrong with it, and what to do."""
    method, model, tokens = (drafts.get(name) for name in ("method", "model", "num_speculative_tokens"))
    if method is None and model is None:
        yield (), "nobody is named who guesses ahead", "write `method: ngram`, or the `model` of a draft"
    elif method == "draft_model" and model is None:
        yield (), "a draft model is asked for and not named", "write `model`, a smaller model with the same tokenizer"
    elif tokens is None and (method in ("ngram", "ngram_gpu", "draft_model") or method is None):
        yield (), "it is not said how many tokens are guessed ahead", "write `num_speculative_tokens: 3`"
    if isinstance(tokens, int) and tokens < 1:
        yield ("num_speculative_tokens",), f"{tokens} tokens are guessed ahead", "use 1 or more, or leave drafts out"
    low, high = drafts.get("prompt_lookup_min"), drafts.get("prompt_lookup_max")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield ("prompt_lookup_min",), f"nothing has at least {low} and at most {high} tokens", "swap the two"
    over = drafts.get("draft_tensor_parallel_size")
    if isinstance(over, int) and over not in (1, size):
        message = f"a draft is split over 1 device or over all {size}, not over {over}"
        yield ("draft_tensor_parallel_size",), message, "use 1"


@rule("LR614")
def loader_of_other_files(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `load_format` under `serving.extra` reads safetensors, which is what is exported.

    ## Why is this bad?
    The server finds no weights and stops. With `dummy` it finds none and starts: with random ones.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, max_model_len: 4096, extra: {load_format: dummy}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, max_model_len: 4096}
    ```
    """
    way = served[1].get("load_format") if (served := _served(case)) is not None else None
    if isinstance(way, str) and way in OF_OTHER_FILES:
        at = "serving.extra.load_format"
        message = f"`{way}` reads {OF_OTHER_FILES[way]}, and safetensors are exported"
        yield Finding(at, message, "leave it out", fix=Drop(at), safe=way != "dummy")


@rule("LR615")
def quantization_without_its_hardware(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the accelerator can quantize weights on the fly: compute capability 7.5, and 10.0 for
    `nvfp4_per_token`.

    ## Why is this bad?
    vLLM stops when it starts.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    hardware: {accelerator: v100-16gb}
    serving: {kind: vllm, max_num_seqs: 16, extra: {quantization: fp8_per_tensor}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    hardware: {accelerator: v100-16gb}
    serving: {kind: vllm, max_num_seqs: 16}
    ```
    """
    served, preset = _served(case), accelerators().get(case.recipe.hardware.accelerator)
    if served is None or preset is None or preset.compute_capability is None:
        return
    way, at = served[1].get("quantization"), "serving.extra.quantization"
    needs = CAPABLE if way in ON_THE_FLY else 10.0 if way == "nvfp4_per_token" else 0.0
    if float(preset.compute_capability) < needs:
        name = case.recipe.hardware.accelerator
        message = f"`{way}` needs compute capability {needs}, and `{name}` has {preset.compute_capability}"
        yield Finding(at, message, "leave it out, or use another accelerator", fix=Drop(at), safe=False)


@rule("LR616")
def spread_experts_of_a_dense_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `enable_expert_parallel` and `enable_eplb` under `serving.extra` are for a model with experts, and the
    second beside the first.

    ## Why is this bad?
    vLLM stops when it starts: there are no experts to spread, or they are to be balanced without being spread.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb, num_accelerators: 2}
    serving: {kind: vllm, tensor_parallel_size: 2, extra: {enable_expert_parallel: true}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: l4-24gb, num_accelerators: 2}
    serving: {kind: vllm, tensor_parallel_size: 2}
    ```
    """
    if (served := _served(case)) is None:
        return
    extra, known = served[1], case.architecture
    for name in ("enable_expert_parallel", "enable_eplb"):
        at = f"serving.extra.{name}"
        if extra.get(name) and known is not None and not known.experts:
            message = f"a model of the family `{case.family}` has no experts"
            yield Finding(at, message, "leave it out", fix=Drop(at))
        elif name == "enable_eplb" and extra.get(name) and not extra.get("enable_expert_parallel"):
            yield Finding(at, "experts are balanced that are not spread", "add `enable_expert_parallel: true`")
