"""LR37, LR39, LR83: fields of the trainer under `training.extra` that it refuses, or that nothing reads."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from pydantic import JsonValue

from llmrecipe.facts import trainer_fields
from llmrecipe.lint.rule import Case, Drop, Finding, rule

LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
WORDS: dict[str, tuple[str, ...]] = {
    "log_level": LEVELS,
    "log_level_replica": LEVELS,
    "debug": ("underflow_overflow", "tpu_metrics_debug"),
    "include_num_input_tokens_seen": ("all", "non_padding", "no"),
    "ddp_backend": ("nccl", "gloo", "mpi", "xccl", "hccl", "cncl", "mccl"),
    "dataloader_multiprocessing_context": ("fork", "spawn", "forkserver"),
    "torch_compile_mode": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    "truncation_mode": ("keep_start", "keep_end"),
    "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "vllm_mode": ("colocate", "server"),
    "vllm_model_impl": ("auto", "vllm", "transformers"),
    "cache_implementation": ("dynamic", "static", "offloaded", "offloaded_static", "quantized"),
    "pad_to_multiple_of": ("auto", "none"),
}
"""Field of a trainer -> the words that it takes, where its type does not say them."""


@dataclass(frozen=True)
class Bounds:
    """What a number must not be below, and not be above."""

    low: float
    high: float = float("inf")
    strict: bool = False
    """Whether it must be greater than `low`."""

    def hold(self, value: float) -> bool:
        """Whether the number lies between them."""
        return (self.low < value if self.strict else self.low <= value) and value <= self.high

    @property
    def said(self) -> str:
        """In words."""
        low = f"{'above' if self.strict else 'at least'} {self.low:g}"
        return low if self.high == float("inf") else f"{low} and at most {self.high:g}"


BOUNDS: dict[str, Bounds] = {
    **dict.fromkeys(
        (
            "torch_empty_cache_steps", "eval_accumulation_steps", "dataloader_prefetch_factor", "ddp_timeout",
            "ddp_bucket_cap_mb", "precompute_ref_batch_size", "num_generations_eval", "pad_to_multiple_of",
            "num_completions_to_print", "vllm_max_model_length", "vllm_tensor_parallel_size",
        ),
        Bounds(1),
    ),
    **dict.fromkeys(("eval_delay", "data_seed", "router_aux_loss_coef", "top_k"), Bounds(0)),
    **dict.fromkeys(
        ("repetition_penalty", "vllm_server_timeout", "sapo_temperature_neg", "sapo_temperature_pos", "delta"),
        Bounds(0, strict=True),
    ),
    **dict.fromkeys(("vespo_k_neg", "vespo_k_pos", "vespo_lambda_neg", "vespo_lambda_pos"), Bounds(0, strict=True)),
    **dict.fromkeys(("min_p",), Bounds(0, 1)),
    **dict.fromkeys(("top_entropy_quantile", "vllm_gpu_memory_utilization"), Bounds(0, 1, strict=True)),
    **dict.fromkeys(("vllm_server_port", "vllm_group_port"), Bounds(1, 65535)),
}  # fmt: skip
"""Field of a trainer -> what its type does not say of its numbers."""

RATIO = "vllm_importance_sampling"
"""What the options begin with that are about the probability ratio of vLLM and the trained model."""
CUTS = ("token_truncate", "sequence_truncate")

METRICS_OF_NOBODY = "no metric is computed from predictions: validations keep the loss alone"
UNREAD: dict[str, str] = {
    **dict.fromkeys(
        (
            "batch_eval_metrics", "eval_accumulation_steps", "eval_do_concat_batches", "eval_use_gather_object",
            "include_for_metrics",
        ),
        METRICS_OF_NOBODY,
    ),
    **dict.fromkeys(
        ("hub_always_push", "hub_private_repo", "hub_revision", "hub_strategy"), "training pushes nothing to the Hub"
    ),
    **dict.fromkeys(
        ("truncation_mode", "is_encoder_decoder", "padding_value"), "the rows are tokenized and cut before training"
    ),
    "length_column_name": "lengths are counted, not read from a column",
    "optim_target_modules": "none of the optimizers looks at single layers",
    "log_multimodal": "there are no images to log",
    "max_tool_calling_iterations": "no tools are called",
}  # fmt: skip
"""Field of a trainer -> why nothing reads it here."""


def _extra(case: Case) -> Mapping[str, JsonValue]:
    return case.recipe.training.extra if case.recipe.method is not None else {}


@rule("LR378")
def unknown_word_in_extra(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a text under `training.extra` is one of the words that the trainer's configuration knows, or the JSON of
    a mapping where it takes one.

    ## Why is this bad?
    The type of these fields is any text. Some are refused when training starts, some much later in a library that
    looks the word up, and some mean the default.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {extra: {debug: overflow}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {extra: {debug: underflow_overflow}}
    ```
    """
    method = case.recipe.method
    fields = trainer_fields(method.config) if method is not None and _extra(case) else {}
    for name, value in _extra(case).items():
        mapped = name in fields and "dict" in fields[name].type.split(" | ")
        if mapped and isinstance(value, str) and not _json_of_a_mapping(value):
            message = f"`{name}` is a mapping, and this text is no JSON of one"
            yield Finding(f"training.extra.{name}", message, "write it as a mapping: `{key: value}`")
        for word in value if isinstance(value, list) else [value]:
            if name in WORDS and isinstance(word, str) and word not in WORDS[name]:
                known = ", ".join(f"`{each}`" for each in WORDS[name])
                yield Finding(f"training.extra.{name}", f"`{name}` knows no `{word}`", f"use one of {known}")


