"""What all three tools hand to the same trainer: batch, schedule, optimizer, precision, validation, checkpoints."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmrecipe.importing.case import Case
from llmrecipe.importing.values import boolean, decimal, number, positive, whole, word

MOVES_NOTHING = "it changes how fast a run is, not what it makes; the run decides it"


@dataclass(frozen=True)
class Names:
    """How a tool calls what all of them have."""

    micro: str
    evaluation: str
    schedule: str
    optimizer: str
    micro_default: int
    schedule_default: str
    optimizer_default: str = "adamw_torch_fused"


HUGGING_FACE = Names(
    micro="per_device_train_batch_size",
    evaluation="per_device_eval_batch_size",
    schedule="lr_scheduler_type",
    optimizer="optim",
    micro_default=8,
    schedule_default="linear",
)

# -- batch --


def batch(case: Case, names: Names) -> None:
    """Sequences of one device times accumulation times devices -> `training.global_batch_size`."""
    micro = case.read(names.micro, positive)
    steps = case.read("gradient_accumulation_steps", positive) or 1
    if micro == 1 and steps % 2 == 0 and case.written("method.kind") == "kto":
        micro, steps = 2, steps // 2
        case.map(
            names.micro, "training.per_device_train_batch_size", 2, "KTO needs two rows at once: half the accumulation"
        )
    elif micro is None:
        micro = names.micro_default
        case.imply("training.per_device_train_batch_size", micro, f"{case.tool} takes {micro} without being told")
    else:
        case.map(names.micro, "training.per_device_train_batch_size", micro)
    devices = case.options.num_accelerators or case.recipe.get("hardware", {}).get("num_accelerators") or 1
    size, how = micro * steps * devices, f"{micro} x {steps} accumulated x {devices} device{'s' if devices > 1 else ''}"
    if case.has("gradient_accumulation_steps"):
        case.map("gradient_accumulation_steps", "training.global_batch_size", size, how)
    else:
        case.imply("training.global_batch_size", size, how)
    evaluated = case.read(names.evaluation, positive)
    if evaluated is None:
        evaluated = micro if names.evaluation == "eval_batch_size" else 8
        case.imply("training.per_device_eval_batch_size", evaluated, f"{case.tool} takes {evaluated}")
    else:
        case.map(names.evaluation, "training.per_device_eval_batch_size", evaluated)


# -- schedule --

SCHEDULE_KEYS = ("lr_scheduler_kwargs", "warmup_steps", "warmup_ratio")
_OTHER = "write one of constant, linear, cosine, inverse_sqrt and warmup_stable_decay into `training.schedule`"


def schedule(case: Case, names: Names, warmup_default: tuple[str, float] | None = None) -> None:
    """The scheduler, its options and its warm-up -> `training.schedule`."""
    name = word(case.get(names.schedule, names.schedule_default))
    options = _options(case, "lr_scheduler_kwargs")
    found = _SCHEDULES.get(name, _unknown_schedule)(options)
    if found is None:
        case.block(names.schedule, f"the schedule `{name}` has no equal here", _OTHER)
        case.block("lr_scheduler_kwargs", f"options of `{name}`, which has no equal here", _OTHER)
        found = {"kind": "cosine"}
    if case.has(names.schedule):
        case.map(names.schedule, "training.schedule.kind", None, "" if name == found["kind"] else f"from `{name}`")
    else:
        case.implied_section("training.schedule", found, f"{case.tool} takes `{name}` without being told")
    case.put("training.schedule", found)
    for option in options:
        if option in _KNOWN_OPTIONS:
            case.map(("lr_scheduler_kwargs", option), "training.schedule")
        else:
            case.block(("lr_scheduler_kwargs", option), f"`{option}` has no equal in `training.schedule`", "remove it")
    case.drop("lr_scheduler_kwargs", "it is empty")
    _warmup(case, name, warmup_default)


def _warmup(case: Case, name: Any, default: tuple[str, float] | None) -> None:
    steps, ratio = case.read("warmup_steps", number), case.read("warmup_ratio", number)
    if name == "constant" and (steps or ratio):
        for key in ("warmup_steps", "warmup_ratio"):
            case.drop(key, "the schedule `constant` of Transformers has no warm-up and passes it over")
    elif steps:
        share = 0 < steps < 1
        kind = "warmup_ratio" if share else "warmup_steps"
        how = "a number below one is a share of all steps" if share else ""
        case.map("warmup_steps", f"training.schedule.{kind}", steps if share else int(steps), how)
        case.drop("warmup_ratio", "`warmup_steps` is written, which goes before it")
    elif ratio:
        case.map("warmup_ratio", "training.schedule.warmup_ratio", ratio)
        case.drop("warmup_steps", "it is 0, and `warmup_ratio` is written")
    elif default is not None and not case.has("warmup_steps") and not case.has("warmup_ratio"):
        case.imply("training.schedule.warmup_ratio", default[1], default[0])
    for key in ("warmup_steps", "warmup_ratio"):
        case.drop(key, "0 is no warm-up, as without it here")


def _options(case: Case, key: str) -> dict[str, Any]:
    value = case.get(key, {})
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if isinstance(value, dict):
        return value
    case.block(key, f"`{key}` must be a mapping", "correct it", "unfit-imported-value")
    return {}


_KNOWN_OPTIONS = ("min_lr_rate", "min_lr_ratio", "num_decay_steps", "decay_type", "timescale", "num_cycles")


def _cosine(options: Mapping[str, Any]) -> dict[str, Any] | None:
    if options.get("num_cycles", 0.5) not in (0.5, 1):
        return None
    least = options.get("min_lr_rate", options.get("min_lr_ratio"))
    return {"kind": "cosine"} if not least else {"kind": "cosine", "min_lr_ratio": least}


def _stable(options: Mapping[str, Any]) -> dict[str, Any] | None:
    if "num_decay_steps" not in options:
        return None
    found = {"kind": "warmup_stable_decay", "decay_steps": options["num_decay_steps"]}
    found |= {"decay_type": options.get("decay_type", "cosine")}
    return found | ({"min_lr_ratio": options["min_lr_ratio"]} if options.get("min_lr_ratio") else {})


def _unknown_schedule(_: Mapping[str, Any]) -> dict[str, Any] | None:
    return None


_SCHEDULES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any] | None]] = {
    "constant": lambda options: {"kind": "constant"},
    "constant_with_warmup": lambda options: {"kind": "constant"},
    "linear": lambda options: {"kind": "linear"},
    "cosine": _cosine,
    "cosine_with_restarts": _cosine,  # of one cycle, the default, which is a cosine
    "cosine_with_min_lr": _cosine,
    "inverse_sqrt": lambda options: {"kind": "inverse_sqrt", **dict(options)},
    "warmup_stable_decay": _stable,
}

# -- optimizer --

ADAM_KEYS = {"adam_beta1": "beta1", "adam_beta2": "beta2", "adam_epsilon": "epsilon"}

OPTIMIZERS: dict[str, dict[str, Any]] = {
    **{name: {"kind": "adamw"} for name in ("adamw_torch_fused", "adamw_torch", "adamw_hf", "adamw_apex_fused")},
    **{name: {"kind": "adamw", "bits": 8} for name in ("adamw_bnb_8bit", "adamw_8bit", "adamw_torch_8bit")},
    **{name: {"kind": "adamw", "paged": True} for name in ("paged_adamw", "paged_adamw_32bit")},
    "paged_adamw_8bit": {"kind": "adamw", "bits": 8, "paged": True},
    **{name: {"kind": "lion"} for name in ("lion", "lion_32bit", "lion_pytorch")},
    "lion_8bit": {"kind": "lion", "bits": 8},
    **{name: {"kind": "lion", "paged": True} for name in ("paged_lion", "paged_lion_32bit")},
    "paged_lion_8bit": {"kind": "lion", "bits": 8, "paged": True},
    "ademamix": {"kind": "ademamix"},
    "ademamix_8bit": {"kind": "ademamix", "bits": 8},
    "paged_ademamix_32bit": {"kind": "ademamix", "paged": True},
    "paged_ademamix_8bit": {"kind": "ademamix", "bits": 8, "paged": True},
    "adafactor": {"kind": "adafactor"},
    "schedule_free_adamw": {"kind": "schedule_free"},
    "sgd": {"kind": "sgd"},
    "muon": {"kind": "muon"},
}
"""Names of optimizers -> `training.optimizer`."""

_SAME_AS = {
    "adamw_torch_8bit": "the 8 bits are those of bitsandbytes here, of torchao there",
    "adamw_torch_4bit": "8 bits are the fewest here",
}
_OPTIMIZER_HELP = "write one of `llmrecipe explain training.optimizer`; with 8 bits where memory is scarce"


def optimizer(case: Case, names: Names) -> None:
    """The optimizer and the numbers of Adam -> `training.optimizer`."""
    name = word(case.get(names.optimizer, names.optimizer_default))
    found = OPTIMIZERS.get(name)
    if found is None:
        case.block(names.optimizer, f"the optimizer `{name}` has no equal here", _OPTIMIZER_HELP)
        found = {"kind": "adamw"}
    if case.has(names.optimizer):
        case.map(names.optimizer, "training.optimizer.kind", None, _SAME_AS.get(name, "") or f"from `{name}`")
        if name == "muon":
            case.differ(names.optimizer, "this Muon scales its steps to those of AdamW", "watch the loss, or lower it")
    else:
        case.implied_section("training.optimizer", found, f"{case.tool} takes `{name}` without being told")
    case.put("training.optimizer", dict(found))
    takes = found["kind"] in ("adamw", "ademamix", "schedule_free", "muon", "lion")
    for key, field in ADAM_KEYS.items():
        value = case.read(key, number)
        if value is None:
            continue
        if takes and not (found["kind"] == "lion" and field == "epsilon"):
            case.map(key, f"training.optimizer.{field}", float(value))
        else:
            case.drop(key, f"`{name}` has no such number, and passes it over")


# -- precision --


def precision(case: Case, bf16: Any) -> None:
    """bf16 and fp16 -> `training.precision`; `bf16` is what the tool takes without being told."""
    given = case.get("bf16", bf16)
    half = case.read("fp16", boolean) or False
    auto = given in ("auto", "full")
    brain = case.read("bf16", boolean) if case.has("bf16") and not auto else (given is True)
    found = "float16" if half else "auto" if auto else "bfloat16" if brain else "float32"
    how = "bfloat16 where the accelerator has it, as there" if found == "auto" else ""
    for key in ("bf16", "fp16"):
        if case.has(key):
            case.map(key, "training.precision", found, how)
    if not case.has("bf16") and not case.has("fp16"):
        case.imply("training.precision", found, f"{case.tool} takes it without being told")


# -- validation and checkpoints --

EVALUATION_KEYS = ("eval_strategy", "evaluation_strategy", "eval_steps")
SAVING_KEYS = (
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
    "early_stopping_patience",
)
_STEPS_HELP = "write whole steps; `llmrecipe plan` says how many steps there are"


def evaluation(case: Case, validated: bool) -> None:
    """When the loss of the validation is measured."""
    strategy = next((case.get(key) for key in EVALUATION_KEYS[:2] if case.has(key)), None)
    strategy = "no" if strategy is False else strategy
    for key in EVALUATION_KEYS[:2]:
        match strategy:
            case "no":
                case.drop(key, "without `training.eval_steps` there is one validation, at the end")
            case "epoch":
                _each_epoch(case, key, "the end of each epoch", validated)
            case "steps":
                case.map(key, "training.eval_steps")
            case str():
                case.block(key, f"`{strategy}` is no moment of validation", "write `steps`", "unfit-imported-value")
    steps = case.read("eval_steps", number)
    if steps is None:
        return
    if not validated or strategy == "no":
        case.drop("eval_steps", "there is nothing to validate with" if not validated else "`eval_strategy` is `no`")
    elif steps < 1 or steps != int(steps):
        _share(case, "eval_steps", float(steps), "training.eval_steps")
    else:
        case.map("eval_steps", "training.eval_steps", int(steps))


def _each_epoch(case: Case, key: str, when: str, validated: bool) -> None:
    if not validated:
        case.drop(key, "there is nothing to validate with")
    elif case.get("num_train_epochs", case.get("num_epochs", 1)) in (1, 1.0) and not case.has("max_steps"):
        case.drop(key, f"{when} of one epoch is the end, where it is validated here")
    else:
        case.drop(key, f"the steps of an epoch are known when the data are; `training.eval_steps` says {when}")
        case.differ(key, "validated once, at the end, since the steps of an epoch are not known yet", _STEPS_HELP)


def _share(case: Case, key: str, share: float, to: str) -> None:
    total = case.read("max_steps", whole)
    if total and total > 0 and share > 0:
        case.map(key, to, max(1, round(share * total)), f"{share:g} of {total} steps")
    else:
        case.drop(key, "a share of all steps, whose number is known when the data are")
        case.differ(key, f"`{to}` is left out: how many steps {share:g} of all are is not known yet", _STEPS_HELP)


def checkpoints(case: Case, default_limit: int | None) -> None:
    """When the state is saved, how much of it is kept, which one is given, and when training ends early."""
    strategy = case.get("save_strategy")
    strategy = "no" if strategy is False else strategy
    best = bool(case.read("load_best_model_at_end", boolean)) or strategy == "best"
    compared = best and case.written("training.eval_steps") is not None
    match strategy:
        case "steps":
            case.map("save_strategy", "training.checkpoints.save_steps")
        case "no":
            case.drop("save_strategy", "checkpoints are what a run resumes from; they are gone when it ends")
        case "epoch":
            case.drop("save_strategy", "checkpoints come every `save_steps` steps; the trained model is always saved")
        case "best" if compared:
            case.map("save_strategy", "training.checkpoints.best")
        case "best":
            case.drop("save_strategy", "validations are compared, and there is one alone without `training.eval_steps`")
        case str():
            case.block("save_strategy", f"`{strategy}` is no moment of saving", "write `steps`", "unfit-imported-value")
    steps = case.read("save_steps", number)
    if steps is not None and strategy not in ("no", "epoch") and steps >= 1:
        case.map("save_steps", "training.checkpoints.save_steps", int(steps))
    elif steps is not None and strategy in ("no", "epoch"):
        case.drop("save_steps", f"`save_strategy` is `{strategy}`, which passes it over")
    elif steps is not None:
        _share(case, "save_steps", float(steps), "training.checkpoints.save_steps")
    limit = case.read("save_total_limit", whole)
    if limit is not None and limit > 0:
        case.map("save_total_limit", "training.checkpoints.save_total_limit", limit)
    elif limit is not None:
        case.drop("save_total_limit", "0 keeps all checkpoints; here the newest two are kept until the run ends")
    elif default_limit is not None:
        case.imply("training.checkpoints.save_total_limit", default_limit, f"{case.tool} keeps {default_limit}")
    _best(case, best)


def _best(case: Case, wanted: bool) -> None:
    metric = str(case.get("metric_for_best_model", "eval_loss"))
    metric = metric if metric.startswith("eval_") else f"eval_{metric}"
    greater = bool(case.read("greater_is_better", boolean)) if case.has("greater_is_better") else metric[-4:] != "loss"
    what: dict[str, Any] = {} if metric == "eval_loss" else {"metric": metric, "greater_is_better": greater}
    patience = case.read("early_stopping_patience", positive)
    if (wanted or patience is not None) and case.written("training.eval_steps") is None:
        because = "validations are compared, and there is one alone without `training.eval_steps`"
        for key in ("load_best_model_at_end", "early_stopping_patience", "save_strategy"):
            if case.has(key) and (key != "save_strategy" or wanted):
                case.differ(key, f"left out: {because}", _STEPS_HELP)
            if key != "save_strategy":
                case.drop(key, because)
        wanted, patience = False, None
    if wanted:
        case.put("training.checkpoints.best", what)
    if patience is not None:
        case.put("training.early_stopping", {**what, "patience": patience})
        case.map("early_stopping_patience", "training.early_stopping.patience")
    for key in ("load_best_model_at_end", "metric_for_best_model", "greater_is_better"):
        if wanted:
            case.map(key, "training.checkpoints.best")
        elif patience is not None and key != "load_best_model_at_end":
            case.map(key, "training.early_stopping")
        else:
            case.drop(key, "the last weights are given, as without it here")


# -- trackers --


def trackers(case: Case, names: list[str], key: str) -> list[str]:
    """`report_to` -> `tracking.trackers`; returns those that are known."""
    known = {"tensorboard", "mlflow", "wandb", "trackio"}
    found = [name for name in names if name in known]
    unknown = [name for name in names if name not in known and name not in ("none", "all")]
    if unknown:
        case.block(key, f"`{', '.join(unknown)}` is no tracker here", f"write one of {', '.join(sorted(known))}")
    elif found:
        case.map(key, "tracking.trackers")
    else:
        case.drop(key, "nothing is told to a tracker, as without it here; the log is always written")
    return found


def length(case: Case, key: str, default: int) -> None:
    """The longest sequence."""
    found = case.read(key, positive)
    if found is None:
        case.imply("training.max_length", default, f"{case.tool} takes {default} without being told")
    else:
        case.map(key, "training.max_length", found)


def rate(case: Case, default: float | None) -> None:
    """The learning rate."""
    found = case.read("learning_rate", decimal)
    if found is not None:
        text = isinstance(case.get("learning_rate"), str)
        how = f"`{case.get('learning_rate')}` is text to YAML 1.1, which {case.tool} turns into a number"
        case.map("learning_rate", "training.learning_rate", found, how if text else "")
    elif default is not None:
        case.imply("training.learning_rate", default, f"{case.tool} takes {default:g} without being told")


def amount(case: Case, epochs: str, default: float) -> None:
    """Epochs or steps; steps go before epochs."""
    steps = case.read("max_steps", whole)
    passes = case.read(epochs, number)
    if steps is not None and steps > 0:
        case.map("max_steps", "training.max_steps", steps)
        case.drop(epochs, "`max_steps` goes before it")
        return
    case.drop("max_steps", "no number of steps: epochs count")
    if passes is None:
        case.imply("training.num_train_epochs", default, f"{case.tool} takes {default:g} without being told")
    elif passes <= 0:
        case.block(epochs, f"`{epochs}` must be above 0", "correct it", "unfit-imported-value")
    else:
        case.map(epochs, "training.num_train_epochs", passes if passes != int(passes) else int(passes))
