"""Rewards, tried on the references of their own rows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmrecipe.plan import PinnedFunction
from llmrecipe.preflight.check import Finding, check, graded
from llmrecipe.vocabulary import ExactMatch, NumericAnswer

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case


@check("LR171", "warning")
def references_that_nothing_matches(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Lets `exact_match` and `numeric_answer` score each reference as if it were the answer: a warning where more than 2 %
    of them get no reward, an error above 50 %.

    ## Why is this bad?
    A reference without a number in it can never be matched by a number: every answer of its group gets the same reward,
    and nothing is learned from it.

    ## How to mend it
    Name the column that holds the short answer (`columns: {reference: answer}`), or use another reward.

    ## Source
    https://github.com/huggingface/trl/issues/3452 shows what rewards without variance look like.
    """
    if not case.spec.rewards:
        return
    references = [row["reference"] for row in case.rows if row.get("reference")]
    for number, reward in enumerate(case.spec.rewards):
        if not isinstance(reward, ExactMatch | NumericAnswer) or not references:
            continue
        scores = case.rewarded(reward, references, references)
        lost = [reference for reference, score in zip(references, scores, strict=True) if not score]
        if severity := graded(len(lost) / len(references), 0.02, 0.5):
            yield Finding(
                f"method.reward_functions.{number}",
                f"{len(lost)} of {len(references)} references get no reward from `{reward.kind}` themselves, such as "
                f"{lost[0][:80]!r}",
                "name the column that holds the short answer, or use another reward",
                severity,
            )


@check("LR172")
def reward_function_that_fails(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    With `--allow-code`, or for a file of your trust list, calls each Python reward on sampled prompts with their
    references, with one another's references and with nothing as answers, and looks at what it returns.

    ## Why is this bad?
    An exception, a number too few or a NaN ends the training at its first step, after models were loaded.

    ## How to mend it
    Return a list with one finite number for each answer, or None where the function has no opinion.

    ## Source
    The signature is TRL's: https://huggingface.co/docs/trl/main/en/grpo_trainer#using-a-custom-reward-function
    """
    for number, reward in enumerate(case.spec.rewards):
        if isinstance(reward, PinnedFunction) and (problem := case.reward_problem(reward)) is not None:
            yield Finding(f"method.reward_functions.{number}", problem.message, problem.help or "correct the function")


@check("LR173", "warning")
def reward_that_is_always_the_same(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares what each Python reward gives for references, for one another's references and for no answer at all.

    ## Why is this bad?
    Answers of a group are compared with each other. Where all get one reward there is no gradient but that of the KL
    term.

    ## How to mend it
    Let the function look at the completion, in the form in which it comes: a string, or a list with one message.

    ## Source
    https://github.com/huggingface/trl/issues/5588
    """
    for number, reward in enumerate(case.spec.rewards):
        if not isinstance(reward, PinnedFunction) or case.reward_problem(reward) is not None:
            continue
        scores = case.tried_rewards(reward)
        if scores and len(set(scores)) == 1:
            yield Finding(
                f"method.reward_functions.{number}",
                f"`{reward.function}` gives {scores[0]} to every one of {len(scores)} answers, right, wrong and empty",
                "let it look at the completion",
            )
