"""Steps: what rows, batch and epochs come to."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmrecipe.preflight.check import Finding, check

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case

FEW = 10
"""Optimizer steps below which a schedule hardly begins."""


@check("LR380", "warning")
def fewer_rows_than_a_batch(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts the sequences of an epoch against the global batch (rows per device x devices x accumulation).

    ## Why is this bad?
    An epoch is one step over a smaller batch than was asked for, and the learning rate was chosen for another.

    ## How to mend it
    Lower `training.global_batch_size` or `per_device_train_batch_size`, add rows, or pack fewer of them into a
    sequence.

    ## Source
    Three rows, two per device and 16 accumulated: the Trainer takes one step per epoch.
    """
    steps = case.steps
    if steps is not None and steps.sequences < steps.batch:
        yield Finding(
            "training",
            f"an epoch has {steps.sequences} sequences, and a global batch takes {steps.batch}",
            "make the batch smaller, or add rows",
        )


@check("LR381", "warning")
def hardly_any_step(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts the optimizer steps of the whole training: a warning below 10.

    ## Why is this bad?
    The schedule ends before the warm-up has, and the model is nearly the one that it began as.

    ## How to mend it
    More epochs (`num_train_epochs`), a smaller batch, or more rows.

    ## Source
    steps = ceil(ceil(rows / devices / batch) / accumulation) x epochs, as the Trainer of Transformers 5.23 counts them.
    """
    steps = case.steps
    if steps is not None and steps.total < FEW:
        yield Finding(
            "training",
            f"the training has {steps.total} steps: {steps.sequences} sequences in batches of {steps.batch}, "
            f"{steps.told}",
            "take more epochs, a smaller batch, or more rows",
        )


@check("LR382", "warning")
def interval_beyond_the_end(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares the steps of the training with the warm-up (an error where it fills all of them, a warning where it fills
    half) and with `training.eval_steps`.

    ## Why is this bad?
    A learning rate that never arrives at its peak trains a fraction of what was asked for; a validation that would come
    after the end never comes, and with it no early stopping and no best checkpoint.

    ## How to mend it
    Write `warmup_ratio` instead of `warmup_steps`, and an `eval_steps` well below the steps of the training.

    ## Source
    100 steps of warm-up in a training of 3: the learning rate reached 2 % of its peak.
    """
    steps = case.steps
    if steps is None:
        return
    warmup, every = case.spec.arguments.get("warmup_steps", 0), case.spec.arguments.get("eval_steps")
    if isinstance(warmup, int | float) and warmup >= 1 and warmup >= steps.total / 2:
        yield Finding(
            "training.schedule",
            f"the warm-up takes {warmup:g} of the {steps.total} steps of the training",
            f"write `warmup_ratio: 0.05`, which is {max(1, round(0.05 * steps.total))} steps",
            "error" if warmup >= steps.total else "warning",
        )
    evaluates = case.spec.arguments.get("eval_strategy", "no") == "steps"
    if evaluates and isinstance(every, int | float) and every > steps.total:
        yield Finding(
            "training.eval_steps",
            f"a validation comes every {every:g} steps, and the training has {steps.total}",
            f"write at most `eval_steps: {max(1, steps.total // 2)}`",
        )
