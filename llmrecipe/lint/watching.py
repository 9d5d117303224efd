"""LR39, LR79, LR86: trackers, metrics over HTTP, and the watchdog of a training."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from llmrecipe.lint.rule import Case, Drop, Finding, rule
from llmrecipe.watching import MLflow, WandB

PREFERENCES = ("dpo", "reward", "orpo", "cpo")
"""Methods whose loss is that of a pair."""
GROUPED = ("grpo", "rloo")
"""Methods that compare the answers to one prompt."""
ONLINE = (*GROUPED, "ppo")
"""Methods that make answers."""
ONLY_FOR = {
    "dead_preference": PREFERENCES,
    "equal_rewards": GROUPED,
    "clipped_completions": GROUPED,
    "divergence": ONLINE,
    "lost_entropy": ONLINE,
}
"""Rule of the watchdog -> methods whose log says what it looks at."""


@rule("LR390")
def tracker_named_twice(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no kind of tracker is named twice.

    ## Why is this bad?
    The libraries keep one run for a process: both would write into the same one.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {trackers: [{kind: wandb, project: style}, {kind: wandb, project: all-runs}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {trackers: [{kind: wandb, project: style}, {kind: tensorboard}]}
    ```
    """
    seen: set[str] = set()
    for i, tracker in enumerate(case.recipe.tracking.trackers):
        if tracker.kind in seen:
            at, same = f"tracking.trackers.{i}", tracker in case.recipe.tracking.trackers[:i]
            message = f"`{tracker.kind}` is named twice"
            yield Finding(at, message, "leave one of them out", fix=Drop(at), safe=same)
        seen.add(tracker.kind)


