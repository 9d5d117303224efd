"""What must hold of the search: it goes on where it was, tries the same values, and gives up what is worse."""

import json
from pathlib import Path

import pytest

from llmrecipe.recipe.sweep import Sweep
from llmrecipe.store import RunError
from llmrecipe.summary import TrialSummary
from llmrecipe.sweep import Search

SPACE = {
    "training.learning_rate": {"kind": "float", "low": 1e-5, "high": 1e-2, "log": True},
    "model.adapter.r": {"kind": "int", "low": 4, "high": 17, "step": 4},
    "training.optimizer": {"kind": "choice", "values": [{"kind": "adamw"}, {"kind": "muon"}]},
}
MINIMIZE = {"metric": "perplexity/loss", "direction": "minimize"}


def sweep(**fields) -> Sweep:
    return Sweep.model_validate({"parameters": SPACE, "objective": MINIMIZE, "trials": 6} | fields)


def ended(trial, status="complete", objective=None) -> TrialSummary:
    return TrialSummary(
        number=trial.number, status=status, values=trial.values, objective=objective, run=f"trial-{trial.number}"
    )


def tried(file: Path, wanted: Sweep, stops: tuple[int, ...] = ()) -> list[dict]:
    """Values of all trials; the search is closed and opened again while each trial of `stops` runs."""
    search, found = Search(file, "tiny", wanted), []
    while (trial := search.next()) is not None:
        if trial.number in stops:
            search = Search(file, "tiny", wanted)
            again = search.next()
            assert (again.number, again.values) == (trial.number, trial.values)
            trial = again
        found.append(trial.values)
        search.finish(trial, ended(trial, objective=trial.values["training.learning_rate"]))
    return found


@pytest.mark.parametrize("sampler", [{"kind": "tpe", "startup_trials": 2}, {"kind": "random"}])
def test_an_interrupted_search_tries_what_an_uninterrupted_one_does(tmp_path, sampler):
    wanted = sweep(sampler=sampler)
    whole = tried(tmp_path / "a.db", wanted)
    assert tried(tmp_path / "b.db", wanted, stops=(1, 3, 5)) == whole
    assert len({json.dumps(values) for values in whole}) == 6


def test_another_seed_tries_other_values(tmp_path):
    assert tried(tmp_path / "a.db", sweep(seed=0)) != tried(tmp_path / "b.db", sweep(seed=1))


def test_values_keep_to_their_bounds_steps_and_sections(tmp_path):
    for values in tried(tmp_path / "a.db", sweep(trials=12)):
        assert 1e-5 <= values["training.learning_rate"] <= 1e-2
        assert values["model.adapter.r"] in (4, 8, 12, 16)
        assert values["training.optimizer"] in ({"kind": "adamw"}, {"kind": "muon"})


def test_the_estimator_learns_where_the_good_values_are(tmp_path):
    rates = [v["training.learning_rate"] for v in tried(tmp_path / "a.db", sweep(trials=40))]
    assert sorted(rates[-15:])[7] < sorted(rates[:10])[5] / 3


def test_a_grid_tries_every_combination_once_in_the_written_order(tmp_path):
    parameters = {
        "model.adapter.r": {"kind": "int", "low": 4, "high": 8, "step": 4},
        "training.seed": {"kind": "choice", "values": [1, 2, 3]},
    }
    search = Search(tmp_path / "a.db", "tiny", sweep(parameters=parameters, sampler={"kind": "grid"}, trials=20))
    found = []
    while (trial := search.next()) is not None:
        found.append(tuple(trial.values.values()))
        search.finish(trial, ended(trial, objective=1.0))
    assert found == [(r, seed) for r in (4, 8) for seed in (1, 2, 3)]
    assert search.planned == 6


def test_overrides_are_written_as_for_set(tmp_path):
    trial = Search(tmp_path / "a.db", "tiny", sweep()).next()
    rate, rank, optimizer = trial.overrides
    assert rate == f"training.learning_rate={trial.values['training.learning_rate']!r}"
    assert rank == f"model.adapter.r={trial.values['model.adapter.r']}"
    assert optimizer in ('training.optimizer={"kind": "adamw"}', 'training.optimizer={"kind": "muon"}')


@pytest.mark.parametrize(
    ("objective", "last", "given_up"), [("minimize", 2.0, True), ("minimize", 0.5, False), ("maximize", 2.0, True)]
)
def test_a_trial_with_a_worse_validation_loss_than_the_median_is_given_up(tmp_path, objective, last, given_up):
    """Whatever the objective, a validation loss is better when it is lower."""
    wanted = sweep(objective=MINIMIZE | {"direction": objective}, pruning={"kind": "median", "startup_trials": 3})
    search = Search(tmp_path / "a.db", "tiny", wanted)
    for loss in (1.0, 1.1, 1.2):
        trial = search.next()
        assert not trial.worse_than_others(10, loss, objective == "minimize")
        search.finish(trial, ended(trial, objective=loss))
    assert search.next().worse_than_others(10, last, objective == "minimize") is given_up


def test_what_a_trial_did_before_an_interruption_is_not_reported_twice(tmp_path):
    wanted = sweep(pruning={"kind": "median", "startup_trials": 1})
    Search(tmp_path / "a.db", "tiny", wanted).next().worse_than_others(10, 1.0, True)
    trial = Search(tmp_path / "a.db", "tiny", wanted).next()
    assert not trial.worse_than_others(10, 9.0, True)
    assert not trial.worse_than_others(20, 1.0, True)


def test_the_summary_has_every_ended_trial_and_the_best(tmp_path):
    search = Search(tmp_path / "a.db", "tiny", sweep())
    assert search.summary().best is None
    for status, objective in (("complete", 2.0), ("failed", None), ("complete", 1.0), ("pruned", None)):
        trial = search.next()
        search.finish(trial, ended(trial, status, objective))
    search.next()
    found = search.summary()
    assert [trial.status for trial in found.trials] == ["complete", "failed", "complete", "pruned"]
    assert (found.best, found.planned, found.metric) == (2, 6, "perplexity/loss")


def test_trials_of_another_search_are_not_mixed_with_these(tmp_path):
    Search(tmp_path / "a.db", "tiny", sweep())
    Search(tmp_path / "a.db", "tiny", sweep(trials=60))
    with pytest.raises(RunError, match="`objective`, `seed` of `sweep` changed since"):
        Search(tmp_path / "a.db", "tiny", sweep(seed=3, objective=MINIMIZE | {"metric": "perplexity/perplexity"}))
