"""LR3: who speaks in the rows that are learned from."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrecipe.lint import local
from llmrecipe.lint.rule import Case, Finding, Put, rule
from llmrecipe.lint.sources import training_sources
from llmrecipe.methods.sft import SFT
from llmrecipe.paths import is_url
from llmrecipe.recipe.data import Files

OWN = ("assistant", "gpt", "model")
"""What the assistant is called, in `messages` and in `conversations`."""


@dataclass
class Spoken:
    """Characters of rows."""

    rows: int = 0
    own: int = 0
    """What the assistant says."""
    others: int = 0
    """What users, systems and tools say."""

    def add(self, row: Any, source: Files) -> None:
        """Count a row; one that is not as its format says counts nothing."""
        if not isinstance(row, Mapping):
            return
        self.rows += 1
        if source.format == "instruction":
            asked, answered = ("instruction", "input"), "output"
            self.others += sum(len(str(row.get(source.columns.get(name, name)) or "")) for name in asked)
            self.own += len(str(row.get(source.columns.get(answered, answered)) or ""))
            return
        role, content = ("role", "content") if source.format == "messages" else ("from", "value")
        turns = row.get(source.columns.get(source.format, source.format))
        for turn in turns if isinstance(turns, list) else ():
            if isinstance(turn, Mapping) and isinstance(turn.get(content), str):
                said = len(turn[content])
                if turn.get(role) in OWN:
                    self.own += said
                else:
                    self.others += said


def _spoken(case: Case) -> Spoken:
    """The beginning of the first file of every source of conversations that lies here."""
    found = Spoken()
    for at, source in training_sources(case.recipe):
        if not isinstance(source, Files) or source.format not in ("messages", "conversations", "instruction"):
            continue
        path = source.paths[0]
        files = [] if is_url(path) else local.files(path, case.folder(f"{at}.paths.0"))
        if files and Path(files[0]).suffix == ".jsonl":
            for line in local.head(Path(files[0])).splitlines():
                try:
                    found.add(json.loads(line), source)
                except json.JSONDecodeError:
                    continue
    return found


@rule("LR358", "warning")
def words_of_others_learned(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Looks at the first rows of local conversations, where `sft` does not say what the loss is over: a warning where
    more than half of their characters are not the assistant's.

    ## Why is this bad?
    Without `assistant_only_loss` the loss is over whole conversations. The model then learns above all to ask what
    its users ask. Written as `false`, it is a choice, and this rule has nothing to say. Source: `assistant_only_loss`
    of TRL 1.16, whose default it is; https://arxiv.org/abs/2405.14394

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [askers.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [askers.jsonl], format: messages}]}
    method: {kind: sft, assistant_only_loss: true}
    ```
    """
    method = case.recipe.method
    if not isinstance(method, SFT) or "assistant_only_loss" in method.model_fields_set:
        return
    spoken = _spoken(case)
    total = spoken.own + spoken.others
    if spoken.others * 2 > total:
        share = spoken.others / total
        message = f"{share:.0%} of what the first {spoken.rows:,} rows teach is said by others than the assistant"
        help_ = "write `assistant_only_loss: true`, or `false` where all of it is to be learned"
        change = Put("method.assistant_only_loss", True)
        yield Finding("method", message, help_, fix=change, safe=False)
