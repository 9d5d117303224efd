"""LR33, LR51, LR71: learning from rewards of own answers, the suite `reward`, and code that would run."""

import re
from collections import Counter
from collections.abc import Iterator

from llmrecipe.lint import local
from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.methods.distillation import Distillation
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.online import VLLM_OPTIONS, OnlineMethod
from llmrecipe.methods.rloo import RLOO
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.evaluation import Rewards
from llmrecipe.recipe.model import FromScratch
from llmrecipe.strategies import Single
from llmrecipe.vocabulary import (
    ROW_KIND,
    JSONSchema,
    Length,
    PythonFunction,
    RecipeReference,
    RegularExpression,
    RewardFunction,
)

RESERVED = ("reward", "answers", "answer_tokens", "reward_model")
"""Names that metrics of the suite have for something else."""

Located = tuple[str, RewardFunction]


def name_of(function: RewardFunction) -> str:
    """What the log and the metrics call a function."""
    if function.name is not None:
        return function.name
    return function.function if isinstance(function, PythonFunction) else function.kind


def _judges(recipe: Recipe) -> Iterator[tuple[str, OnlineMethod | Rewards]]:
    """What scores answers, and where it stands."""
    if isinstance(recipe.method, OnlineMethod):
        yield "method", recipe.method
    for i, suite in enumerate(recipe.evaluation.suites if recipe.evaluation else []):
        if isinstance(suite, Rewards):
            yield f"evaluation.suites.{i}", suite


def functions(recipe: Recipe) -> Iterator[Located]:
    """Every reward function of a recipe and where it stands."""
    for at, judge in _judges(recipe):
        yield from ((f"{at}.reward_functions.{i}", function) for i, function in enumerate(judge.reward_functions))


def metrics(recipe: Recipe, suite: Rewards) -> tuple[str, ...]:
    """What the suite measures."""
    own = suite.reward_functions or suite.reward_model is not None
    judge = suite if own or not isinstance(recipe.method, OnlineMethod) else recipe.method
    model = () if judge.reward_model is None else ("reward_model",)
    return ("reward", *map(name_of, judge.reward_functions), *model, "answer_tokens", "answers")


@rule("LR330")
def no_reward(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a method that learns from rewards, and a suite `reward`, have a reward model or a reward function. A
    suite without either takes those of the method.

    ## Why is this bad?
    Without a reward no answer is better than another.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo}
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
    online = isinstance(case.recipe.method, OnlineMethod)
    for at, judge in _judges(case.recipe):
        inherits = isinstance(judge, Rewards) and online
        if judge.reward_model is None and not judge.reward_functions and not inherits:
            message = "there is nothing to score answers with"
            yield Finding(f"{at}.kind", message, "add `reward_functions`, `reward_model`, or both")


