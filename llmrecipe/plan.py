"""The plan: stages and services, the spec of each, and addresses. The narrow waist between recipes and what runs them.

A plan is plain JSON with a published schema (`schemas/plan.json`). It holds no absolute path of its own making, no
secret and no code: local files are named relative to the folder of the recipe and pinned by their content.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from llmrecipe.optimization import Averaging, Best, EarlyStopping, Elastic, OwnOptimizer, RowOrder
from llmrecipe.schema import PLACEMENT, Name, PositiveInt, SecretName, Section
from llmrecipe.strategies import Distributed, Single
from llmrecipe.vocabulary import (
    Adapter,
    Architecture,
    Attention,
    Dtype,
    ExactMatch,
    ExportFormat,
    Format,
    Gate,
    Head,
    JSONSchema,
    Length,
    Masking,
    NumericAnswer,
    Objective,
    PrepareStep,
    Quantization,
    RegularExpression,
    RowKind,
    TooLong,
    TrainedTokenizer,
    Unquantized,
)
from llmrecipe.watching import Tracking, Watchdog

# -- what comes from outside, pinned --


class PinnedFile(Section):
    """A file, known by its bytes."""

    path: Annotated[str, PLACEMENT]
    """Relative to the folder of the recipe with `/`, or an absolute path, or an fsspec URL."""
    suffix: str
    """What the name says of how the bytes are read: `.jsonl`, `.txt`, `.csv.gz`, ..."""
    size: Annotated[int, PLACEMENT]
    """Bytes."""
    sha256: str
    """Of its bytes; for a URL that was not read yet, of the URL itself."""


class PinnedFiles(Section):
    """Data files in their order."""

    kind: Literal["files"]
    files: list[PinnedFile]
    sample_by: Literal["document", "paragraph", "line"]


class PinnedDataset(Section):
    """A dataset of the Hub at one commit."""

    kind: Literal["hub"]
    dataset: str
    config: str | None
    split: str
    revision: str | None
    """Commit; null when nothing pins it."""


class DataSource(Section):
    """Rows and how they are written."""

    origin: Annotated[PinnedFiles | PinnedDataset, Field(discriminator="kind")]
    format: Format
    columns: dict[str, str]
    weight: float | None
    max_samples: int | None
    difficulty: str | None = None
    """Column with a number by which rows are ordered."""
    label: Annotated[str, PLACEMENT]
    """What messages call it: `data.train[0]`."""


class HubModel(Section):
    """A model of the Hub at one commit."""

    kind: Literal["hub"]
    repo: str
    revision: str | None
    """Commit; null when nothing pins it."""


class LocalModel(Section):
    """A model folder of this machine."""

    kind: Literal["local"]
    path: Annotated[str, PLACEMENT]
    sha256: str
    """Of the names and bytes of its files."""


class NewModel(Section):
    """Random weights."""

    kind: Literal["new"]
    architecture: Architecture
    """With every derived value filled in, but the vocabulary, which the tokenizer gives."""


class InputModel(Section):
    """The model that another stage left."""

    kind: Literal["input"]
    name: str = "model"
    """Which input of the stage."""


ModelOrigin = Annotated[HubModel | LocalModel | NewModel | InputModel, Field(discriminator="kind")]


# -- rewards --


class PinnedFunction(Section):
    """A function of a Python file, known by its bytes."""

    kind: Literal["python"]
    name: str
    weight: float
    file: PinnedFile
    function: str


class RewardModel(Section):
    """The score of a reward model."""

    kind: Literal["reward_model"]
    name: str = "reward_model"
    weight: float
    role: str = "reward_model"
    """Which of the stage's `models`."""


Reward = Annotated[
    ExactMatch | NumericAnswer | RegularExpression | JSONSchema | Length | PinnedFunction | RewardModel,
    Field(discriminator="kind"),
]
"""One reward, its name filled in; a schema that stood in a file is here itself."""


# -- stages --