@rule("LR391")
def mlflow_in_a_folder(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `tracking_uri` of MLflow is a server or a database.

    ## Why is this bad?
    MLflow no longer keeps runs in a folder of files, and stops when it is asked to.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {trackers: [{kind: mlflow, tracking_uri: ./mlruns}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {trackers: [{kind: mlflow}]}
    ```
    """
    for i, tracker in enumerate(case.recipe.tracking.trackers):
        if not isinstance(tracker, MLflow) or tracker.tracking_uri is None:
            continue
        if urlsplit(tracker.tracking_uri).scheme in ("", "file"):
            yield Finding(
                f"tracking.trackers.{i}.tracking_uri",
                "this is a folder, and MLflow takes a database or a server",
                "leave it out for an SQLite file in the folder of the run, or write `sqlite:///...` or `https://...`",
            )


@rule("LR392", "warning")
def metrics_at_the_port_of_the_server(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that training metrics and the served model have different ports.

    ## Why is this bad?
    On one machine the second of the two cannot start.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {prometheus: {port: 8000}}
    serving: {kind: transformers, port: 8000}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {prometheus: {port: 9400}}
    serving: {kind: transformers, port: 8000}
    ```
    """
    prometheus, serving = case.recipe.tracking.prometheus, case.recipe.serving
    if prometheus is not None and serving is not None and prometheus.port == serving.port:
        message = f"port {prometheus.port} is that of the served model"
        yield Finding("tracking.prometheus", message, "choose another `port`")


@rule("LR794")
def password_in_a_tracking_uri(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `tracking_uri` holds no password.

    ## Why is this bad?
    A recipe is copied, committed and kept with the run.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {trackers: [{kind: mlflow, tracking_uri: "https://ada:secret@mlflow.example.org"}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {trackers: [{kind: mlflow, tracking_uri: "https://mlflow.example.org", token: "${env:MLFLOW_TOKEN}"}]}
    ```
    """
    for i, tracker in enumerate(case.recipe.tracking.trackers):
        if isinstance(tracker, MLflow) and urlsplit(tracker.tracking_uri or "").password is not None:
            help_ = "write `token: ${env:NAME}` and leave the password out"
            yield Finding(f"tracking.trackers.{i}.tracking_uri", "a password stands in the address", help_)


@rule("LR860", "warning")
def watching_without_a_training(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with `tracking` or `training.watchdog` trains something.

    ## Why is this bad?
    Both are about training: without a method nothing is reported and nothing is watched.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    tracking: {trackers: [{kind: tensorboard}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    ```
    """
    if case.recipe.method is not None:
        return
    for at, section in {"tracking": case.recipe, "training.watchdog": case.recipe.training}.items():
        if at.rpartition(".")[2] in section.model_fields_set:
            help_ = "leave it out, or add `data` and `method`"
            yield Finding(at, "nothing is trained", help_, on_key=True, fix=Drop(at), safe=False)


@rule("LR861", "warning")
def watchdog_of_another_method(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that rules of the watchdog are written for a method whose log says what they look at.

    ## Why is this bad?
    They never find anything: groups are only compared by GRPO and RLOO, pairs by preference methods.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {watchdog: {equal_rewards: {action: warn}}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {watchdog: {no_signal: {action: warn}}}
    ```
    """
    method = case.recipe.method
    if method is None:
        return
    for name in sorted(case.recipe.training.watchdog.model_fields_set & ONLY_FOR.keys()):
        if method.kind not in ONLY_FOR[name]:
            message = f"`{method.kind}` has nothing that `{name}` looks at"
            help_ = f"leave it out: it is for {', '.join(ONLY_FOR[name])}"
            at = f"training.watchdog.{name}"
            yield Finding(at, message, help_, on_key=True, fix=Drop(at))


@rule("LR862", "warning")
def bounds_of_a_rule_that_is_off(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a rule of the watchdog with `action: off` has no bounds.

    ## Why is this bad?
    Nobody looks at them.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {watchdog: {hang: {action: off, minutes: 30}}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {watchdog: {hang: {action: stop, minutes: 30}}}
    ```
    """
    watchdog = case.recipe.training.watchdog
    for name in type(watchdog).model_fields:
        section = getattr(watchdog, name)
        for bound in sorted(section.model_fields_set - {"action"}):
            if section.action == "off":
                help_ = "leave it out, or set `action: warn`"
                at = f"training.watchdog.{name}.{bound}"
                yield Finding(at, f"`{name}` is off", help_, on_key=True, fix=Drop(at))


@rule("LR863", "warning")
def overfitting_without_a_validation(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that training has validations between its steps when the watchdog is to compare them.

    ## Why is this bad?
    Without `eval_steps` there is one validation, at the end, and nothing to compare it with.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [chats.jsonl], format: messages}]
      validation: {fraction: 0.1}
    method: {kind: sft}
    training: {watchdog: {overfitting: {action: stop}}}
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
    training: {eval_steps: 50, watchdog: {overfitting: {action: stop}}}
    ```
    """
    training = case.recipe.training
    written = "overfitting" in training.watchdog.model_fields_set and training.watchdog.overfitting.action != "off"
    if case.recipe.method is not None and written and training.eval_steps is None:
        message = "there are no validations between steps that could be compared"
        yield Finding("training.watchdog.overfitting", message, "add `training.eval_steps`", on_key=True)


@rule("LR864", "warning")
def secret_that_nobody_asks_for(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a key or a token of a tracker is sent somewhere.

    ## Why is this bad?
    `wandb` with `mode: offline` and MLflow without a `tracking_uri` write files on this machine; the secret would have
    to be there for nothing.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {trackers: [{kind: wandb, api_key: "${env:WANDB_KEY}"}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    tracking: {trackers: [{kind: wandb, mode: online, api_key: "${env:WANDB_KEY}"}]}
    ```
    """
    for i, tracker in enumerate(case.recipe.tracking.trackers):
        if isinstance(tracker, WandB) and tracker.api_key is not None and tracker.mode == "offline":
            at, help_ = "api_key", "leave it out, or set `mode: online`"
        elif isinstance(tracker, MLflow) and tracker.token is not None and tracker.tracking_uri is None:
            at, help_ = "token", "leave it out, or name a server in `tracking_uri`"
        else:
            continue
        message = "nothing is sent, so that nobody asks for it"
        at = f"tracking.trackers.{i}.{at}"
        yield Finding(at, message, help_, on_key=True, fix=Drop(at), safe=False)
