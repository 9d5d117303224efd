"""Everything that looks at a training and changes nothing of it: the log and the watchdog."""

from llmrecipe.plan import Train
from llmrecipe.stages.place import Place
from llmrecipe.trainers.callbacks import TrainingLog
from llmrecipe.trainers.watchdog import Watcher


class Monitor:
    """A context in which a training is watched; its callbacks go to the trainer, in this order."""

    def __init__(self, spec: Train, place: Place, evaluates: bool) -> None:
        self.log = TrainingLog(place.work / "log.jsonl", place, evaluates)
        self.watcher = Watcher(spec.watchdog, place, self.log)
        self.callbacks = [self.log, self.watcher]

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()
