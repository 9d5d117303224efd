"""LR6, LR7: how a vLLM server answers: tools, names, stop tokens, code and keys; and what is exported for it."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from llmrecipe import facts
from llmrecipe.lint.rule import Case, Drop, Finding, Put, rule
from llmrecipe.recipe.serving import VLLM

PARSERS: dict[Literal["tool", "reasoning"], tuple[str, str]] = {
    "tool": ("tool_call_parser", "tool_parser_plugin"),
    "reasoning": ("reasoning_parser", "reasoning_parser_plugin"),
}
"""What is parsed -> the option that names the parser, and the one that brings further parsers."""
CODE = (
    "io_processor_plugin", "logits_processors", "middleware", "model_class_overrides", "reasoning_parser_plugin",
    "scheduler_cls", "tool_parser_plugin", "trust_remote_code", "worker_cls", "worker_extension_cls",
)  # fmt: skip
"""Options that name Python code which the server runs."""
OPEN = {
    "trust_request_chat_template": "clients send templates, which the server runs",
    "allowed_local_media_path": "clients read files of the server",
}
"""Option -> what it lets a client do."""
OFFICIAL = "vllm/vllm-openai"


def _served(case: Case) -> tuple[VLLM, Mapping[str, Any]] | None:
    """The server and its further options."""
    serving = case.recipe.serving
    return (serving, serving.extra) if isinstance(serving, VLLM) else None


@rule("LR612")
def tools_without_a_parser(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `enable_auto_tool_choice` stands beside `tool_call_parser`, `enable_log_outputs` beside
    `enable_log_requests`, and a certificate beside its key.

    ## Why is this bad?
    vLLM looks at these before it reads the model, and stops.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, extra: {enable_auto_tool_choice: true}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, extra: {enable_auto_tool_choice: true, tool_call_parser: hermes}}
    ```
    """
    if (served := _served(case)) is None:
        return
    extra = served[1]
    for one, other, why in (
        ("enable_auto_tool_choice", "tool_call_parser", "tools may be called, and nothing finds calls in an answer"),
        ("enable_log_outputs", "enable_log_requests", "answers are logged only beside their requests"),
        ("ssl_certfile", "ssl_keyfile", "a certificate is of no use without its key"),
        ("ssl_keyfile", "ssl_certfile", "a key is of no use without its certificate"),
    ):
        if extra.get(one) and not extra.get(other):
            yield Finding(f"serving.extra.{one}", why, f"add `{other}`, or leave this out", on_key=True)


@rule("LR613")
def parser_that_vllm_does_not_know(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `tool_call_parser` and `reasoning_parser` under `serving.extra` are names that vLLM knows, unless a
    plugin brings others.

    ## Why is this bad?
    The name is looked up when the model has been loaded, and the server stops.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, extra: {reasoning_parser: qwen}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, extra: {reasoning_parser: qwen3}}
    ```
    """
    if (served := _served(case)) is None:
        return
    for of, (option, plugin) in PARSERS.items():
        name, known = served[1].get(option), facts.vllm_parsers(of)
        if isinstance(name, str) and name not in known and not served[1].get(plugin):
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            help_ = f"did you mean `{close[0]}`?" if close else f"use one of {', '.join(known)}"
            message = f"vLLM {facts.vllm_version()} has no {of} parser `{name}`"
            yield Finding(f"serving.extra.{option}", message, help_)


@rule("LR617")
def adapter_behind_the_name_of_the_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the model and its adapters are served under different names, each adapter once.

    ## Why is this bad?
    A request says a name. Two models of one name cannot both be meant, and the adapter is never asked.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ---
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, served_model_name: style, adapters: [{recipe: style}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {merge: false}
    ---
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-0.6B}
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, served_model_name: chat, adapters: [{recipe: style}]}
    ```
    """
    if (served := _served(case)) is None:
        return
    taken = {served[0].served_model_name or case.recipe.name: "the model itself"}
    for i, reference in enumerate(served[0].adapters):
        if reference.name in taken:
            message = f"`{reference.name}` is the name of {taken[reference.name]} already"
            yield Finding(f"serving.adapters.{i}", message, "change `served_model_name`, or leave this one out")
        taken[reference.name] = "another adapter"


@rule("LR618", "warning")
def image_of_another_release(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that vLLM's own image is of the release whose options the recipe is checked against.

    ## Why is this bad?
    Options come, go and change their meaning with every release. What is accepted here may stop that server.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, image: "vllm/vllm-openai:v0.20.0"}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, image: "vllm/vllm-openai:v0.33.0"}
    ```
    """
    if (served := _served(case)) is None:
        return
    name, _, tag = served[0].image.partition("@")[0].partition(":")
    ours = facts.vllm_version()
    if name == OFFICIAL and tag and tag != "latest" and not tag.removeprefix("v").startswith(ours):
        message = f"the image is of `{tag}`, and options are checked against vLLM {ours}"
        change = Put("serving.image", f"{OFFICIAL}:v{ours}")
        yield Finding("serving.image", message, f"use `{OFFICIAL}:v{ours}`", fix=change, safe=False)


