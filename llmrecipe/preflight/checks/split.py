"""Rows for training that are also those that judge it."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from llmrecipe.preflight.check import Finding, check, graded
from llmrecipe.preflight.checks.conversation import question_and_answers

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case

WORDS = 13
"""Words in a row that do not come twice by chance. Source: https://arxiv.org/abs/2005.14165, appendix C"""
EVALUATED = 2_000
"""Rows of a suite that are looked for."""
READ = 2_000_000
"""Marks of training rows that are compared with them: some seconds."""


@check("LR169", "warning")
def training_rows_in_validation(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares training rows with those of `data.validation.sources`: a warning, an error where more than 1 % of the
    validation rows are trained on.

    ## Why is this bad?
    The validation loss falls because rows are known by heart. The best checkpoint and early stopping follow it.

    ## How to mend it
    Take such rows out of the training files, or write `data.validation.fraction`, which keeps equal rows on one side.

    ## Source
    https://arxiv.org/abs/2107.06499, section 5
    """
    sources = case.prepare_spec.validation
    rows = [case.digest(row) for row in case.source_rows(sources)]
    common = sum(row in case.source_digests for row in rows)
    if rows and (severity := graded(common / len(rows), 0, 0.01)):
        yield Finding(
            "data.validation.sources",
            f"{common:,} of {len(rows):,} validation rows are also training rows",
            "take them out of the training files",
            severity,
        )


@check("LR170", "warning")
def training_rows_in_evaluation(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares the questions and answers of `evaluation.suites` with the training rows: equal pairs, and for long texts
    the share of evaluation rows of which 13 words in a row occur in a training row. A warning above 1 %.

    ## Why is this bad?
    The suite measures what was learned by heart, and a gate on it lets anything pass.

    ## How to mend it
    Take such rows out of the training data, or evaluate on others.

    ## Source
    Thirteen words: https://arxiv.org/abs/2005.14165, appendix C; lm-eval's decontamination.
    """
    for number, evaluate in enumerate(case.evaluations):
        sources = getattr(evaluate.suite, "sources", None)
        rows = list(islice(case.source_rows(sources), EVALUATED)) if sources else []
        common = _also_trained_on(case, rows)
        if rows and graded(common / len(rows), 0.01, 1.0):
            yield Finding(
                f"evaluation.suites.{number}.sources",
                f"{common:,} of {len(rows):,} rows of the suite `{evaluate.suite.name}` are trained on, question and "
                f"answer, or {WORDS} words in a row of them",
                "take such rows out of the training data",
            )


def _also_trained_on(case: "Case", rows: list[dict[str, Any]]) -> int:
    """Rows of an evaluation of which a mark is in a training row; training rows are read until there are many words."""
    marked: dict[str, set[int]] = {}
    for number, row in enumerate(rows):
        for mark in _marks(row):
            marked.setdefault(mark, set()).add(number)
    found: set[int] = set()
    read = 0
    for row in case.scan() if marked else ():
        for mark in _marks(row):
            found |= marked.get(mark, set())
            read += 1
        if read > READ:
            break
    return len(found)


def _marks(row: dict[str, Any]) -> Iterator[str]:
    """What identifies a row: its question with its answer, and every thirteen words of them."""
    pairs = [(q, a) for q, a in question_and_answers(row) if q]
    if not pairs and "prompt" in row and row.get("reference"):
        prompt = row["prompt"]
        pairs = [(prompt if isinstance(prompt, str) else prompt[-1]["content"], row["reference"])]
    for question, answer in pairs:
        yield "\0".join(" ".join(part.casefold().split()) for part in (question, answer))
    texts = [f"{question} {answer}" for question, answer in pairs] or [row.get("text", "")]
    for text in texts:
        words = text.casefold().split()
        yield from (" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1))