def _json_of_a_mapping(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


@rule("LR379")
def number_out_of_bounds_in_extra(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks the numbers under `training.extra` of which the trainer's configuration gives a type and no bounds.

    ## Why is this bad?
    A count of zero or a share above one is refused after the model is loaded, or divides by zero, or changes what is
    sampled without a word.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {extra: {torch_empty_cache_steps: 0}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {extra: {torch_empty_cache_steps: 50}}
    ```
    """
    for name, value in _extra(case).items():
        if name in BOUNDS and _number(value) and not BOUNDS[name].hold(value):
            message = f"`{name}` is {value:g}, and must be {BOUNDS[name].said}"
            yield Finding(f"training.extra.{name}", message, "use such a number, or leave it out for the default")


@rule("LR393")
def options_of_the_trainer_that_contradict(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks options under `training.extra` that only go with another one: `dataloader_prefetch_factor` and
    `dataloader_persistent_workers` with `training.dataloader_num_workers`, one of `fp16_full_eval` and
    `bf16_full_eval`, `log_completions_hub_repo` with `log_completions`, `router_aux_loss_coef` with a mixture of
    experts, `eval_on_start` with `data.validation`, and the bounds of vLLM's probability ratio with each other and with
    what is done beyond them.

    ## Why is this bad?
    The trainer refuses them when its configuration is made, when its model is looked at, or at the first validation.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {extra: {dataloader_prefetch_factor: 4}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {dataloader_num_workers: 2, extra: {dataloader_prefetch_factor: 4}}
    ```
    """
    for name, message, help_ in _contradictions(case):
        yield Finding(f"training.extra.{name}", message, help_, on_key=True)


def _contradictions(case: Case) -> Iterator[tuple[str, str, str]]:
    """Option, why it cannot be here, and what to do."""
    extra, training, data = _extra(case), case.recipe.training, case.recipe.data
    for name in ("dataloader_prefetch_factor", "dataloader_persistent_workers"):
        if extra.get(name) and training.dataloader_num_workers == 0:
            yield name, "no process beside the training loads batches", "write `training.dataloader_num_workers: 2`"
    if extra.get("fp16_full_eval") and extra.get("bf16_full_eval"):
        yield "fp16_full_eval", "a validation computes in `float16` or in `bfloat16`, not in both", "keep one of them"
    if extra.get("log_completions_hub_repo") is not None and not extra.get("log_completions"):
        yield "log_completions_hub_repo", "no answers are logged that could be sent", "add `log_completions: true`"
    known = case.architecture
    if extra.get("router_aux_loss_coef") and known is not None and not known.experts:
        message = f"a model of the family `{case.family}` has no experts between which a loss could balance"
        yield "router_aux_loss_coef", message, "leave it out"
    if extra.get("eval_on_start") and data is not None and data.validation is None:
        yield "eval_on_start", "there are no rows to validate on", "add `data.validation`, or leave it out"
    if extra.get("use_transformers_continuous_batching") and getattr(case.recipe.method, "use_vllm", False):
        yield "use_transformers_continuous_batching", "vLLM gives the answers, and not Transformers", "keep one of them"
    least, most = (extra.get(f"entropy_coef_{end}", default) for end, default in (("min", 0.0), ("max", 1.0)))
    if _number(least) and _number(most) and least > most:
        name = "entropy_coef_min" if "entropy_coef_min" in extra else "entropy_coef_max"
        yield name, f"no coefficient is at least {least:g} and at most {most:g}", "swap the two"
    yield from _bounds_of_the_ratio(extra)


def _bounds_of_the_ratio(extra: Mapping[str, JsonValue]) -> Iterator[tuple[str, str, str]]:
    """As `_contradictions`. The cap is an older name of the upper bound, and counts where both are written."""
    low, high, cap = extra.get(f"{RATIO}_clip_min"), extra.get(f"{RATIO}_clip_max", 3.0), extra.get(f"{RATIO}_cap")
    high = high if cap is None else cap
    if _number(low) and _number(high) and low >= high:
        message = f"no probability ratio lies between {low:g} and {high:g}"
        yield f"{RATIO}_clip_min", message, f"use a number below {high:g}"
    mode = extra.get(f"{RATIO}_mode")
    if mode in CUTS and low is None and high is None and extra.get(f"{RATIO}_correction", True):
        message = f"`{mode}` cuts probability ratios to a bound, and there is none"
        yield f"{RATIO}_mode", message, f"write `{RATIO}_clip_max: 3.0`, or leave the mode out"


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


@rule("LR830", "warning")
def extra_that_nobody_reads(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks for fields under `training.extra` that the trainer has and that change nothing here: rows are tokenized and
    cut before it, validations keep the loss alone, and nothing is pushed to the Hub.

    ## Why is this bad?
    The recipe seems to say something that it does not.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {seed: 1, extra: {truncation_mode: keep_end}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {seed: 1}
    ```
    """
    for name in _extra(case):
        if name in UNREAD:
            at = f"training.extra.{name}"
            yield Finding(at, f"`{name}` changes nothing: {UNREAD[name]}", "leave it out", on_key=True, fix=Drop(at))
