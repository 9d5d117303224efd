"""Everything that looks at a training and changes nothing of it: log, watchdog, trackers, metrics over HTTP."""

from typing import Any

from llmrecipe.plan import Train
from llmrecipe.stages.place import Place
from llmrecipe.trainers import trackers
from llmrecipe.trainers.callbacks import TrainingLog
from llmrecipe.trainers.prometheus import Exporter
from llmrecipe.trainers.watchdog import Watcher


class Monitor:
    """A context in which a training is watched; its callbacks go to the trainer, in this order.

    Raises:
        StageError: a tracker cannot be used here.
    """

    def __init__(self, spec: Train, place: Place, evaluates: bool) -> None:
        self.tracking = spec.tracking
        self.log = TrainingLog(place.work / "log.jsonl", place, evaluates)
        self.watcher = Watcher(spec.watchdog, place, self.log)
        serves = spec.tracking.prometheus is not None and place.rank == 0
        self.exporter = Exporter(place) if serves else None
        told = trackers.callbacks(spec.tracking.trackers, place)
        self.callbacks: list[Any] = [self.log, *([self.exporter] if self.exporter else []), *told, self.watcher]

    def __enter__(self) -> "Monitor":
        if self.exporter is not None and self.tracking.prometheus is not None:
            self.exporter.start(self.tracking.prometheus)
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()
        if self.exporter is not None:
            self.exporter.stop()
