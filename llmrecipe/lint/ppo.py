"""LR34: what is wrong with a method of the kind `ppo`."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.methods.ppo import PPO, AdaptiveKL
from llmrecipe.methods.reward import Reward
from llmrecipe.vocabulary import RecipeReference


@rule("LR340")
def value_model_of_a_shared_value(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `method.value_model` stands beside `value_backbone: separate`.

    ## Why is this bad?
    A shared value is read off the hidden states of the trained model: there is no second backbone that could begin with
    the weights of a reward model.

    ## Example
    ```yaml
    version: 1
    name: helper
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], value_model: someone/judge}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: helper
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], value_model: someone/judge, value_backbone: separate}
    ```
    """
    method = case.recipe.method
    if isinstance(method, PPO) and method.value_model is not None and method.value_backbone == "shared":
        message = "a shared value has no backbone that could begin with `value_model`"
        yield Finding("method.value_model", message, "write `value_backbone: separate`, or leave it out", on_key=True)


@rule("LR341")
def answers_of_no_length(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `method.min_completion_length` is at most `method.max_completion_length`.

    ## Why is this bad?
    No answer has both lengths.

    ## Example
    ```yaml
    version: 1
    name: helper
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], min_completion_length: 300}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: helper
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], min_completion_length: 300, max_completion_length: 512}
    ```
    """
    method = case.recipe.method
    if isinstance(method, PPO) and method.min_completion_length > method.max_completion_length:
        message = (
            f"no answer has at least {method.min_completion_length} and at most {method.max_completion_length} tokens"
        )
        yield Finding("method.min_completion_length", message, "lower it, or raise `max_completion_length`")


@rule("LR342", "warning")
def rollout_cut_short(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `training.max_steps` is a multiple of the optimizer steps of one rollout: `num_ppo_epochs` times
    `num_mini_batches`.

    ## Why is this bad?
    The answers of the last rollout are generated and scored, and then not learned from as often as the others.

    ## Example
    ```yaml
    version: 1
    name: helper
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], num_ppo_epochs: 4, num_mini_batches: 4}
    training: {max_steps: 1000}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: helper
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], num_ppo_epochs: 4, num_mini_batches: 4}
    training: {max_steps: 1008}
    ```
    """
    method, steps = case.recipe.method, case.recipe.training.max_steps
    if not isinstance(method, PPO) or steps is None:
        return
    of_rollout = method.num_ppo_epochs * method.num_mini_batches
    if steps % of_rollout:
        message = f"{steps} steps end in the middle of a rollout of {of_rollout}"
        yield Finding("training.max_steps", message, f"use {-(-steps // of_rollout) * of_rollout}")


@rule("LR343")
def adaptive_coefficient_of_zero(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that an adaptive `method.kl_coef` does not begin at zero.

    ## Why is this bad?
    The coefficient moves by a share of itself: zero stays zero, whatever the KL.

    ## Example
    ```yaml
    version: 1
    name: helper
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], kl_coef: 0, kl_control: {kind: adaptive}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: helper
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], kl_coef: 0.05, kl_control: {kind: adaptive}}
    ```
    """
    method = case.recipe.method
    if isinstance(method, PPO) and isinstance(method.kl_control, AdaptiveKL) and method.kl_coef == 0:
        message = "an adaptive coefficient that begins at 0 stays there"
        yield Finding("method.kl_coef", message, "begin with 0.05, or write `kl_control: {kind: fixed}`")


@rule("LR344")
def value_from_no_reward_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a document which `method.value_model` refers to trains a reward model.

    ## Why is this bad?
    The value begins with the backbone of a model that gives one number to a text, and with the head that gives it. A
    language model has no such head.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ---
    version: 1
    name: helper
    model: {base: {recipe: style}}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], value_backbone: separate, value_model: {recipe: style}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ---
    version: 1
    name: helper
    model: {base: {recipe: style}}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: exact_match}], value_backbone: separate}
    ```
    """
    method = case.recipe.method
    if not isinstance(method, PPO) or not isinstance(method.value_model, RecipeReference):
        return
    other = case.recipes.get(method.value_model.name)
    if other is not None and other.method is not None and not isinstance(other.method, Reward):
        message = f"`{method.value_model.name}` is no reward model: its method is `{other.method.kind}`"
        yield Finding(
            "method.value_model", message, "refer to a document with `method: {kind: reward}`, or leave it out"
        )
