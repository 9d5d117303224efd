"""Who may import whom: the table of docs/design.md, checked over the syntax tree and in fresh processes."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmrecipe

ROOT = Path(llmrecipe.__file__).parent

NOTHING, EACH_OTHER, ALL_ELSE = "nothing", "each other", "everything but stages and trainers"

TABLE: list[tuple[str, str, str]] = [
    ("schema", NOTHING, "pydantic"),
    ("source", "looking", "yaml"),
    ("facts, hashing, looking, tether, trust", NOTHING, "-"),
    ("vocabulary, strategies, optimization, watching", "schema", "pydantic"),
    ("accelerating", "strategies", "pydantic"),
    ("methods", "schema, vocabulary", "pydantic"),
    ("recipe", "schema, vocabulary, strategies, optimization, watching, methods", "pydantic"),
    ("document", "recipe, source", "-"),
    ("paths", "document, looking, source", "-"),
    ("diagnostics", "source", "-"),
    ("mending", "source, diagnostics", "-"),
    ("document_errors, command_errors", "source, diagnostics, each other", "-"),
    ("resolve", "looking, source, diagnostics, document_errors, mending", "-"),
    ("printers", "diagnostics, mending", "rich"),
    (
        "validate",
        "schema, recipe, methods, document, source, diagnostics, document_errors, mending, facts",
        "pydantic",
    ),
    ("estimate", "recipe, methods, vocabulary, strategies, optimization, facts", "-"),
    (
        "lint",
        "recipe, methods, vocabulary, watching, strategies, optimization, document, source, paths, "
        "looking, mending, diagnostics, estimate, facts",
        "pydantic",
    ),
    (
        "importing",
        "source, diagnostics, document_errors, command_errors, recipe, methods, validate, lint, facts",
        "pydantic, yaml",
    ),
    ("plan", "schema, vocabulary, strategies, optimization, watching", "pydantic"),
    ("lock", "schema, vocabulary, recipe, methods, document, source, paths, hashing, diagnostics, plan", "pydantic"),
    (
        "remote",
        "vocabulary, methods, recipe, document, source, paths, mending, diagnostics, facts, lint, lock",
        "-",
    ),
    ("hub", "lock, mending, remote", "huggingface_hub"),
    (
        "lower",
        "recipe, methods, vocabulary, strategies, optimization, accelerating, facts, estimate, plan, lock",
        "pydantic, yaml",
    ),
    ("difference", "schema, plan", "pydantic"),
    (
        "targets, store, launch, jobs, processes, progress, live, ranks, run, serve, unfinished, summary, "
        "folder, ending, report",
        "plan, schema, vocabulary, watching, strategies, optimization, accelerating, facts, difference, "
        "diagnostics, tether, each other",
        "pydantic, yaml, rich",
    ),
    ("sweep", "schema, recipe, store, summary", "optuna, pydantic"),
    (
        "stages, trainers",
        "plan, schema, vocabulary, strategies, optimization, accelerating, watching, difference, facts, "
        "tether, trust, each other",
        "pydantic, yaml, jinja2, numpy, pyarrow, fsspec, datasets, huggingface_hub, tokenizers, safetensors, torch, "
        "transformers, trl, peft, accelerate",
    ),
    (
        "preflight",
        "plan, schema, vocabulary, strategies, watching, diagnostics, tether, trust, stages, trainers, estimate, facts",
        "pydantic, jinja2, numpy, datasets, safetensors, torch, transformers, trl",
    ),
    ("cli", ALL_ELSE, "rich"),
    ("__main__", "cli", "-"),
    ("__init__", ALL_ELSE, "-"),
]
"""Files or folders, what of llmrecipe they may import, what else beside the standard library."""


def _split(cell: str) -> list[str]:
    return [] if cell in ("-", NOTHING) else [part.strip() for part in cell.split(",")]


def _allowed() -> dict[str, tuple[set[str], set[str]]]:
    units = {unit for row in TABLE for unit in _split(row[0])}
    found = {}
    for names, inside, outside in TABLE:
        group = set(_split(names))
        if inside == ALL_ELSE:
            may = units - {"stages", "trainers"}
        else:
            may = (set(_split(inside)) - {EACH_OTHER}) | (group if EACH_OTHER in inside else set())
        for unit in group:
            found[unit] = (may | {unit}, set(_split(outside)))
    return found


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, however deep it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "llmrecipe":
                yield from ((node.lineno, f"llmrecipe.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def violations(root: Path) -> list[str]:
    """Every import below a package that the table does not allow, and every file that it does not know."""
    allowed, found = _allowed(), []
    for file in sorted(root.rglob("*.py")):
        unit = file.relative_to(root).parts[0].removesuffix(".py")
        where = file.relative_to(root).as_posix()
        if unit not in allowed:
            found.append(f"{where} is not in the table")
            continue
        inside, outside = allowed[unit]
        for line, name in _imports(ast.parse(file.read_text("utf-8"))):
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if package == "llmrecipe":
                fine = target in inside or target in ("", "__version__")
            else:
                fine = package in outside or package in sys.stdlib_module_names
            if not fine:
                found.append(f"{where}:{line} imports {name}")
    return found


def test_every_import_is_one_that_the_table_allows() -> None:
    assert violations(ROOT) == []


def test_the_table_names_what_exists() -> None:
    units = {unit for row in TABLE for unit in _split(row[0])}
    assert {unit for unit in units if not (ROOT / unit).is_dir() and not (ROOT / f"{unit}.py").is_file()} == set()
    named = {name for row in TABLE for name in _split(row[1])} - {EACH_OTHER, ALL_ELSE}
    assert named <= units


def test_the_table_is_that_of_the_design_page() -> None:
    page = (ROOT.parent / "docs/design.md").read_text("utf-8")
    for row in TABLE:
        assert f"| {' | '.join(row)} |" in page


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("lint/data.py", "import torch\n", ["lint/data.py:1 imports torch"]),
        (
            "lint/data.py",
            "def f():\n    from llmrecipe.stages import train\n",
            ["lint/data.py:2 imports llmrecipe.stages"],
        ),
        ("store.py", "from llmrecipe import recipe\n", ["store.py:1 imports llmrecipe.recipe"]),
        ("stages/train.py", "import llmrecipe.recipe.data\n", ["stages/train.py:1 imports llmrecipe.recipe.data"]),
        ("lower/a.py", "from ..stages import train\n", ["lower/a.py:1 imports ..stages"]),
        (
            "plan.py",
            "try:\n    import numpy.linalg\nfinally:\n    pass\n",
            ["plan.py:2 imports numpy.linalg"],
        ),
        ("surprise.py", "", ["surprise.py is not in the table"]),
        ("lint/data.py", "import re\nfrom llmrecipe.recipe.data import Hub\nfrom llmrecipe import facts\n", []),
    ],
)
def test_a_planted_violation_is_found(file: str, text: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert violations(tmp_path) == found


HEAVY = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "pyarrow", "numpy", "tokenizers", "pandas")

RECIPE = """\
version: 1
name: tiny
model:
  base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
tokenizer: {kind: train, vocab_size: 1000}
data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
method: {kind: pretrain}
training: {extra: {dataloader_drop_last: true}}
"""


@pytest.mark.parametrize("command", ["validate", "show", "plan"])
def test_commands_over_a_recipe_leave_the_training_stack_unloaded(command: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "corpus.txt").write_text("words\n")
    code = (
        "import sys\nfrom llmrecipe.cli import main\n"
        f"assert main([{command!r}, 'recipe.yaml']) == 0\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_stages_that_train_nothing_start_without_what_trains() -> None:
    stages = [f"llmrecipe.stages.{name}" for name in ("export", "evaluate", "score_data", "tokenize", "check_gates")]
    code = (
        f"import importlib, sys\nfor name in {stages!r}: importlib.import_module(name)\n"
        "print(sorted({'trl', 'peft', 'bitsandbytes', 'datasets', 'accelerate'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
