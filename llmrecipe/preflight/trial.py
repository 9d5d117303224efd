"""A few steps of the real training stage on the processor, with a tiny model and some of the rows."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, load_from_disk
from safetensors.torch import load_file
from transformers import AutoTokenizer

from llmrecipe.plan import InputModel, Merge, Train
from llmrecipe.preflight import online
from llmrecipe.preflight.case import Case
from llmrecipe.preflight.miniature import STUDENT, attention_of, folder_of
from llmrecipe.stages import checkpoints, loading, merge, roles, train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.strategies import Single
from llmrecipe.trainers.collator import CausalCollator, collator_for
from llmrecipe.trainers.ppo_saving import VALUE
from llmrecipe.trainers.rewards import Builder, build
from llmrecipe.vocabulary import Full, Unquantized
from llmrecipe.watching import Tracking

ROWS, TOKENS = 4, 128
"""Rows of the trial, and the tokens that they are cut to."""

STEADY: dict[str, Any] = {
    "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2, "gradient_accumulation_steps": 1, "max_steps": 2,
    "logging_steps": 1, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 4, "save_only_model": False,
    "eval_strategy": "no", "lr_scheduler_type": "constant", "warmup_steps": 0, "bf16": False, "fp16": False,
    "dataloader_num_workers": 0, "torch_compile": False, "load_best_model_at_end": False,
}  # fmt: skip
"""Options of the trial that a recipe may say otherwise."""
VALUE_HEAD = "head.weight"
"""The name of the head of PPO's value in its file."""
ABSENT = (
    "num_train_epochs", "eval_steps", "lr_scheduler_kwargs", "metric_for_best_model", "greater_is_better", "use_vllm",
)  # fmt: skip
"""Options of a recipe that every trial goes without."""
FIRST = 50
"""Rows of the dataset, of which they are taken."""


@dataclass
class Trial:
    """What the trial came to. What does not apply is None."""

    tensors: int = 0
    """Trained tensors that were written."""
    unmoved: list[str] = field(default_factory=list)
    """Those that the second step left as they were."""
    value_unmoved: bool = False
    """Whether the second step left the head of PPO's value as it was."""
    reward_problems: dict[str, StageError] = field(default_factory=dict)
    """Place of a reward in the recipe -> why it cannot be made, or what it did with an answer of the tiny model."""
    unjudged: tuple[int, int] | None = None
    """Answers that no reward said anything of, and all answers."""
    whole: tuple[float, float] | None = None
    """Loss and gradient norm of a batch of two rows."""
    accumulated: tuple[float, float] | None = None
    """The same of two batches of one."""
    resumed_difference: float | None = None
    """Norm of the difference of the weights after a resumption, relative to what the step changed."""
    load_problem: StageError | None = None
    leak: float | None = None
    """Largest difference of the logits of a packed document from those that it has alone."""
    packing_refused: StageError | None = None
    untried: list[str] = field(default_factory=list)
    """What was not tried, and why."""


def trial(case: Case) -> Trial:
    """Take the steps.

    Raises:
        StageError: the training refuses what the recipe says.
    """
    found = Trial()
    rows = _chosen(case)
    if case.spec.rewards and not online.comparable(case.spec, rows):
        found.untried.append("no trial step: none of the first prompts has a reference")
        return found
    try:
        tiny = folder_of(case, case.spec.model, case.spec.head, STUDENT)
        heads = {role: roles.HEADS.get(role, "causal") for role in case.spec.models}
        inputs = {role: folder_of(case, case.spec.models[role], head, role) for role, head in heads.items()}
    except (StageError, AttributeError, TypeError, ZeroDivisionError, RuntimeError) as error:
        found.untried.append(f"no trial step: tiny models cannot be made ({loading.reason(error)})")
        return found
    inputs |= {"model": tiny, "tokenizer": tiny, "dataset": _dataset(case, rows)}
    spec, rewards = _spec(case), online.WatchedRewards(case)
    if case.spec.packed and case.spec.head == "causal":
        _isolate(found, spec, tiny)
        if found.packing_refused is not None:
            return found
    first = case.place("trial", **inputs)
    _train(spec, first, rewards.build)
    _moved(found, first, spec)
    _resume(found, spec, first, case.place("trial-resumed", **inputs), rewards.build)
    if spec.rewards:
        _rewarded(found, rewards)
    if case.spec.arguments.get("use_vllm"):
        found.untried.append("answers were not written by vLLM, which needs an accelerator")
    if case.tokenize_spec.objective == "causal":
        found.whole = _logged(first)
        parts = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "max_steps": 1}
        again = case.place("trial-accumulated", **inputs)
        _train(spec.model_copy(update={"arguments": spec.arguments | parts}), again)
        found.accumulated = _logged(again)
    _load(found, case, spec, first)
    return found


