"""Conversations: who speaks, what earlier turns become, and where an answer begins and ends."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmrecipe.preflight.check import Finding, check, graded

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case

TAIL = 4
"""Learned tokens at the end of a row among which its end must be."""


@check("LR161")
def answers_without_an_end(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Looks for a token that ends the answer among the last learned tokens of the sampled rows: the end of text, or the
    token with which the chat template ends a turn. An error where more than 1 % lack it.

    ## Why is this bad?
    The model never learns to stop, and answers until its length runs out. The loss looks healthy.

    ## How to mend it
    Let the chat template end every turn of the assistant, the last one too, and put that end inside `{% generation %}`.

    ## Source
    https://github.com/huggingface/transformers/issues/23530
    """
    if case.tokenize_spec.objective != "causal":
        return
    tokenizer = case.tokenizer
    ends = {tokenizer.eos_token_id, *case.turn_ends} - {None}
    learned = [row.ids[row.learned()] for row in case.encoded]
    rows = [ids[-TAIL:].tolist() for ids in learned if len(ids)]
    missing = sum(not ends & set(tail) for tail in rows)
    if rows and graded(missing / len(rows), 0.01, 0.01):
        names = ", ".join(repr(tokenizer.convert_ids_to_tokens(end)) for end in sorted(ends))
        yield Finding(
            "tokenizer",
            f"{missing} of {len(rows)} rows end without a learned end ({names}); their last learned tokens are "
            f"{tokenizer.decode(next(tail for tail in rows if not ends & set(tail)))!r}",
            "let the chat template end the last turn too, inside {% generation %}",
        )


@check("LR162", "warning")
def history_that_changes(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Renders every conversation of the sample up to each turn of the assistant, and checks that the longer text begins
    with the shorter one.

    ## Why is this bad?
    Templates that drop the thoughts of earlier turns, or write the last turn otherwise, show the model another history
    in training than in use, and caches of prompts never fit.

    ## How to mend it
    Train each answer as a row of its own (`prompt_completion`), or use a template that leaves earlier turns as they
    are.

    ## Source
    `is_chat_template_prefix_preserving` of TRL; https://huggingface.co/Qwen/Qwen3-0.6B drops thoughts of earlier turns.
    """
    if case.tokenize_spec.objective != "causal" or not isinstance(case.rows[0].get("messages"), list):
        return
    several = [turns for row in case.rows if len(_answers(turns := row["messages"])) > 1]
    changed = sum(not _keeps_history(case, turns) for turns in several)
    if changed:
        yield Finding(
            "tokenizer",
            f"the chat template writes earlier turns otherwise once another follows, in {changed} of {len(several)} "
            "conversations with several answers",
            "train each answer as a row of its own, or use a template that keeps earlier turns as they are",
        )


def _answers(turns: list[dict[str, str]]) -> list[int]:
    return [number for number, turn in enumerate(turns) if turn["role"] == "assistant"]


def _keeps_history(case: "Case", turns: list[dict[str, str]]) -> bool:
    whole = _text(case, turns)
    return all(whole.startswith(_text(case, turns[: number + 1]).rstrip()) for number in _answers(turns)[:-1])


def _text(case: "Case", turns: list[dict[str, str]]) -> Any:
    return case.tokenizer.apply_chat_template(turns, chat_template=case.encoder.template, tokenize=False)


@check("LR163", "warning")
def answers_that_merge_with_the_prompt(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Tokenizes prompts alone and with their answers, and counts rows in which the last tokens of the prompt change: a
    warning above 1 %.

    ## Why is this bad?
    A blank at the end of a prompt and the word that follows become one token. In use, the prompt comes alone, and the
    model begins its answer from tokens that it never saw there.

    ## How to mend it
    End prompts on a word and begin answers with the blank. For conversations, use a template whose generation prompt is
    what stands before an answer.

    ## Source
    TRL warns of it once per training.
    """
    encoder = case.encoder
    assert case.beginnings is not None
    rows = len(case.rows)
    if graded(encoder.merged_boundaries / rows, 0.01, 1.0):
        yield Finding(
            "data.train",
            f"in {encoder.merged_boundaries} of {rows} rows the prompt is tokenized otherwise when the answer follows",
            "end prompts on a word, and begin answers with the blank",
        )


@check("LR164", "warning")
def conversations_without_an_answer(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts conversations without a turn of the assistant: a warning above 1 %, an error above 20 %.

    ## Why is this bad?
    Roles that were mapped wrongly (`gpt` and `human` read as users) leave conversations in which nobody answers. With a
    loss over everything they train without a complaint.

    ## How to mend it
    Correct the roles in the file, or the `columns` of the source.

    ## Source
    A role that nobody knows is a warning in LLaMA-Factory, and drops the row.
    """
    conversations = [row["messages"] for row in case.rows if isinstance(row.get("messages"), list)]
    silent = sum(not _answers(turns) for turns in conversations)
    if conversations and (severity := graded(silent / len(conversations), 0.01, 0.2)):
        roles = sorted({turn["role"] for turns in conversations for turn in turns})
        yield Finding(
            "data.train",
            f"{silent} of {len(conversations)} conversations have no turn of the assistant; the roles are "
            f"{', '.join(roles)}",
            "correct the roles in the data",
            severity,
        )


@check("LR165", "warning")
def prompt_repeated_in_the_answer(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts answers that begin with their own prompt: a warning above 5 %, an error above 50 %. Prompts under 20
    characters do not count.

    ## Why is this bad?
    The model learns to say the question again. Preference data is often published with the whole conversation in
    `chosen` and `rejected`, and then most of what is compared is the same prompt.

    ## How to mend it
    Cut the prompt from the answers, or take the format in which prompts are told from what follows.

    ## Source
    https://huggingface.co/docs/trl/main/en/dataset_formats#from-implicit-to-explicit-prompt-preference-dataset
    """
    pairs = [pair for row in case.rows for pair in question_and_answers(row) if len(pair[0]) >= 20]
    repeated = sum(answer.lstrip().startswith(prompt) for prompt, answer in pairs)
    if pairs and (severity := graded(repeated / len(pairs), 0.05, 0.5)):
        yield Finding(
            "data.train",
            f"{repeated} of {len(pairs)} answers begin with their prompt",
            "cut the prompt from the answers",
            severity,
        )


def question_and_answers(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The last question of a row, and each answer to it."""
    if isinstance(row.get("messages"), list):
        turns = row["messages"]
        for number in _answers(turns):
            if number:
                yield turns[number - 1]["content"].strip(), turns[number]["content"]
        return
    if "prompt" not in row:
        return
    prompt = _said(row["prompt"])
    for column in ("completion", "chosen", "rejected"):
        if column in row:
            yield prompt.strip(), _said(row[column])


def _said(value: Any) -> str:
    return value if isinstance(value, str) else str(value[-1]["content"]) if value else ""
