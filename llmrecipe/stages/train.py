"""The training stage: a dataset and a model -> a trained model, generic over methods."""

import copy
import dataclasses
import importlib
import inspect
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset, load_from_disk
from transformers import set_seed

from llmrecipe.plan import HubModel, NewModel, Train, training_record
from llmrecipe.stages import adapters, checkpoints, loading, quantized, roles, speed, strategy
from llmrecipe.stages import options as options_of
from llmrecipe.stages.place import Interrupted, Place, StageError
from llmrecipe.stages.rows.record import DIFFICULTY
from llmrecipe.stages.stopping import stop_tokens
from llmrecipe.stages.token_rows import has_rows
from llmrecipe.strategies import together
from llmrecipe.trainers import grouped, masked, pretokenized, rewards, sharded, trackers
from llmrecipe.trainers.best import Judge
from llmrecipe.trainers.callbacks import StopOnSignal, TrainingLog
from llmrecipe.trainers.collator import CausalCollator, collator_for
from llmrecipe.trainers.lengths import LengthGrouping
from llmrecipe.trainers.masked import MaskedLoss, MaskedRows
from llmrecipe.trainers.monitor import Monitor
from llmrecipe.trainers.ppo_heads import PolicyWithValue
from llmrecipe.trainers.staged import staged
from llmrecipe.trainers.supervised import TRAINERS, SupervisedLoss
from llmrecipe.trainers.telemetry import peak_of
from llmrecipe.vocabulary import DoRA, Full, LoRA, Masking

CAUSAL_COLUMNS = ("input_ids", "labels", "seq_lengths", "word_ids", DIFFICULTY)
PREFERENCE_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids", "completion_ids", "label")
BEGINNING = "adapter-beginning.safetensors"
REFUSALS = (ValueError, ImportError, NotImplementedError, ConnectionError)
"""What trainers raise when they are made: of options, of packages, and of a server that does not answer."""
ONLINE = {"reward": "reward", "kl": "kl", "objective/scores": "reward", "objective/kl": "kl"}
"""What the last line of the log says of answers that the model gave: key there -> metric."""

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # The plan says which methods are experimental.


def run(spec: Train, place: Place, build: rewards.Builder = rewards.build) -> dict[str, float]:
    """Train one model; go on from the newest complete checkpoint when there is one.

    Args:
        spec: what to train.
        place: where.
        build: who makes functions of the rewards; another one watches them.

    Returns:
        `train_loss` and `eval_loss` (means in nats per token, or the method's own loss), `steps`, `train_tokens`
        (without padding, all processes), `tokens_per_second`, `parameters`, `trainable_parameters`; where rewards are
        learned from, `reward` (mean) and `kl` (nats from the model before training: of a token for GRPO and RLOO,
        of an answer for PPO), as they were logged last.

    Raises:
        StageError: processes, data, model or arguments do not fit, training diverged, or the disk is full.
        Interrupted: a signal came, and a checkpoint holds everything.
    """
    if spec.world_size != place.world_size:
        raise StageError(
            f"the recipe is planned for {spec.world_size} processes, and {place.world_size} run",
            "start as many as `hardware.num_accelerators` x `hardware.num_nodes`, or change these",
        )
    train, validation = (_dataset(place.inputs["dataset"] / part) for part in ("train", "validation"))
    ranks = spec.world_size // together(spec.distributed)
    if train is None or len(train) < ranks:
        raise StageError(
            f"there are {len(train) if train else 0} training rows for {ranks} processes",
            "add data, or loosen `data.prepare`; the data report says what was dropped and why",
        )
    tokenizer = loading.tokenizer_at(place.inputs["tokenizer"])
    online: dict[str, Any] = {}
    if spec.rewards:
        rewards.check_references(spec.rewards, train.with_format(None)["reference"])
        online = {"reward_funcs": build(spec.rewards, spec.models, place, spec.trust_remote_code)}
    options_of.check_packages(spec)
    strategy.declare(spec, place)
    arguments = _arguments(spec, place, evaluates=validation is not None)
    strategy.check_processes(spec)
    strategy.read_whole()
    model = _model(spec, place, tokenizer)
    if spec.masking is not None:
        train, validation = (rows and _hidden(spec.masking, rows, tokenizer, spec.seed) for rows in (train, validation))
    use_cache = getattr(model.config, "use_cache", None)
    in_force = strategy.InForce(spec)
    stop, monitor = StopOnSignal(), Monitor(spec, place, evaluates=validation is not None)
    with strategy.layers_named(spec.distributed, model):
        trainer = _trainer(
            spec,
            model=model,
            args=arguments,
            train_dataset=train,
            eval_dataset=validation,
            processing_class=tokenizer,
            callbacks=[stop, *monitor.callbacks, in_force, Judge(spec.best, spec.early_stopping)],
            **roles.load(spec, place, model, tokenizer),
            **online,
        )
    in_force.trainer = trainer
    strategy.sum_exactly(trainer)
    strategy.split(trainer, spec.distributed)
    if not isinstance(spec.adapter, Full):
        _begin_adapter(spec, spec.adapter, trainer, place)
    options_of.equip(trainer, spec, place)
    trainer.training_record = training_record(spec, {name: str(folder) for name, folder in place.inputs.items()})
    with stop, monitor:
        _train(trainer, spec, monitor.log)
    if stop.stopped:
        raise Interrupted
    if use_cache is not None:
        model.config.use_cache = use_cache  # Trainers switch it off; whoever loads the model wants it on.
    if isinstance(spec.model, NewModel) and hasattr(model.config, "output_router_logits"):
        model.config.output_router_logits = False  # Only training needs them.
    chosen = options_of.finish(trainer, spec)
    _save(trainer, place)
    if not isinstance(spec.adapter, Full) and adapters.takes_from_weights(spec.adapter) and trainer.args.should_save:
        adapters.subtract_beginning(place.output / "model", place.work / BEGINNING)
    return _metrics(trainer) | chosen


