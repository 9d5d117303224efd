"""Answers that are compared: pairs without a difference, labels of one kind."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmrecipe.preflight.check import Finding, check, graded
from llmrecipe.preflight.checks.length import NO_DIFFERENCE

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case

EQUAL = "chosen and rejected are equal"
"""The reason of the stage `prepare-data`; a test compares it."""


@check("LR166", "warning")
def pairs_without_a_difference(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts preferences whose two answers are equal, as they are written or within `training.max_length`: a warning, an
    error above 20 %.

    ## Why is this bad?
    Such a pair has no gradient: the loss stays at ln 2 = 0.6931. They are left out, and what is left may be few.

    ## How to mend it
    Raise `training.max_length` if answers differ only behind it, or leave such pairs out.

    ## Source
    DPOTrainer and RewardTrainer of TRL 1.16 train on them without a message.
    """
    if case.tokenize_spec.objective != "preference":
        return
    accounts = case.rows_report["sources"]
    rows = max(1, sum(account["rows_in"] for account in accounts))
    written = sum(account["dropped"].get(EQUAL, 0) for account in accounts)
    cut = case.tokens_report["dropped"].get(NO_DIFFERENCE, 0)
    if severity := graded((written + cut) / rows, 0, 0.2):
        yield Finding(
            "data.train" if written >= cut else "training.max_length",
            f"{written + cut} of {rows:,} pairs have two equal answers: {written} as written, {cut} within "
            f"{case.tokenize_spec.max_length:,} tokens",
            "leave such pairs out, or raise `training.max_length`",
            severity,
        )


@check("LR167", "warning")
def pairs_that_hardly_differ(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts preferences whose answers differ in blanks and capitals alone: a warning above 1 %, an error above 20 %.

    ## Why is this bad?
    What the model would learn from them is a preference for blanks.

    ## How to mend it
    Leave such pairs out, or look at how the answers were written down.

    ## Source
    A property of the rows.
    """
    pairs = [(_plain(row["chosen"]), _plain(row["rejected"])) for row in case.rows if "rejected" in row]
    alike = sum(chosen == rejected for chosen, rejected in pairs)
    if pairs and (severity := graded(alike / len(pairs), 0.01, 0.2)):
        yield Finding(
            "data.train",
            f"in {alike} of {len(pairs)} pairs the answers differ in blanks and capitals alone",
            "leave such pairs out",
            severity,
        )


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else " ".join(turn["content"] for turn in value)
    return "".join(text.casefold().split())


@check("LR168", "warning")
def labels_of_one_kind(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Checks that at least one in ten answers is good and one in ten is bad. An error where all are of one kind.

    ## Why is this bad?
    KTO weighs good against bad answers. With one kind alone it only pushes likelihoods up or down; far from balance the
    rarer kind is hardly heard unless `desirable_weight` and `undesirable_weight` make up for it.

    ## How to mend it
    Add answers of the other kind, or set the weights so that weight times count is between 1:1 and 4:3.

    ## Source
    https://arxiv.org/abs/2402.01306, section 4.2
    """
    labels = [bool(row["label"]) for row in case.rows if "label" in row]
    good = sum(labels) / max(1, len(labels))
    if not labels or 0.1 <= good <= 0.9:
        return
    weights = [case.spec.arguments.get(name, 1.0) for name in ("desirable_weight", "undesirable_weight")]
    if 0 < good < 1 and weights != [1.0, 1.0]:
        return
    yield Finding(
        "data.train",
        f"{sum(labels)} of {len(labels)} answers are good, {len(labels) - sum(labels)} are bad",
        "add answers of the other kind, or set `desirable_weight` and `undesirable_weight`",
        "error" if good in (0, 1) else "warning",
    )