class PrepareData(Section):
    """Rows of all sources -> one train and one validation set of uniform rows.

    Leaves `train/*.parquet`, `validation/*.parquet` under `rows/`, and `report/report.json`.
    """

    kind: Literal["prepare_data"]
    train: list[DataSource]
    validation: list[DataSource]
    validation_fraction: float | None
    rows: RowKind
    steps: list[PrepareStep]
    stopping_strategy: Literal["first_exhausted", "all_exhausted"]
    seed: int


class TrainTokenizer(Section):
    """The training rows -> a tokenizer folder. Input `rows`. Leaves `tokenizer/`."""

    kind: Literal["train_tokenizer"]
    tokenizer: TrainedTokenizer
    chat_template: str
    """Jinja text."""
    max_length: int
    head: Head = "causal"
    """What the model ends in that reads its tokens: a masked one has other special tokens, and no turns."""


class Tokenize(Section):
    """Rows -> token ids and labels. Inputs `rows`, and `tokenizer` or `model` when a stage makes it.

    Leaves `dataset/train`, `dataset/validation` (Arrow: `input_ids`, `labels` [length], and when packed `seq_lengths`;
    for preferences `prompt_ids`, `chosen_ids`, `rejected_ids`; for unpaired ones `prompt_ids`, `completion_ids`,
    `label`; for prompts `prompt` as JSON text, `prompt_ids`,
    `reference`), `tokenizer/`, and `report/report.json`.
    """

    kind: Literal["tokenize"]
    objective: Objective
    tokenizer: HubModel | LocalModel | None
    """Where the tokenizer comes from when no input gives it."""
    chat_template: str | None
    """Jinja text that replaces the tokenizer's own."""
    loss_on: Literal["all", "completion", "assistant"]
    max_length: int
    packing: Literal["none", "bfd", "bfd_split", "wrapped"]
    too_long: TooLong = "cut"
    words: bool = False
    """Whether to write which word each token belongs to: `word_ids` [length]."""
    trust_remote_code: bool


class Train(Section):
    """A dataset and a model -> a trained model.

    Inputs `dataset`, `tokenizer`, and what stages make of `model` and of `models`, by its role.

    Leaves `model/`: a model with its tokenizer, or an adapter; and `metrics/log.jsonl`, one object per logged step.
    """

    kind: Literal["train"]
    method: str
    trainer: str
    """`module:name` of the trainer."""
    config: str
    """`module:name` of its configuration class."""
    arguments: dict[str, JsonValue]
    """Keyword arguments of the configuration class."""
    model: ModelOrigin
    head: Head = "causal"
    masking: Masking | None = None
    """Which tokens are hidden from the model."""
    dtype: Dtype | Literal["auto"]
    attention: Attention
    adapter: Adapter
    quantization: Quantization = Unquantized(kind="none")
    models: dict[str, ModelOrigin] = {}
    """Other models that the method needs, by their role."""
    rewards: list[Reward] = []
    """What answers are scored with, by methods that generate them."""
    distributed: Distributed = Single(kind="single")
    order: RowOrder | None = None
    """The order of the rows; by chance without it. The order by `perplexity` is in the input `scores`."""
    averaging: Averaging | None = None
    best: Best | None = None
    """Which validation the weights are of that are given; the last ones without it."""
    early_stopping: EarlyStopping | None = None
    ewc: Elastic | None = None
    """Needs the input `fisher`."""
    optimizer: OwnOptimizer | None
    """An optimizer that `arguments` cannot name."""
    packed: bool
    world_size: PositiveInt
    """Processes over which the batch is spread; `gradient_accumulation_steps` in `arguments` is derived from it."""
    seed: int
    trust_remote_code: bool
    watchdog: Annotated[Watchdog, PLACEMENT] = Watchdog()
    tracking: Annotated[Tracking, PLACEMENT] = Tracking()
    accelerator: Annotated[str, PLACEMENT] = "cpu"
    """The preset of which the share of its peak is measured."""