def _dataset(folder: Path) -> Dataset | None:
    """Rows with the columns that the trainer reads; None without rows."""
    if not has_rows(folder):
        return None
    dataset = load_from_disk(str(folder))
    if "reference" in dataset.column_names:
        return grouped.prompts(dataset)
    preference = PREFERENCE_COLUMNS[0] in dataset.column_names
    columns = [c for c in (PREFERENCE_COLUMNS if preference else CAUSAL_COLUMNS) if c in dataset.column_names]
    dataset = dataset.select_columns(columns)
    return dataset if preference else dataset.with_format("numpy")


def _hidden(masking: Masking, rows: Dataset, tokenizer: Any, seed: int) -> MaskedRows:
    """Rows with hidden tokens; those of the validation stay the same, since only training tells the epoch."""
    return MaskedRows(rows, masking, tokenizer.mask_token_id, len(tokenizer), seed)


def _model(spec: Train, place: Place, tokenizer: Any) -> Any:
    """The model before training."""
    set_seed(spec.seed)  # A new head begins with random weights.
    new = isinstance(spec.model, NewModel)
    dtype = "float32" if spec.dtype == "auto" and (new or isinstance(spec.adapter, Full)) else spec.dtype
    if isinstance(spec.model, NewModel):
        return loading.new_model(spec.model.architecture, tokenizer, spec.attention, dtype, spec.seed)
    wanted = loading.Wanted(dtype, spec.attention, spec.trust_remote_code, spec.head, new_head=True)
    model = loading.pretrained(spec.model, place, wanted, **quantized.options(spec))
    if spec.quantization.kind != "none":
        quantized.prepare(model, spec)
    elif not isinstance(spec.adapter, Full):
        quantized.refuse(model, "the base")
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise StageError(
            f"the tokenizer has {len(tokenizer)} tokens, the model only {rows} embeddings",
            "use the tokenizer that comes with the model: `tokenizer: {kind: reuse}`",
        )
    return model


def _arguments(spec: Train, place: Place, evaluates: bool) -> Any:
    """The configuration of the trainer: what the recipe says, and where and how it is kept."""
    if not evaluates and spec.arguments.get("eval_strategy", "no") != "no":
        raise StageError("`training.eval_steps` is written, and there are no validation rows", "add `data.validation`")
    ours: dict[str, Any] = {
        "output_dir": str(place.work / "checkpoints"),
        "use_cpu": strategy.on_processor(spec.distributed),
        "dataloader_pin_memory": torch.accelerator.is_available(),
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
        "prediction_loss_only": True,
        "logging_nan_inf_filter": False,  # It would replace a broken loss by the mean of the others.
        "disable_tqdm": True,
        "report_to": "none",
        "save_total_limit": None,  # Ours counts complete checkpoints only.
        "seed": spec.seed,
        **strategy.options(spec),
        **trackers.declare(spec.tracking.trackers, place),
    }
    config = _import(spec.config)
    known = {field.name for field in dataclasses.fields(config)}
    if "max_length" in known:
        ours["max_length"] = None  # The rows are cut already.
    if "reward_weights" in known:
        ours["reward_weights"] = [reward.weight for reward in spec.rewards]
    if spec.trainer in grouped.TRAINERS and isinstance(spec.model, HubModel):
        ours["model_init_kwargs"] = {"revision": spec.model.revision}  # The trainer loads the reference by its name.
    try:
        found = config(**(spec.arguments | ours))
    except (TypeError, ValueError, ImportError, RuntimeError) as error:
        raise StageError(
            f"`{spec.config}` refuses the options of `training` or `method`: {error}", "change the option it names"
        ) from error
    found._n_gpu = min(found.n_gpu, 1)  # A process has one device; the trainer would take all that it sees.
    return found


