"""LR3: steps, schedule, learning rate and precision."""

from collections.abc import Iterator
from math import sqrt

from llmrecipe.diagnostics import Severity
from llmrecipe.facts import accelerators
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.methods import Method
from llmrecipe.methods.cpo import CPO
from llmrecipe.methods.online import OnlineMethod
from llmrecipe.methods.orpo import ORPO
from llmrecipe.methods.pretrain import Pretrain
from llmrecipe.methods.reference import ReferenceMethod
from llmrecipe.methods.reward import Reward
from llmrecipe.optimization import SGD, AdamW, Muon, ScheduleFree, WarmupStableDecay
from llmrecipe.recipe.model import FromScratch
from llmrecipe.recipe.serving import VLLM
from llmrecipe.vocabulary import Full


@rule("LR311")
def two_lengths_of_training(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `max_steps` and `num_train_epochs` are not both written.

    ## Why is this bad?
    Only one can end the training; the trainers let `max_steps` win without a word.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 100, num_train_epochs: 3}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {num_train_epochs: 3}
    ```
    """
    training = case.recipe.training
    if training.max_steps is not None and training.num_train_epochs is not None:
        message = "training ends after `max_steps` or after `num_train_epochs`, not after both"
        yield Finding("training.num_train_epochs", message, "keep one of the two", on_key=True)


@rule("LR312")
def two_lengths_of_warmup(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `warmup_steps` and `warmup_ratio` are not both written.

    ## Why is this bad?
    They say the same thing, and only one can hold.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {schedule: {kind: cosine, warmup_steps: 50, warmup_ratio: 0.1}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {schedule: {kind: cosine, warmup_ratio: 0.1}}
    ```
    """
    schedule = case.recipe.training.schedule
    if schedule is not None and schedule.warmup_steps is not None and schedule.warmup_ratio is not None:
        message = "the warm-up is written twice"
        yield Finding("training.schedule.warmup_ratio", message, "keep one of the two", on_key=True)


@rule("LR313")
def schedule_longer_than_training(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that warm-up, and the decay of `warmup_stable_decay`, fit into `max_steps`. A warm-up of more than half of
    the training is a warning.

    ## Why is this bad?
    The learning rate never reaches its peak, or never comes down.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 100, schedule: {kind: cosine, warmup_steps: 500}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 100, schedule: {kind: cosine, warmup_steps: 5}}
    ```
    """
    steps, schedule = case.recipe.training.max_steps, case.recipe.training.schedule
    if steps is None or schedule is None:
        return
    warmup = schedule.warmup_steps or round((schedule.warmup_ratio or 0) * steps)
    decay = schedule.decay_steps if isinstance(schedule, WarmupStableDecay) else 0
    at = "training.schedule.warmup_steps" if schedule.warmup_steps else "training.schedule"
    if warmup >= steps:
        yield Finding(at, f"the warm-up takes {warmup} of {steps} steps", f"use {max(1, steps // 20)}")
    elif warmup + decay > steps:
        message = f"warm-up and decay take {warmup + decay} of {steps} steps"
        yield Finding("training.schedule.decay_steps", message, f"use {max(1, steps // 5)}")
    elif schedule.warmup_steps and warmup > steps / 2:
        message = f"the warm-up takes {warmup} of {steps} steps"
        yield Finding(at, message, f"use {max(1, steps // 20)}", severity="warning")