def _train(spec: Train, place: Place, rewards: Builder = build) -> None:
    """Run the stage. What libraries say of options, in whichever way, is what the recipe has to be told.

    Raises:
        StageError: it ended without a model.
    """
    try:
        train.run(spec, place, rewards)
    except StageError:
        raise
    except Exception as error:
        raise StageError(f"{type(error).__name__}: {error}", "change the option that it names") from error


def _spec(case: Case) -> Train:
    """The training as the recipe says it, but for what makes it long, spread, quantized or random."""
    arguments = {name: value for name, value in case.spec.arguments.items() if name not in ABSENT} | STEADY
    adapter = case.spec.adapter
    if not isinstance(adapter, Full):
        begin = adapter.init_lora_weights
        plain = "default" if begin.startswith(("pissa", "olora")) else begin  # Ranks may be wider than the tiny model.
        layers = {"layers_to_transform": None, "init_lora_weights": plain, "lora_dropout": 0.0}
        adapter = adapter.model_copy(update=layers)
    changes = {
        "arguments": arguments, "model": InputModel(kind="input"), "dtype": "float32", "attention": attention_of(case),
        "adapter": adapter, "quantization": Unquantized(kind="none"), "distributed": Single(kind="single"),
        "models": {role: InputModel(kind="input", name=role) for role in case.spec.models}, "order": None,
        "averaging": None, "best": None, "early_stopping": None, "ewc": None, "world_size": 1, "tracking": Tracking(),
        "accelerator": "cpu",
    }  # fmt: skip
    spec = case.spec.model_copy(update=changes)
    return online.shortened(spec) if spec.rewards else spec


def _chosen(case: Case) -> list[dict[str, Any]]:
    """Some rows of the dataset, short enough."""
    rows = load_from_disk(str(case.tokenized / "dataset/train"))
    if case.spec.rewards:
        useful = online.prompts(rows, FIRST)[:ROWS]
    else:
        chosen = [_short(rows[number]) for number in range(min(len(rows), FIRST))]
        useful = [row for row in chosen if row is not None] or [rows[0]]
    return [useful[number % len(useful)] for number in range(ROWS)]


def _dataset(case: Case, rows: list[dict[str, Any]]) -> Path:
    """The rows as a dataset of their own."""
    folder = case.place("trial-rows").output / "dataset"
    Dataset.from_list(rows).save_to_disk(str(folder / "train"))
    return folder


def _short(row: dict[str, Any]) -> dict[str, Any] | None:
    """A row of at most 128 tokens; None when nothing of it is left to learn from."""
    if "prompt_ids" in row:
        cut = {name: value[:TOKENS] for name, value in row.items() if name.endswith("_ids")}
        cut["prompt_ids"] = row["prompt_ids"][-TOKENS:]
        alike = "chosen_ids" in cut and cut["chosen_ids"] == cut["rejected_ids"]
        return None if alike else row | cut
    cut = {name: row[name][:TOKENS] for name in ("input_ids", "labels", "word_ids") if name in row}
    if "seq_lengths" in row:
        ends = np.minimum(np.cumsum(row["seq_lengths"]), TOKENS)
        cut["seq_lengths"] = [int(length) for length in np.diff(ends, prepend=0) if length]
    learned = [label for label in cut["labels"][1:] if label != -100]
    return {**row, **cut} if learned else None


