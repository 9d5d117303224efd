"""Writes what is made from code: schemas/, docs/reference/ and the generated facts; `--check` says what is stale."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

os.environ["LLMRECIPE_DOCUMENTED"] = "1"  # before the sections are imported: it makes them keep their docstrings

import generate_architectures
import generate_coverage
import generate_facts
import generate_reference
import generate_schema
import generate_support

from llmrecipe.preflight.checks import CHECKS
from llmrecipe.remote import CHECKS as REMOTE_CHECKS

ROOT = Path(__file__).parent.parent


def outputs() -> dict[str, str]:
    """Path from the root of the repository -> text."""
    recipe = generate_schema.recipe_schema()
    checks = CHECKS | REMOTE_CHECKS
    return {
        "schemas/recipe.json": _json(generate_schema.editor_schema()),
        "llmrecipe/templates/recipe.schema.json": _json(generate_schema.editor_schema()),  # `llmrecipe init` copies it
        "schemas/plan.json": _json(generate_schema.plan_schema()),
        "docs/reference/recipe.md": generate_reference.recipe_page(recipe),
        "docs/reference/methods.md": generate_reference.methods_page(recipe),
        "docs/reference/rules.md": generate_reference.rules_page(),
        "docs/reference/coverage.md": generate_coverage.coverage_page(),
        "docs/reference/support.md": generate_support.support_page(),
        "docs/reference/commands.md": generate_reference.commands_page(),
        "llmrecipe/facts/checks.json": _json({code: checks[code].name for code in sorted(checks)}),
        "llmrecipe/facts/fields.json": generate_reference.fields_json(recipe),
        "llmrecipe/facts/trainers.json": generate_facts.trainers(),
        "llmrecipe/facts/model_types.json": generate_facts.model_types(),
        "llmrecipe/facts/architectures.json": generate_architectures.architectures(),
    }


def main() -> int:
    """Write every output, or with `--check` name those that differ and exit with 1."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="write nothing; fail when something is stale")
    check = arguments.parse_args().check
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # It warns of kernels that only its users would miss.
    stale = {name: text for name, text in outputs().items() if _read(ROOT / name) != text}
    for name, text in stale.items():
        print(f"{name} is stale: run `python scripts/generate.py`" if check else f"wrote {name}")
        if not check:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(text, "utf-8")
    return 1 if check and stale else 0


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
