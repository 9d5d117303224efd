"""Whether the Hub answers, and whether what a recipe names is there and may be read."""

from collections.abc import Iterator

from llmrecipe.lint.rule import Finding, Put
from llmrecipe.remote.check import Case, Sound, check
from llmrecipe.remote.repository import Refusal

LOG_IN = "`hf auth login`, or HF_TOKEN"


@check("LR920")
def silent_hub(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Says, in `llmrecipe validate --online` alone, that the Hub did not answer: no network, no time, an error of its own,
    or too many questions in a short time. It is said once, however many repositories were not looked at.

    ## Why is this bad?
    Nothing is known of what the recipe names there. A check that was asked for and not made must not look like one that
    was passed.

    ## Example
    ```yaml
    # where the Hub cannot be reached
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    # where it can be reached, or without --online
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    silent = sum(isinstance(answer, Refusal) and answer.reason == "silent" for answer in case.answers.values())
    for one, refusal in case.refusals():
        if refusal.reason == "silent":
            unknown = f"{silent} of {len(case.answers)} repositories were not looked at"
            message = f"the Hub does not answer ({refusal.told}), and {unknown}"
            help_ = "check the network, a proxy (HTTPS_PROXY) and HF_ENDPOINT, or try again later"
            yield Finding(one.at, message, help_)
            return


@check("LR921")
def unreadable_repository(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that every model and dataset of the recipe is on the Hub and can be
    read with the token of this machine. The Hub does not tell a private repository from none.

    ## Why is this bad?
    The run stops when it is downloaded, which may be after hours: a reward model is not needed before its training.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    for one, refusal in case.refusals():
        kind, repo = one.question.kind, one.question.repo
        if refusal.reason == "malformed":
            help_ = "it is OWNER/NAME; a folder begins with `./`" if kind == "model" else "it is OWNER/NAME"
            yield Finding(one.at, f"`{repo}` is no name of a {kind} on the Hub", help_)
        elif refusal.reason == "disabled":
            help_ = f"use another {kind}, or ask its owner"
            yield Finding(one.at, f"the Hub has closed the {kind} `{repo}`", help_)
        elif refusal.reason == "missing" and not refusal.other_kind:
            yield Finding(
                one.at,
                f"there is no {kind} `{repo}`" + (", or the token may not read it" if refusal.with_token else ""),
                _who_reads(refusal),
                fix=Put(one.at, refusal.near) if refusal.near else (),
                safe=False,
            )


def _who_reads(refusal: Refusal) -> str:
    if refusal.near is not None:
        return f"did you mean `{refusal.near}`?"
    if refusal.with_token:
        return (
            "check the name; if it is private, the account of the token, and a fine-grained token itself, must read it"
        )
    return f"check the name; if it is private, log in: {LOG_IN}"


@check("LR922")
def gated_repository(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that the owner's terms of gated models and datasets were accepted by
    the account of this machine's token.

    ## Why is this bad?
    Everybody sees the page and the list of files; the files themselves are refused when they are downloaded. Some
    owners take days to give access.

    ## Example
    ```yaml
    # without a token, or with that of an account that has not accepted the terms
    version: 1
    name: style
    model: {base: meta-llama/Llama-3.2-1B-Instruct}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    for one, refusal in case.refusals():
        if refusal.reason == "gated":
            repo = one.question.repo
            who = "the account of the token has not been let in" if refusal.with_token else "there is no token here"
            page = repo if one.question.kind == "model" else f"datasets/{repo}"
            then = "" if refusal.with_token else f", and log in: {LOG_IN}"
            help_ = f"accept its terms at https://huggingface.co/{page}{then}"
            yield Finding(one.at, f"`{repo}` is gated, and {who}", help_)


@check("LR923")
def refused_token(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that the Hub takes the token of this machine, and that the token may
    read what the recipe names. The token itself is never shown.

    ## Why is this bad?
    A token that has expired or was withdrawn makes even public repositories unreadable.

    ## Example
    ```yaml
    # with an HF_TOKEN that was withdrawn
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    # with a new one, or with none
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    for one, refusal in case.refusals():
        if refusal.reason == "token":
            help_ = f"make a new one at https://huggingface.co/settings/tokens, and log in: {LOG_IN}"
            yield Finding(one.at, "the Hub does not know the token of this machine, or no longer", help_)
            return
        if refusal.reason == "forbidden":
            help_ = "give a fine-grained token the right to read it, and public gated repositories, in its settings"
            yield Finding(one.at, f"the token of this machine may not read `{one.question.repo}`", help_)


@check("LR924", "warning")
def renamed_repository(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that a repository is still called as the recipe calls it.

    ## Why is this bad?
    The old name leads to the new one as long as nobody takes it. Then it leads to something else.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: gpt2}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: openai-community/gpt2}
    data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
    method: {kind: pretrain}
    ```
    """
    for one, found in case.repositories():
        if found.id != one.question.repo:
            message = f"`{one.question.repo}` is called `{found.id}` now"
            yield Finding(one.at, message, "write the new name", fix=Put(one.at, found.id), safe=False)


@check("LR925")
def missing_revision(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Checks, in `llmrecipe validate --online` alone, that the branch, tag or commit of every `revision` exists.

    ## Why is this bad?
    The run stops when the files are downloaded. The Hub knows commits by all of their 40 digits alone.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, revision: v1}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, revision: v1.0}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    for one, refusal in case.refusals():
        if refusal.reason == "revision":
            at, near = (*one.beside, "revision"), refusal.near
            help_ = f"did you mean `{near}`?" if near else "write a branch, a tag, or all 40 digits of a commit"
            message = f"`{one.question.repo}` has no branch, tag or commit `{one.question.revision}`"
            yield Finding(at, message, help_, fix=Put(at, near) if near else (), safe=False)
