"""The page of known failures claims nothing that no example shows."""

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from llmrecipe.command_errors import COMMAND_ERRORS
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.lint import RULES
from llmrecipe.remote import CHECKS as REMOTE_CHECKS
from llmrecipe.watching import Watchdog

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import generate_coverage
from generate_coverage import CAUGHT, Failure, Guard

HERE = Path(__file__).parent

FAILURES = [failure for family in generate_coverage.families() for failure in family.failures]
GUARDS = generate_coverage.guards()
CHECKS = generate_coverage.checks()
EXAMPLE = re.compile(r"```yaml\n(.*?)```", re.DOTALL)

NAMED = sorted({name for failure in FAILURES for name in failure.by})


def _texts(pattern: str) -> str:
    return "\n".join(file.read_text("utf-8") for file in sorted(HERE.glob(pattern)))


@cache
def _tests(file: str) -> set[str]:
    """Names of the tests of a file."""
    tree = ast.parse((HERE.parent / file).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_failure_has_a_number_of_its_own() -> None:
    assert Counter(failure.number for failure in FAILURES) == Counter(range(1, 139))


def test_at_least_a_hundred_are_caught() -> None:
    assert sum(failure.stage in CAUGHT for failure in FAILURES) >= 100


@pytest.mark.parametrize("name", NAMED)
def test_what_is_said_to_catch_a_failure_has_an_example_of_it_and_a_sound_one(name: str) -> None:
    """Those of rules are run by test_lint.py, of the Hub by test_remote.py, of documents by test_diagnostics.py."""
    if name in RULES:
        assert len(EXAMPLE.findall(RULES[name].page)) == 2
    elif name in REMOTE_CHECKS:
        assert len(EXAMPLE.findall(REMOTE_CHECKS[name].page)) == 2
    elif name in CHECKS:
        assert re.search(rf"^- code: {name}$", _texts("preflight/*.yaml"), re.MULTILINE)
    elif name in {error.code for error in DOCUMENT_ERRORS}:
        assert re.search(rf"# error: {name}\b", _texts("diagnostics/*.yaml")), (
            f"no document of tests/diagnostics has {name}"
        )
    elif name in {error.code for error in COMMAND_ERRORS}:
        assert name in _texts("test_*.py")
    else:
        guard = GUARDS[name]
        for test in (*guard.fails, *guard.passes, *guard.proves):
            file, _, function = test.partition("::")
            assert function in _tests(file), f"there is no {test}"


def test_every_rule_of_the_watchdog_is_a_guard() -> None:
    assert set(Watchdog.model_fields) <= set(GUARDS)


@pytest.mark.parametrize("name", sorted(GUARDS))
def test_a_guard_is_seen_by_tests_that_are_there(name: str) -> None:
    guard = GUARDS[name]
    assert guard.what.endswith(".")
    for test in (*guard.fails, *guard.passes, *guard.proves):
        file, _, function = test.partition("::")
        assert function in _tests(file), f"there is no {test}"


@pytest.mark.parametrize(
    "entry",
    [
        {"stage": "recipe"},
        {"stage": "none"},
        {"stage": "none", "by": ["LR003"], "why": "nobody knows"},
        {"stage": "design", "by": ["template_travels"]},
        {"stage": "recipe", "by": ["LR003"], "number": 139},
    ],
)
def test_an_entry_without_what_its_stage_needs_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs `why`|belongs to every stage|less than or equal"):
        Failure.model_validate({"number": 1, "title": "a failure"} | entry)


@pytest.mark.parametrize("entry", [{}, {"fails": ["a"]}, {"fails": ["a"], "passes": ["b"], "proves": ["c"]}])
def test_a_guard_without_both_kinds_of_tests_is_refused(entry: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="has tests in"):
        Guard.model_validate({"what": "It stops."} | entry)


def test_the_page_links_every_code_to_its_manual_page() -> None:
    page = generate_coverage.coverage_page()
    rules = (HERE.parent / "docs/reference/rules.md").read_text("utf-8")
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^### (LR\d+ .*)$", rules, re.MULTILINE)}
    assert set(re.findall(r"\(rules\.md#([^)]*)\)", page)) <= anchors


def test_making_the_page_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import generate_coverage; generate_coverage.coverage_page(); "
        "print([name for name in ('torch', 'transformers', 'trl', 'datasets', 'peft') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
