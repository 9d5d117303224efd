"""What checks look at: one training, its rows, tokens, tokenizer and models, each made when it is first asked for."""

import importlib
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jinja2

from llmrecipe.plan import DataSource, Evaluate, Export, PinnedFunction, PrepareData, Reward, Stage, Tokenize, Train
from llmrecipe.preflight.artifacts import POOL, Artifacts, Made
from llmrecipe.preflight.job import Examination, Size
from llmrecipe.preflight.steps import Steps, steps_of
from llmrecipe.stages import tokenizer
from llmrecipe.stages.encode import Encoded, Encoder
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.preferences import unpaired
from llmrecipe.stages.rows.record import Row
from llmrecipe.stages.rows.shards import read_rows, read_tables
from llmrecipe.stages.rows.sources import read_source
from llmrecipe.stages.rows.steps import digest
from llmrecipe.stages.tokenize import encoder_for

if TYPE_CHECKING:
    from llmrecipe.preflight.rewarding import TriedRewards
    from llmrecipe.preflight.skeleton import Skeleton
    from llmrecipe.preflight.trial import Trial

ROWS = 200
"""Prepared rows that are encoded and looked at one by one."""
SCANNED = 100_000
"""Prepared rows that are compared with each other and with those of evaluations."""

T = TypeVar("T")


class Unknown(Exception):  # noqa: N818 - it is no error
    """A fact that cannot be had; another check says why."""


