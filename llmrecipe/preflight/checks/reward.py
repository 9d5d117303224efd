"""Rewards, tried on the references of their own rows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmrecipe.diagnostics import Severity
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


@check("LR290", tier="trial")
def reward_that_fails_on_answers(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Lets a tiny random model of the same architecture answer sampled prompts in the trainer of the recipe, and calls its
    rewards with these answers, as training will: built-in ones as they are, a tiny model for a reward model, with its
    own tokenizer and chat template, and Python with `--allow-code` or for a file of your trust list.

    ## Why is this bad?
    A model that begins to learn writes what no reference looks like: text that is no JSON, words where a number was
    meant, no answer at all. A reward that stumbles over it ends the training at its first step.

    ## How to mend it
    What the message says. Let a function give 0, or None, to what it cannot read.

    ## Source
    Trainers of TRL 1.16 call rewards inside of a step and catch nothing.
    """
    for at, problem in case.trial.reward_problems.items():
        yield Finding(at, problem.message, problem.help or "correct the reward")


@check("LR291", "warning")
def prompts_without_a_reference(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts prompts without a reference. It is an error when a reward compares answers with references and no prompt has
    one; and where every reward does, an error with PPO for a single prompt without, else a warning above 2 %.

    ## Why is this bad?
    No reward says anything of their answers. PPO stops at the first of them; GRPO and RLOO generate all answers of the
    group and learn from none.

    ## How to mend it
    Name the column that holds the reference (`columns: {reference: answer}`), drop rows that have none, or add a reward
    that needs none.

    ## Source
    GRPOTrainer of TRL 1.16 gives an answer for which every reward is None an advantage of 0; our PPO refuses it.
    """
    missing = sum(not row["reference"] for row in case.rows) if case.spec.rewards else 0
    if not missing:
        return
    comparing = [reward for reward in case.spec.rewards if case.compares(reward)]
    alone = len(comparing) == len(case.spec.rewards)
    if comparing and not any(row["reference"] for row in case.scan()):
        severity: Severity | None = "error"
    elif alone:
        severity = "error" if case.spec.method == "ppo" else graded(missing / len(case.rows), 0.02, 1)
    else:
        severity = None
    if severity:
        yield Finding(
            "data.train",
            f"{missing} of {len(case.rows)} prompts have no reference, and `{comparing[0].kind}` says nothing without",
            "name its column (`columns: {reference: NAME}`), drop these rows, or add a reward that needs none",
            severity,
        )


@check("LR292", "warning", tier="trial")
def answers_that_no_reward_judges(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts the answers of the trial of which every reward says nothing, that is None, where the method is PPO.

    ## Why is this bad?
    PPO cannot learn from an answer without a reward, and stops. What a random model writes a trained one seldom does,
    but one answer in some thousands is enough.

    ## How to mend it
    Let one of the functions give a number to every answer, 0 for instance to one that it cannot read.

    ## Source
    The trainer of PPO itself; GRPO and RLOO of TRL 1.16 leave such answers out.
    """
    unjudged = case.trial.unjudged
    if case.spec.method == "ppo" and unjudged is not None and unjudged[0]:
        yield Finding(
            "method.reward_functions",
            f"no reward says anything of {unjudged[0]} of {unjudged[1]} answers of a random model, and PPO stops at "
            "the first such answer",
            "let one of the functions give a number to every answer",
        )