@rule("LR620")
def code_that_the_server_does_not_run(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a model with `trust_remote_code` is served by a vLLM that has it, too.

    ## Why is this bad?
    The exported folder names the code of the model. A server that may not run it refuses the model.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: owner/own-architecture, trust_remote_code: true}  # llmrecipe: ignore[LR702]
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: owner/own-architecture, trust_remote_code: true}  # llmrecipe: ignore[LR702]
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, extra: {trust_remote_code: true}}  # llmrecipe: ignore[LR705]
    ```
    """
    served = _served(case)
    if served is not None and case.recipe.model.trust_remote_code and not served[1].get("trust_remote_code"):
        message = "the model comes with code of its own, and the server may not run it"
        help_ = "write `extra: {trust_remote_code: true}`, after reading that code"
        change = Put("serving.extra.trust_remote_code", True)
        yield Finding("serving.kind", message, help_, fix=change, safe=False)


@rule("LR621", "warning")
def stop_tokens_left_behind(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `generation_config` under `serving.extra` is not `vllm`.

    ## Why is this bad?
    The exported model says in its `generation_config.json` which tokens end an answer. With `vllm` nobody reads it,
    and where a turn ends with another token than a text, answers do not end.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, max_num_seqs: 64, extra: {generation_config: vllm}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, max_num_seqs: 64}
    ```
    """
    served, at = _served(case), "serving.extra.generation_config"
    if served is not None and served[1].get("generation_config") == "vllm":
        message = "the server does not read which tokens end an answer of this model"
        help_ = "leave it out; `override_generation_config` changes single defaults"
        yield Finding(at, message, help_, fix=Drop(at), safe=False)


@rule("LR624", "warning")
def float16_export_of_a_bfloat16_model(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a model whose checkpoint is in `bfloat16` is not exported in `float16`.

    ## Why is this bad?
    Weights and activations of such models go beyond the range of `float16`: what is too large becomes infinite.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {formats: [{kind: safetensors, dtype: float16}]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    export: {formats: [{kind: safetensors, dtype: bfloat16}]}
    ```
    """
    figures = case.figures
    for i, written in enumerate(case.recipe.export.formats):
        if written.dtype == "float16" and figures is not None and figures.dtype == "bfloat16":
            at = f"export.formats.{i}.dtype"
            message = "the weights of this model were made for the range of `bfloat16`"
            yield Finding(at, message, "use `bfloat16`", fix=Put(at, "bfloat16"), safe=False)


