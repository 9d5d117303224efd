"""What every shipped recipe compiles to, kept in tests/golden: `python tests/goldens.py --check` or `--write`."""

import argparse
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from llmrecipe.lock import pin
from llmrecipe.lower import lower
from llmrecipe.plan import Plan
from llmrecipe.resolve import resolve
from llmrecipe.targets import TARGETS, Files, TargetError
from llmrecipe.validate import validate

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SCRATCH, PIPELINE, CLUSTER = (
    ROOT / "tests" / "recipes" / f"{name}.yaml" for name in ("scratch", "pipeline", "cluster")
)
PACKAGES = {
    "llmrecipe": "0.0.0",
    "accelerate": "1.0.0",
    "datasets": "1.0.0",
    "peft": "1.0.0",
    "pyarrow": "1.0.0",
    "safetensors": "1.0.0",
    "tokenizers": "1.0.0",
    "torch": "1.0.0",
    "transformers": "1.0.0",
    "trl": "1.0.0",
}
"""Versions that no machine has, so that every machine gets the same addresses."""


def recipes() -> list[Path]:
    """The shipped recipes, and those made to reach what they do not."""
    found = [
        *(ROOT / "tests" / "recipes").glob("*.yaml"),
        *(ROOT / "recipes").rglob("*.yaml"),
        *(ROOT / "examples").rglob("recipe*.yaml"),
    ]
    return sorted(path for path in found if "\nversion: 1\n" in "\n" + path.read_text("utf-8"))


def name(recipe: Path) -> str:
    """What a recipe is called under tests/golden."""
    return "-".join(recipe.relative_to(ROOT).with_suffix("").parts)


@cache
def plan(recipe: Path) -> Plan:
    """The plan of a recipe, with the same versions everywhere."""
    documents = validate(resolve(str(recipe), ()))
    lock = pin(documents, recipe.parent).model_copy(update={"packages": PACKAGES})
    return lower([document.recipe for document in documents], lock)


def render(recipe: Path) -> Iterator[tuple[str, str]]:
    """`TARGET/PATH` and text of everything that a recipe compiles to; `TARGET/refused.txt` says why it does not."""
    for target in TARGETS:
        for path, text in compiled(recipe, target).items():
            yield f"{target}/{path}", text


def compiled(recipe: Path, target: str) -> Files:
    """The files of one target, or why there are none."""
    try:
        return TARGETS[target].render(plan(recipe), "..")
    except TargetError as error:
        return {"refused.txt": f"{error.message}\n{error.help}\n"}


def golden(recipe: Path) -> dict[str, str]:
    """What is kept for a recipe."""
    folder = GOLDEN / name(recipe)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in folder.rglob("*") if path.is_file()
    }


def _write(recipe: Path) -> None:
    folder = GOLDEN / name(recipe)
    shutil.rmtree(folder, ignore_errors=True)
    for path, text in render(recipe):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode())


def main() -> int:
    """Write the goldens, or say which differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.write:
        for folder in GOLDEN.iterdir() if GOLDEN.is_dir() else ():
            shutil.rmtree(folder)
        for recipe in recipes():
            _write(recipe)
        return 0
    different = [name(recipe) for recipe in recipes() if dict(render(recipe)) != golden(recipe)]
    print("\n".join(different), end="\n" if different else "")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
