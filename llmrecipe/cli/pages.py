"""The manual pages of all codes."""

from llmrecipe.command_errors import COMMAND_ERRORS
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.lint import RULES
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.printers import Page
from llmrecipe.remote import CHECKS as REMOTE_CHECKS


def pages() -> dict[str, Page]:
    """Code -> its page, for document errors and rules."""
    errors = {error.code: Page(error.name, error.page) for error in (*DOCUMENT_ERRORS, *COMMAND_ERRORS)}
    checks = {code: Page(check.name, check.page) for code, check in CHECKS.items()}
    checks |= {code: Page(check.name, check.page) for code, check in REMOTE_CHECKS.items()}
    return errors | checks | {code: Page(rule.name, rule.page) for code, rule in RULES.items()}