def _trainer(spec: Train, model: Any, **options: Any) -> Any:
    """The trainer, with what this method and this model ask of it."""
    kind = _import(spec.trainer)
    known = inspect.signature(kind.__init__).parameters
    if "data_collator" in known and PREFERENCE_COLUMNS[0] not in options["train_dataset"].column_names:
        options["data_collator"] = sharded.of_first(lambda: _collator(spec, model, options["processing_class"]))
    causal = spec.trainer in TRAINERS and isinstance(options.get("data_collator"), CausalCollator)
    mixins: tuple[type, ...] = (MaskedLoss,) if spec.masking is not None else (SupervisedLoss,) if causal else ()
    tokens = pretokenized.MIXINS.get(spec.trainer, ())
    if causal:
        tokens = (*tokens, LengthGrouping)
    speed.prepare(spec, model)
    if spec.trainer in grouped.TRAINERS:
        mixins = (grouped.Grouped,)
        model.generation_config.eos_token_id = stop_tokens(options["processing_class"], model)
    if "reward_weights" in known:
        options["reward_weights"] = [reward.weight for reward in spec.rewards]
    if not isinstance(spec.adapter, Full):
        if "peft_config" in known:
            set_seed(spec.seed)
            options["peft_config"] = adapters.configuration(spec.adapter, spec.head)
        else:
            model = adapters.with_new_adapter(model, spec.adapter, spec.seed, spec.head)
    elif "ref_model" in known and "ref_model" not in options and not roles.precomputed(spec):
        # Left alone, the trainer would load the reference by a name that may be none.
        options["ref_model"] = copy.deepcopy(model)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`label_smoothing_factor` is deprecated", FutureWarning)
            trainer = staged(kind, *options_of.mixins(spec), *mixins, *tokens)(model=model, **options)
    except REFUSALS as error:
        raise StageError(f"`{spec.trainer}` refuses this recipe: {error}", "change what it names") from error
    if mixins:
        trainer.take_over()
    trainer.own_optimizer = spec.optimizer
    trainer.save_total_limit = spec.arguments.get("save_total_limit") or 1
    trainer.peak, trainer.causal = peak_of(spec.accelerator), spec.head != "masked"
    return trainer


def _begin_adapter(spec: Train, adapter: LoRA | DoRA, trainer: Any, place: Place) -> None:
    """What is to be done when the trainer has put a new adapter on the model."""
    trainer.loraplus = adapter.loraplus_lr_ratio
    if spec.quantization.kind != "none":
        quantized.restore_adapter(trainer.model, spec)
    policy = trainer.model.policy if isinstance(trainer.model, PolicyWithValue) else trainer.model
    adapters.complete_head(policy)
    if adapters.takes_from_weights(adapter) and trainer.args.should_save:
        adapters.save_beginning(policy, place.work / BEGINNING)


def _collator(spec: Train, model: Any, tokenizer: Any) -> CausalCollator | masked.MaskedCollator:
    # What stands in padding does not matter: nothing sees it.
    pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    if spec.masking is not None:
        return masked.collator_for(model, spec.attention, spec.packed, pad)
    return collator_for(model, spec.attention, spec.packed, pad, strategy.multiple(spec.distributed))


def _train(trainer: Any, spec: Train, log: TrainingLog) -> None:
    """Train from the newest complete checkpoint, or from the start."""
    newest: list[Path | None] = [None]
    if trainer.args.process_index == 0:
        newest = [checkpoints.newest_complete(Path(trainer.args.output_dir))]
    broadcast_object_list(newest)
    checkpoint = newest[0]
    if checkpoint is not None:
        trainer.changed = checkpoints.belongs(checkpoint, trainer.training_record)
        state = json.loads((checkpoint / "trainer_state.json").read_bytes())
        if not trainer.changed and options_of.ended(state, spec):  # The trainer would do one step more.
            trainer.restore(checkpoint)
            log.write(trainer.state)
            return
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def _save(trainer: Any, place: Place) -> None:
    """Write the model with its tokenizer, and the log."""
    folder = place.output / "model"
    with checkpoints.writing("the trained model", folder), strategy.whole(trainer):
        trainer.save_model(str(folder))
    if trainer.args.should_save:
        (folder / "training_args.bin").unlink()
        (place.output / "metrics").mkdir()
        shutil.copyfile(place.work / "log.jsonl", place.output / "metrics" / "log.jsonl")


def _metrics(trainer: Any) -> dict[str, float]:
    state = trainer.state
    logged = [entry for entry in state.log_history if "loss" in entry]
    since = [0, *(entry["step"] for entry in logged)]
    tokens = [0, *(entry["num_tokens"] for entry in logged)]
    seconds = sum((b - a) / e["tokens_per_second"] for a, b, e in zip(tokens, tokens[1:], logged, strict=False))
    metrics = {
        "train_loss": sum(e["loss"] * (e["step"] - start) for start, e in zip(since, logged, strict=False))
        / state.global_step,
        "steps": float(state.global_step),
        "train_tokens": float(state.num_input_tokens_seen),
        "tokens_per_second": state.num_input_tokens_seen / seconds,
        "parameters": float(sum(map(sharded.size, trainer.model.parameters()))),
        "trainable_parameters": float(sum(sharded.size(p) for p in trainer.model.parameters() if p.requires_grad)),
    }
    metrics |= {name: logged[-1][key] for key, name in ONLINE.items() if logged and logged[-1].get(key) is not None}
    evaluated = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
    return {"eval_loss": evaluated[-1], **metrics} if evaluated else metrics


def _import(path: str) -> Any:
    """What `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
