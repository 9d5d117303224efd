"""`llmrecipe init [TEMPLATE] [DIR]`: a new recipe from a template, with sample data and the schema for editors."""

import argparse
import difflib
from pathlib import Path

from llmrecipe.cli import front
from llmrecipe.cli.exported import refused
from llmrecipe.store import RunError

TEMPLATES: dict[str, tuple[str, ...]] = {
    "scratch-laptop": ("corpus.txt", "chats.jsonl"),
    "sft-lora": ("chats.jsonl",),
    "sft-full": ("chats.jsonl",),
    "dpo": ("preferences.jsonl",),
    "pretrain": ("corpus.txt",),
}
"""Template -> the sample files that it reads from `data/`."""

FOLDER = Path(__file__).parent.parent / "templates"
SCHEMA = "recipe.schema.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """What to start from, and where."""
    parser.add_argument("template", metavar="TEMPLATE", nargs="?", help="without one, the templates are listed")
    parser.add_argument(
        "folder", metavar="DIR", nargs="?", default=".", help="where recipe.yaml is written (default: here)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write recipe.yaml, its schema, and sample data that is not there yet; 1 when there is a recipe already."""
    if arguments.template is None:
        print(listed())
        return 0
    if arguments.template not in TEMPLATES:
        close = difflib.get_close_matches(arguments.template, TEMPLATES, n=1)
        meant = f"; did you mean `{close[0]}`?" if close else ""
        raise front.UsageError(f"there is no template `{arguments.template}`{meant}\n\n{listed()}")
    folder = Path(arguments.folder)
    recipe = folder / "recipe.yaml"
    if recipe.exists():
        return refused(RunError(f"{recipe} is there already", "give another folder, or move it away"))
    try:
        written = write(arguments.template, folder)
    except OSError as error:
        return refused(RunError(f"{folder} cannot be written: {error.strerror}", "give a folder that is yours"))
    print("\n".join(f"wrote {path}" for path in written))
    print(f"\nNext: put your own data into {folder / 'data'}, then `llmrecipe validate {recipe}`")
    return 0


def listed() -> str:
    """Every template with what it is for."""
    width = max(map(len, TEMPLATES))
    return "\n".join(f"{name:<{width}}  {purpose(name)}" for name in TEMPLATES)


def purpose(template: str) -> str:
    """The comment under the template's schema line."""
    return (FOLDER / f"{template}.yaml").read_text("utf-8").splitlines()[1].removeprefix("# ")


def write(template: str, folder: Path) -> list[Path]:
    """Write the files of a template, sample data only where there is none, and return those that were written.

    Raises:
        OSError: the folder cannot be written.
    """
    files = {"recipe.yaml": f"{template}.yaml", SCHEMA: SCHEMA}
    files |= {f"data/{name}": name for name in TEMPLATES[template] if not (folder / "data" / name).exists()}
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((FOLDER / source).read_bytes())
    return [folder / name for name in files]