class Fisher(Section):
    """Rows and a model -> how much each weight matters to the likelihood of the rows. Inputs `dataset`, and `model`.

    Leaves `fisher/fisher.safetensors`: the diagonal of the Fisher information, by the names of the parameters.
    """

    kind: Literal["fisher"]
    model: ModelOrigin
    head: Head = "causal"
    masking: Masking | None = None
    estimate: Literal["empirical", "true"]
    max_samples: PositiveInt
    attention: Attention
    packed: bool
    seed: int
    trust_remote_code: bool


class ScoreData(Section):
    """Rows and a model -> the perplexity of each training row under it. Inputs `dataset`, and `model` when one is made.

    Leaves `scores/scores.json`: one number for each row, in their order.
    """

    kind: Literal["score_data"]
    model: ModelOrigin
    dtype: Dtype | Literal["auto"]
    attention: Attention
    batch_size: PositiveInt
    trust_remote_code: bool


class PerplexitySuite(Section):
    """Perplexity of the tokenized validation set. The stage's input `dataset`."""

    kind: Literal["perplexity"]
    name: Name
    batch_size: PositiveInt


class MaskedAccuracySuite(Section):
    """Guesses of hidden tokens of the tokenized validation set. The stage's input `dataset`."""

    kind: Literal["masked_accuracy"]
    name: Name
    mlm_probability: float
    batch_size: PositiveInt


class GenerationSuite(Section):
    """Greedy answers against references."""

    kind: Literal["generation"]
    name: Name
    sources: list[DataSource]
    max_new_tokens: PositiveInt
    batch_size: PositiveInt
    stop: list[str]


class RewardSuite(Section):
    """Rewards of greedy answers to prompts."""

    kind: Literal["reward"]
    name: Name
    sources: list[DataSource]
    rewards: list[Reward]
    max_new_tokens: PositiveInt
    batch_size: PositiveInt


class PreferenceAccuracySuite(Section):
    """Scores or log-probabilities of chosen and rejected answers."""

    kind: Literal["preference_accuracy"]
    name: Name
    sources: list[DataSource]
    batch_size: PositiveInt


class Evaluate(Section):
    """A model and one suite -> metrics. Input `model`, and `adapter` when it is not merged.

    Leaves `metrics/metrics.json`: `{name: number}`, and for generation `samples/samples.jsonl`.
    """

    kind: Literal["evaluate"]
    suite: Annotated[
        PerplexitySuite | MaskedAccuracySuite | GenerationSuite | RewardSuite | PreferenceAccuracySuite,
        Field(discriminator="kind"),
    ]
    model: ModelOrigin
    models: dict[str, ModelOrigin] = {}
    """Other models that the suite needs, by their role, which is the name of the input as well."""
    head: Head = "causal"
    dtype: Dtype | Literal["auto"]
    attention: Attention
    trust_remote_code: bool


class CheckGates(Section):
    """Metrics -> nothing, or a failed run. Inputs: one per suite, by its name. Leaves `gates/gates.json`."""

    kind: Literal["check_gates"]
    gates: list[Gate]


class Merge(Section):
    """A base and an adapter -> one model. Inputs `adapter`, and `model` when a stage makes it. Leaves `model/`.

    The sum is made in float32 and written in the type of the base.
    """

    kind: Literal["merge"]
    model: ModelOrigin
    head: Head = "causal"
    trust_remote_code: bool


class Combined(Section):
    """One model of a merge."""

    model: ModelOrigin
    adapter: str | None = None
    """Input with an adapter that is added to it."""
    weight: float = 1.0
    density: float = 1.0


class Combine(Section):
    """Several models -> one, of the type of the base or the first. Inputs are named in the models. Leaves `model/`."""

    kind: Literal["combine"]
    method: Literal["linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties"]
    models: list[Combined]
    base: Combined | None
    """What the differences are taken to; none for `linear` and `slerp`."""
    t: float | None
    normalize: bool
    seed: int
    head: Head = "causal"
    trust_remote_code: bool


