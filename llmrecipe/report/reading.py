"""The folder of a run -> what its page shows: the summary, and the files that its stages left."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmrecipe.plan import Stage
from llmrecipe.store import RunError, Store
from llmrecipe.summary import StageSummary, Summary


@dataclass(frozen=True)
class RunStage:
    """One stage: what was planned, what came of it, and where its files lie."""

    plan: Stage
    summary: StageSummary
    folders: tuple[Path, ...]
    """Its artifact, or while it is not complete its work folder."""

    @property
    def recipe(self) -> str:
        """The recipe that it belongs to."""
        return self.plan.name.partition("/")[0]

    @property
    def kind(self) -> str:
        """What it does."""
        return self.plan.spec.kind

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object that the stage left; empty when it did not."""
        path = self._file(name)
        try:
            found = json.loads(path.read_bytes()) if path else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Objects of a JSON Lines file; a last line that was cut off is left out."""
        path = self._file(name)
        if path is None:
            return []
        with path.open("rb") as file:
            return list(_objects(file))

    def _file(self, name: str) -> Path | None:
        return next((folder / name for folder in self.folders if (folder / name).is_file()), None)


def _objects(lines: Any) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return


@dataclass(frozen=True)
class Run:
    """A run and its stages, in the order of the plan."""

    summary: Summary
    stages: tuple[RunStage, ...]

    def of(self, kind: str) -> list[RunStage]:
        """Stages of one kind."""
        return [stage for stage in self.stages if stage.kind == kind]

    @property
    def recipes(self) -> list[str]:
        """Names of the recipes, dependencies first."""
        return list(dict.fromkeys(stage.recipe for stage in self.stages))


def read(folder: Path, store: Store) -> Run:
    """Read a run, whatever state it is in.

    Raises:
        RunError: it has no summary, or one of another version of llmrecipe.
    """
    file = folder / "summary.json"
    try:
        summary = Summary.model_validate_json(file.read_bytes())
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}", "give runs/NAME of a run, or its recipe") from None
    except ValidationError:
        raise RunError(f"{file} is not of this version of llmrecipe", "run the recipe again") from None
    stages = []
    for stage in summary.stages:
        places = (folder / stage.name, store.artifact(stage.address), store.work(stage.address))
        stages.append(RunStage(summary.plan.stage(stage.name), stage, places))
    return Run(summary, tuple(stages))
