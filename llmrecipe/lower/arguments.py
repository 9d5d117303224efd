"""`training` -> keyword arguments of the trainer's configuration class."""

from collections.abc import Callable, Mapping
from typing import cast

from pydantic import JsonValue

from llmrecipe import facts
from llmrecipe.lower.error import LoweringError
from llmrecipe.lower.speed import speed
from llmrecipe.methods import Method
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.rloo import RLOO
from llmrecipe.optimization import (
    SGD,
    Adafactor,
    AdamW,
    AdEMAMix,
    Constant,
    Cosine,
    InverseSqrt,
    Linear,
    Lion,
    Muon,
    Optimizer,
    Schedule,
    ScheduleFree,
    WarmupStableDecay,
)
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.training import Training
from llmrecipe.vocabulary import Full

Arguments = dict[str, JsonValue]
Derive = Callable[[str, JsonValue, str], None]
"""(field, value, because): notes a value that the recipe left to us."""


def arguments(recipe: Recipe, method: Method, world_size: int, derive: Derive) -> Arguments:
    """Everything that the configuration class is told; the training stage adds where and how it logs.

    `world_size` counts the processes that see different rows.

    Raises:
        LoweringError: the global batch does not divide by the processes.
    """
    training = recipe.training
    found: Arguments = {
        "per_device_train_batch_size": training.per_device_train_batch_size,
        "per_device_eval_batch_size": training.per_device_eval_batch_size,
        "gradient_accumulation_steps": _accumulation(recipe, world_size, derive),
        "learning_rate": _learning_rate(recipe, method, derive),
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "seed": training.seed,
        "logging_steps": training.logging_steps,
        "save_strategy": "steps",
        "save_steps": training.checkpoints.save_steps,
        "save_total_limit": training.checkpoints.save_total_limit,
        "dataloader_num_workers": training.dataloader_num_workers,
    }
    found |= _length_of_run(training, derive) | _precision(recipe, derive) | _evaluation(recipe)
    found |= speed(training, method)
    if training.label_smoothing:
        found["label_smoothing_factor"] = training.label_smoothing
    if training.neftune_noise_alpha is not None:
        found["neftune_noise_alpha"] = training.neftune_noise_alpha
    found |= _optimizer(training.optimizer) | _schedule(training, derive)
    if isinstance(method, GRPO | RLOO):
        _check_groups(recipe, method, world_size, found["gradient_accumulation_steps"])
    return found | method.options() | training.extra


def _accumulation(recipe: Recipe, world_size: int, derive: Derive) -> int:
    training = recipe.training
    at_once = training.per_device_train_batch_size * world_size
    if training.global_batch_size is None:
        derive("training.global_batch_size", at_once, f"per_device_train_batch_size x {world_size} process(es)")
        return 1
    steps, rest = divmod(training.global_batch_size, at_once)
    if rest or not steps:
        message = (
            f"a global batch of {training.global_batch_size} sequences cannot be made of {world_size} process(es) with "
            f"{training.per_device_train_batch_size} sequences each"
        )
        raise LoweringError(
            recipe.name,
            ("training", "global_batch_size"),
            message,
            f"use a multiple of {at_once}, or another `per_device_train_batch_size`",
        )
    because = f"{training.global_batch_size} / ({training.per_device_train_batch_size} x {world_size} process(es))"
    derive("training.gradient_accumulation_steps", steps, because)
    return steps


def _check_groups(recipe: Recipe, method: GRPO | RLOO, world_size: int, accumulated: JsonValue) -> None:
    """See that all answers to a prompt are generated at once."""
    batches = method.steps_per_generation or cast(int, accumulated)
    answers = recipe.training.per_device_train_batch_size * world_size * batches
    if answers % method.num_generations:
        raise LoweringError(
            recipe.name,
            ("method", "num_generations"),
            f"{answers} answers are generated at once: no multiple of {method.num_generations} for each prompt",
            "change `num_generations`, `training.global_batch_size` or `training.per_device_train_batch_size`",
        )


def _learning_rate(recipe: Recipe, method: Method, derive: Derive) -> float:
    if recipe.training.learning_rate is not None:
        return recipe.training.learning_rate
    adapted = not isinstance(recipe.model.adapter, Full)
    rate = method.learning_rate * (10 if adapted else 1)
    because = f"the rate of `{method.kind}`" + (", ten times for an adapter" if adapted else "")
    derive("training.learning_rate", rate, because)
    return rate


def _length_of_run(training: Training, derive: Derive) -> Arguments:
    if training.max_steps is not None:
        return {"max_steps": training.max_steps}
    if training.num_train_epochs is None:
        derive("training.num_train_epochs", 1.0, "neither epochs nor steps are written")
    return {"num_train_epochs": training.num_train_epochs or 1.0}