class Export(Section):
    """A model -> the folder that leaves. Inputs `model`, and whatever the model card tells of. Leaves `model/`."""

    kind: Literal["export"]
    formats: list[ExportFormat]
    model: ModelOrigin
    """`input`, or the base itself when nothing was trained."""
    head: Head = "causal"
    name: Name
    license: str | None
    description: str | None
    base: str | None
    """What the card calls the base model."""
    recipe: str
    """The recipe as the card shows it: YAML, without placement and serving."""
    trust_remote_code: bool


Spec = Annotated[
    PrepareData
    | TrainTokenizer
    | Tokenize
    | Fisher
    | ScoreData
    | Train
    | Evaluate
    | CheckGates
    | Merge
    | Combine
    | Export,
    Field(discriminator="kind"),
]

PACKAGES: dict[str, tuple[str, ...]] = {
    "prepare_data": ("pyarrow",),
    "train_tokenizer": ("tokenizers", "transformers"),
    "tokenize": ("tokenizers", "transformers"),
    "fisher": ("torch", "transformers", "safetensors"),
    "score_data": ("torch", "transformers"),
    "train": ("torch", "transformers", "trl", "peft", "accelerate", "datasets"),
    "evaluate": ("torch", "transformers", "peft"),
    "check_gates": (),
    "merge": ("torch", "transformers", "peft"),
    "combine": ("torch", "transformers", "peft", "safetensors"),
    "export": ("torch", "transformers", "safetensors"),
}
"""Packages whose version is part of the address of what a stage leaves; llmrecipe's own always is."""

OPTIONAL_PACKAGES: tuple[str, ...] = ("bitsandbytes",)
"""Those that only some stages of a kind need: `packages` says which."""


def packages(spec: Spec) -> tuple[str, ...]:
    """Packages whose version is part of the address of what this stage leaves."""
    quantized = isinstance(spec, Train) and not isinstance(spec.quantization, Unquantized)
    return PACKAGES[spec.kind] + (("bitsandbytes",) if quantized else ())


class Resources(Section):
    """What one stage or server asks of the machines."""

    nodes: PositiveInt = 1
    accelerators: Annotated[int, Field(ge=0)] = 0
    """Devices of each node; 0 runs on the processor."""
    processes: PositiveInt = 1
    """Processes of each node."""
    accelerator: str = "cpu"
    memory: str | None = None
    """Host memory of each node, as Kubernetes writes it."""


