"""LR3: what happens at certain steps, and does not within the steps that there are."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Drop, Finding, Put, rule
from llmrecipe.methods.sft import SFT
from llmrecipe.optimization import SWA, AdEMAMix


@rule("LR345", "warning")
def mean_of_one(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that at least two weights enter the mean of `averaging: {kind: swa}`, where `max_steps` says how long the
    training is.

    ## Why is this bad?
    The last step always enters. A mean of it alone is the model without averaging. Source:
    https://arxiv.org/abs/1803.05407

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 100, averaging: {kind: swa, start_ratio: 0.75, every_steps: 50}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 100, averaging: {kind: swa, start_ratio: 0.75, every_steps: 5}}
    ```
    """
    training = case.recipe.training
    if training.max_steps is None or not isinstance(training.averaging, SWA):
        return
    averaged = training.max_steps - int(training.averaging.start_ratio * training.max_steps)
    if averaged > training.averaging.every_steps:
        return
    message = f"{averaged} steps are left for the mean, and every {training.averaging.every_steps}th enters it"
    fitting = max(1, averaged // 5)
    change = Put("training.averaging.every_steps", fitting)
    yield Finding("training.averaging", message, f"use `every_steps: {fitting}`", fix=change, safe=False)


@rule("LR346", "warning")
def ramp_beyond_the_end(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `ramp_steps` of AdEMAMix is not above `max_steps`.

    ## Why is this bad?
    The slow mean never counts as much as `alpha` says. The paper lets the ramp end with the training. Source:
    https://arxiv.org/abs/2409.03137, section 3

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 500, optimizer: {kind: ademamix, ramp_steps: 10000}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 500, optimizer: {kind: ademamix, ramp_steps: 500}}
    ```
    """
    steps, optimizer = case.recipe.training.max_steps, case.recipe.training.optimizer
    if steps is None or not isinstance(optimizer, AdEMAMix) or (optimizer.ramp_steps or 0) <= steps:
        return
    at = "training.optimizer.ramp_steps"
    message = f"`alpha` rises over {optimizer.ramp_steps:,} steps, and training ends after {steps:,}"
    yield Finding(at, message, f"use {steps}", fix=Put(at, steps), safe=False)


@rule("LR357", "warning")
def best_of_one(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that there are at least two validations among which `checkpoints.best` can choose.

    ## Why is this bad?
    The best of one is that one: the model of the last validation, which is mostly not even that of the last step.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft}
    training: {max_steps: 100, eval_steps: 80, checkpoints: {best: {}}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft}
    training: {max_steps: 100, eval_steps: 10, checkpoints: {best: {}}}
    ```
    """
    training = case.recipe.training
    if training.checkpoints.best is None or training.max_steps is None or training.eval_steps is None:
        return
    if training.eval_steps <= training.max_steps < 2 * training.eval_steps:
        message = f"there is one validation in {training.max_steps:,} steps, at step {training.eval_steps:,}"
        help_ = f"use `eval_steps: {max(1, training.max_steps // 10)}`, or leave `checkpoints.best` out"
        yield Finding("training.checkpoints.best", message, help_)


@rule("LR348", "warning")
def loss_that_depends_on_the_processes(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `training.extra` does not switch `average_tokens_across_devices` off where several processes train.

    ## Why is this bad?
    Each process then takes the mean over its own tokens, and the mean of these means is not that of all tokens: a
    token counts more in a batch of short rows, and the same recipe learns otherwise on 8 devices than on one. Source:
    https://github.com/huggingface/transformers/issues/34242

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {extra: {average_tokens_across_devices: false}}
    distributed: {kind: ddp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: ddp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    recipe = case.recipe
    processes = recipe.hardware.num_accelerators * recipe.hardware.num_nodes
    off = recipe.training.extra.get("average_tokens_across_devices") is False
    if recipe.method is not None and processes > 1 and off:
        at = "training.extra.average_tokens_across_devices"
        message = f"the loss is the mean of the means of {processes} processes, not that of all tokens"
        yield Finding(at, message, "leave it out", fix=Drop(at), safe=False)


@rule("LR366", "warning")
def best_by_a_loss_that_unlearning_lowers(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `checkpoints.best` and `early_stopping` do not go by `eval_loss` when `sft` has the loss `dft`.

    ## Why is this bad?
    That loss weighs every token with its own probability: `-p log p` is near zero where the model is sure, and just as
    near where it has no idea. It was 0.02 for a model with random weights, whose likelihood loss was 5.7. The lowest
    value may be that of the worst model. Source: https://arxiv.org/abs/2508.05629, equation 9

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft, loss_type: dft}
    training: {eval_steps: 50, checkpoints: {best: {}}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft, loss_type: dft}
    training: {eval_steps: 50, checkpoints: {best: {metric: eval_mean_token_accuracy, greater_is_better: true}}}
    ```
    """
    training, method = case.recipe.training, case.recipe.method
    if not isinstance(method, SFT) or method.loss_type != "dft":
        return
    judges = {
        "training.checkpoints.best": training.checkpoints.best,
        "training.early_stopping": training.early_stopping,
    }
    for at, judge in judges.items():
        if judge is not None and judge.metric == "eval_loss":
            message = "`eval_loss` of `dft` is low for a model that is sure, and for one that knows nothing"
            help_ = "write `metric: eval_mean_token_accuracy` and `greater_is_better: true`"
            yield Finding(at, message, help_)


@rule("LR824", "warning")
def hardly_anything_recomputed(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `gradient_checkpointing.every_n_layers` is below the number of layers of the model, where it is known.

    ## Why is this bad?
    The first of so many layers is recomputed: here one of all, which frees next to nothing.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: {every_n_layers: 28}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: {every_n_layers: 2}}
    ```
    """
    options, figures = case.recipe.training.gradient_checkpointing, case.figures
    if isinstance(options, bool) or figures is None or case.recipe.method is None:
        return
    if options.every_n_layers >= max(2, figures.layers):
        message = f"one of {figures.layers} layers is recomputed"
        at = "training.gradient_checkpointing.every_n_layers"
        yield Finding(at, message, "use 2, or leave it out for all layers", fix=Put(at, 2), safe=False)
