"""LR39, LR83: what validations measure, which is the best, what comes after the end, and what is learned from pairs."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Finding, Put, rule
from llmrecipe.methods.dpo import DPO
from llmrecipe.optimization import Best

_PAIRS = (
    "loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen",
    "logps/rejected", "logits/chosen", "logits/rejected",
)  # fmt: skip
_TOKENS = ("loss", "aux_loss", "entropy", "mean_token_accuracy")
MEASURED: dict[str, tuple[str, ...]] = {
    "pretrain": _TOKENS,
    "sft": _TOKENS,
    "mlm": ("loss",),
    "distillation": _TOKENS,
    "reward": ("loss", "min_reward", "mean_reward", "max_reward", "accuracy", "margin"),
    "dpo": (*_PAIRS, "aux_loss", "entropy", "mean_token_accuracy"),
    "kto": (*(name for name in _PAIRS if name != "rewards/accuracies"), "aux_loss", "entropy", "kl"),
    "orpo": (*_PAIRS, "nll_loss", "log_odds_ratio", "log_odds_chosen"),
    "cpo": (*_PAIRS, "nll_loss"),
}
"""Method -> what the log says of a validation, without `eval_`."""
RISING = ("accuracy", "mean_token_accuracy", "accuracies", "margin", "margins")
"""Last words of metrics that are better when they are greater."""
FALLING = ("loss", "nll_loss", "perplexity")
"""Last words of metrics that are better when they are smaller."""


def _judges(case: Case) -> Iterator[tuple[str, Best]]:
    """What compares validations, and where it stands."""
    training = case.recipe.training
    for at, judge in (("checkpoints.best", training.checkpoints.best), ("early_stopping", training.early_stopping)):
        if judge is not None and case.recipe.method is not None:
            yield f"training.{at}", judge


@rule("LR398")
def metric_that_no_validation_measures(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `checkpoints.best.metric` and `early_stopping.metric` are among what the method's validations measure.

    ## Why is this bad?
    The name is looked up after the first validation, which may be hours into the training, and the run fails there.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft}
    training: {eval_steps: 50, early_stopping: {metric: eval_accuracy, greater_is_better: true}}
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
    training: {eval_steps: 50, early_stopping: {metric: eval_mean_token_accuracy, greater_is_better: true}}
    ```
    """
    method = case.recipe.method
    for at, judge in _judges(case):
        known = MEASURED.get(method.kind) if method is not None else None
        if known is not None and judge.metric.removeprefix("eval_") not in known:
            help_ = f"they measure {', '.join(f'`eval_{name}`' for name in known)}"
            message = f"validations of `{method.kind if method else ''}` do not measure `{judge.metric}`"
            yield Finding(f"{at}.metric", message, help_)


@rule("LR399")
def best_that_is_the_worst(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `greater_is_better` says of a metric what is so: accuracies and margins should rise, losses fall.

    ## Why is this bad?
    The worst checkpoint of the training is given as its best, or training ends as soon as it gets better.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [pairs.jsonl], format: preference}]
      validation: {fraction: 0.1}
    method: {kind: dpo}
    training: {eval_steps: 50, checkpoints: {best: {metric: eval_rewards/accuracies}}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [pairs.jsonl], format: preference}]
      validation: {fraction: 0.1}
    method: {kind: dpo}
    training: {eval_steps: 50, checkpoints: {best: {metric: eval_rewards/accuracies, greater_is_better: true}}}
    ```
    """
    for at, judge in _judges(case):
        last = judge.metric.removeprefix("eval_").rpartition("/")[2]
        right = True if last in RISING else False if last in FALLING else judge.greater_is_better
        if judge.greater_is_better is not right:
            better = "greater" if right else "smaller"
            written = f"`greater_is_better: {str(right).lower()}`"
            change = Put(f"{at}.greater_is_better", right)
            message = f"`{judge.metric}` is better when it is {better}"
            yield Finding(f"{at}.metric", message, f"write {written}", fix=change, safe=False)


@rule("LR833", "warning")
def patience_that_never_ends(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `max_steps` has more validations than `early_stopping.patience` waits for.

    ## Why is this bad?
    Training cannot end early: after the first validation, `patience` more without a better value have to come, and one
    at the last step ends nothing.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft}
    training: {max_steps: 300, eval_steps: 100, early_stopping: {patience: 3}}
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
    training: {max_steps: 300, eval_steps: 50, early_stopping: {patience: 3}}
    ```
    """
    training = case.recipe.training
    steps, every, stopping = training.max_steps, training.eval_steps, training.early_stopping
    if case.recipe.method is None or stopping is None or steps is None or every is None or every > steps:
        return
    between, wanted = (steps - 1) // every, stopping.patience + 1
    if between < wanted:
        message = f"{steps} steps have {between} validation(s) before their end, and {wanted} are needed to stop"
        help_ = f"set `eval_steps` to {max(1, (steps - 1) // wanted)} or less, or leave `early_stopping` out"
        yield Finding("training.early_stopping", message, help_, on_key=True)


@rule("LR834", "warning")
def checkpoints_after_the_end(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a written `checkpoints.save_steps` is not above `max_steps`.

    ## Why is this bad?
    There is no checkpoint before the last step: an interrupted run begins anew.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 400, checkpoints: {save_steps: 1000}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 400, checkpoints: {save_steps: 100}}
    ```
    """
    training = case.recipe.training
    steps, every = training.max_steps, training.checkpoints.save_steps
    written = "save_steps" in training.checkpoints.model_fields_set
    if case.recipe.method is not None and written and steps is not None and every > steps:
        at = "training.checkpoints.save_steps"
        message = f"a checkpoint every {every} steps in a training of {steps}"
        yield Finding(at, message, f"use {max(1, steps // 4)}", fix=Put(at, max(1, steps // 4)), safe=False)


@rule("LR835", "warning")
def log_after_the_end(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a written `logging_steps` is not above `max_steps`.

    ## Why is this bad?
    The log has at most one line, at the end: no curve, and nothing that the watchdog could look at while there is time.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 50, logging_steps: 100}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 50, logging_steps: 5}
    ```
    """
    training, at = case.recipe.training, "training.logging_steps"
    steps, written = training.max_steps, "logging_steps" in training.model_fields_set
    if case.recipe.method is not None and written and steps is not None and training.logging_steps > steps:
        message = f"a line of the log every {training.logging_steps} steps in a training of {steps}"
        yield Finding(at, message, f"use {max(1, steps // 10)}", fix=Put(at, max(1, steps // 10)))


@rule("LR836", "warning")
def rejected_in_vain(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a preference method with pairs does not learn from the chosen answers alone: DPO with the loss `sft` and
    no other.

    ## Why is this bad?
    The rejected answers are tokenized and computed, with those of the reference, and change nothing. The method `sft`
    does the same in less than half of the time.

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, loss_type: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, loss_type: [{loss: sigmoid}, {loss: sft, weight: 0.5}]}
    ```
    """
    method = case.recipe.method
    if isinstance(method, DPO) and {part.loss for part in method.losses} == {"sft"}:
        message = "the loss `sft` alone learns nothing from rejected answers"
        yield Finding("method.loss_type", message, "mix it with `sigmoid`, or use the method `sft`")
