"""Trackers through the callbacks of Transformers: files in the folder of the run, nothing sent unless asked for."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.integrations import MLflowCallback, TensorBoardCallback, TrackioCallback, WandbCallback

from llmrecipe.stages.place import Place, StageError
from llmrecipe.watching import MLflow, TensorBoard, Tracker, Trackio, WandB

MLFLOW_RUN = "mlflow-run"
"""File of the work folder that holds the id of the run, so that a resumed training goes on with it."""


def callbacks(trackers: Sequence[Tracker], place: Place) -> list[Any]:
    """One callback for each tracker. What their libraries read from the environment is set for this process.

    Raises:
        StageError: a package or a secret is missing.
    """
    for tracker in trackers:
        if find_spec(tracker.kind) is None:
            raise StageError(
                f"`tracking` names {tracker.kind}, and the package `{tracker.kind}` is not installed",
                f"pip install 'llmrecipe[tracking-{tracker.kind}]'",
            )
    if place.rank != 0:
        return []
    return [_callback(tracker, _folder(place), place) for tracker in trackers]


def declare(trackers: Sequence[Tracker], place: Place) -> dict[str, str]:
    """Set what a tracker reads when it is imported, which TRL does; call it before TRL is.

    Returns:
        Arguments of the trainer's configuration: what trackers call this training.
    """
    if any(isinstance(tracker, Trackio) for tracker in trackers):
        os.environ["TRACKIO_DIR"] = str(_folder(place) / "trackio")
    project = next((t.project for t in trackers if isinstance(t, Trackio) and t.project), _recipe(place))
    return {"run_name": _label(place), "project": project} if trackers else {}


def _callback(tracker: Tracker, folder: Path, place: Place) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    match tracker:
        case TensorBoard():
            found = TensorBoardCallback()
            found.logging_dir = str(folder / "tensorboard" / _label(place))
            return found
        case MLflow():
            return _mlflow(tracker, folder, place)
        case WandB():
            os.environ |= {
                "WANDB_MODE": tracker.mode,
                "WANDB_DIR": str(folder),
                "WANDB_PROJECT": tracker.project or _recipe(place),
                "WANDB_RUN_ID": f"{_label(place)}-{place.work.name[:12]}",
                "WANDB_RESUME": "allow",
                "WANDB_SILENT": "true",
            }
            if tracker.entity is not None:
                os.environ["WANDB_ENTITY"] = tracker.entity
            if tracker.api_key is not None:
                os.environ["WANDB_API_KEY"] = _secret(tracker.api_key)
            return WandbCallback()
        case Trackio():
            return TrackioCallback()


class _ResumedMLflow(MLflowCallback):  # type: ignore[misc]
    """Notes the id of its run."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def setup(self, args: Any, state: Any, model: Any) -> None:
        super().setup(args, state, model)
        self.file.write_text(self._ml_flow.active_run().info.run_id, encoding="utf-8")


def _mlflow(tracker: MLflow, folder: Path, place: Place) -> Any:
    os.environ["MLFLOW_TRACKING_URI"] = tracker.tracking_uri or f"sqlite:///{folder / 'mlflow.db'}"
    os.environ["MLFLOW_EXPERIMENT_NAME"] = tracker.experiment or _recipe(place)
    if tracker.token is not None:
        os.environ["MLFLOW_TRACKING_TOKEN"] = _secret(tracker.token)
    file = place.work / MLFLOW_RUN
    if file.exists():
        os.environ["MLFLOW_RUN_ID"] = file.read_text("utf-8")
    return _ResumedMLflow(file)


def _folder(place: Place) -> Path:
    return (place.run or place.work) / "tracking"


def _recipe(place: Place) -> str:
    return place.name.partition("/")[0]


def _label(place: Place) -> str:
    """The stage as trackers call it."""
    return place.name.replace("/", "-")


def _secret(reference: str) -> str:
    """The value behind `${env:NAME}`.

    Raises:
        StageError: the variable is not set.
    """
    name = reference.removeprefix("${env:").removesuffix("}")
    if not os.environ.get(name):
        raise StageError(f"`tracking` needs the environment variable {name}, and it is not set", f"export {name}=...")
    return os.environ[name]