def _moved(found: Trial, place: Place, spec: Train) -> None:
    """Compare what was written after the first step with what was written at the end."""
    folder = Path(place.work) / "checkpoints"
    before, after = (_weights(checkpoints.at_step(folder, 1)), _weights(place.output / "model"))
    names = sorted(before.keys() & after.keys())
    found.tensors = len(names)
    found.unmoved = [name for name in names if torch.equal(before[name], after[name])]
    if spec.arguments.get("vf_coef"):  # A value of no weight is not learned.
        first, second = (load_file(checkpoints.at_step(folder, step) / VALUE) for step in (1, 2))
        found.value_unmoved = torch.equal(first[VALUE_HEAD], second[VALUE_HEAD])


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: weight for file in sorted(folder.glob("*.safetensors")) for name, weight in load_file(file).items()}


def _resume(found: Trial, spec: Train, first: Place, place: Place, rewards: Builder) -> None:
    """Go on from the first checkpoint, and compare the ends."""
    source = checkpoints.at_step(first.work / "checkpoints", 1)
    target = checkpoints.at_step(place.work / "checkpoints", 1)
    if not source.is_dir():
        found.untried.append("no resumption: the trial wrote no checkpoint")
        return
    shutil.copytree(source, target)
    _train(spec, place, rewards)
    before, whole, resumed = (_weights(folder) for folder in (source, first.output / "model", place.output / "model"))
    moved = _distance(before, whole)
    found.resumed_difference = _distance(whole, resumed) / moved if moved else None


def _rewarded(found: Trial, rewards: online.WatchedRewards) -> None:
    """What was heard of the rewards, and what was not tried."""
    found.reward_problems, found.unjudged = rewards.problems, rewards.unjudged()
    found.untried += [
        f"`{name}` was not called: Python needs --allow-code, or your trust list" for name in sorted(rewards.uncalled)
    ]


def _distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    squares = (float((one[name].double() - other[name].double()).pow(2).sum()) for name in one.keys() & other)
    return math.sqrt(sum(squares))


def _logged(place: Place) -> tuple[float, float]:
    """Loss and gradient norm of the first step."""
    lines = (place.output / "metrics" / "log.jsonl").read_text("utf-8").splitlines()
    entry = next(entry for entry in map(json.loads, lines) if "grad_norm" in entry)
    return entry["loss"], entry["grad_norm"]


def _load(found: Trial, case: Case, spec: Train, first: Place) -> None:
    """Load the result as the stages after the training do."""
    folder = first.output / "model"
    try:
        if not isinstance(spec.adapter, Full):
            place = case.place("trial-merged", adapter=folder, model=first.inputs["model"])
            wanted = Merge(kind="merge", model=spec.model, head=spec.head, trust_remote_code=spec.trust_remote_code)
            if any(stage.name == f"{case.recipe}/merge" for stage in case.job.plan.stages):
                merge.run(wanted, place)
                folder = place.output / "model"
        else:
            place = replace(first, inputs={"model": folder})
            wanted_model = loading.Wanted("float32", trust_remote_code=spec.trust_remote_code, head=spec.head)
            loading.pretrained(InputModel(kind="input"), place, wanted_model)
        template = AutoTokenizer.from_pretrained(str(folder)).chat_template
        if template != case.tokenizer.chat_template:
            raise StageError("the written tokenizer has another chat template than it was trained with")
    except StageError as error:
        found.load_problem = error


def _isolate(found: Trial, spec: Train, tiny: Path) -> None:
    """Two documents, packed and alone."""
    place = Place(inputs={"model": tiny}, output=tiny, work=tiny, root=tiny, allow_code=spec.trust_remote_code)
    wanted = loading.Wanted("float32", spec.attention, spec.trust_remote_code)
    model = loading.pretrained(InputModel(kind="input"), place, wanted).eval()
    try:
        collate = collator_for(model, spec.attention, packed=True)
    except StageError as error:
        found.packing_refused = error
        return
    found.leak = leak(model, collate)


def leak(model: Any, collate: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> float:
    """Largest difference of the logits of a document that stands second in a row from those that it has alone."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    first, second = (np.arange(start, start + 9) * 7 % vocabulary for start in (3, 17))
    row = np.concatenate([first, second])
    with torch.no_grad():
        packed = _logits(model, collate([{"input_ids": row, "labels": row, "seq_lengths": [9, 9]}]))
        alone = _logits(model, CausalCollator(0)([{"input_ids": second, "labels": second}]))
    return float((packed[0, 9:] - alone[0]).abs().max())


def _logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "num_tokens")}
    logits: torch.Tensor = model(**inputs, use_cache=False).logits
    return logits
