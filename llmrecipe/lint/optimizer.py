"""LR3: optimizers, averages, ends of training and holds on weights, where they fit."""

from collections.abc import Iterator

from llmrecipe.facts import families
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.methods.mlm import MLM
from llmrecipe.methods.pretrain import Pretrain
from llmrecipe.methods.sft import SFT
from llmrecipe.optimization import SGD, Constant, ScheduleFree
from llmrecipe.recipe.model import FromScratch
from llmrecipe.vocabulary import Full

LIKELIHOOD = (Pretrain, MLM, SFT)
"""Methods whose loss is the likelihood of the rows' own tokens."""


@rule("LR370")
def schedule_of_a_schedule_free_optimizer(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the optimizer `schedule_free` has the schedule `constant`, and a warm-up in steps.

    ## Why is this bad?
    It averages its steps in place of a falling rate; both together end far from where either would. It warms up itself,
    and counts in steps.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training:
      optimizer: {kind: schedule_free}
      schedule: {kind: cosine, warmup_steps: 50}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training:
      optimizer: {kind: schedule_free}
      schedule: {kind: constant, warmup_steps: 50}
    ```
    """
    training = case.recipe.training
    schedule = training.schedule
    if not isinstance(training.optimizer, ScheduleFree) or schedule is None:
        return
    if not isinstance(schedule, Constant):
        message = f"`{schedule.kind}` beside an optimizer that needs no schedule"
        yield Finding("training.schedule.kind", message, "use `constant`, or leave `schedule` out")
    elif schedule.warmup_ratio is not None:
        message = "`schedule_free` counts its warm-up in steps"
        yield Finding("training.schedule.warmup_ratio", message, "write `warmup_steps`", on_key=True)


@rule("LR371")
def option_of_the_likelihood(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `label_smoothing`, `neftune_noise_alpha` and `data.curriculum` are written for `pretrain`, `mlm` and
    `sft` only.

    ## Why is this bad?
    They change how the tokens of a row are predicted, one row at a time. A preference is a difference of two answers,
    and answers that are generated have no rows: noise and smoothing would change what is compared, and an order would
    have nothing to sort. (The label smoothing of preferences is an option of their methods.)

    ## Example
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    training: {neftune_noise_alpha: 5}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: preferred
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    ```
    """
    recipe = case.recipe
    if recipe.method is None or isinstance(recipe.method, LIKELIHOOD):
        return
    help_ = "leave it out: it belongs to `pretrain`, `mlm` and `sft`"
    for name in ("label_smoothing", "neftune_noise_alpha"):
        if getattr(recipe.training, name):
            yield Finding(f"training.{name}", f"`{recipe.method.kind}` does not take it", help_, on_key=True)
    if recipe.data is not None and recipe.data.curriculum is not None:
        yield Finding("data.curriculum", f"`{recipe.method.kind}` does not take it", help_, on_key=True)


@rule("LR374")
def smoothing_of_balanced_experts(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `label_smoothing` is not used for a mixture of experts that is trained from scratch.

    ## Why is this bad?
    Its loss also balances the experts, and is the library's, which smooths padding and prompts as well: the training
    stops before its first step.

    ## Example
    ```yaml
    version: 1
    name: experts
    model:
      base:
        architecture: {family: qwen3_moe, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_experts: 4}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    training: {label_smoothing: 0.1}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: experts
    model:
      base:
        architecture: {family: qwen3_moe, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_experts: 4}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```
    """
    base = case.recipe.model.base
    if not isinstance(base, FromScratch) or not case.recipe.training.label_smoothing:
        return
    if families()[base.architecture.family].constants.get("output_router_logits"):
        message = f"the loss of a new `{base.architecture.family}` balances its experts, and is not smoothed exactly"
        yield Finding("training.label_smoothing", message, "leave it out", on_key=True)


@rule("LR372")
def judging_without_validations(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `checkpoints.best` and `early_stopping` stand beside `eval_steps`.

    ## Why is this bad?
    They compare validations, and without `eval_steps` there is one, at the end.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft}
    training: {early_stopping: {patience: 3}}
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
    training: {early_stopping: {patience: 3}, eval_steps: 50}
    ```
    """
    training = case.recipe.training
    if case.recipe.method is None or training.eval_steps is not None:
        return
    message = "there is one validation, at the end, and none to compare it with"
    for at, section in (("checkpoints.best", training.checkpoints.best), ("early_stopping", training.early_stopping)):
        if section is not None:
            yield Finding(f"training.{at}", message, "write `training.eval_steps`", on_key=True)


@rule("LR373")
def hold_that_does_not_fit(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `ewc` holds every weight of a model that has learned something, by a method that learns from the
    likelihood of rows.

    ## Why is this bad?
    The penalty is about the distance of each weight from what the old task needs. An adapter leaves the weights as they
    are, and its own matrices have no meaning by themselves; random weights know no old task.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training:
      ewc: {ewc_lambda: 1000, data: [{kind: files, paths: [chats.jsonl], format: messages}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training:
      ewc: {ewc_lambda: 1000, data: [{kind: files, paths: [chats.jsonl], format: messages}]}
    ```
    """
    recipe = case.recipe
    if recipe.training.ewc is None or recipe.method is None:
        return
    at = "training.ewc"
    if not isinstance(recipe.method, LIKELIHOOD):
        message = f"`{recipe.method.kind}` does not learn from the likelihood of rows"
        yield Finding(at, message, "leave it out: it belongs to `pretrain`, `mlm` and `sft`", on_key=True)
    elif not isinstance(recipe.model.adapter, Full):
        message = "an adapter leaves the weights as they are, so that there is nothing to hold"
        yield Finding(at, message, "use `adapter: {kind: full}`, or leave `ewc` out", on_key=True)
    elif isinstance(recipe.model.base, FromScratch):
        yield Finding(at, "random weights know no old task", "start from the model that learned it", on_key=True)


@rule("LR375")
def average_of_answers(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that methods which generate their answers have no `averaging`, no `early_stopping` and no `checkpoints.best`.

    ## Why is this bad?
    They judge themselves by their rewards while they run and have no validations, and what generates is the model and
    not an average of it.

    ## Example
    ```yaml
    version: 1
    name: rewarded
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [questions.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: exact_match}]}
    training: {averaging: {kind: ema}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: rewarded
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [questions.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: exact_match}]}
    ```
    """
    recipe = case.recipe
    if recipe.method is None or recipe.method.objective != "prompt":
        return
    training = recipe.training
    named = {"averaging": training.averaging, "early_stopping": training.early_stopping,
             "checkpoints.best": training.checkpoints.best}  # fmt: skip
    for name, section in named.items():
        if section is not None:
            message = f"`{recipe.method.kind}` generates its answers"
            yield Finding(f"training.{name}", message, "leave it out", on_key=True)


@rule("LR376")
def average_of_an_average(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `averaging` is not written with the optimizer `schedule_free`.

    ## Why is this bad?
    Its weights are an average already.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: schedule_free}, averaging: {kind: ema}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: schedule_free}}
    ```
    """
    training = case.recipe.training
    if training.averaging is not None and isinstance(training.optimizer, ScheduleFree):
        message = "the weights of `schedule_free` are an average already"
        yield Finding("training.averaging", message, "leave it out", on_key=True)


@rule("LR377")
def nesterov_without_momentum(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that SGD with `nesterov` has `momentum`.

    ## Why is this bad?
    Looking ahead with a momentum of zero is not possible, and PyTorch refuses it.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: sgd, nesterov: true}, learning_rate: 0.1}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: sgd, nesterov: true, momentum: 0.9}, learning_rate: 0.1}
    ```
    """
    optimizer = case.recipe.training.optimizer
    if isinstance(optimizer, SGD) and optimizer.nesterov and not optimizer.momentum:
        message = "there is no momentum to look ahead with"
        yield Finding("training.optimizer.nesterov", message, "write `momentum: 0.9`", on_key=True)