@rule("LR331")
def rewards_over_random_weights(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a method that learns from its own answers starts from a trained model.

    ## Why is this bad?
    Random weights give random tokens: no answer is rewarded, and nothing is learned. And the model that the policy is
    held to is loaded from the base, which a model from scratch does not have.

    ## Example
    ```yaml
    version: 1
    name: tiny
    model:
      base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
    tokenizer: {kind: train, vocab_size: 1000}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: rloo, reward_functions: [{kind: exact_match}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: tiny
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: rloo, reward_functions: [{kind: exact_match}]}
    ```
    """
    method = case.recipe.method
    if isinstance(method, OnlineMethod) and isinstance(case.recipe.model.base, FromScratch):
        help_ = "train it first, with `pretrain` and `sft`, and start from `{recipe: NAME}`"
        yield Finding("model.base", f"`{method.kind}` over random weights", help_)


@rule("LR332")
def no_room_for_a_prompt(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `training.max_length` leaves room for a prompt beside an answer of `max_completion_length` tokens.

    ## Why is this bad?
    `max_length` is that of prompt and answer together. Prompts that are longer than what is left are dropped: here all.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], max_completion_length: 1024}
    training: {max_length: 1024}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], max_completion_length: 1024}
    training: {max_length: 1536}
    ```
    """
    method, longest = case.recipe.method, case.recipe.training.max_length
    if isinstance(method, OnlineMethod) and method.max_completion_length >= longest:
        message = f"answers of {method.max_completion_length} tokens leave no room for a prompt within {longest}"
        help_ = "raise `training.max_length`, or lower `method.max_completion_length`"
        yield Finding("method.max_completion_length", message, help_)


@rule("LR333")
def broken_group(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the answers that GRPO or RLOO generate at once are a multiple of `num_generations`: the global batch, or
    `steps_per_generation` batches of all processes. With validation rows, `per_device_eval_batch_size` times the
    processes must be a multiple as well.

    ## Why is this bad?
    All answers to a prompt are judged against each other, so that they must be there together. The batch counts
    answers, not prompts.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], num_generations: 6}
    training: {per_device_train_batch_size: 4, global_batch_size: 32}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], num_generations: 8}
    training: {per_device_train_batch_size: 4, global_batch_size: 32}
    ```
    """
    recipe, method = case.recipe, case.recipe.method
    if not isinstance(method, GRPO | RLOO):
        return
    training, hardware = recipe.training, recipe.hardware
    spread = not isinstance(recipe.distributed, Single)
    processes = hardware.num_accelerators * hardware.num_nodes if spread else 1
    at_once = training.per_device_train_batch_size * processes
    answers = training.global_batch_size or at_once
    if method.steps_per_generation is not None:
        answers = at_once * method.steps_per_generation
    each = method.num_generations
    if answers % each:
        message = f"{answers} answers are generated at once: no multiple of {each} for each prompt"
        fitting = [n for n in range(2, answers + 1) if answers % n == 0]
        help_ = f"use {' or '.join(map(str, _nearest(fitting, each)))}, or a batch that is a multiple of {each}"
        yield Finding("method.num_generations", message, help_)
    judged = training.per_device_eval_batch_size * processes
    own = training.extra.get("num_generations_eval")
    each = own if isinstance(own, int) and own > 0 else each
    if recipe.data is not None and recipe.data.validation is not None and judged % each:
        message = f"{judged} answers of a validation batch are no multiple of {each} for each prompt"
        help_ = f"use a multiple of {each}, divided by the number of processes"
        yield Finding("training.per_device_eval_batch_size", message, help_)


def _nearest(numbers: list[int], wanted: int) -> list[int]:
    return sorted(sorted(numbers, key=lambda n: abs(n - wanted))[:2])


@rule("LR334")
def vllm_on_a_processor(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `use_vllm` goes with an accelerator, and `vllm_mode: server` with the address of the server.

    ## Why is this bad?
    vLLM's own wheels need a GPU, and weights are handed over between GPUs.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], use_vllm: true}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], use_vllm: true}
    hardware: {accelerator: h100-80gb}
    ```
    """
    method = case.recipe.method
    if not isinstance(method, OnlineMethod | Distillation) or not method.use_vllm:
        return
    if case.recipe.hardware.accelerator == "cpu":
        help_ = "name the `hardware.accelerator`, or leave out `use_vllm`: Transformers generates"
        yield Finding("method.use_vllm", "vLLM does not generate on a processor", help_)
    if isinstance(method, OnlineMethod) and method.vllm_mode == "server" and method.vllm_server_base_url is None:
        help_ = "start `trl vllm-serve` and write `vllm_server_base_url: http://host:8000`"
        yield Finding("method.vllm_mode", "there is no address of a server", help_)


@rule("LR335")
def equal_reward_names(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every reward function of a method or a suite has a name of its own. The default is its kind, or for
    Python the function's name. `reward`, `reward_model`, `answer_tokens` and `answers` are names of other metrics.

    ## Why is this bad?
    The log would show one of them under the name of the other.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method:
      kind: grpo
      reward_functions: [{kind: regex, pattern: "^<think>"}, {kind: regex, pattern: "</think>"}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method:
      kind: grpo
      reward_functions:
        - {kind: regex, name: opens, pattern: "^<think>"}
        - {kind: regex, name: closes, pattern: "</think>"}
    ```
    """
    for at, judge in _judges(case.recipe):
        count = Counter(map(name_of, judge.reward_functions))
        for i, function in enumerate(judge.reward_functions):
            name = name_of(function)
            taken = "another metric" if name in RESERVED else "another reward function" if count[name] > 1 else None
            if taken is not None:
                count[name] -= 1
                where = f"{at}.reward_functions.{i}"
                yield Finding(where, f"{taken} is called `{name}`", "give this one a `name` of its own")