@rule("LR314")
def learning_rate_out_of_band(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a written learning rate lies near the band in which its method is known to work: a warning at three
    times outside, an error at thirty. The bands are 1e-4 to 1e-3 for pretraining (from 1e-5 when it is continued), 5e-6
    to 5e-5 for SFT and distillation, 1e-6 to 2e-5 for reward models and ORPO, 1e-7 to 1e-6 for DPO, KTO and CPO, 1e-7
    to 5e-6 for methods that learn from rewards, and ten times that for an adapter. They hold for a model of a billion
    parameters; for a smaller one the upper end grows with the inverse square root of its size. SGD, and Muon with
    `adjust_lr_fn: original`, are not checked: their rates have another scale.

    ## Why is this bad?
    A rate that was copied from another method leaves the model as it was, or destroys it. Sources: the defaults of
    TRL; https://arxiv.org/abs/2203.03466 for the growth with the width. The bands themselves are judgement.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-4B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    training: {learning_rate: 2e-5}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-4B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    training: {learning_rate: 5e-7}
    ```
    """
    recipe, rate = case.recipe, case.recipe.training.learning_rate
    optimizer = recipe.training.optimizer
    other_scale = isinstance(optimizer, SGD) or (isinstance(optimizer, Muon) and optimizer.adjust_lr_fn == "original")
    if recipe.method is None or rate is None or other_scale:
        return
    adapted = not isinstance(recipe.model.adapter, Full)
    low, high = _band(recipe.method, adapted, isinstance(recipe.model.base, FromScratch))
    parameters = case.figures.parameters if case.figures else None
    if parameters is not None:
        high *= max(1.0, sqrt(1e9 / parameters))
    outside = max(low / rate, rate / high)
    if outside <= 3:
        return
    what = f"`{recipe.method.kind}` of an adapter" if adapted else f"`{recipe.method.kind}`"
    side = "below" if rate < low else "above"
    message = f"a learning rate of {rate:g} is {outside:.2g} times {side} what works for {what}"
    severity: Severity = "error" if outside > 30 else "warning"
    yield Finding("training.learning_rate", message, f"use {low:.0e} to {high:.0e}", severity=severity)


def _band(method: Method, adapted: bool, from_scratch: bool) -> tuple[float, float]:
    match method:
        case Pretrain():
            low, high = (1e-4 if from_scratch else 1e-5), 1e-3
        case ReferenceMethod() | CPO():
            low, high = 1e-7, 1e-6
        case Reward() | ORPO():
            low, high = 1e-6, 2e-5
        case OnlineMethod():
            low, high = 1e-7, 5e-6
        case _:
            low, high = 5e-6, 5e-5
    return (10 * low, 10 * high) if adapted else (low, high)


@rule("LR315")
def updates_lost_in_rounding(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a model whose every weight is trained does not hold them in `bfloat16` or `float16` with a small
    learning rate: a warning below 5e-5, an error below 1e-5.

    ## Why is this bad?
    Such a type has so few digits that adding a small update changes nothing. After one step of Adam at 2e-5, 70 % of
    weights are bit for bit what they were; at 1e-6, 98 %.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B, dtype: bfloat16}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B, dtype: float32}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```
    """
    recipe = case.recipe
    if recipe.method is None or recipe.model.dtype in ("auto", "float32"):
        return
    rate = recipe.training.learning_rate or recipe.method.learning_rate
    if isinstance(recipe.model.adapter, Full) and rate < 5e-5:
        message = f"weights in `{recipe.model.dtype}` lose most updates at a learning rate of {rate:g}"
        help_ = "leave out `dtype`; `training.precision: bfloat16` computes in it and keeps the weights in float32"
        yield Finding("model.dtype", message, help_, severity="error" if rate < 1e-5 else "warning")


@rule("LR316")
def unscalable_gradients(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that weights in `float16` are not trained whole with `precision: float16`, nor with an optimizer that divides
    by the root of squares in the type of the weights: `adamw` of 32 bits, `muon`, `schedule_free`.

    ## Why is this bad?
    The scaler of mixed precision needs weights in `float32` and stops at the first step. Without it, the squares of
    small gradients are zero in `float16`, and so is the epsilon beside them: the loss is NaN after a few steps.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: meta-llama/Llama-3.2-1B-Instruct, dtype: float16}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: float16, learning_rate: 5e-5}
    hardware: {accelerator: t4-16gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: meta-llama/Llama-3.2-1B-Instruct, dtype: float32}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: float16, learning_rate: 5e-5}
    hardware: {accelerator: t4-16gb}
    ```
    """
    recipe, optimizer = case.recipe, case.recipe.training.optimizer
    if recipe.method is None or recipe.model.dtype != "float16" or not isinstance(recipe.model.adapter, Full):
        return
    help_ = "leave out `dtype`: the weights are then kept in `float32`"
    if recipe.training.precision == "float16":
        yield Finding("model.dtype", "gradients of `float16` weights cannot be scaled", help_)
    elif isinstance(optimizer, Muon | ScheduleFree) or (isinstance(optimizer, AdamW) and optimizer.bits == 32):
        yield Finding("model.dtype", f"`{optimizer.kind}` divides by zero in `float16` weights", help_)


@rule("LR317")
def bfloat16_without_its_hardware(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the accelerator has `bfloat16` when training or serving asks for it.

    ## Why is this bad?
    The run, or the server, stops when it starts on that machine.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: bfloat16}
    hardware: {accelerator: t4-16gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: auto}
    hardware: {accelerator: t4-16gb}
    ```
    """
    recipe = case.recipe
    preset = accelerators().get(recipe.hardware.accelerator)
    if preset is None or preset.bfloat16:
        return
    message = f"`{recipe.hardware.accelerator}` has no `bfloat16`"
    if recipe.method is not None and recipe.training.precision == "bfloat16":
        yield Finding("training.precision", message, "use `auto`, or another accelerator")
    if isinstance(recipe.serving, VLLM) and recipe.serving.dtype == "bfloat16":
        yield Finding("serving.dtype", message, "use `float16`")


@rule("LR318", "warning")
def float16_on_a_processor(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `float16` is not the precision of a run on `cpu`.

    ## Why is this bad?
    Processors compute it slower than `float32`, and its range is so small that gradients overflow.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: HuggingFaceTB/SmolLM2-135M-Instruct}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: float16}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: HuggingFaceTB/SmolLM2-135M-Instruct}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: float32}
    ```
    """
    recipe = case.recipe
    if recipe.method is not None and recipe.hardware.accelerator == "cpu" and recipe.training.precision == "float16":
        yield Finding("training.precision", "`float16` on a processor", "use `float32` or `bfloat16`")


@rule("LR319", "warning")
def float16_for_a_bfloat16_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a model whose checkpoint is in `bfloat16` is not trained or served in `float16`, when the accelerator
    has `bfloat16`.

    ## Why is this bad?
    Its activations may be larger than 65,504, the largest number of `float16`, and become infinite.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: google/gemma-3-1b-it}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: float16}
    hardware: {accelerator: a100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: google/gemma-3-1b-it}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {precision: bfloat16}
    hardware: {accelerator: a100-80gb}
    ```
    """
    recipe, figures = case.recipe, case.figures
    preset = accelerators().get(recipe.hardware.accelerator)
    on_gpu = preset is not None and preset.compute_capability is not None and preset.bfloat16
    if figures is None or figures.dtype != "bfloat16" or not on_gpu:
        return
    message = "the weights of this model were made for the range of `bfloat16`"
    if recipe.method is not None and recipe.training.precision == "float16":
        yield Finding("training.precision", message, "use `bfloat16`")
    if isinstance(recipe.serving, VLLM) and recipe.serving.dtype == "float16":
        yield Finding("serving.dtype", message, "use `auto`")


@rule("LR320")
def validation_steps_without_rows(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with `eval_steps` has `data.validation`.

    ## Why is this bad?
    There is nothing to validate on.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {eval_steps: 50}
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
    training: {eval_steps: 50}
    ```
    """
    recipe = case.recipe
    if recipe.training.eval_steps is not None and recipe.data is not None and recipe.data.validation is None:
        help_ = "add `data.validation: {fraction: 0.05}`, or leave out `eval_steps`"
        yield Finding("training.eval_steps", "there are no rows to validate on", help_)


@rule("LR321", "warning")
def validation_after_the_end(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `eval_steps` is not above `max_steps`.

    ## Why is this bad?
    The training ends before the first validation that it was to watch.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft}
    training: {max_steps: 100, eval_steps: 500}
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
    training: {max_steps: 100, eval_steps: 25}
    ```
    """
    training = case.recipe.training
    if training.eval_steps is not None and training.max_steps is not None and training.eval_steps > training.max_steps:
        message = f"a validation every {training.eval_steps} steps in a training of {training.max_steps}"
        yield Finding("training.eval_steps", message, f"use at most {training.max_steps}")
