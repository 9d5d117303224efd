"""What `max_length`, packing and masks leave of the rows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmrecipe.preflight.check import Finding, check, graded

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case

NOTHING_LEARNED = "no supervised token"
NO_DIFFERENCE = "both answers are the same within max_length"
"""Reasons of the stage `tokenize` that checks of their own look at; a test compares them."""


def lengths(report: Any) -> str:
    """Tokens of the rows in a few numbers."""
    length = report["length"]
    names = {"p50": "half of the kept rows have up to", "p90": "90 %", "p99": "99 %", "max": "all"}
    return ", ".join(f"{name} {length[key]:,.0f}" for key, name in names.items()) + " tokens" if length else ""


@check("LR155", "warning")
def rows_that_vanish(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts rows of which nothing to learn is left within `training.max_length`, since the prompt alone fills it, and
    preferences with an answer that is too long: a warning above 2 %, an error above 20 %.

    ## Why is this bad?
    They are left out, and the run goes on with the others: a training on one of twenty rows looks healthy.

    ## How to mend it
    Raise `training.max_length`, shorten the prompts, or split long rows.

    ## Source
    SFTTrainer and DPOTrainer of TRL 1.16 drop such rows without a word: 19 of 20 in a trial.
    """
    report = case.tokens_report
    reasons = {name: n for name, n in report["dropped"].items() if name not in (NOTHING_LEARNED, NO_DIFFERENCE)}
    if severity := graded(sum(reasons.values()) / max(1, report["rows"]), 0.02, 0.2):
        told = "; ".join(f"{count:,}: {reason}" for reason, count in reasons.items())
        yield Finding(
            "training.max_length",
            f"{sum(reasons.values()):,} of {report['rows']:,} rows vanish within {case.tokenize_spec.max_length:,} "
            f"tokens ({told}); {lengths(report)}",
            "raise `training.max_length`, or shorten the prompts",
            severity,
        )


@check("LR156", "warning")
def rows_that_lose_their_end(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts rows that are cut at `training.max_length`: a warning above 5 %. Where answers are learned from, whose end is
    lost with it, an error above 20 %.

    ## Why is this bad?
    A row that is cut has no end of text: of an answer the model learns that it goes on forever.

    ## How to mend it
    Raise `training.max_length`, drop long rows (`{kind: filter, max_characters: ...}`), or pack texts with `bfd_split`.

    ## Source
    TRL 1.16 keeps the beginning of a long row: 10 of 12 rows of a trial lost their end without a warning.
    """
    report, spec = case.tokens_report, case.tokenize_spec
    if spec.packing != "none":
        return
    answers = spec.loss_on != "all" or spec.objective in ("preference", "unpaired_preference")
    if severity := graded(report["truncated_share"], 0.05, 0.2 if answers else 1.0):
        yield Finding(
            "training.max_length",
            f"{report['truncated_rows']:,} of {report['kept']:,} rows are longer than {spec.max_length:,} tokens and "
            f"lose their end; {lengths(report)}",
            "raise `training.max_length`, or drop long rows",
            severity,
        )


@check("LR157", "warning")
def tokens_that_packing_drops(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts the tokens that `packing: bfd` cuts off: a warning above 1 %, an error above 10 %.

    ## Why is this bad?
    `bfd` cuts every row to `max_length` before it packs. Of long documents that is most of the text.

    ## How to mend it
    `packing: bfd_split` splits long rows and loses nothing; for conversations raise `training.max_length`.

    ## Source
    `bfd`, TRL's default, kept 328 of 1,228 tokens of a trial with long documents.
    """
    report, spec = case.tokens_report, case.tokenize_spec
    lost = report["tokens_cut_off"]
    share = lost / max(1, lost + report["tokens"])
    if spec.packing == "bfd" and (severity := graded(share, 0.01, 0.1)):
        yield Finding(
            "data.packing",
            f"`bfd` cuts {share:.0%} of the tokens off ({lost:,}), of rows longer than {spec.max_length:,}; "
            f"{lengths(report)}",
            "write `packing: bfd_split`, or raise `training.max_length`",
            severity,
        )


@check("LR158", "warning")
def rows_with_nothing_to_learn(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts rows in which no token has a label, however long they may be: a warning above 1 %, an error above 20 %.

    ## Why is this bad?
    With `assistant_only_loss` a conversation without a turn of the assistant teaches nothing; roles that were named
    wrongly do that to every row. Such rows are left out.

    ## How to mend it
    Correct the roles of the messages, or leave such rows out.

    ## Source
    LLaMA-Factory drops rows with an invalid role and only warns; others train on zeros.
    """
    report = case.tokens_report
    nothing = report["dropped"].get(NOTHING_LEARNED, 0)
    if severity := graded(nothing / max(1, report["rows"]), 0.01, 0.2):
        yield Finding(
            "data.train",
            f"{nothing:,} of {report['rows']:,} rows have no token that the loss is over",
            "correct the roles of the messages, or leave such rows out",
            severity,
        )


@check("LR159", "warning")
def hardly_anything_learned(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Checks that the loss is over at least 2 % of the tokens.

    ## Why is this bad?
    Nearly all of the computing goes into prompts that nothing is learned from, and the few labels make a noisy
    gradient.

    ## How to mend it
    Look at the rows with `llmrecipe preflight FILE --show 3`. Often a label of one word stands behind a long document:
    shorten it, or learn from the prompts too (`completion_only_loss: false`).

    ## Source
    A rule of thumb; the share is in the report of the stage `tokenize`.
    """
    report, share = case.tokens_report, case.tokens_report["supervised_share"]
    if case.tokenize_spec.objective == "causal" and share < 0.02:
        yield Finding(
            "method",
            f"the loss is over {share:.2%} of the tokens: {report['supervised_tokens']:,} of {report['tokens']:,}",
            "look at the rows: `llmrecipe preflight FILE --show 3`",
        )


@check("LR160")
def mask_that_hides_nothing(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Checks that the loss leaves something out where the recipe wants it over answers alone.

    ## Why is this bad?
    A chat template whose `{% generation %}` block holds the whole conversation marks every token as the assistant's:
    the model learns to write the user's turns, and the loss looks better for it.

    ## How to mend it
    Put only what the assistant says between `{% generation %}` and `{% endgeneration %}`.

    ## Source
    https://huggingface.co/docs/trl/main/en/sft_trainer#train-on-assistant-messages-only
    """
    spec = case.tokenize_spec
    if spec.objective != "causal" or spec.loss_on == "all":
        return
    masked = [row for row in case.encoded if len(row.ids) > 1]
    if masked and all(row.learned().sum() == len(row.ids) - 1 for row in masked):
        yield Finding(
            "tokenizer" if spec.loss_on == "assistant" else "data.train",
            f"the loss should be over the {spec.loss_on} alone, and is over every token of all {len(masked)} rows",
            "mark only what the assistant says with {% generation %} in the chat template"
            if spec.loss_on == "assistant"
            else "give the rows prompts",
        )
