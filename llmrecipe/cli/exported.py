"""The exported model that the commands `serve` and `chat` are about."""

import argparse
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from llmrecipe.cli import front, planning
from llmrecipe.plan import Service
from llmrecipe.store import RunError, Store

ADAPTER = "adapter_config.json"


def refused(error: RunError) -> int:
    """Print why a command cannot do its work; returns its exit code."""
    print(f"error: {error.message}", file=sys.stderr)
    if error.help is not None:
        print(f"  = help: {error.help}", file=sys.stderr)
    return 1


@dataclass(frozen=True)
class Exported:
    """A model folder."""

    name: str
    folder: Path
    service: Service | None = None
    """How the recipe wants it served."""


def add_model(parser: argparse.ArgumentParser) -> None:
    """The arguments FILE, --set and --store."""
    front.add_recipe(parser)
    parser.add_argument("--store", metavar="DIR", help="where artifacts live (default: .llmrecipe beside the recipe)")
    what = "a recipe (FILE#NAME takes one document), the folder of a run, or the folder of a model"
    next(action for action in parser._actions if action.dest == "file").help = what


def require(package: str, extra: str) -> None:
    """Make sure that a package is installed, without loading it.

    Raises:
        RunError: it is not.
    """
    if find_spec(package) is None:
        raise RunError(f"the package `{package}` is not installed here", f"pip install 'llmrecipe[{extra}]'")


def exported(arguments: argparse.Namespace) -> Exported:
    """The model that the arguments name.

    Raises:
        RecipeError: something in the recipe is wrong.
        RunError: there is no such model yet, or the store is of another version.
    """
    path = Path(arguments.file)
    if path.is_dir():
        return _folder(path)
    understood = planning.understand(arguments)
    stages = [stage for stage in understood.plan.stages if stage.spec.kind == "export"]
    if not stages:
        raise RunError(f"`{understood.plan.name}` exports nothing", "give a recipe that trains or exports a model")
    stage = stages[-1]
    address = understood.plan.addresses()[stage.name]
    name = stage.name.partition("/")[0]
    store = Store(planning.store_root(arguments, understood.root))
    store.check()
    folder = store.artifact(address) / "model"
    if not folder.is_dir():
        help_ = f"llmrecipe run {arguments.file}"
        earlier = understood.root / "runs" / understood.plan.name
        if (earlier / "model").is_dir():
            help_ += f"; or give {earlier}, whose model is from before the recipe changed"
        raise RunError(f"the model of `{name}` has not been exported yet", help_)
    _check_whole(folder)
    service = next((service for service in understood.plan.services if service.recipe == name), None)
    return Exported(name, folder, service)


def _folder(path: Path) -> Exported:
    for folder in (path / "model", path):
        if (folder / "config.json").is_file() or (folder / ADAPTER).is_file():
            _check_whole(folder)
            name = re.sub(r"[^A-Za-z0-9._]+", "-", path.resolve().name).strip("-.") or "model"
            return Exported(name, folder)
    raise RunError(f"{path} holds no exported model", "give a recipe, runs/NAME of a run that ended, or a model folder")


def _check_whole(folder: Path) -> None:
    if (folder / ADAPTER).is_file():
        help_ = "export it merged into its base: `export: {merge: true}`, and run again"
        raise RunError(f"{folder} holds an adapter alone, which cannot answer without its base", help_)
