"""What catches which known failure: scripts/coverage/ -> docs/reference/coverage.md."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from llmrecipe.command_errors import COMMAND_ERRORS
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.lint import RULES
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.remote import CHECKS as REMOTE_CHECKS
from llmrecipe.schema import Section

FOLDER = Path(__file__).parent / "coverage"

Stage = Literal["recipe", "preflight", "run", "design", "none"]

STAGES: dict[Stage, str] = {
    "recipe": "`llmrecipe validate`, from the recipe alone",
    "preflight": "`llmrecipe preflight`, and every `run` before training",
    "run": "the run itself, before anything wrong is passed on",
    "design": "nothing has to: it cannot happen",
    "none": "nothing",
}
"""When a failure is noticed, the earliest first."""

CAUGHT: tuple[Stage, ...] = ("recipe", "preflight", "run")


class Failure(Section):
    """One way in which a training goes wrong in silence, or dies late."""

    number: Annotated[int, Field(ge=1, le=138)]
    title: Annotated[str, Field(min_length=1, max_length=100)]
    stage: Stage
    by: list[str] = []
    """Codes of diagnostics, and names of guards."""
    why: str | None = None
    """Why nothing catches it, or how it is ruled out; elsewhere a word for the reader."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.stage in ("none", "design") and not self.why:
            raise ValueError(f"{self.number}: `{self.stage}` needs `why`")
        if (self.stage == "none") is bool(self.by):
            raise ValueError(f"{self.number}: `by` belongs to every stage but `none`")
        return self


class Family(Section):
    """Failures of one kind."""

    family: str
    failures: list[Failure]


class Guard(Section):
    """What a run refuses by itself, a rule of the watchdog, or what is so by construction."""

    what: str
    """A sentence: what it does."""
    fails: list[str] = []
    """Tests that see it act, as `tests/test_file.py::test_name`."""
    passes: list[str] = []
    """Tests in which it lets through what is sound."""
    proves: list[str] = []
    """Tests that something is so by construction, instead of the two."""

    @model_validator(mode="after")
    def _shown(self) -> Self:
        if bool(self.fails and self.passes) is bool(self.proves) or bool(self.fails) is not bool(self.passes):
            raise ValueError("a guard has tests in `fails` and `passes`, or in `proves`")
        return self


def families() -> list[Family]:
    """Every family, in the order of the files."""
    return [Family.model_validate(_read(file)) for file in sorted(FOLDER.glob("[a-z].yaml"))]


def guards() -> dict[str, Guard]:
    """By name."""
    return {name: Guard.model_validate(guard) for name, guard in _read(FOLDER / "guards.yaml").items()}


def _read(file: Path) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(file.read_text("utf-8"))
    return found


def pages() -> dict[str, str]:
    """Code -> where its manual page is, from the folder of the page."""
    named = {error.code: error.name for error in (*DOCUMENT_ERRORS, *COMMAND_ERRORS)}
    named |= {rule.code: rule.name for rule in RULES.values()} | checks()
    named |= {check.code: check.name for check in REMOTE_CHECKS.values()}
    return {code: f"rules.md#{code.lower()}-{name}" for code, name in named.items()}


def checks() -> dict[str, str]:
    """Code of a preflight check -> its name."""
    return {code: check.name for code, check in CHECKS.items()}


def coverage_page() -> str:
    """The page: how many are noticed when, then each with what catches it."""
    all_ = [failure for family in families() for failure in family.failures]
    counts = Counter(failure.stage for failure in all_)
    caught = sum(counts[stage] for stage in CAUGHT)
    lines = [
        "# Known failures, and what catches them",
        "",
        "<!-- Made by scripts/generate.py from scripts/coverage/. -->",
        "",
        f"Of {len(all_)} ways in which trainings are known to go wrong in silence, or to die late, {caught} are caught",
        f"and {counts['design']} cannot happen. Each is listed with the earliest that knows of it. What is named",
        "here has an example that sets it off and a sound one that does not, both among the tests.",
        "",
        "| stage | failures | caught by |",
        "|---|---|---|",
        *(f"| {stage} | {counts[stage]} | {text} |" for stage, text in STAGES.items()),
    ]
    known, links = guards(), pages()
    for family in families():
        lines += ["", f"## {family.family}", "", "| | failure | stage | caught by |", "|---|---|---|---|"]
        lines += [f"| {f.number} | {_cell(f.title)} | {f.stage} | {_by(f, known, links)} |" for f in family.failures]
    lines += ["", "## What runs watch by themselves", "", "| name | |", "|---|---|"]
    lines += [f"| `{name}` | {_cell(guard.what)} |" for name, guard in sorted(known.items())]
    return "\n".join(lines) + "\n"


def _by(failure: Failure, known: Mapping[str, Guard], links: Mapping[str, str]) -> str:
    """What catches it with links, then why or what else is to be known."""
    names = [f"[{name}]({links[name]})" if name in links else f"`{name}`" for name in failure.by]
    unknown = [name for name in failure.by if name not in links and name not in known]
    if unknown:
        raise ValueError(f"{failure.number}: there is no {', '.join(unknown)}")
    return ". ".join(part for part in (", ".join(names), _cell(failure.why or "")) if part)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


__all__ = ["CAUGHT", "Failure", "Family", "Guard", "checks", "coverage_page", "families", "guards", "pages"]
