"""What TRL's trainers and their configurations raise is known: who says it before, or why no recipe leads there."""

import ast
import importlib.util
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pytest
import yaml
from pydantic import Field, model_validator
from test_lint import folder, write_texts

from llmrecipe.cli.checking import findings
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.facts import checks
from llmrecipe.lint import RULES
from llmrecipe.schema import Section

FILE = Path(__file__).parent.parent / "scripts/coverage/raises.yaml"
__all__ = ["folder"]  # the fixture of the data files

METHODS = ("sft", "dpo", "kto", "reward", "grpo", "rloo", "distillation")
"""What TRL calls stable, and its modules by it."""
ASIDE = {"experimental", "scripts"}
"""Parts of TRL that the trainers name and do not need."""
OTHERS = ("transformers.training_args",)
"""What the configurations inherit from."""
FORMATS = {"dpo": ("pairs", "preference"), "kto": ("pairs", "preference"), "reward": ("pairs", "preference"),
           "grpo": ("problems", "prompt"), "rloo": ("problems", "prompt")}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "grpo": {"reward_functions": [{"kind": "numeric_answer"}]},
    "rloo": {"reward_functions": [{"kind": "numeric_answer"}]},
    "distillation": {"teacher_model": "Qwen/Qwen3-4B"},
}


class Raise(Section):
    """One error of the libraries."""

    says: Annotated[str, Field(min_length=4)]
    """How its message begins, with `{}` for what is put in; the statement itself where there is no message."""
    places: Annotated[dict[str, int], Field(alias="in")]
    """Module -> statements that raise it there."""
    stage: Literal["recipe", "preflight", "run", "design"]
    """The earliest that knows, as in the other files of the folder."""
    by: list[str] = []
    """Codes of diagnostics."""
    why: str | None = None
    """Why no recipe leads there, or what else is to be known."""
    examples: list[dict[str, Any]] = []
    """Parts of recipes that would lead there; each sets off one of the codes."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.stage in ("run", "design") and not (self.why and not self.by and not self.examples):
            raise ValueError(f"{self.says}: `{self.stage}` needs `why`, and nothing else")
        if self.stage in ("recipe", "preflight") and not self.by:
            raise ValueError(f"{self.says}: `{self.stage}` needs `by`")
        if self.stage == "recipe" and not self.examples:
            raise ValueError(f"{self.says}: `{self.stage}` needs `examples`")
        return self


@cache
def entries() -> tuple[Raise, ...]:
    """The file."""
    read = yaml.safe_load(FILE.read_text("utf-8"))
    return tuple(Raise.model_validate(entry) for entry in read)


@cache
def statements() -> Counter[tuple[str, str]]:
    """(module, what it says) of every `raise` that the trainers can come to by their imports; nothing is imported."""
    found: Counter[tuple[str, str]] = Counter()
    for module in sorted({*reached(), *OTHERS}):
        found.update((module, _said(node)) for node in nodes(module) if isinstance(node, ast.Raise))
    return found


def reached() -> set[str]:
    """Modules of TRL that the trainers and configurations import, directly or not."""
    waiting = [f"trl.trainer.{method}_{part}" for method in METHODS for part in ("trainer", "config")]
    found = set(waiting)
    while waiting:
        module = waiting.pop()
        new = {name for name in _imports(module) if file_of(name).is_file()} - found
        found |= new
        waiting += sorted(new)
    return found


@cache
def home(package: str) -> Path:
    """The folder of an installed package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@cache
def file_of(module: str) -> Path:
    """Where a module of an installed package would be."""
    package, *names = module.split(".")
    path = home(package).joinpath(*names)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def nodes(module: str) -> tuple[ast.AST, ...]:
    """The imports and `raise` statements of a module."""
    tree = ast.parse(file_of(module).read_text("utf-8"))
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Raise))


def _imports(module: str) -> Iterator[str]:
    inside = module.split(".") if file_of(module).name == "__init__.py" else module.split(".")[:-1]
    for node in nodes(module):
        if isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            names = [*base, *(node.module.split(".") if node.module else [])]
            if names[0] == "trl" and not ASIDE.intersection(names):
                yield from (".".join([*names, *more]) for more in ([], *([alias.name] for alias in node.names)))


def _said(statement: ast.Raise) -> str:
    error = statement.exc
    if not isinstance(error, ast.Call):
        return ast.unparse(statement) if error is not None else "raise again"
    match error.args:
        case [ast.Constant(value=str(text)), *_]:
            said = text
        case [ast.JoinedStr(values=parts), *_]:
            said = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
        case _:
            said = ast.unparse(statement)
    return " ".join(said.split())


def knows(module: str, said: str) -> list[Raise]:
    """The entries of one statement."""
    return [entry for entry in entries() if module in entry.places and said.startswith(entry.says)]


def test_every_error_that_the_libraries_raise_has_one_entry() -> None:
    unknown = [f"{module}: {said}" for module, said in statements() if not knows(module, said)]
    assert not unknown, "\n".join(["TRL raises what scripts/coverage/raises.yaml does not know:", *unknown])
    doubtful = [f"{module}: {said}" for module, said in statements() if len(knows(module, said)) > 1]
    assert not doubtful, "\n".join(["two entries of scripts/coverage/raises.yaml know the same:", *doubtful])


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.says)
def test_an_entry_is_raised_as_often_as_it_says(entry: Raise) -> None:
    found: Counter[str] = Counter()
    for (module, said), count in statements().items():
        if module in entry.places and said.startswith(entry.says):
            found[module] += count
    assert dict(found) == entry.places


def test_the_codes_of_the_entries_are_those_of_diagnostics() -> None:
    known = {*RULES, *checks(), *(error.code for error in DOCUMENT_ERRORS)}
    assert {code for entry in entries() for code in entry.by} <= known


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.examples], ids=lambda entry: entry.says)
def test_a_recipe_that_leads_to_the_error_is_told_before(entry: Raise, folder: Path) -> None:
    heard: set[str] = set()
    for number, example in enumerate(entry.examples):
        file = folder / f"recipe-{number}.yaml"
        file.write_text(yaml.safe_dump(_recipe(example)))
        found = {problem.code for problem in findings(str(file), [], None)} & set(entry.by)
        assert found, f"nobody says anything of {example}"
        heard |= found
    assert heard == {code for code in entry.by if code not in checks()}


@pytest.mark.parametrize("kind", METHODS)
def test_what_the_examples_are_parts_of_is_sound(kind: str, tmp_path: Path) -> None:
    write_texts(tmp_path)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(_recipe({"method": {"kind": kind}})))
    assert {problem.code for problem in findings(str(file), [], None)} == {"LR701"}  # Nothing is pinned.


def _recipe(part: dict[str, Any]) -> dict[str, Any]:
    """A recipe of that method, with what it needs, and with the part in it."""
    kind = part["method"]["kind"]
    file, form = FORMATS.get(kind, ("chats", "messages"))
    data = {"train": [{"kind": "files", "paths": [f"{file}.jsonl"], "format": form}]}
    return {
        "version": 1, "name": "example", "model": {"base": "Qwen/Qwen3-0.6B"} | part.get("model", {}),
        "data": data | part.get("data", {}), "method": NEEDED.get(kind, {}) | part["method"],
        **{key: value for key, value in part.items() if key not in ("model", "data", "method")},
    }  # fmt: skip