class Stage(Section):
    """Work that ends and leaves one folder, its artifact."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")]
    """`RECIPE/STAGE`."""
    spec: Spec
    inputs: dict[str, str]
    """Input name -> `RECIPE/STAGE.OUTPUT`, a folder in the artifact of an earlier stage."""
    launcher: Literal["process", "accelerate"]
    resources: Resources


class Job(Section):
    """One stage with its folders: what `python -m llmrecipe.stages JOB.json` reads.

    Relative paths start from the working folder of that process.
    """

    name: str
    address: str
    spec: Spec
    inputs: dict[str, str]
    """Input name -> folder."""
    output: str
    """Folder of the artifact. It exists only when complete: the stage fills a folder beside it and renames that."""
    work: str
    """Folder that survives a kill: checkpoints, events, outcome."""
    root: str
    """Folder from which pinned relative paths start."""
    allow_code: bool = False
    """Whether code that the recipe points to may run."""
    run: str | None = None
    """Folder of the run that the stage is part of, where trackers keep their files."""
    packages: dict[str, str | None] = {}
    """Versions of packages that are part of its address."""


class Outcome(Section):
    """How the process of a stage ended: `outcome.json` in its work folder."""

    status: Literal["started", "complete", "failed", "interrupted"]
    """`started` is what a process leaves that was killed."""
    message: str | None = None
    help: str | None = None
    metrics: dict[str, float] = {}
    seconds: float = 0.0


class Continued(Section):
    """A checkpoint of another training that was gone on from, because somebody said so."""

    address: str
    """Of the training that wrote it."""
    step: int
    """After how many optimizer steps."""
    changes: list[str]
    """What has changed since."""


class Record(Section):
    """What an artifact is: its `stage.json`."""

    name: str
    address: str
    spec: Spec
    inputs: dict[str, str]
    """Input name -> folder, relative to the folder that holds the artifact."""
    metrics: dict[str, float]
    seconds: float
    packages: dict[str, str | None]
    """Versions of the packages that made it, as they were installed."""
    continued: list[Continued] = []
    """What it went on from, the oldest first; empty when one specification made it from start to end."""


class Service(Section):
    """A server: it does not end."""

    name: Name
    recipe: Name
    engine: Literal["vllm", "transformers"]
    model: str
    """`RECIPE/export.model`."""
    adapters: dict[str, str] = {}
    """Name that clients ask for -> `RECIPE/export.model`, an adapter on the model."""
    served_model_name: str
    arguments: dict[str, JsonValue]
    """Options of the engine, by their names with underscores."""
    api_key: SecretName | None
    port: int
    image: str | None
    replicas: PositiveInt
    weight_bytes: int | None
    """Size of the weights, for probes and volumes; null when nothing offline says it."""
    resources: Resources


class Derived(Section):
    """A value that the recipe left to llmrecipe."""

    recipe: Name
    field: str
    """Where it would stand in the recipe: `training.gradient_accumulation_steps`."""
    value: JsonValue
    because: str


class Plan(Section):
    """Everything that a recipe comes to, in the order in which it can be done."""

    version: Literal[1] = 1
    name: Name
    stages: list[Stage]
    services: list[Service]
    derived: list[Derived]
    packages: dict[str, str]
    """Versions of the installed or locked packages that make the artifacts; `llmrecipe` among them."""
    unpinned: list[str]
    """What may change from one run to the next because nothing pins it: Hub ids without a commit."""

    def stage(self, name: str) -> Stage:
        """The stage of that name.

        Raises:
            KeyError: there is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def addresses(self) -> dict[str, str]:
        """Stage name -> address of its artifact: 32 hexadecimal digits.

        The address is the hash of what makes the artifact: the spec without its placement, the addresses of the
        inputs, and the versions of the packages that do the work. Names and resources do not enter it.
        """
        found: dict[str, str] = {}
        for stage in self.stages:
            inputs = {name: [found[ref.partition(".")[0]], ref.partition(".")[2]] for name, ref in stage.inputs.items()}
            versions = {name: self.packages.get(name) for name in ("llmrecipe", *packages(stage.spec))}
            content = {"spec": _content(stage.spec), "inputs": inputs, "packages": versions}
            text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            found[stage.name] = hashlib.sha256(text.encode()).hexdigest()[:32]
        return found

    def closure(self, stage: Stage) -> Iterator[Stage]:
        """The stage and all that it is made from, in the order of the plan."""
        wanted = {stage.name}
        for candidate in reversed(self.stages):
            if candidate.name in wanted:
                wanted |= {ref.partition(".")[0] for ref in candidate.inputs.values()}
        return (candidate for candidate in self.stages if candidate.name in wanted)


def training_record(spec: Train | Spec, inputs: Mapping[str, str]) -> JsonValue:
    """What a checkpoint belongs to: the specification without placement, and the artifacts of the inputs.

    Args:
        spec: of the training stage.
        inputs: name -> folder `.../ADDRESS/OUTPUT`.
    """
    folders: dict[str, JsonValue] = {name: "/".join(folder.split("/")[-2:]) for name, folder in inputs.items()}
    return {"spec": _content(spec), "inputs": folders}


def _content(value: object) -> JsonValue:
    """Plain data of a spec without the fields that only say where things lie."""
    match value:
        case BaseModel():
            fields = type(value).model_fields
            return {name: _content(getattr(value, name)) for name in fields if PLACEMENT not in fields[name].metadata}
        case dict():
            return {str(key): _content(item) for key, item in value.items()}
        case list() | tuple():
            return [_content(item) for item in value]
        case str() | int() | float() | bool() | None:
            return value
    raise TypeError(f"{type(value).__name__} cannot be part of a plan")