def _precision(recipe: Recipe, derive: Derive) -> Arguments:
    precision = recipe.training.precision
    if precision == "auto":
        name = recipe.hardware.accelerator
        fast = name != "cpu" and facts.accelerators()[name].bfloat16
        precision = "bfloat16" if fast else "float32"
        derive("training.precision", precision, f"`{name}` {'has' if fast else 'need not have'} fast bfloat16")
    return {"bf16": precision == "bfloat16", "fp16": precision == "float16"}


def _evaluation(recipe: Recipe) -> Arguments:
    if recipe.training.eval_steps is None:
        return {"eval_strategy": "no"}
    return {"eval_strategy": "steps", "eval_steps": recipe.training.eval_steps}


def _optimizer(optimizer: Optimizer) -> Arguments:
    match optimizer:
        case AdamW(bits=32, paged=False):
            return {"optim": "adamw_torch_fused"} | _adam(optimizer)
        case AdamW():
            return {"optim": f"{'paged_' if optimizer.paged else ''}adamw_{optimizer.bits}bit"} | _adam(optimizer)
        case Lion():
            name = f"{'paged_' if optimizer.paged else ''}lion_{optimizer.bits}bit"
            return {"optim": name, "adam_beta1": optimizer.beta1, "adam_beta2": optimizer.beta2}
        case AdEMAMix():
            ramp = {} if optimizer.ramp_steps is None else dict.fromkeys(("t_alpha", "t_beta3"), optimizer.ramp_steps)
            options = {"beta3": optimizer.beta3, "alpha": optimizer.alpha, **ramp}
            name = _ADEMAMIX[optimizer.bits, optimizer.paged]
            return {"optim": name, "optim_args": _text(options)} | _adam(optimizer)
        case ScheduleFree():
            options = {"weight_lr_power": optimizer.weight_lr_power, "r": optimizer.r}
            return {"optim": "schedule_free_adamw", "optim_args": _text(options)} | _adam(optimizer)
        case SGD():
            options = {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
            return {"optim": "sgd", "optim_args": _text(options)} if optimizer.momentum else {"optim": "sgd"}
        case Muon() | Adafactor():  # made by the training stage: the configuration class has no words for them
            return {}


_ADEMAMIX = {
    (32, False): "ademamix",
    (8, False): "ademamix_8bit",
    (32, True): "paged_ademamix_32bit",
    (8, True): "paged_ademamix_8bit",
}


def _adam(optimizer: AdamW | AdEMAMix | ScheduleFree) -> Arguments:
    return {"adam_beta1": optimizer.beta1, "adam_beta2": optimizer.beta2, "adam_epsilon": optimizer.epsilon}


def _text(options: Mapping[str, float | bool]) -> str:
    """Options as the configuration class reads them."""
    return ",".join(f"{name}={value}" for name, value in options.items())


def _schedule(training: Training, derive: Derive) -> Arguments:
    schedule, averaged = training.schedule, isinstance(training.optimizer, ScheduleFree)
    if schedule is None:
        schedule = Constant(kind="constant") if averaged else Cosine(kind="cosine", warmup_ratio=0.03)
        because = "`schedule_free` needs no other" if averaged else "the usual schedule"
        derive("training.schedule", schedule.model_dump(exclude_unset=True), because)
    if averaged:  # The optimizer warms up itself.
        return {"lr_scheduler_type": "constant", "warmup_steps": schedule.warmup_steps or 0}
    # The trainer reads a number below one as a share of all steps.
    warmup = schedule.warmup_steps if schedule.warmup_steps is not None else schedule.warmup_ratio or 0
    kind, options = _lr_scheduler(schedule)
    found: Arguments = {"lr_scheduler_type": kind, "warmup_steps": warmup}
    return found | ({"lr_scheduler_kwargs": options} if options else {})


def _lr_scheduler(schedule: Schedule) -> tuple[str, Arguments]:
    match schedule:
        case Constant():
            return "constant_with_warmup", {}
        case Linear():
            return "linear", {}
        case InverseSqrt():
            return "inverse_sqrt", {} if schedule.timescale is None else {"timescale": schedule.timescale}
        case Cosine(min_lr_ratio=0):
            return "cosine", {}
        case Cosine():
            return "cosine_with_min_lr", {"min_lr_rate": schedule.min_lr_ratio}
        case WarmupStableDecay():
            return "warmup_stable_decay", {
                "num_decay_steps": schedule.decay_steps,
                "decay_type": schedule.decay_type,
                "min_lr_ratio": schedule.min_lr_ratio,
            }
