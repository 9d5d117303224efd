"""What options of `training` add to a trainer: the order of rows, averages, a hold on weights, the best checkpoint."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from safetensors.torch import load_file

from llmrecipe.plan import Train
from llmrecipe.stages import checkpoints
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.rows.record import DIFFICULTY
from llmrecipe.trainers.averaging import Averaged
from llmrecipe.trainers.best import best_step, exhausted
from llmrecipe.trainers.elastic import ElasticWeights
from llmrecipe.trainers.masked import MaskedRows
from llmrecipe.trainers.ordering import Ordered
from llmrecipe.trainers.schedule_free import ScheduleFreeEnd

PACKAGES = (("schedule_free", "schedulefree", "optimizers"), ("8bit", "bitsandbytes", "quantization"),
            ("paged", "bitsandbytes", "quantization"), ("lion", "bitsandbytes", "quantization"),
            ("ademamix", "bitsandbytes", "quantization"))  # fmt: skip
"""Part of an optimizer's name -> the package it is in, and the extra that installs it."""


def check_packages(spec: Train) -> None:
    """See that the optimizer is installed, and what writes answers, before anything is loaded.

    Raises:
        StageError: one is not.
    """
    if spec.arguments.get("use_vllm") and importlib.util.find_spec("vllm") is None:
        raise StageError("`use_vllm` is set, and vLLM is not installed here", "pip install 'trl[vllm]'")
    for part, package, extra in PACKAGES:
        if part in str(spec.arguments.get("optim", "")) and importlib.util.find_spec(package) is None:
            raise StageError(f"`training.optimizer` needs the package `{package}`", f"pip install 'llmrecipe[{extra}]'")


def mixins(spec: Train) -> tuple[type, ...]:
    """What stands before the trainer's class."""
    wanted = (
        (ScheduleFreeEnd, spec.arguments.get("optim") == "schedule_free_adamw"),
        (Averaged, spec.averaging is not None),
        (ElasticWeights, spec.ewc is not None),
        (Ordered, spec.order is not None or spec.masking is not None),
    )
    return tuple(mixin for mixin, needed in wanted if needed)


def equip(trainer: Any, spec: Train, place: Place) -> None:
    """Set what the mixins need, before training.

    Raises:
        StageError: label smoothing is asked for where the loss cannot be computed with it exactly.
    """
    if spec.arguments.get("label_smoothing_factor") and not getattr(trainer, "ours", spec.masking is not None):
        raise StageError(
            f"label smoothing is not exact for {type(trainer.model).__name__}, which balances experts in its loss, or "
            "whose head is not a plain one",
            "leave out `training.label_smoothing`",
        )
    trainer.best = spec.best
    if spec.averaging is not None:
        trainer.average_over(spec.averaging)
    if spec.ewc is not None:
        trainer.hold(spec.ewc.ewc_lambda, load_file(place.inputs["fisher"] / "fisher.safetensors"))
    if isinstance(trainer.train_dataset, MaskedRows):
        trainer.epoch_listeners = [trainer.train_dataset.set_epoch]
    if spec.order is not None:
        trainer.row_order = spec.order
        difficulties = _difficulties(spec, place, trainer.train_dataset)
        trainer.difficulties = -difficulties if spec.order.descending else difficulties


def _difficulties(spec: Train, place: Place, rows: Any) -> "np.ndarray[Any, Any]":
    """One number for each training row."""
    assert spec.order is not None
    plain: Dataset = rows.rows if isinstance(rows, MaskedRows) else rows
    match spec.order.by:
        case "length":
            return np.asarray([len(ids) for ids in plain["input_ids"]], np.float64)
        case "column":
            return np.asarray(plain[DIFFICULTY], np.float64)
        case "perplexity":
            return np.asarray(json.loads((place.inputs["scores"] / "scores.json").read_bytes()), np.float64)


def ended(state: dict[str, Any], spec: Train) -> bool:
    """Whether nothing is left to train after a checkpoint with that state."""
    if state["global_step"] >= state["max_steps"]:
        return True
    return spec.early_stopping is not None and exhausted(state["log_history"], spec.early_stopping)


def finish(trainer: Any, spec: Train) -> dict[str, float]:
    """Put the weights into the model that are to be given: the best ones, the average, or the last ones.

    Returns:
        `best_step` and the metric that made it the best.

    Raises:
        StageError: the checkpoint of the best step is not complete any more.
    """
    step = None if spec.best is None else best_step(trainer.state.log_history, spec.best)
    metrics: dict[str, float] = {}
    if spec.best is not None and step is not None:
        checkpoint = checkpoints.at_step(Path(trainer.args.output_dir), step)
        if not checkpoints.complete(checkpoint):
            raise StageError(
                f"the best checkpoint, that of step {step}, is not complete any more",
                f"remove {checkpoint.parent} and train again",
            )
        trainer.load_weights(checkpoint)
        if spec.averaging is not None:
            trainer.load_average(checkpoint)
        values = {entry["step"]: entry[spec.best.metric] for entry in trainer.state.log_history
                  if spec.best.metric in entry}  # fmt: skip
        metrics = {"best_step": float(step), f"best_{spec.best.metric}": values[step]}
    if spec.averaging is not None:
        trainer.use_average()
    return metrics