@rule("LR629")
def server_that_answers_nothing(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `runner` and `convert` under `serving.extra` do not make something else of a language model.

    ## Why is this bad?
    With `pooling` the server gives vectors: there is no chat and no completion at it, which is what clients, checks
    and the load balancer ask for.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, max_num_seqs: 64, extra: {runner: pooling}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, max_num_seqs: 64}
    ```
    """
    if (served := _served(case)) is None:
        return
    for name, others in (("runner", ("pooling", "draft")), ("convert", ("embed", "classify"))):
        if served[1].get(name) in others:
            at = f"serving.extra.{name}"
            message = f"with `{name}: {served[1][name]}` the server answers neither chats nor completions"
            yield Finding(at, message, "leave it out", fix=Drop(at), safe=False)


@rule("LR631", "warning")
def served_in_other_numbers_than_judged(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that a model which had to pass gates is not quantized by its server.

    ## Why is this bad?
    The gates judged the weights as they are exported. What answers has others, with an error in each, and nobody
    asked whether it would pass.

    ## Example
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/f1, min: 0.8}]
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, max_num_seqs: 64, extra: {quantization: fp8_per_tensor}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: judged
    model: {base: Qwen/Qwen3-0.6B}
    evaluation:
      suites: [{kind: generation, sources: [{kind: files, paths: [questions.jsonl], format: prompt_completion}]}]
      gates: [{metric: generation/f1, min: 0.8}]
    hardware: {accelerator: l4-24gb}
    serving: {kind: vllm, max_num_seqs: 64}
    ```
    """
    served, evaluation = _served(case), case.recipe.evaluation
    if served is None or evaluation is None or not evaluation.gates:
        return
    for name, usual in (("quantization", (None,)), ("kv_cache_dtype", (None, "auto", "bfloat16", "float16"))):
        way = served[1].get(name)
        if way not in usual:
            message = f"the gates judge the model without `{name}: {way}`, with which it answers"
            help_ = "leave it out, or measure the server before clients do"
            yield Finding(f"serving.extra.{name}", message, help_)


@rule("LR705", "warning")
def foreign_code_in_the_server(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks for options under `serving.extra` that name Python code: `trust_remote_code`, `middleware`, plugins, and
    classes by their path.

    ## Why is this bad?
    It runs in the server, beside its keys and with the prompts of all clients. Read it, and silence this rule on its
    line.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, extra: {middleware: [audit.Middleware]}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, extra: {middleware: [audit.Middleware]}}  # llmrecipe: ignore[LR705]
    ```
    """
    if (served := _served(case)) is None:
        return
    for name in CODE:
        if served[1].get(name):
            message = f"the server runs the code that `{name}` names"
            yield Finding(f"serving.extra.{name}", message, "read that code, and silence this rule here", on_key=True)


@rule("LR706", "warning")
def server_that_trusts_its_clients(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks for options under `serving.extra` by which clients reach into the server: `trust_request_chat_template` and
    `allowed_local_media_path`.

    ## Why is this bad?
    Whoever can send a request can have a template run, or files read, on the machine that serves.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, max_num_seqs: 64, extra: {trust_request_chat_template: true}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, max_num_seqs: 64}
    ```
    """
    if (served := _served(case)) is None:
        return
    for name, what in OPEN.items():
        if served[1].get(name):
            at = f"serving.extra.{name}"
            yield Finding(at, f"with `{name}`, {what}", "leave it out", on_key=True, fix=Drop(at), safe=False)


@rule("LR707")
def token_on_a_command_line(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `hf_token` is not written under `serving.extra`.

    ## Why is this bad?
    The options of a server are written into its files and shown with its process. The exported model needs no token:
    it lies on this machine.

    ## Example
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, max_num_seqs: 64, extra: {hf_token: token-of-ada}}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: chat
    model: {base: Qwen/Qwen3-8B}
    hardware: {accelerator: h100-80gb}
    serving: {kind: vllm, max_num_seqs: 64}
    ```
    """
    served, at = _served(case), "serving.extra.hf_token"
    if served is not None and "hf_token" in served[1]:
        message = "the token would stand in files of the server, and in the list of processes"
        help_ = "leave it out: the exported model is not read from the Hub"
        yield Finding(at, message, help_, on_key=True, fix=Drop(at))
