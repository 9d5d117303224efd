"""FILES and folders on the command line -> recipe files, and what was passed over."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from llmrecipe.cli.usage import UsageError

_HEAD = 2**20  # bytes of a file that are looked at
_MODELINE = re.compile(r"^#\s*yaml-language-server:\s*\$schema=\S*recipe(\.schema)?\.json\s*$", re.MULTILINE)
_VERSION_1 = re.compile(r"^version:[ \t]*1[ \t]*(#.*)?$", re.MULTILINE)
_VERSION, _NAME, _OURS = (
    re.compile(rf"^[\"']?({keys})[\"']?[ \t]*:", re.MULTILINE) for keys in ("version", "name", "model|method|extends")
)


class RecipeFiles(NamedTuple):
    """What was found."""

    files: list[str]
    skipped: list[str]
    """YAML files in the folders that are no recipes: what recipes extend, and what belongs to other tools."""


def recipe_files(given: Iterable[str], skip_others: bool = False) -> RecipeFiles:
    """Files as they are, and of folders every recipe below them.

    With `skip_others` a file that is no recipe is passed over; it stands for the recipes beside it that extend it.

    Raises:
        UsageError: there is no recipe in a folder.
    """
    files: dict[str, None] = {}
    skipped: dict[str, None] = {}
    for path in given:
        if not Path(path).is_dir():
            if skip_others and Path(path).is_file() and not looks_like_a_recipe(_head(path)):
                skipped[path] = None
                files |= dict.fromkeys(_extending(path))
            else:
                files[path] = None
            continue
        below = sorted(_yaml_files(path))
        recipes = [file for file in below if looks_like_a_recipe(_head(file))]
        if not recipes:
            raise UsageError(f"there is no recipe in the folder `{path}`")
        files |= dict.fromkeys(recipes)
        skipped |= dict.fromkeys(file for file in below if file not in recipes)
    return RecipeFiles(list(files), [file for file in skipped if file not in files])


def looks_like_a_recipe(text: str) -> bool:
    """Whether a text has `version: 1` and `name`, or the line that tells editors its schema.

    Files of other tools have `version` and `name` too; of those only what has a section of ours is a recipe.
    """
    if _MODELINE.search(text):
        return True
    if not (_VERSION.search(text) and _NAME.search(text)):
        return False
    return bool(_VERSION_1.search(text) or _OURS.search(text))


def _extending(path: str) -> Iterator[str]:
    """The recipes in the folder of a file that name it."""
    for beside in sorted(Path(path).parent.glob("*.y*ml")):
        text = _head(str(beside)) if beside.is_file() else ""
        if Path(path).name in text and looks_like_a_recipe(text):
            yield str(beside)


def _yaml_files(folder: str) -> Iterator[str]:
    """YAML files below a folder; hidden folders are passed over."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.normpath(os.path.join(parent, name))  # noqa: PTH118
            if name.endswith((".yaml", ".yml")) and Path(path).is_file():
                yield path


def _head(path: str) -> str:
    with Path(path).open("rb") as file:
        return file.read(_HEAD).decode("utf-8-sig", "replace")
