"""LR39, LR83: methods that learn from their own answers: chance, probability ratios, vLLM beside the training."""

from collections.abc import Iterator
from typing import Any

from llmrecipe.lint.rule import Case, Drop, Finding, Put, rule
from llmrecipe.methods.distillation import Distillation
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.online import OnlineMethod
from llmrecipe.strategies import Single
from llmrecipe.vocabulary import Int8

SUMMED_PER_TOKEN = ("dapo", "bnpo", "dr_grpo", "cispo")
"""Losses of GRPO that add up tokens, and so weigh a ratio of whole answers by their length."""
OF_TOKENS = ("token_truncate", "token_mask")
OF_COLOCATE = (
    "vllm_gpu_memory_utilization", "vllm_max_model_length", "vllm_tensor_parallel_size", "vllm_enable_sleep_mode",
)  # fmt: skip
"""Options of a vLLM in the training processes."""
OF_SERVER = ("vllm_server_host", "vllm_server_port", "vllm_server_timeout", "vllm_group_port")
"""Options under `training.extra` of a server that runs already."""
ALMOST_GREEDY = 0.1


@rule("LR394")
def answers_without_chance(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the answers which are learned from are drawn by chance: not with `top_k: 1`, and with a temperature
    that is not nearly zero (a warning at 0.1 and below).

    ## Why is this bad?
    All answers to a prompt are then the same. A group of equal answers has equal rewards, so that there is nothing to
    learn from; and with a value function, nothing but the likeliest answer is ever tried.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], top_k: 1}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}]}
    ```
    """
    method = case.recipe.method
    if not isinstance(method, OnlineMethod):
        return
    if method.top_k == 1:
        message = "`top_k: 1` always draws the likeliest token, so that all answers to a prompt are the same"
        yield Finding("method.top_k", message, "leave it out, or use 20 or more", fix=Drop("method.top_k"), safe=False)
    elif method.temperature <= ALMOST_GREEDY:
        message = f"at a temperature of {method.temperature:g} nearly all answers to a prompt are the same"
        yield Finding("method.temperature", message, "use 0.7 to 1.2", severity="warning")


@rule("LR395")
def ratio_of_another_loss(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that GRPO compares probabilities as its loss takes them: `vespo` with vLLM needs a ratio of tokens (an
    error); `luspo` is over whole answers; and losses that add up tokens are not (warnings).

    ## Why is this bad?
    `vespo` is refused after the model was loaded, since vLLM's ratio is masked by answers unless something else is
    written. A ratio of whole answers in a loss over tokens counts long answers more, which GSPO is meant to avoid.

    Source: https://arxiv.org/abs/2507.18071

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], importance_sampling_level: sequence}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method:
      kind: grpo
      reward_functions: [{kind: numeric_answer}]
      importance_sampling_level: sequence
      loss_type: grpo
    ```
    """
    method, extra = case.recipe.method, case.recipe.training.extra
    if not isinstance(method, GRPO):
        return
    corrected = method.use_vllm and extra.get("vllm_importance_sampling_correction", True)
    mode = extra.get("vllm_importance_sampling_mode", "sequence_mask")
    at = "method.importance_sampling_level"
    if method.loss_type == "vespo" and corrected and mode not in OF_TOKENS:
        message = f"`vespo` with vLLM takes a ratio of tokens, and `vllm_importance_sampling_mode` is `{mode}`"
        change = Put("training.extra.vllm_importance_sampling_mode", "token_truncate")
        help_ = "write `training.extra: {vllm_importance_sampling_mode: token_truncate}`"
        yield Finding("method.loss_type", message, help_, fix=change, safe=False)
    if method.importance_sampling_level == "sequence" and method.loss_type in SUMMED_PER_TOKEN:
        message = f"`{method.loss_type}` adds up tokens, so that a ratio of whole answers counts by their length"
        change = Put("method.loss_type", "grpo")
        yield Finding(at, message, "use `loss_type: grpo`", severity="warning", fix=change, safe=False)
    wanted = {"luspo": "sequence", "vespo": "token"}.get(method.loss_type, method.importance_sampling_level)
    if method.importance_sampling_level != wanted:
        message = f"`{method.loss_type}` is made for a ratio of `{wanted}`, not `{method.importance_sampling_level}`"
        help_ = f"write `importance_sampling_level: {wanted}`"
        yield Finding("method.loss_type", message, help_, severity="warning", fix=Put(at, wanted), safe=False)


@rule("LR397")
def vllm_that_does_not_start_in_training(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks a vLLM in the training processes: the processes and the attention heads divide by
    `vllm_tensor_parallel_size`, `vllm_max_model_length` holds a row of `training.max_length`, and the base is not held
    in 8 bits. The method `distillation` has these options under `training.extra`.

    ## Why is this bad?
    vLLM takes whole groups of processes and whole heads, does not read 8-bit weights while it runs, and refuses a
    prompt that leaves no room for an answer. All of that is said when the model has been loaded, or later.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method:
      kind: grpo
      reward_functions: [{kind: numeric_answer}]
      use_vllm: true
      vllm_max_model_length: 512
    hardware: {accelerator: h100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method:
      kind: grpo
      reward_functions: [{kind: numeric_answer}]
      use_vllm: true
      vllm_max_model_length: 1024
    hardware: {accelerator: h100-80gb}
    ```
    """
    recipe, method = case.recipe, case.recipe.method
    if not isinstance(method, OnlineMethod | Distillation) or not method.use_vllm:
        return
    own = isinstance(method, OnlineMethod)
    place: str = "method" if own else "training.extra"
    options: dict[str, Any] = dict(method) if own else dict(recipe.training.extra)
    if options.get("vllm_mode", "colocate") != "colocate":
        return
    size, longest = max(1, options.get("vllm_tensor_parallel_size", 1)), recipe.training.max_length
    spread = not isinstance(recipe.distributed, Single)
    processes = recipe.hardware.num_accelerators * recipe.hardware.num_nodes if spread else 1
    at = f"{place}.vllm_tensor_parallel_size"
    if processes % size:
        message = f"{processes} process(es) cannot be put into groups of {size}"
        yield Finding(at, message, f"use a divisor of {processes}")
    elif case.figures is not None and case.figures.heads % size:
        yield Finding(at, f"{case.figures.heads} heads cannot be split over {size} devices", "use another number")
    if own and (room := options["vllm_max_model_length"]) is not None and room < longest:
        message = f"rows may have {longest} tokens with their answer, and vLLM has room for {room}"
        change = Put("method.vllm_max_model_length", longest)
        yield Finding("method.vllm_max_model_length", message, f"use {longest}", fix=change)
    if isinstance(recipe.model.quantization, Int8):
        message = "vLLM does not take weights in 8 bits from a training"
        yield Finding("method.use_vllm", message, "use `model.quantization: {kind: nf4}`, or leave out `use_vllm`")


