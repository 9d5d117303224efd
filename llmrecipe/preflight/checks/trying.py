"""What a few training steps of a tiny model of the same kind show."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmrecipe.diagnostics import Severity
from llmrecipe.preflight.check import Finding, check

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case

REFUSALS = (ValueError, TypeError, ImportError, NotImplementedError, KeyError, AttributeError)
"""What libraries raise for options that they do not take."""


@check("LR280", tier="trial")
def packed_documents_that_see_each_other(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Gives two documents to a tiny model of the same architecture, packed as the training packs them and one by one, and
    compares the logits of the second: an error above 1e-3.

    ## Why is this bad?
    Documents that see each other predict from what has nothing to do with them. The loss looks better, and the model is
    worse.

    ## How to mend it
    Write `data.packing: none`, or another `model.attention`.

    ## Source
    Transformers 5.23: 2e-7 with position ids alone, 0.67 with a mask of ones or a cache beside them.
    """
    trial = case.trial
    if trial.packing_refused is not None:
        yield Finding("data.packing", trial.packing_refused.message, trial.packing_refused.help or "do not pack")
    elif trial.leak is not None and trial.leak > 1e-3:
        yield Finding(
            "data.packing",
            f"packed documents see each other: the logits of the second differ by {trial.leak:.2g} from those that it "
            "has alone",
            "write `data.packing: none`, or another `model.attention`",
        )


@check("LR385", tier="trial")
def training_that_is_refused(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Takes two training steps with a tiny model of the same architecture, the real tokenizer, sampled rows, and the
    method, adapter and options of the recipe, on the processor. What the stage or a library refuses is an error; what
    breaks in another way is a warning, since it may be of the tiny model alone.

    ## Why is this bad?
    Most of what trainers refuse they refuse when they are made, after the model was fetched and loaded on a rented
    machine.

    ## How to mend it
    What the message says.

    ## Source
    The stage `train` itself.
    """
    if (problem := case.problem("trial")) is not None:
        meant = problem.__cause__ is None or isinstance(problem.__cause__, REFUSALS)
        severity: Severity | None = None if meant else "warning"
        yield Finding(
            "method", f"a trial step fails: {problem.message}", problem.help or "change what it names", severity
        )


@check("LR386", tier="trial")
def weights_that_do_not_move(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares what the trial wrote after its first and its second step: more than 5 % of the trained tensors are the
    same, or the head of the value that PPO learns is. Methods that learn from their own answers get a reward that
    differs from answer to answer, so that there is something to learn.

    ## Why is this bad?
    Weights without a gradient, or that no optimizer knows, stay as they are while the loss is written down step by
    step.

    ## How to mend it
    Look at what is frozen: `model.adapter`, `modules_to_save`, a learning rate of zero.

    ## Source
    The first step of the watchdog asks the same of the real training.
    """
    trial = case.trial
    if trial.tensors and len(trial.unmoved) > 0.05 * trial.tensors:
        yield Finding(
            "training",
            f"{len(trial.unmoved)} of {trial.tensors} trained tensors are the same after a step, such as "
            f"{', '.join(trial.unmoved[:3])}",
            "look at the learning rate and at what is frozen",
        )
    elif trial.value_unmoved:
        yield Finding(
            "method",
            "the head of the value is the same after a step: advantages would be those of no value at all",
            "look at the learning rate and at the optimizer",
        )


@check("LR387", "warning", tier="trial")
def accumulation_that_changes_the_step(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Takes one trial step with a batch of two rows, and one with two batches of one row that are accumulated: their
    losses and gradient norms should be equal within 1 %.

    ## Why is this bad?
    A mean over batches is not the mean over tokens: with rows of different length, each accumulation trains another
    objective, and results change with the number of devices.

    ## How to mend it
    Prefer larger batches over accumulation for this architecture, and keep `gradient_accumulation_steps` fixed.

    ## Source
    https://github.com/huggingface/transformers/issues/34191
    """
    trial = case.trial
    if trial.whole is None or trial.accumulated is None:
        return
    pairs = list(zip(("loss", "gradient norm"), trial.whole, trial.accumulated, strict=True))
    apart = [pair for pair in pairs if abs(pair[1] - pair[2]) > 0.01 * max(abs(pair[1]), 1e-6)]
    for name, whole, parts in apart:
        yield Finding(
            "training.gradient_accumulation_steps",
            f"the {name} of a batch of two rows is {whole:.6g} at once and {parts:.6g} accumulated",
            "prefer larger batches over accumulation",
        )


@check("LR388", tier="trial")
def resumption_that_differs(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Goes on from the first checkpoint of the trial, and compares the weights with those of the trial that was not
    interrupted: an error where they differ by more than 1 % of what the last step changed.

    ## Why is this bad?
    A resumed training that has lost its moments, its place in the schedule or its random numbers is another training,
    and every preemption makes it more so.

    ## How to mend it
    Report it: the recipe cannot cause this by itself.

    ## Source
    Checkpoints without optimizer state restart Adam and the learning rate without a message in Transformers 5.23.
    """
    trial = case.trial
    if trial.resumed_difference is not None and trial.resumed_difference > 0.01:
        yield Finding(
            "training.checkpoints",
            "a training that goes on from a checkpoint ends with weights that differ by "
            f"{trial.resumed_difference:.1%} of what the last step changed",
            "report this with the recipe, which cannot cause it alone",
        )


@check("LR389", tier="trial")
def result_that_does_not_load(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Loads what the trial wrote again: no weight may be missing, and where the recipe merges, the merged model must give
    the logits of adapter and base. The chat template must stand beside it as it was trained with.

    ## Why is this bad?
    A model folder without its template answers in another format than it was trained in; a head that is tied in one
    place and not in another loads as random numbers.

    ## How to mend it
    What the message says; without a tie (`ensure_weight_tying`), do not adapt only one of embedding and head.

    ## Source
    https://github.com/vllm-project/vllm/issues/4180, https://github.com/huggingface/peft/issues/2777
    """
    trial = case.trial
    if trial.load_problem is not None:
        yield Finding("export", trial.load_problem.message, trial.load_problem.help or "change what it names")
