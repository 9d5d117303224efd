"""Where a model comes from: the records of every artifact behind the inputs of a stage."""

from pathlib import Path

from llmrecipe.plan import Combine, HubModel, Record, Train
from llmrecipe.stages.place import Place


def lineage(place: Place) -> list[Record]:
    """The records of all artifacts that the inputs are made from, causes before effects, each once."""
    found: dict[str, Record] = {}
    for folder in place.inputs.values():
        _collect(folder.parent, found)
    return list(found.values())


def _collect(artifact: Path, found: dict[str, Record]) -> None:
    """Add an artifact after those that it is made from. Folders without a record are not of the store."""
    file = artifact / "stage.json"
    if not file.is_file():
        return
    record = Record.model_validate_json(file.read_bytes())
    if record.address in found:
        return
    for folder in record.inputs.values():
        _collect((artifact.parent / folder).parent, found)
    found[record.address] = record


def direct_base(records: list[Record]) -> HubModel | None:
    """The model of the Hub that the last training changed; None when that was another one."""
    trainings = [record.spec for record in records if isinstance(record.spec, Train)]
    return trainings[-1].model if trainings and isinstance(trainings[-1].model, HubModel) else None


def ancestors(records: list[Record]) -> list[HubModel]:
    """Models of the Hub that any training or merge of the line began with."""
    found = []
    for record in records:
        if isinstance(record.spec, Train):
            found.append(record.spec.model)
        if isinstance(record.spec, Combine):
            found += [part.model for part in record.spec.models]
    return [model for model in found if isinstance(model, HubModel)]
