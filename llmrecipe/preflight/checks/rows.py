"""Rows that cannot be read, are empty, or come twice; and a tokenizer that cannot be had."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmrecipe.plan import DataSource
from llmrecipe.preflight.check import Finding, check, graded

if TYPE_CHECKING:
    from llmrecipe.preflight.case import Case


def source_at(case: "Case", message: str) -> str:
    """The source that a message begins with, as the path of the recipe."""
    spec = case.prepare_spec
    for source in (*spec.train, *spec.validation):
        if message.startswith(_beginnings(source)) or f"`{source.label}`" in message:
            return source.label.replace("[", ".").replace("]", "")
    return "data.train"


def _beginnings(source: DataSource) -> tuple[str, ...]:
    match source.origin.kind:
        case "files":
            return tuple(file.path for file in source.origin.files)
        case "hub":
            return (source.origin.dataset,)


@check("LR150")
def rows_that_cannot_be_prepared(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Reads up to 200 rows of every source and brings them through `data.prepare`, as the run will: columns, types, roles
    and the format of each row.

    ## Why is this bad?
    A column that is missing, a null in row one or an unknown role ends the run when the data is prepared; behind a
    queue that is hours after it was written.

    ## How to mend it
    Name the columns (`columns: {prompt: question}`), choose the `format` that the rows are in, or correct the file at
    the line that the message names.

    ## Source
    The reader of the stage `prepare-data` itself.
    """
    if (problem := case.problem("prepared")) is not None:
        at = source_at(case, problem.message)
        yield Finding(at, problem.message, problem.help or "correct the source")


@check("LR151")
def rows_that_cannot_be_tokenized(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Renders the sampled rows with the chat template and tokenizes them, as the run will.

    ## Why is this bad?
    A template may refuse a system message, a tool's answer or two turns of one role; it may end turns with nothing that
    a model could learn to stop at, or leave no token of any row within `training.max_length`.

    ## How to mend it
    Drop or correct the rows that the message shows, choose another `tokenizer.chat_template`, or raise
    `training.max_length`.

    ## Source
    The stage `tokenize` itself.
    """
    if (problem := case.problem("tokenized")) is not None:
        at = "training.max_length" if "max_length" in problem.message else "data.train"
        at = "tokenizer" if "template" in problem.message or "tokenizer" in problem.message else at
        yield Finding(at, problem.message, problem.help or "correct the rows")


@check("LR270")
def tokenizer_that_cannot_be_had(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Loads the tokenizer as the run will: from the Hub, from a folder, or from the stage that makes it.

    ## Why is this bad?
    A misspelt name, a gated model without accepted terms or a missing network end the run after the data was prepared.

    ## How to mend it
    Correct `model.base`, accept the terms of the model and log in (`hf auth login`), or fetch it where there is a
    network.

    ## Source
    `AutoTokenizer.from_pretrained` of the installed Transformers.
    """
    if (problem := case.problem("tokenizer")) is not None:
        yield Finding("model.base", problem.message, problem.help or "use another tokenizer")


@check("LR152", "warning")
def empty_answers(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Counts rows whose text or answer is empty: an error from 20 % of a source, a warning from 0.1 %.

    ## Why is this bad?
    Trained on, they would teach to stop at once. Preparation drops them, so that the model learns from fewer rows than
    the file has; often a column was named that is mostly empty.

    ## How to mend it
    Name the right column in `columns`, or leave such rows out of the file.

    ## Source
    Twenty empty texts train without a message in TRL 1.16.
    """
    for account in case.rows_report["sources"]:
        empty, rows = account["dropped"].get("empty", 0), account["rows_in"]
        if severity := graded(empty / max(1, rows), 0.001, 0.2):
            yield Finding(
                account["label"].replace("[", ".").replace("]", ""),
                f"{empty:,} of {rows:,} rows have an empty text or answer and are dropped",
                "name the column that holds it, or leave such rows out",
                severity,
            )


@check("LR153", "warning")
def rows_that_come_twice(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares the first 100,000 prepared rows: a warning where more than 5 % are copies of others, an error from 50 %.

    ## Why is this bad?
    A row that stands ten times is learned ten times in every epoch, until it is known by heart.

    ## How to mend it
    Add `{kind: deduplicate}` to `data.prepare` where the recipe can, or clean the file. Rows that are repeated on
    purpose are better said by `weight` and `stopping_strategy: all_exhausted`.

    ## Source
    https://arxiv.org/abs/2107.06499
    """
    if case.prepare_spec.stopping_strategy == "all_exhausted":
        return
    seen, rows = case.digests, case.scanned
    if severity := graded(1 - len(seen) / max(1, rows), 0.05, 0.5):
        yield Finding(
            "data.train",
            f"{rows - len(seen):,} of {rows:,} {'sampled ' if case.sampled else ''}rows are copies of others",
            "leave copies out of the files",
            severity,
        )


@check("LR154", "warning")
def source_that_hardly_counts(case: "Case") -> Iterator[Finding]:
    """
    ## What it does
    Compares what the mixture takes of each source with what it was to be: a source with a `weight` of which less than a
    tenth of its prepared rows is used, while rows of another are used up.

    ## Why is this bad?
    With `stopping_strategy: first_exhausted` a small source with a large weight ends the mixture, and most of the large
    source is never seen.

    ## How to mend it
    Lower the weight of the small source, or write `stopping_strategy: all_exhausted`, which repeats it.

    ## Source
    The report of the preparation.
    """
    accounts = [each for each in case.rows_report["sources"] if each["split"] == "train"]
    if case.prepare_spec.stopping_strategy != "first_exhausted" or case.sampled:
        return
    for account in accounts:
        if account["weight"] is not None and account["used"] < 0.1 * account["kept"]:
            ended = next((each["label"] for each in accounts if each["used"] == each["kept"]), "another source")
            yield Finding(
                account["label"].replace("[", ".").replace("]", "") + ".weight",
                f"only {account['used']:,} of {account['kept']:,} rows are used, since `{ended}` is used up",
                "change the weights, or write `data.stopping_strategy: all_exhausted`",
            )