class Case:
    """One training of a plan."""

    def __init__(self, job: Examination, stage: Stage, artifacts: Artifacts) -> None:
        assert isinstance(stage.spec, Train)
        self.job, self.stage, self.spec, self.artifacts = job, stage, stage.spec, artifacts
        self.recipe = stage.name.partition("/")[0]
        self.known_size: Size | None = None
        """What an earlier process found."""
        self._facts: dict[str, object] = {}
        self._problems: dict[str, StageError] = {}

    def _fact(self, name: str, make: Callable[[], T]) -> T:
        """A fact, made once.

        Raises:
            Unknown: it cannot be had.
        """
        if name not in self._facts and name not in self._problems:
            try:
                self._facts[name] = make()
            except StageError as error:
                self._problems[name] = error
        if name in self._problems:
            raise Unknown(name)
        return self._facts[name]  # type: ignore[return-value]

    def problem(self, name: str) -> StageError | None:
        """Why a fact cannot be had; None when it can, or when another one, that it needs, is missing."""
        try:
            getattr(self, name)
        except Unknown:
            return self._problems.get(name)
        return None

    # -- stages --

    @cached_property
    def tokenize(self) -> Stage:
        """The stage that makes the tokens."""
        return self.artifacts.maker(self.stage.inputs["dataset"])[0]

    @cached_property
    def tokenize_spec(self) -> Tokenize:
        """What it does."""
        assert isinstance(self.tokenize.spec, Tokenize)
        return self.tokenize.spec

    @cached_property
    def prepare(self) -> Stage:
        """The stage that makes the rows."""
        return self.artifacts.maker(self.tokenize.inputs["rows"])[0]

    @cached_property
    def prepare_spec(self) -> PrepareData:
        """What it does."""
        assert isinstance(self.prepare.spec, PrepareData)
        return self.prepare.spec

    @cached_property
    def evaluations(self) -> list[Evaluate]:
        """The suites of the same recipe."""
        stages = (stage for stage in self.job.plan.stages if stage.name.startswith(f"{self.recipe}/"))
        return [stage.spec for stage in stages if isinstance(stage.spec, Evaluate)]

    @cached_property
    def export(self) -> Stage:
        """The export of the same recipe."""
        return self.job.plan.stage(f"{self.recipe}/export")

    @property
    def export_spec(self) -> Export:
        """What it does."""
        assert isinstance(self.export.spec, Export)
        return self.export.spec

    # -- rows and tokens --

    @property
    def prepared(self) -> Made:
        """`rows/` and `report/` of the preparation."""
        return self._fact("prepared", lambda: self.artifacts.of(self.prepare))

    @property
    def tokenized(self) -> Made:
        """`dataset/`, `tokenizer/` and `report/` of the tokenization."""

        def make() -> Made:
            assert self.prepared
            assert self.tokenizer is not None
            return self.artifacts.of(self.tokenize)

        return self._fact("tokenized", make)

    @property
    def sampled(self) -> bool:
        """Whether the rows are a sample of the sources."""
        return self.prepared.sampled

    @property
    def rows_report(self) -> Any:
        """What became of the rows: the report of the preparation."""
        return self._fact("rows_report", lambda: _json(self.prepared / "report/report.json"))

    @property
    def tokens_report(self) -> Any:
        """What became of the tokens of the training rows."""
        return self._fact("tokens_report", lambda: _json(self.tokenized / "report/report.json")["train"])

    @property
    def rows(self) -> list[Row]:
        """Some hundred prepared rows, evenly over the first ones."""
        return self._fact("rows", lambda: _spread(self.prepared / "rows/train"))

    def scan(self) -> Iterator[Row]:
        """The first prepared rows, many of them."""
        return islice(read_rows(self.prepared / "rows/train"), SCANNED)

    @property
    def digests(self) -> set[bytes]:
        """One mark for each different row of the scan."""
        return self._scanned()[0]

    @property
    def scanned(self) -> int:
        """Rows of the scan."""
        return self._scanned()[1]

    def _scanned(self) -> tuple[set[bytes], int]:
        def make() -> tuple[set[bytes], int]:
            marks = [digest(row) for row in self.scan()]
            return set(marks), len(marks)

        return self._fact("scanned", make)

    @property
    def source_digests(self) -> set[bytes]:
        """Marks of the first rows of the training sources as they are read."""
        return self._fact("source_digests", lambda: set(map(digest, self.source_rows(self.prepare_spec.train))))

    @staticmethod
    def digest(row: Row) -> bytes:
        """A mark that is equal for equal rows."""
        return digest(row)

    def source_rows(self, sources: list[DataSource]) -> Iterator[Row]:
        """The first rows of other sources, as they are read."""
        for source in sources:
            try:
                yield from (row for _, row in islice(read_source(source, Path(self.job.root)), POOL))
            except StageError:
                continue  # The stage that reads it says so.

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, with the chat template in force."""

        def make() -> Any:
            spec, place = self.tokenize_spec, self.artifacts.place(f"{self.recipe}/read-tokenizer")
            if spec.tokenizer is None:
                assert self.prepared  # A tokenizer that is trained needs rows.
                found = self.artifacts.tokenizer(self.tokenize.inputs.get("tokenizer") or self.tokenize.inputs["model"])
                if isinstance(found, Path):
                    place.inputs["tokenizer"] = found
                else:
                    spec = spec.model_copy(update={"tokenizer": found})
            return tokenizer.load_tokenizer(spec, place)

        return self._fact("tokenizer", make)

    @property
    def encoder(self) -> Encoder:
        """How the rows are encoded."""
        return self._fact("encoder", lambda: encoder_for(self.tokenize_spec, self.tokenizer, self.prepared / "rows"))

    @property
    def encoded(self) -> list[Encoded]:
        """The rows as tokens and labels before they are cut; of causal and masked objectives."""
        if self.tokenize_spec.objective == "masked":
            return self._fact("encoded", lambda: self.encoder.masked(self.rows, words=False))
        return self._fact("encoded", lambda: self.encoder.causal(self.rows))

    @property
    def beginnings(self) -> list[list[int]]:
        """The first tokens of what the model reads, row by row."""

        def make() -> list[list[int]]:
            match self.tokenize_spec.objective:
                case "causal" | "masked":
                    return [row.ids[:4].tolist() for row in self.encoded]
                case "unpaired_preference":
                    rows = [each for row in self.rows for each in unpaired(row)]
                    return [(prompt + answer)[:4] for prompt, answer in self.encoder.completions(rows)]
                case "preference":
                    return [(row.prompt + row.chosen)[:4] for row in self.encoder.preferences(self.rows)]
                case "prompt":
                    return [ids[:4] for ids in self.encoder.prompts(self.rows)]

        return self._fact("beginnings", make)

    @property
    def turn_ends(self) -> list[int]:
        """Added tokens that follow the content of an assistant's turn which another turn follows."""

        def make() -> list[int]:
            if self.tokenizer.chat_template is None:
                return []
            turns = [{"role": "user", "content": "Q."}, {"role": "assistant", "content": "A n s w e r."}]
            try:
                text = self.tokenizer.apply_chat_template(
                    [*turns, turns[0]], chat_template=self.encoder.template, tokenize=False
                )
            except jinja2.TemplateError:
                return []
            after = text.partition(turns[1]["content"])[2]
            added = {token.content: number for number, token in self.tokenizer.added_tokens_decoder.items()}
            first = min((token for token in added if token in after), key=after.index, default=None)
            return [] if first is None else [added[first]]

        return self._fact("turn_ends", make)

    @property
    def causal(self) -> bool:
        """Whether `encoded` can be asked for."""
        return self.tokenize_spec.objective in ("causal", "masked")

    @property
    def steps(self) -> Steps | None:
        """What the rows come to in steps; null when they are a sample, or answers are made while training."""
        if self.sampled or self.tokenize_spec.objective == "prompt":
            return None
        return self._fact("steps", lambda: steps_of(self.spec, self.tokenize_spec, self.tokens_report))

    # -- rewards --

    def rewarded(self, reward: Reward, answers: list[str], references: list[str]) -> list[float | None]:
        """What a reward gives for answers to the sampled prompts."""
        return self._rewards().score(reward, answers, references)

    def tried_rewards(self, reward: PinnedFunction) -> list[float | None]:
        """What a function gives for right, wrong and empty answers; nothing when it may not run."""
        return self._rewards().tried(reward)

    def reward_problem(self, reward: PinnedFunction) -> StageError | None:
        """Why a function cannot be used; null when it can, or may not run here."""
        return self._rewards().problem(reward)

    @staticmethod
    def compares(reward: Reward) -> bool:
        """Whether a reward says nothing of an answer without a reference."""
        found: bool = _named("rewarding").compares(reward)
        return found

    def _rewards(self) -> "TriedRewards":
        def make() -> "TriedRewards":
            found: TriedRewards = _named("rewarding").TriedRewards(self.rows, self.place("rewards"), self.spec.method)
            return found

        return self._fact("rewards", make)

    # -- models --

    @property
    def skeleton(self) -> "Skeleton":
        """The model without weights."""

        def make() -> "Skeleton":
            found: Skeleton = _named("skeleton").skeleton(self)
            return found

        return self._fact("skeleton", make)

    @property
    def trial(self) -> "Trial":
        """What training steps of a tiny model of the same kind came to."""

        def make() -> "Trial":
            found: Trial = _named("trial").trial(self)
            return found

        return self._fact("trial", make)

    @property
    def size(self) -> Size:
        """Parameters of the model."""
        return self.known_size or self.skeleton.size

    def place(self, name: str, **inputs: Path) -> Place:
        """Folders to work in."""
        return self.artifacts.place(f"{self.recipe}/{name}", **inputs)


def _named(module: str) -> Any:
    """A module of this package that imports torch, or takes long to import."""
    return importlib.import_module(f"llmrecipe.preflight.{module}")


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _spread(folder: Path) -> list[Row]:
    """Rows of the first group, evenly over it."""
    table = next(read_tables(folder))
    step = max(1, table.num_rows // ROWS)
    rows: list[Row] = table.take(list(range(0, table.num_rows, step))[:ROWS]).to_pylist()
    return rows
