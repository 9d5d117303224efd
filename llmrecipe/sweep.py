"""The trials of a sweep, kept in a SQLite study, so that a search that was interrupted goes on where it was."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from pydantic import JsonValue

from llmrecipe.recipe.sweep import TPE, Choice, FloatRange, Grid, IntRange, Parameter, Sweep
from llmrecipe.store import RunError
from llmrecipe.summary import SweepSummary, TrialSummary

optuna.logging.set_verbosity(optuna.logging.ERROR)

WRITTEN = "sweep"
"""Attribute of the study that holds what the recipe said when it began."""
ENDED = "ended"
"""Attribute of a trial that holds how it ended."""
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Trial:
    """One set of values, and how its run goes."""

    def __init__(self, trial: optuna.Trial, names: Mapping[str, Parameter]) -> None:
        self._trial = trial
        self.number: int = trial.number
        self.values: dict[str, JsonValue] = {
            name: _read(parameter, trial.params[name]) for name, parameter in names.items()
        }

    @property
    def overrides(self) -> list[str]:
        """The values as arguments of `--set`."""
        return [f"{name}={json.dumps(value)}" for name, value in self.values.items()]

    def worse_than_others(self, step: int, loss: float, minimizes: bool) -> bool:
        """Note the validation loss after a step. True when the trial should be given up.

        The study compares in the direction of its objective, so that for one to maximize the loss is negated.
        """
        if step not in self._trial.storage.get_trial(self._trial._trial_id).intermediate_values:
            self._trial.report(loss if minimizes else -loss, step)
        return bool(self._trial.should_prune())

    def keep(self, ended: TrialSummary) -> None:
        """Note how it ended, beside its values."""
        self._trial.set_user_attr(ENDED, ended.model_dump(mode="json"))


class Search:
    """The study of a sweep."""

    def __init__(self, file: Path, name: str, sweep: Sweep) -> None:
        """Open the study, or begin it.

        Raises:
            RunError: the file holds a search over something else.
        """
        self._sweep = sweep
        self._space = {name: _distribution(parameter) for name, parameter in sweep.parameters.items()}
        pruning = sweep.pruning
        self._study = optuna.create_study(
            storage=RDBStorage(f"sqlite:///{file}"),
            study_name=name,
            direction=sweep.objective.direction,
            load_if_exists=True,
            pruner=optuna.pruners.NopPruner()
            if pruning is None
            else optuna.pruners.MedianPruner(pruning.startup_trials, pruning.warmup_steps),
        )
        written = sweep.model_dump(mode="json", exclude={"trials"})
        if (before := self._study.user_attrs.get(WRITTEN)) is None:
            self._study.set_user_attr(WRITTEN, written)
        elif before != written:
            changed = sorted(key for key in written if before.get(key) != written[key])
            raise RunError(
                f"{file} holds trials of another search: `{'`, `'.join(changed)}` of `sweep` changed since",
                f"remove {file.parent} to search anew, or undo the change; runs that are in the store are not repeated",
            )

    @property
    def planned(self) -> int:
        """Trials in all: a grid has an end of its own."""
        if isinstance(self._sweep.sampler, Grid):
            return min(self._sweep.trials, len(self._combinations()))
        return self._sweep.trials

    def next(self) -> Trial | None:
        """The trial that was running when the search was interrupted, else a new one; None when all are done."""
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            return Trial(optuna.Trial(self._study, frozen._trial_id), self._sweep.parameters)
        number = len(self._study.get_trials(deepcopy=False))
        if number >= self.planned:
            return None
        # Seeded anew for each trial, so that it matters neither how often the search was interrupted nor where.
        self._study.sampler = self._sampler(self._sweep.seed + number)
        if isinstance(self._sweep.sampler, Grid):
            self._study.enqueue_trial(self._combinations()[number])
        return Trial(self._study.ask(self._space), self._sweep.parameters)

    def finish(self, trial: Trial, ended: TrialSummary) -> None:
        """Note how a trial ended."""
        trial.keep(ended)
        self._study.tell(trial.number, ended.objective, state=STATES[ended.status])

    def summary(self) -> SweepSummary:
        """All trials that have ended, and the best of them; of equal ones the first."""
        ended = [frozen for frozen in self._study.get_trials(deepcopy=False) if frozen.state.is_finished()]
        complete = any(frozen.state == TrialState.COMPLETE for frozen in ended)
        return SweepSummary(
            name=self._study.study_name,
            metric=self._sweep.objective.metric,
            direction=self._sweep.objective.direction,
            planned=self.planned,
            trials=[TrialSummary.model_validate(frozen.user_attrs[ENDED]) for frozen in ended],
            best=self._study.best_trial.number if complete else None,
        )

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        match self._sweep.sampler:
            case TPE():
                return optuna.samplers.TPESampler(n_startup_trials=self._sweep.sampler.startup_trials, seed=seed)
            case _:
                return optuna.samplers.RandomSampler(seed=seed)

    def _combinations(self) -> list[dict[str, Any]]:
        """Every combination, the last parameter changing fastest."""
        columns = [_all(parameter) for parameter in self._sweep.parameters.values()]
        return [dict(zip(self._sweep.parameters, values, strict=True)) for values in itertools.product(*columns)]


def _distribution(parameter: Parameter) -> BaseDistribution:
    match parameter:
        case FloatRange():
            return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
        case IntRange():
            high = parameter.high - (parameter.high - parameter.low) % parameter.step
            return IntDistribution(parameter.low, high, step=parameter.step)
        case Choice():
            return CategoricalDistribution(_all(parameter))


def _all(parameter: Parameter) -> list[Any]:
    """The values of a parameter as the study holds them: a choice may be a section, so that it is kept as JSON."""
    match parameter:
        case Choice():
            return [json.dumps(value, sort_keys=True) for value in parameter.values]
        case IntRange():
            return list(range(parameter.low, parameter.high + 1, parameter.step))
        case FloatRange():
            raise ValueError("a range of any numbers cannot be listed")


def _read(parameter: Parameter, value: Any) -> JsonValue:
    found: JsonValue = json.loads(value) if isinstance(parameter, Choice) else value
    return found