@rule("LR336")
def unusable_reward(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks what can be seen of a reward function without running it: that a regular expression compiles and has the
    group, that a length has bounds (`min`, `max`, or `target` alone, `min` not above `max`).

    ## Why is this bad?
    It would fail, or say the same of every answer, after the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: regex, pattern: "answer: .*", group: 1}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: regex, pattern: "answer: (.*)", group: 1}]}
    ```
    """
    for at, function in functions(case.recipe):
        match function:
            case RegularExpression():
                yield from _pattern(at, function)
            case Length():
                yield from _bounds(at, function)


def _pattern(at: str, function: RegularExpression) -> Iterator[Finding]:
    try:
        pattern = re.compile(function.pattern)
    except (re.error, RecursionError, OverflowError) as error:
        yield Finding(f"{at}.pattern", f"this is no regular expression: {error}", "use the syntax of Python's `re`")
        return
    group = function.group
    known = pattern.groupindex if isinstance(group, str) else range(pattern.groups + 1)
    if group is not None and group not in known:
        names = ", ".join(f"`{name}`" for name in (*pattern.groupindex, *range(1, pattern.groups + 1)))
        help_ = f"its groups are {names}" if names else "it has no groups: put `(` and `)` around what is compared"
        yield Finding(f"{at}.group", f"the pattern has no group `{group}`", help_)


def _bounds(at: str, function: Length) -> Iterator[Finding]:
    ranged = function.min is not None or function.max is not None
    if ranged and function.target is not None:
        yield Finding(f"{at}.target", "the length has bounds and a target", "keep `target`, or `min` and `max`")
    elif not ranged and function.target is None:
        yield Finding(at, "every length is as good as another", "write `min`, `max` or `target`")
    elif function.min is not None and function.max is not None and function.min > function.max:
        message = f"no length is at least {function.min} and at most {function.max}"
        yield Finding(f"{at}.min", message, "exchange `min` and `max`")


@rule("LR337", "warning")
def vllm_options_without_vllm(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that options of vLLM are written together with `use_vllm: true`.

    ## Why is this bad?
    Transformers generates, and the options do nothing.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], vllm_tensor_parallel_size: 2}
    hardware: {accelerator: h100-80gb}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], use_vllm: true, vllm_tensor_parallel_size: 2}
    hardware: {accelerator: h100-80gb, num_accelerators: 2}
    distributed: {kind: ddp}
    ```
    """
    method = case.recipe.method
    if isinstance(method, OnlineMethod) and not method.use_vllm:
        for name in VLLM_OPTIONS:
            if name in method.model_fields_set:
                yield Finding(
                    f"method.{name}", f"`{name}` does nothing without vLLM", "add `use_vllm: true`", on_key=True
                )


@rule("LR338")
def moving_reference(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `training.extra` does not set `sync_ref_model`.

    ## Why is this bad?
    The reference then moves with the policy, and no checkpoint holds it: a resumed run would go on with another one.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], beta: 0.04}
    training: {extra: {sync_ref_model: true}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}], beta: 0.04}
    ```
    """
    if isinstance(case.recipe.method, OnlineMethod) and case.recipe.training.extra.get("sync_ref_model"):
        help_ = "remove it; a lower `beta` lets the policy go farther"
        yield Finding("training.extra.sync_ref_model", "the reference would be lost when the run resumes", help_)


@rule("LR339")
def packed_prompts(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that prompts are not packed.

    ## Why is this bad?
    Each is answered for itself.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}], packing: bfd}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}]}
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
    method, data = case.recipe.method, case.recipe.data
    if isinstance(method, OnlineMethod) and data is not None and data.packing not in (None, "none"):
        yield Finding("data.packing", f"`{method.kind}` answers each prompt for itself", "leave out `packing`")