@rule("LR831", "warning")
def reward_that_counts_nothing(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the weights of rewards are not zero; an error where all of them are.

    ## Why is this bad?
    A reward with the weight 0 is computed for every answer and changes nothing but the log. When all weights are 0,
    every answer is as good as any other.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}, {kind: length, max: 200, weight: 0.0}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}, {kind: length, max: 200, weight: 0.1}]}
    ```
    """
    method = case.recipe.method
    if not isinstance(method, OnlineMethod):
        return
    weights = {f"method.reward_functions.{i}.weight": each.weight for i, each in enumerate(method.reward_functions)}
    if method.reward_model is not None:
        weights["method.reward_model_weight"] = method.reward_model_weight
    for at in (at for at, weight in weights.items() if weight == 0):
        if any(weights.values()):
            yield Finding(at, "a reward with the weight 0 changes nothing", "give it a weight, or leave the reward out")
        else:
            message = f"all {len(weights)} reward(s) have the weight 0: nothing tells a good answer from a bad one"
            yield Finding(at, message, "use 1.0", severity="error")


@rule("LR832", "warning")
def option_of_the_other_vllm_mode(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that options of a vLLM in the training processes are not written for a server, and those of a server not for
    a vLLM in the training processes.

    ## Why is this bad?
    Nobody reads them: a server has been started with options of its own.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method:
      kind: grpo
      reward_functions: [{kind: numeric_answer}]
      use_vllm: true
      vllm_mode: server
      vllm_server_base_url: http://generator:8000
      vllm_gpu_memory_utilization: 0.5
    hardware: {accelerator: h100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method:
      kind: grpo
      reward_functions: [{kind: numeric_answer}]
      use_vllm: true
      vllm_mode: server
      vllm_server_base_url: http://generator:8000
    hardware: {accelerator: h100-80gb}
    ```
    """
    method, extra = case.recipe.method, case.recipe.training.extra
    if not isinstance(method, OnlineMethod):
        return
    if method.use_vllm and method.vllm_mode == "server":
        unread = [f"method.{name}" for name in OF_COLOCATE if name in method.model_fields_set]
        if method.vllm_server_base_url is not None:
            unread += [f"training.extra.{name}" for name in ("vllm_server_host", "vllm_server_port") if name in extra]
        why = "the server has been started with options of its own, and `vllm_server_base_url` says where it is"
    else:
        unread = [f"training.extra.{name}" for name in OF_SERVER if name in extra]
        unread += ["method.vllm_server_base_url"] if method.use_vllm and method.vllm_server_base_url is not None else []
        why = "no server is asked"
    for at in unread:
        yield Finding(at, f"nobody reads this: {why}", "leave it out", on_key=True, fix=Drop(at))
