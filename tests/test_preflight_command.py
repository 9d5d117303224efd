"""What must hold of `llmrecipe preflight`, and of the checks that `run` makes before the first training."""

import argparse
import json
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest

from llmrecipe.cli import examining, main, planning
from llmrecipe.cli.explain import explanation
from llmrecipe.plan import Stage, Train
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.preflight.examine import examine
from llmrecipe.preflight.job import Answer, Examination
from llmrecipe.run import _Run
from llmrecipe.store import RunError, Store
from llmrecipe.summary import StageSummary

RECIPES = Path(__file__).with_name("recipes")


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> str:
    """A recipe that trains a tokenizer and a small model."""
    shutil.copytree(RECIPES / "data", tmp_path / "data")
    shutil.copy(RECIPES / "scratch.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return "scratch.yaml"


@pytest.fixture
def here(monkeypatch) -> list[Examination]:
    """Examinations are made in this process, without the trial, and are written down."""
    asked: list[Examination] = []

    def run(folder: Path, stopped: object) -> int:
        job = Examination.model_validate_json((folder / "job.json").read_bytes())
        asked.append(job)
        job = job.model_copy(update={"tiers": [tier for tier in job.tiers if tier != "trial"]})
        (folder / "answer.json").write_text(examine(job).model_dump_json())
        return 0

    monkeypatch.setattr(examining, "_run", run)
    return asked


def test_a_finding_is_told_at_its_line_with_exit_code_0_for_warnings(recipe, here, capsys):
    assert main(["preflight", recipe]) == 0
    text = capsys.readouterr().out
    assert "warning[LR381]" in text
    assert "--> scratch.yaml:" in text
    assert "scratch/train: all rows" in text
    assert main(["preflight", recipe, "--strict"]) == 1


def test_json_has_findings_and_rows_and_nothing_else(recipe, here, capsys):
    main(["preflight", recipe, "--format", "json", "--show", "2"])
    report = json.loads(capsys.readouterr().out)
    assert [one["code"] for one in report["diagnostics"]] == ["LR381"]
    (training,) = report["trainings"]
    assert [row["split"] for row in training["rows"]] == ["train", "train"]
    row = training["rows"][0]
    assert sum(len(stretch["tokens"]) for stretch in row["stretches"]) == row["length"]


@pytest.mark.parametrize("form", ["concise", "github", "sarif"])
def test_findings_are_printed_as_those_of_rules(recipe, here, capsys, form):
    main(["preflight", recipe, "--format", form])
    assert "LR381" in capsys.readouterr().out or form == "github"


def test_learned_tokens_stand_between_marks_without_colour(recipe, here, capsys):
    main(["preflight", recipe, "--show", "1"])
    text = capsys.readouterr().out
    assert "scratch/train, train row 1" in text
    assert text.count("⟦") == text.count("⟧") >= 1


@pytest.mark.parametrize("topic", ["LR381", "hardly-any-step"])
def test_a_silenced_check_is_not_told(recipe, here, capsys, topic):
    Path(recipe).write_text(f"{Path(recipe).read_text()}lint: {{ignore: [{topic}]}}\n")
    assert main(["preflight", recipe, "--strict"]) == 0
    assert "LR381" not in capsys.readouterr().out


def test_a_silence_of_what_no_tier_finds_is_told_at_its_place(recipe, here, capsys):
    text = Path(recipe).read_text()
    Path(recipe).write_text(f"{text}lint: {{ignore: [LR381, disk-too-small]}}\n")
    main(["preflight", recipe, "--format", "json"])
    assert json.loads(capsys.readouterr().out)["diagnostics"] == []
    topic = next(check.name for check in CHECKS.values() if check.tier == "rows" and check.code != "LR381")
    Path(recipe).write_text(f"{text}lint: {{ignore: [LR381]}}  # llmrecipe: ignore[{topic}]\n")
    main(["preflight", recipe, "--format", "json"])
    (told,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (told["code"], told["message"]) == ("LR850", f"there is no `{topic}` on this line to silence")
    assert told["line"] == len(text.splitlines()) + 1


def test_what_was_not_tried_may_be_silenced(recipe, monkeypatch, here):
    text = Path(recipe).read_text()
    Path(recipe).write_text(f"{text}lint: {{ignore: [LR385, rows-that-vanish]}}\n")
    planned = planning.understand(argparse.Namespace(file=recipe, overrides=[]))
    for looked, told in (
        ({"sampled": True, "untried": ["no trial step"]}, []),
        ({"sampled": True}, ["LR385"]),
        ({"sampled": False}, ["LR385", "rows-that-vanish"]),
    ):
        answer = Answer.model_validate({"examined": [{"stage": "scratch/train", **looked}]})
        unused = examining.unused_silences(answer, planned.documents)
        assert [one.message.split("`")[1] for one in unused] == told


def test_a_silence_in_an_extended_file_holds_for_preflight(recipe, here, capsys):
    main(["preflight", recipe, "--format", "json"])
    (told,) = json.loads(capsys.readouterr().out)["diagnostics"]
    lines = Path(recipe).read_text().splitlines()
    lines[told["line"] - 1] += "  # llmrecipe: ignore[hardly-any-step]"
    Path("shared.yaml").write_text("\n".join(lines[: told["line"]] + lines[told["line"] :]) + "\n")
    Path("own.yaml").write_text("extends: [shared.yaml]\n")
    assert main(["preflight", "own.yaml", "--strict"]) == 0


def test_a_second_look_is_taken_from_the_store_until_something_changes(recipe, here, capsys):
    main(["preflight", recipe])
    capsys.readouterr()
    main(["preflight", recipe])
    assert "known from before" in capsys.readouterr().out
    main(["preflight", recipe, "--set", "training.learning_rate=2e-3"])
    assert "known from before" not in capsys.readouterr().out


def test_errors_end_a_run_before_anything_is_trained(recipe, here, capsys):
    lines = Path("data/rhymes.txt").read_text()
    Path("data/rhymes.txt").write_text(lines * 10)
    assert main(["run", recipe, "--until", "train"]) == 1
    error = capsys.readouterr().err
    assert "error[LR153]" in error
    assert "scratch/train failed: 1 error of the preflight checks" in error
    assert "--no-preflight" in error
    summary = json.loads(Path("runs/scratch/summary.json").read_text())
    assert [stage["status"] for stage in summary["stages"]][-1] == "failed"
    assert here[0].tiers == list(examining.ALL)


def test_a_silence_by_name_holds_for_run_and_is_known_to_validate(recipe, here, monkeypatch, capsys):
    do = _Run._do

    def without_training(self: _Run, stage: Stage, lock: BinaryIO) -> StageSummary:
        return self._waiting(stage) if isinstance(stage.spec, Train) else do(self, stage, lock)

    monkeypatch.setattr(_Run, "_do", without_training)
    lines = Path("data/rhymes.txt").read_text()
    Path("data/rhymes.txt").write_text(lines * 10)
    name = CHECKS["LR153"].name
    Path(recipe).write_text(f"{Path(recipe).read_text()}lint: {{ignore: [{name}]}}\n")
    assert main(["validate", recipe, "--strict"]) == 0
    main(["run", recipe, "--until", "train"])
    assert [job.tiers for job in here] == [list(examining.ALL)]
    assert main(["preflight", recipe]) == 0
    told = capsys.readouterr()
    assert "LR153" not in told.out + told.err
    assert "preflight" not in told.err


def test_a_run_trains_without_preflight_when_told_so_and_when_preflight_itself_fails(recipe, monkeypatch, capsys):
    do, trained, looked = _Run._do, [], []

    def prepare(self: _Run, stage: Stage, lock: BinaryIO) -> StageSummary:
        if not isinstance(stage.spec, Train):
            return do(self, stage, lock)
        trained.append(stage.name)
        return self._waiting(stage)

    def fail(folder: Path, stopped: object) -> int:
        (folder / "log").write_text("one\n")
        looked.append(folder)
        return 3

    monkeypatch.setattr(examining, "_run", fail)
    monkeypatch.setattr(_Run, "_do", prepare)
    main(["run", recipe, "--until", "train", "--no-preflight"])
    assert (len(trained), len(looked)) == (1, 0)
    main(["run", recipe, "--until", "train"])
    assert (len(trained), len(looked)) == (2, 1)
    assert "warning: no preflight: the preflight process ended with exit code 3" in capsys.readouterr().err
    main(["run", recipe, "--until", "tokenize"])
    assert (len(trained), len(looked)) == (2, 1)


def test_a_process_that_dies_is_told_with_its_last_words(recipe, monkeypatch, tmp_path):
    def run(folder: Path, stopped: object) -> int:
        (folder / "log").write_text("one\ntwo\n")
        return 3

    monkeypatch.setattr(examining, "_run", run)
    assert main(["preflight", recipe]) == 1
    with pytest.raises(RunError, match="exit code 3 and no answer\n  \\| one\n  \\| two"):
        _examine(recipe)


def _examine(recipe: str) -> Answer:
    arguments = argparse.Namespace(file=recipe, overrides=[], store=None, runs=None)
    planned = planning.understand(arguments)
    return examining.examine(planned, Store(Path("store")), planned.plan.stages[-1:], examining.Looking())


def test_the_process_gives_the_answer(recipe, monkeypatch):
    """The one test that starts it, without what takes long."""
    monkeypatch.setattr(examining, "ALL", ("rows",))
    found = main(["preflight", recipe, "--format", "concise"])
    assert found == 0
    assert list(Path(".llmrecipe/preflight").glob("*.json"))


def test_a_wish_for_fewer_rows_than_none_is_a_mistake_of_the_call(recipe, here):
    assert main(["preflight", recipe, "--show", "-1"]) == 2


@pytest.mark.parametrize("code", ["LR157", "LR276", "LR388"])
def test_every_check_can_be_explained(code):
    assert explanation(code).startswith(f"# {code} {CHECKS[code].name}")