@rule("LR515")
def rewards_without_prompts(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the sources of a suite `reward` are of the format `prompt`.

    ## Why is this bad?
    The model is to answer them itself; other rows hold an answer already.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - kind: reward
          sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]
          reward_functions: [{kind: exact_match}]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites:
        - kind: reward
          sources:
            - {kind: files, paths: [questions.jsonl], format: prompt, columns: {reference: completion}}
          reward_functions: [{kind: exact_match}]
    ```
    """
    for at, suite in _judges(case.recipe):
        for j, source in enumerate(suite.sources if isinstance(suite, Rewards) else []):
            if ROW_KIND[source.format] != "prompt":
                help_ = "use `format: prompt`, with `columns: {reference: NAME}` where answers are compared"
                yield Finding(f"{at}.sources.{j}.format", f"rows of `{source.format}` are no prompts", help_)


@rule("LR516")
def a_model_that_scores_nothing(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a `reward_model` that is another recipe of the file is trained to score: by the method `reward`.

    ## Why is this bad?
    A model that predicts tokens has no score; loading it as a reward model would fail.

    ## Example
    ```yaml
    version: 1
    name: start
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ---
    version: 1
    name: solver
    model: {base: {recipe: start}}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_model: {recipe: start}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: start
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ---
    version: 1
    name: judge
    model: {base: {recipe: start}}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: reward}
    ---
    version: 1
    name: solver
    model: {base: {recipe: start}}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_model: {recipe: judge}}
    ```
    """
    for at, judge in _judges(case.recipe):
        reference = judge.reward_model
        if isinstance(reference, RecipeReference) and _head(case, reference.name) not in (None, "reward"):
            help_ = "train one with `method: {kind: reward}`, and refer to it"
            yield Finding(f"{at}.reward_model", f"`{reference.name}` predicts tokens and scores nothing", help_)


def _head(case: Case, name: str) -> str | None:
    """What the model of a recipe ends in; None where the recipe does not say it."""
    seen: set[str] = set()
    while name not in seen and name in case.recipes:
        seen.add(name)
        recipe = case.recipes[name]
        if recipe.method is not None:
            return recipe.method.head
        if not isinstance(recipe.model.base, RecipeReference):
            return None
        name = recipe.model.base.name
    return None


@rule("LR517")
def perplexity_of_prompts(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a recipe with a perplexity suite does not learn from prompts.

    ## Why is this bad?
    A validation row is then a question without an answer, and there is no text whose perplexity could be measured.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [problems.jsonl], format: prompt}]
      validation: {fraction: 0.1}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}]}
    evaluation: {suites: [{kind: perplexity}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data:
      train: [{kind: files, paths: [problems.jsonl], format: prompt}]
      validation: {fraction: 0.1}
    method: {kind: grpo, reward_functions: [{kind: numeric_answer}]}
    evaluation:
      suites: [{kind: reward, sources: [{kind: files, paths: [held.jsonl], format: prompt}]}]
    ```
    """
    if not isinstance(case.recipe.method, OnlineMethod):
        return
    for i, suite in enumerate(case.recipe.evaluation.suites if case.recipe.evaluation else []):
        if suite.kind == "perplexity":
            yield Finding(f"evaluation.suites.{i}.kind", "prompts have no perplexity", "use a suite of `kind: reward`")


@rule("LR710", "warning")
def code_of_the_recipe(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks for reward functions in Python.

    ## Why is this bad?
    It is code that runs on your machine with your rights, for everyone who runs the recipe. It never runs while a
    recipe is read, checked, planned or compiled; `llmrecipe run` asks for `--allow-code`, or for the file in your trust
    list (`~/.config/llmrecipe/trust`, lines as `sha256sum` writes them), and runs the very bytes that were planned.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: python, path: rewards.py, function: score}]}
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
    for at, function in functions(case.recipe):
        if isinstance(function, PythonFunction):
            help_ = "read it before you run it, or use one of the built-in rewards; silence this once you have"
            yield Finding(f"{at}.path", f"`{function.path}` is code that will run with your rights", help_)


@rule("LR711")
def reward_without_its_file(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the file of a Python reward, or of a JSON schema, is there.

    ## Why is this bad?
    It is part of what makes the model, and pinned by its content.

    ## Example
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: grpo, reward_functions: [{kind: json_schema, json_schema: missing/answer.json}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: solver
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method:
      kind: grpo
      reward_functions: [{kind: json_schema, json_schema: {type: object, required: [answer]}}]
    ```
    """
    for at, function in functions(case.recipe):
        match function:
            case PythonFunction():
                where, path = f"{at}.path", function.path
            case JSONSchema(json_schema=str() as path):
                where = f"{at}.json_schema"
            case _:
                continue
        if not local.is_file(path, case.folder(where)):
            yield Finding(where, f"there is no file `{path}`", "correct the path; it starts from the recipe's folder")
