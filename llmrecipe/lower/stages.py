"""One recipe -> its stages; one short function each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import JsonValue

from llmrecipe import facts
from llmrecipe.accelerating import Launched
from llmrecipe.lock import Lock, hub_key, is_commit
from llmrecipe.lower.arguments import arguments
from llmrecipe.lower.combination import combine, head
from llmrecipe.lower.error import LoweringError
from llmrecipe.lower.rewards import rewards
from llmrecipe.methods import Method
from llmrecipe.methods.online import REWARD_MODEL, OnlineMethod
from llmrecipe.methods.pretrain import Pretrain
from llmrecipe.optimization import Adafactor, Elastic, Muon, RowOrder
from llmrecipe.plan import (
    CheckGates,
    DataSource,
    Derived,
    Evaluate,
    Export,
    Fisher,
    GenerationSuite,
    HubModel,
    InputModel,
    LocalModel,
    MaskedAccuracySuite,
    Merge,
    ModelOrigin,
    NewModel,
    PerplexitySuite,
    PinnedDataset,
    PinnedFiles,
    PreferenceAccuracySuite,
    PrepareData,
    Resources,
    Reward,
    RewardSuite,
    ScoreData,
    Spec,
    Stage,
    Tokenize,
    Train,
    TrainTokenizer,
)
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.combination import Combination
from llmrecipe.recipe.data import ByColumn, ByPerplexity, Data, Files, Source
from llmrecipe.recipe.evaluation import MaskedAccuracy, Perplexity, PreferenceAccuracy, Suite
from llmrecipe.recipe.evaluation import Rewards as RewardSection
from llmrecipe.recipe.model import FromScratch
from llmrecipe.recipe.tokenizer import TrainTokenizer as TrainTokenizerSection
from llmrecipe.recipe.training import EWC
from llmrecipe.strategies import Single, together
from llmrecipe.vocabulary import (
    ROW_KIND,
    Architecture,
    Dtype,
    Full,
    Head,
    ModelReference,
    RecipeReference,
    RowKind,
    TrainedTokenizer,
    is_path,
)


@dataclass
class Lowering:
    """One recipe on its way to stages."""

    recipe: Recipe
    lock: Lock
    launched: Launched | None
    """The processes of a launcher that runs already."""
    known: Mapping[str, Recipe]
    """The recipes before this one, by name, and this one."""
    derived: dict[str, Derived] = field(default_factory=dict)
    """By field: what the recipe left to us."""

    # -- what is where --

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def merged(self) -> bool:
        """Whether an adapter is trained and merged into its base."""
        return self.recipe.method is not None and self._adapted and self.recipe.export.merge

    @property
    def _adapted(self) -> bool:
        return not isinstance(self.recipe.model.adapter, Full)

    def _at(self, output: str) -> str:
        return f"{self.name}/{output}"

    def _pin_key(self, *location: str | int) -> str:
        return f"{self.name}:{'.'.join(map(str, location))}"

    def _derive(self, field_: str, value: JsonValue, because: str) -> None:
        self.derived[field_] = Derived(recipe=self.name, field=field_, value=value, because=because)

    def _stage(self, name: str, spec: Spec, inputs: dict[str, str], resources: Resources | None = None) -> Stage:
        return Stage(
            name=self._at(name),
            spec=spec,
            inputs=inputs,
            launcher="accelerate" if isinstance(spec, Train) else "process",
            resources=resources or Resources(memory=self.recipe.hardware.memory),
        )

    # -- the list --

    def stages(self) -> list[Stage]:
        """Every stage of this recipe, in an order in which they can be done."""
        recipe, found = self.recipe, list[Stage]()
        if isinstance(recipe.model.base, Combination):
            spec, inputs = combine(recipe, recipe.model.base, self.known, self._pinned)
            found.append(self._stage("combine", spec, inputs))
        if recipe.method is not None and recipe.data is not None:
            found.append(self._prepare_data(recipe.data))
            if isinstance(recipe.tokenizer, TrainTokenizerSection):
                found.append(self._train_tokenizer(recipe.tokenizer))
            found.append(self._tokenize(recipe.method, recipe.data))
            if isinstance(recipe.data.curriculum, ByPerplexity):
                found.append(self._score_data(recipe.data.curriculum))
            if recipe.training.ewc is not None:
                found += self._old_data(recipe.method, recipe.training.ewc)
            found.append(self._train(recipe.method, recipe.data))
            if self.merged:
                found.append(self._merge())
        if recipe.evaluation is not None:
            found += [self._evaluate(i, suite) for i, suite in enumerate(recipe.evaluation.suites)]
            if recipe.evaluation.gates:
                found.append(self._check_gates())
        found.append(self._export())
        return found

    def _prepare_data(self, data: Data) -> Stage:
        held_out = data.validation.sources if data.validation and data.validation.sources else []
        spec = PrepareData(
            kind="prepare_data",
            train=[self._source(source, "data", "train", i) for i, source in enumerate(data.train)],
            validation=[self._source(source, "data", "validation", "sources", i) for i, source in enumerate(held_out)],
            validation_fraction=data.validation.fraction if data.validation else None,
            rows=self._rows(data),
            steps=data.prepare,
            stopping_strategy=data.stopping_strategy,
            seed=self.recipe.training.seed,
        )
        return self._stage("prepare-data", spec, {})

    def _train_tokenizer(self, tokenizer: TrainTokenizerSection) -> Stage:
        assert self.recipe.data is not None
        options = {name: getattr(tokenizer, name) for name in TrainedTokenizer.model_fields}
        spec = TrainTokenizer(
            kind="train_tokenizer",
            tokenizer=TrainedTokenizer(**options),
            chat_template=self._chat_template(tokenizer.chat_template),
            max_length=self.recipe.training.max_length,
            head=self._head,
        )
        return self._stage("train-tokenizer", spec, {"rows": self._at("prepare-data.rows")})

    def _tokenize(self, method: Method, data: Data) -> Stage:
        trained = isinstance(self.recipe.tokenizer, TrainTokenizerSection)
        template = None if trained else self.recipe.tokenizer.chat_template
        origin = self._origin()
        spec = Tokenize(
            kind="tokenize",
            objective=method.objective,
            tokenizer=origin if not trained and isinstance(origin, HubModel | LocalModel) else None,
            chat_template=self._chat_template(template) if template else None,
            loss_on=method.loss_on(self._rows(data)),
            max_length=self._longest_row(method),
            packing=self._packing(data),
            too_long=method.too_long,
            words=(masking := method.masking()) is not None and masking.whole_word,
            trust_remote_code=self.recipe.model.trust_remote_code,
        )
        inputs = {"rows": self._at("prepare-data.rows")}
        if trained:
            inputs["tokenizer"] = self._at("train-tokenizer.tokenizer")
        return self._stage("tokenize", spec, inputs | ({} if trained else self._base_input()))

    def _score_data(self, curriculum: ByPerplexity) -> Stage:
        spec = ScoreData(
            kind="score_data",
            model=self._reference("model", curriculum.model, "data", "curriculum", "model"),
            dtype="auto",
            attention=self.recipe.model.attention,
            batch_size=self.recipe.training.per_device_eval_batch_size,
            trust_remote_code=self.recipe.model.trust_remote_code,
        )
        inputs = {"dataset": self._at("tokenize.dataset")}
        if isinstance(curriculum.model, RecipeReference):
            inputs["model"] = f"{curriculum.model.name}/export.model"
        return self._stage("score-data", spec, inputs, self._one_device())

    def _old_data(self, method: Method, ewc: EWC) -> list[Stage]:
        """Rows of what is not to be forgotten -> tokens -> Fisher information."""
        rows = ROW_KIND[ewc.data[0].format]
        prepare = PrepareData(
            kind="prepare_data",
            train=[self._source(source, "training", "ewc", "data", i) for i, source in enumerate(ewc.data)],
            validation=[],
            validation_fraction=None,
            rows=rows,
            steps=[],
            stopping_strategy="first_exhausted",
            seed=self.recipe.training.seed,
        )
        assert self.recipe.data is not None
        tokenize = self._tokenize(method, self.recipe.data)
        assert isinstance(tokenize.spec, Tokenize)
        objective = "masked" if method.objective == "masked" else "causal"
        packing: Literal["none", "bfd_split"] = "bfd_split" if tokenize.spec.packing != "none" else "none"
        tokens = tokenize.spec.model_copy(
            update={"objective": objective, "loss_on": method.loss_on(rows), "packing": packing}
        )
        fisher = Fisher(
            kind="fisher",
            model=self._origin(),
            head=self._head,
            masking=method.masking(),
            estimate=ewc.fisher,
            max_samples=ewc.max_samples,
            attention=self.recipe.model.attention,
            packed=packing != "none",
            seed=self.recipe.training.seed,
            trust_remote_code=self.recipe.model.trust_remote_code,
        )
        dataset = {"dataset": self._at("tokenize-old-data.dataset"), "tokenizer": self._at("tokenize.tokenizer")}
        return [
            self._stage("prepare-old-data", prepare, {}),
            self._stage("tokenize-old-data", tokens, tokenize.inputs | {"rows": self._at("prepare-old-data.rows")}),
            self._stage("fisher", fisher, dataset | self._base_input(), self._one_device()),
        ]

    def _order(self, data: Data) -> RowOrder | None:
        curriculum = data.curriculum
        if curriculum is None:
            return None
        return RowOrder(by=curriculum.kind, descending=curriculum.descending, pacing=curriculum.pacing)

    def _train(self, method: Method, data: Data) -> Stage:
        model, training = self.recipe.model, self.recipe.training
        resources = self._training_resources()
        world_size = resources.nodes * resources.processes
        spec = Train(
            kind="train",
            method=method.kind,
            trainer=method.trainer,
            config=method.config,
            arguments=self._arguments(method, self._ranks(world_size)),
            model=self._origin(),
            head=self._head,
            masking=method.masking(),
            dtype=self._training_dtype(),
            attention=model.attention,
            adapter=model.adapter,
            quantization=model.quantization,
            models={role: self._reference(role, ref, "method", role) for role, ref in method.models().items()},
            rewards=self._rewards_of(method, "method") if isinstance(method, OnlineMethod) else [],
            distributed=self.recipe.distributed,
            order=self._order(data),
            averaging=training.averaging,
            best=training.checkpoints.best,
            early_stopping=training.early_stopping,
            ewc=None if training.ewc is None else Elastic(ewc_lambda=training.ewc.ewc_lambda),
            optimizer=training.optimizer if isinstance(training.optimizer, Muon | Adafactor) else None,
            packed=self._packing(data) != "none",
            world_size=world_size,
            seed=training.seed,
            trust_remote_code=model.trust_remote_code,
            watchdog=training.watchdog,
            tracking=self.recipe.tracking,
            accelerator=self.recipe.hardware.accelerator,
        )
        inputs = {"dataset": self._at("tokenize.dataset"), "tokenizer": self._at("tokenize.tokenizer")}
        roles = {role: f"{ref.name}/export.model" for role, ref in method.models().items()
                 if isinstance(ref, RecipeReference)}  # fmt: skip
        if isinstance(data.curriculum, ByPerplexity):
            inputs["scores"] = self._at("score-data.scores")
        if training.ewc is not None:
            inputs["fisher"] = self._at("fisher.fisher")
        return self._stage("train", spec, inputs | self._base_input() | roles, resources)

    def _merge(self) -> Stage:
        spec = Merge(
            kind="merge",
            model=self._origin(),
            head=self._head,
            trust_remote_code=self.recipe.model.trust_remote_code,
        )
        return self._stage("merge", spec, {"adapter": self._at("train.model")} | self._base_input())

    def _evaluate(self, i: int, suite: Suite) -> Stage:
        models = self._suite_models(i, suite)
        spec = Evaluate(
            kind="evaluate",
            suite=self._suite(i, suite),
            model=self._origin() if self.recipe.method is None or self._unmerged else InputModel(kind="input"),
            models={role: self._reference(role, ref, *at) for role, (ref, at) in models.items()},
            head=self._head,
            dtype="auto",
            attention=self.recipe.model.attention,
            trust_remote_code=self.recipe.model.trust_remote_code,
        )
        inputs = self._result_inputs()
        for role, (reference, _) in models.items():
            if isinstance(reference, RecipeReference):
                inputs[role] = f"{reference.name}/export.model"
        if isinstance(suite, Perplexity | MaskedAccuracy):
            inputs["dataset"] = self._at("tokenize.dataset")
        return self._stage(f"evaluate-{suite.name}", spec, inputs, self._one_device())

    def _check_gates(self) -> Stage:
        assert self.recipe.evaluation is not None
        inputs = {suite.name: self._at(f"evaluate-{suite.name}.metrics") for suite in self.recipe.evaluation.suites}
        return self._stage("check-gates", CheckGates(kind="check_gates", gates=self.recipe.evaluation.gates), inputs)

    def _export(self) -> Stage:
        recipe, export = self.recipe, self.recipe.export
        spec = Export(
            kind="export",
            formats=export.formats,
            model=self._origin() if recipe.method is None else InputModel(kind="input"),
            head=self._head,
            name=recipe.name,
            license=export.license,
            description=export.description,
            base=self._base_name(),
            recipe=self._card_recipe(),
            trust_remote_code=recipe.model.trust_remote_code,
        )
        return self._stage("export", spec, self._export_inputs())

    # -- models --

    @property
    def _unmerged(self) -> bool:
        return self.recipe.method is not None and self._adapted and not self.recipe.export.merge

    def _origin(self) -> ModelOrigin:
        base = self.recipe.model.base
        match base:
            case RecipeReference() | Combination():
                return InputModel(kind="input")
            case FromScratch():
                return NewModel(kind="new", architecture=self._architecture(base.architecture))
            case str() if is_path(base):
                return LocalModel(kind="local", path=base, sha256=self.lock.folders[self._pin_key("model", "base")])
            case str():
                return HubModel(kind="hub", repo=base, revision=self._commit("model", base, self.recipe.model.revision))

    def _reference(self, role: str, reference: ModelReference, *location: str | int) -> ModelOrigin:
        """The model that the method or a suite needs in a role; it is written at `location`."""
        match reference:
            case RecipeReference():
                return InputModel(kind="input", name=role)
            case str() if is_path(reference):
                return LocalModel(kind="local", path=reference, sha256=self.lock.folders[self._pin_key(*location)])
            case str():
                return HubModel(kind="hub", repo=reference, revision=self._commit("model", reference, None))

    @property
    def _head(self) -> Head:
        """What the model ends in: what the nearest method says on the way to its base."""
        return head(self.recipe, self.known)

    def _commit(self, kind: str, repo: str, revision: str | None) -> str | None:
        if is_commit(revision):
            return revision
        return self.lock.commits.get(hub_key("model" if kind == "model" else "dataset", repo, revision), revision)

    def _base_input(self) -> dict[str, str]:
        base = self.recipe.model.base
        if isinstance(base, Combination):
            return {"model": self._at("combine.model")}
        return {"model": f"{base.name}/export.model"} if isinstance(base, RecipeReference) else {}

    def _pinned(
        self, recipe: Recipe, role: str, reference: ModelReference, location: tuple[str | int, ...]
    ) -> ModelOrigin:
        """A model that another recipe of the file, or this one, names at a place."""
        revision = recipe.model.revision if location == ("model", "base") else None
        if isinstance(reference, str) and not is_path(reference):
            return HubModel(kind="hub", repo=reference, revision=self._commit("model", reference, revision))
        written = self if recipe is self.recipe else Lowering(recipe, self.lock, self.launched, self.known)
        return written._reference(role, reference, *location)

    def _result_inputs(self) -> dict[str, str]:
        """Inputs that name the model as it is after training."""
        if self.recipe.method is None:
            return self._base_input()
        if self._unmerged:
            return {"adapter": self._at("train.model")} | self._base_input()
        return {"model": self._at("merge.model" if self.merged else "train.model")}

    def _export_inputs(self) -> dict[str, str]:
        if self.recipe.method is None:
            inputs = self._base_input()
        else:
            inputs = {
                "model": self._at("merge.model" if self.merged else "train.model"),
                "prepare_report": self._at("prepare-data.report"),
                "tokenize_report": self._at("tokenize.report"),
                "train_metrics": self._at("train.metrics"),
            }
        if self.recipe.evaluation is not None:
            for suite in self.recipe.evaluation.suites:
                inputs[f"metrics_{suite.name}"] = self._at(f"evaluate-{suite.name}.metrics")
            if self.recipe.evaluation.gates:
                inputs["gates"] = self._at("check-gates.gates")
        return inputs

    def _base_name(self) -> str | None:
        base = self.recipe.model.base
        match base:
            case RecipeReference():
                return base.name
            case FromScratch():
                return None
            case Combination():
                parts = [part if isinstance(part, str) else part.name for part in base.parts().values()]
                return f"{base.merge.kind} merge of {', '.join(Path(part).name for part in parts)}"
            case str():
                return base

    def _architecture(self, written: Architecture) -> Architecture:
        """The architecture with every value that its family knows filled in."""
        heads = written.num_attention_heads
        defaults: dict[str, tuple[int, str]] = {
            "num_key_value_heads": (heads, "as many as attention heads"),
            "head_dim": (written.hidden_size // heads, "hidden_size / num_attention_heads"),
            "intermediate_size": (4 * written.hidden_size, "4 x hidden_size"),
            "num_experts": (8, "the usual number"),
            "num_experts_per_tok": (2, "the usual number"),
            "moe_intermediate_size": (
                4 * written.hidden_size // (written.num_experts_per_tok or 2),
                "4 x hidden_size / num_experts_per_tok",
            ),
            "max_position_embeddings": (self.recipe.training.max_length, "training.max_length"),
        }
        has = facts.families()[written.family].fields
        missing = {name: d for name, d in defaults.items() if name in has and getattr(written, name) is None}
        for name, (value, because) in missing.items():
            self._derive(f"model.base.architecture.{name}", value, because)
        return written.model_copy(update={name: value for name, (value, _) in missing.items()})

    # -- data --

    def _rows(self, data: Data) -> RowKind:
        return ROW_KIND[data.train[0].format]

    def _source(self, source: Source, *location: str | int) -> DataSource:
        origin: PinnedFiles | PinnedDataset
        if isinstance(source, Files):
            files = self.lock.files[self._pin_key(*location)]
            origin = PinnedFiles(kind="files", files=files, sample_by=source.sample_by)
        else:
            commit = self._commit("dataset", source.dataset, source.revision)
            origin = PinnedDataset(
                kind="hub", dataset=source.dataset, config=source.config, split=source.split, revision=commit
            )
        label = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
        return DataSource(
            origin=origin,
            format=source.format,
            columns=source.columns,
            weight=source.weight,
            max_samples=source.max_samples,
            difficulty=self._difficulty(location),
            label=label,
        )

    def _difficulty(self, location: tuple[str | int, ...]) -> str | None:
        """The column by which the rows of a source are ordered."""
        curriculum = self.recipe.data.curriculum if self.recipe.data is not None else None
        return curriculum.column if isinstance(curriculum, ByColumn) and location[:2] == ("data", "train") else None

    def _suite(
        self, i: int, suite: Suite
    ) -> PerplexitySuite | MaskedAccuracySuite | GenerationSuite | RewardSuite | PreferenceAccuracySuite:
        if isinstance(suite, Perplexity):
            return PerplexitySuite(kind="perplexity", name=suite.name, batch_size=suite.batch_size)
        if isinstance(suite, MaskedAccuracy):
            return MaskedAccuracySuite(
                kind="masked_accuracy",
                name=suite.name,
                mlm_probability=suite.mlm_probability,
                batch_size=suite.batch_size,
            )
        sources = [self._source(s, "evaluation", "suites", i, "sources", j) for j, s in enumerate(suite.sources)]
        if isinstance(suite, RewardSection):
            judge, at = self._judge(i, suite)
            return RewardSuite(
                kind="reward",
                name=suite.name,
                sources=sources,
                rewards=self._rewards_of(judge, *at),
                max_new_tokens=suite.max_new_tokens,
                batch_size=suite.batch_size,
            )
        if isinstance(suite, PreferenceAccuracy):
            return PreferenceAccuracySuite(
                kind="preference_accuracy", name=suite.name, sources=sources, batch_size=suite.batch_size
            )
        return GenerationSuite(
            kind="generation",
            name=suite.name,
            sources=sources,
            max_new_tokens=suite.max_new_tokens,
            batch_size=suite.batch_size,
            stop=suite.stop,
        )

    # -- rewards --

    def _rewards_of(self, judge: OnlineMethod | RewardSection, *location: str | int) -> list[Reward]:
        weight = None if judge.reward_model is None else judge.reward_model_weight
        return rewards(judge.reward_functions, weight, self.lock, self._pin_key(*location, "reward_functions"))

    def _judge(self, i: int, suite: RewardSection) -> tuple[OnlineMethod | RewardSection, tuple[str | int, ...]]:
        """What says how a suite scores answers, and where it stands: the suite, else the method."""
        if suite.reward_model is None and not suite.reward_functions and isinstance(self.recipe.method, OnlineMethod):
            return self.recipe.method, ("method",)
        return suite, ("evaluation", "suites", i)

    def _suite_models(self, i: int, suite: Suite) -> dict[str, tuple[ModelReference, tuple[str | int, ...]]]:
        """The models that a suite needs by their role, and where each is written."""
        if not isinstance(suite, RewardSection):
            return {}
        judge, at = self._judge(i, suite)
        return {} if judge.reward_model is None else {REWARD_MODEL: (judge.reward_model, (*at, REWARD_MODEL))}

    def _longest_row(self, method: Method) -> int:
        """Tokens of a row; a prompt leaves room for its answer."""
        longest = self.recipe.training.max_length
        return longest - method.max_completion_length if isinstance(method, OnlineMethod) else longest

    def _packing(self, data: Data) -> Literal["none", "bfd", "bfd_split", "wrapped"]:
        if data.packing is not None:
            return data.packing
        pretraining = isinstance(self.recipe.method, Pretrain) and data.curriculum is None
        packing: Literal["none", "bfd_split"] = "bfd_split" if pretraining else "none"
        because = "pretraining fills every sequence and loses nothing" if pretraining else "one row, one sequence"
        self._derive("data.packing", packing, because)
        return packing

    def _chat_template(self, written: str) -> str:
        if written == "chatml":
            return (Path(facts.__file__).parent / "chatml.jinja").read_text("utf-8")
        return self.lock.texts[self._pin_key("tokenizer", "chat_template")]

    # -- training --

    def _arguments(self, method: Method, world_size: int) -> dict[str, JsonValue]:
        found = arguments(self.recipe, method, world_size, self._derive)
        if "max_length" in facts.trainer_fields(method.config):
            found = {"max_length": self.recipe.training.max_length} | found
        return found

    def _ranks(self, world_size: int) -> int:
        """Processes, or groups of them, that see different rows.

        Raises:
            LoweringError: the processes cannot be put into such groups.
        """
        size = together(self.recipe.distributed)
        if world_size % size:
            message = f"{world_size} processes cannot be put into groups of {size} that see the same rows"
            at = ("distributed", "tensor_parallel_size")
            raise LoweringError(self.recipe.name, at, message, f"use a divisor of {world_size}")
        if size > 1:
            self._derive("distributed.data_parallel_size", world_size // size, f"{world_size} processes / {size}")
        return world_size // size

    def _training_dtype(self) -> Dtype | Literal["auto"]:
        model = self.recipe.model
        if model.dtype != "auto":
            return model.dtype
        if isinstance(model.base, FromScratch) or not self._adapted:
            self._derive("model.dtype", "float32", "every weight is trained")
            return "float32"
        return "auto"

    def _training_resources(self) -> Resources:
        hardware = self.recipe.hardware
        on_cpu = hardware.accelerator == "cpu"
        if self.launched is not None:
            nodes, devices = self.launched.nodes, self.launched.processes
        else:
            spread = not isinstance(self.recipe.distributed, Single)
            nodes, devices = (hardware.num_nodes, hardware.num_accelerators) if spread else (1, 1)
        return Resources(
            nodes=nodes,
            accelerators=0 if on_cpu else devices,
            processes=devices,
            accelerator=hardware.accelerator,
            memory=hardware.memory,
        )

    def _one_device(self) -> Resources:
        hardware = self.recipe.hardware
        on_cpu = hardware.accelerator == "cpu"
        return Resources(accelerators=0 if on_cpu else 1, accelerator=hardware.accelerator, memory=hardware.memory)

    # -- the card --

    def _card_recipe(self) -> str:
        """The recipe without defaults and without what only says where things run."""
        kept = self.recipe.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_ON_THE_CARD)
        kept = {name: value for name, value in kept.items() if name != "training" or value}
        text: str = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
        return text


_NOT_ON_THE_CARD: dict[str, Any] = {
    **dict.fromkeys(("distributed", "hardware", "serving", "sweep", "tracking"), True),
    "training": {"watchdog"},
}
"""What only says where and how a run goes on."""
