"""A file -> what is wrong with it. Importing this takes longer than a check: verdicts of the cache do without."""

from collections.abc import Mapping, Sequence

from llmrecipe.cli.usage import UsageError
from llmrecipe.diagnostics import Diagnostic
from llmrecipe.lint import lint
from llmrecipe.resolve import OverrideError, gather
from llmrecipe.validate import check


def findings(file: str, overrides: Sequence[str], texts: Mapping[str, str] | None) -> list[Diagnostic]:
    """What is wrong with one file; rules are for recipes without errors.

    `texts` are files (by their absolute path) that are not read from the disk.
    """
    try:
        sources, problems = gather(file, overrides, texts)
    except OverrideError as error:
        raise UsageError(str(error)) from None
    documents, wrong = check(sources)
    errors = sorted([*problems, *wrong], key=lambda one: (one.span.file, one.span.line, one.span.column))
    return errors or lint(documents, texts)
