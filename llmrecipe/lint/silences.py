"""LR85: silences that silence nothing, or cannot."""

from collections.abc import Iterator

from llmrecipe import facts
from llmrecipe.lint.comments import Silence
from llmrecipe.lint.rule import RULES, Case, Change, Drop, Finding, Put, Swap, rule
from llmrecipe.mending import nearest

_ELSEWHERE = ("LR490", "LR491", "LR492", "LR690", "LR790", "LR791", "LR792", "LR793")
"""Codes that run, compile and lock report."""


def _is_known(topic: str) -> bool:
    return topic in RULES or any(topic == rule.name for rule in RULES.values()) or _is_elsewhere(topic)


def _is_elsewhere(topic: str) -> bool:
    """Whether it is for what others find than rules: preflight, `validate --online`, other commands."""
    checks = facts.checks()
    return topic in _ELSEWHERE or topic in checks or topic in checks.values()


def _is_fixed(topic: str) -> bool:
    """Whether a topic is for what always shows: errors of the document, and of silences themselves."""
    return topic.startswith(("LR0", "LR85")) or any(
        topic == known.name for code, known in RULES.items() if code.startswith("LR85")
    )


def _finding(
    silence: Silence, message: str, help: str, *, drop: bool = False, meant: str | None = None, safe: bool = True
) -> Finding:
    fix: Change | tuple[()] = ()
    if drop and silence.at is not None:
        fix = Drop(silence.at)
    elif drop and silence.comment is not None:
        fix = Swap(silence.comment, "")
    elif meant is not None:
        fix = Put(silence.at, meant) if silence.at else Swap(silence.span, meant)
    return Finding(silence.at or silence.span, message, help, fix=fix, safe=safe)


@rule("LR850", "warning")
def unused_silence(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every code that a recipe silences, with `# llmrecipe: ignore[CODE]` on a line or under `lint.ignore`,
    would be reported there.

    For what a look at the data finds, `llmrecipe preflight` says so.

    ## Why is this bad?
    It silences the next mistake of that kind, which nobody has looked at. Most often the line was mended, or the
    comment stands on another line than the value.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 300}  # llmrecipe: ignore[LR311]
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 300}
    ```
    """
    for silence in case.unused:
        if _is_known(silence.topic) and not _is_elsewhere(silence.topic) and not _is_fixed(silence.topic):
            yield unused(silence)


def unused(silence: Silence) -> Finding:
    """What LR850 says of a silence that silenced nothing."""
    where = "in this recipe" if silence.line is None else "on this line"
    return _finding(silence, f"there is no `{silence.topic}` {where} to silence", "remove it", drop=True)


@rule("LR851")
def unknown_silence(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that what a recipe silences is the code or the name of a rule, or of a check of preflight or of
    `validate --online`.

    ## Why is this bad?
    Nothing is silenced, and the next reader believes that something is.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, beta: 2}
    lint: {ignore: [LR305, unusual-betta]}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo, beta: 2}
    lint: {ignore: [unusual-beta]}
    ```
    """
    for silence in case.silences:
        if silence.topic and not _is_known(silence.topic) and not _is_fixed(silence.topic):
            checks = facts.checks()
            names = [*RULES, *(known.name for known in RULES.values()), *checks, *checks.values()]
            near, sure = nearest(silence.topic, names)
            help = f"did you mean `{near}`?" if near else "`llmrecipe explain CODE` says what a code is"
            message = f"`{silence.topic}` is neither the code nor the name of a rule or check"
            yield _finding(silence, message, help, meant=near, safe=sure)


@rule("LR852", "warning")
def unreadable_silence(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that every comment that begins with `# llmrecipe:` goes on with `ignore[CODE]`, or `ignore[CODE, CODE]`.

    ## Why is this bad?
    It is a comment like any other, and silences nothing.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 300}  # llmrecipe: ignore LR311
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {max_steps: 300, num_train_epochs: 1}  # llmrecipe: ignore[LR311]
    ```
    """
    for silence in case.silences:
        if not silence.topic:
            yield _finding(silence, "this comment silences nothing", "write `# llmrecipe: ignore[LR311]`, or remove it")


@rule("LR853")
def silence_of_what_always_shows(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that no error of the document itself (LR0), and nothing that is wrong with a silence (LR85), is silenced.

    ## Why is this bad?
    A document with such an error is no recipe: there is nothing that could be run in spite of it.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    lint: {ignore: [LR003]}
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
    for silence in case.silences:
        if _is_fixed(silence.topic):
            yield _finding(
                silence, f"`{silence.topic}` cannot be silenced", "mend what it says, and remove it", drop=True
            )
