"""What stages leave: from the store where it is complete, else made from a sample of the sources by the same stages."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from llmrecipe import trust
from llmrecipe.plan import (
    Combine,
    DataSource,
    Evaluate,
    Export,
    HubModel,
    InputModel,
    LocalModel,
    Merge,
    ModelOrigin,
    NewModel,
    Plan,
    PrepareData,
    Stage,
    Tokenize,
    Train,
    TrainTokenizer,
)
from llmrecipe.preflight.job import Examination
from llmrecipe.stages import prepare_data, tokenize, train_tokenizer
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.rows.record import Row
from llmrecipe.stages.rows.sources import read_source

SAMPLE = 200
"""Rows that are taken of a source."""
POOL = 20_000
"""First rows of a source, of which they are taken."""


@dataclass(frozen=True)
class Made:
    """The folder of an artifact, and whether it is of a sample only."""

    folder: Path
    sampled: bool

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


class Artifacts:
    """Artifacts of the stages of one plan, for a process that looks at them."""

    def __init__(self, job: Examination) -> None:
        self._plan: Plan = job.plan
        self._addresses = job.plan.addresses()
        self._store = Path(job.store)
        self._scratch = Path(job.scratch)
        self._root = Path(job.root)
        self._allow_code = job.allow_code
        self._made: dict[str, Made | StageError] = {}
        self._partly: set[str] = set()

    def complete(self, stage: Stage) -> Path | None:
        """Its artifact in the store, if it is there."""
        folder = self._store / "artifacts" / self._addresses[stage.name]
        return folder if folder.is_dir() else None

    def maker(self, reference: str) -> tuple[Stage, str]:
        """The stage that leaves `RECIPE/STAGE.OUTPUT`, and the name of the output."""
        name, _, output = reference.partition(".")
        return self._plan.stage(name), output

    def of(self, stage: Stage) -> Made:
        """What a stage of data leaves: its artifact, or what it makes of a sample.

        Raises:
            StageError: the stage refuses the sample.
        """
        if stage.name not in self._made:
            try:
                found = self.complete(stage)
                self._made[stage.name] = self._make(stage) if found is None else Made(found, sampled=False)
            except StageError as error:
                self._made[stage.name] = error
        made = self._made[stage.name]
        if isinstance(made, StageError):
            raise made
        return made

    def _make(self, stage: Stage) -> Made:
        place = self.place(stage.name)
        match stage.spec:
            case PrepareData() as spec:
                prepare_data.run(self._whole_split(spec), place, self._sampler(stage.name))
                return Made(place.output, sampled=stage.name in self._partly)
            case TrainTokenizer() as spec:
                rows = self.of(self.maker(stage.inputs["rows"])[0])
                train_tokenizer.run(spec, self.place(stage.name, rows=rows / "rows"))
                return Made(place.output, rows.sampled)
            case Tokenize() as spec:
                rows = self.of(self.maker(stage.inputs["rows"])[0])
                inputs, spec = {"rows": rows / "rows"}, spec
                if spec.tokenizer is None:
                    found = self.tokenizer(stage.inputs.get("tokenizer") or stage.inputs["model"])
                    if isinstance(found, Path):
                        inputs["tokenizer"] = found
                    else:
                        spec = spec.model_copy(update={"tokenizer": found})
                tokenize.run(spec, self.place(stage.name, **inputs))
                return Made(place.output, rows.sampled)
        raise AssertionError(f"{stage.name} is no stage of data")

    def place(self, name: str, **inputs: Path) -> Place:
        """Folders to work in, in the scratch folder."""
        folder = self._scratch / name
        for part in ("output", "work"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        return Place(
            inputs=inputs,
            output=folder / "output",
            work=folder / "work",
            root=self._root,
            allow_code=self._allow_code,
            trusted=trust.trusted(),
            name=name,
        )

    # -- samples --

    def _sampler(self, name: str) -> prepare_data.Reader:
        def read(source: DataSource, root: Path) -> Iterator[tuple[str, Row]]:
            rows = list(islice(read_source(source, root), POOL))
            if len(rows) <= SAMPLE:
                return iter(rows)
            self._partly.add(name)
            chosen = sorted(Random(0).sample(range(len(rows)), SAMPLE))
            return (rows[number] for number in chosen)

        return read

    @staticmethod
    def _whole_split(spec: PrepareData) -> PrepareData:
        """The preparation without a fraction for validation: of a sample it could leave no row on one side."""
        return spec.model_copy(update={"validation_fraction": None})

    # -- where models and tokenizers come from --

    def tokenizer(self, reference: str) -> Path | HubModel | LocalModel:
        """The folder with the tokenizer of a model or of a stage, or whose model it comes with.

        Raises:
            StageError: it would have to be made of a sample, and cannot.
        """
        stage, output = self.maker(reference)
        if (found := self.complete(stage)) is not None:
            return found / output
        match stage.spec:
            case TrainTokenizer():
                return self.of(stage) / "tokenizer"
            case Tokenize():
                return self.of(stage) / "tokenizer"
            case Train():
                return self.tokenizer(stage.inputs["tokenizer"])
            case Merge():
                return self.tokenizer(stage.inputs["adapter"])
        origin = _origin(stage)
        if isinstance(origin, HubModel | LocalModel):
            return origin
        assert isinstance(origin, InputModel)
        return self.tokenizer(stage.inputs[origin.name])

    def origin(self, stage: Stage, wanted: ModelOrigin) -> HubModel | LocalModel | NewModel:
        """Where a model that a stage takes has its shape from: a folder, the Hub, or the numbers of a new one."""
        if not isinstance(wanted, InputModel):
            return wanted
        maker, output = self.maker(stage.inputs[wanted.name])
        if (found := self.complete(maker)) is not None and not (found / output / "adapter_config.json").is_file():
            return LocalModel(kind="local", path=str((found / output).absolute()), sha256="")
        return self.origin(maker, _origin(maker))

    def folder_of(self, origin: HubModel | LocalModel | NewModel) -> Path | None:
        """The folder of a model that lies on this machine."""
        return self._root / Path(origin.path).expanduser() if isinstance(origin, LocalModel) else None


def _origin(stage: Stage) -> ModelOrigin:
    """The model that a stage begins with."""
    match stage.spec:
        case Train(model=model) | Merge(model=model) | Export(model=model) | Evaluate(model=model):
            return model
        case Combine(models=models, base=base):
            return (base or models[0]).model
    raise AssertionError(f"{stage.name} begins with no model")
