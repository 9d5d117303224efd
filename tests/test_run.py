"""What must hold of a run: nothing twice, nothing half, and words for everything that goes wrong."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from plans import ROWS, gates, plan, prepare

from llmrecipe.folder import RunFolder
from llmrecipe.plan import Plan
from llmrecipe.progress import Lines
from llmrecipe.run import Options, run, selected
from llmrecipe.store import RunError, Store
from llmrecipe.summary import Summary

RUN = """
import json, sys
from pathlib import Path
from llmrecipe.folder import RunFolder
from llmrecipe.plan import Plan
from llmrecipe.progress import Lines
from llmrecipe.run import Options, run
from llmrecipe.store import Store
root = Path(sys.argv[1])
plan = Plan.model_validate_json((root / "plan.json").read_bytes())
summary = run(plan, Store(root / "store"), Options(root, RunFolder(root / "runs")), Lines())
sys.exit({"complete": 0, "failed": 1, "interrupted": 130}[summary.status])
"""


def execute(root: Path, planned: Plan, until: str | None = None, out: io.StringIO | None = None) -> Summary:
    options = Options(root, RunFolder(root / "runs"), until=until)
    return run(planned, Store(root / "store"), options, Lines(out or io.StringIO()))


@contextmanager
def begin(root: Path, planned: Plan) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own."""
    (root / "plan.json").write_text(planned.model_dump_json())
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(root)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stuck(root: Path) -> Plan:
    """A plan whose only stage reads from a pipe, until somebody writes into it."""
    planned = plan(prepare(root), gates())
    (root / "rows.jsonl").unlink()
    os.mkfifo(root / "rows.jsonl")
    return planned


def worker(root: Path) -> int:
    """The process of the stage, as soon as it is at work."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for file in (root / "store/work").glob("*/rank-0.pid"):
            if text := file.read_text():
                return int(text)
        time.sleep(0.01)
    raise AssertionError("no stage has started")


def gone(number: int) -> bool:
    """Whether a process has ended, within a moment."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def statuses(summary: Summary) -> list[str]:
    return ["cached" if stage.cached else stage.status for stage in summary.stages]


def test_a_run_leaves_artifacts_links_logs_a_summary_and_nothing_else(tmp_path):
    planned = plan(prepare(tmp_path), gates())
    summary = execute(tmp_path, planned)
    assert statuses(summary) == ["complete", "complete"]
    store = tmp_path / "store"
    assert {path.name for path in (store / "artifacts").iterdir()} == set(planned.addresses().values())
    assert not list((store / "work").iterdir())
    assert not list((store / "locks").iterdir())
    link = tmp_path / "runs/base/prepare-data"
    assert not link.readlink().is_absolute()
    assert (link / "rows/train/00000.parquet").is_file()
    assert (tmp_path / "runs/logs/base/prepare-data.log").is_file()
    assert Summary.model_validate_json((tmp_path / "runs/summary.json").read_bytes()) == summary
    assert summary.stages[0].packages["pyarrow"]


def test_what_the_store_has_is_not_done_again(tmp_path):
    planned = plan(prepare(tmp_path), gates())
    execute(tmp_path, planned)
    (tmp_path / "rows.jsonl").unlink()
    assert statuses(execute(tmp_path, planned)) == ["cached", "cached"]


def test_stages_of_one_address_are_done_once(tmp_path):
    assert statuses(execute(tmp_path, plan(gates("a/check-gates"), gates("b/check-gates")))) == ["complete", "cached"]


def test_a_failed_stage_ends_the_run_and_says_why(tmp_path):
    planned = plan(prepare(tmp_path), gates("base/check-gates", "a/b"), prepare(tmp_path, "base/later", seed=1))
    summary = execute(tmp_path, planned)
    assert summary.status == "failed"
    assert statuses(summary) == ["complete", "failed", "waiting"]
    failed = summary.stages[1]
    assert failed.message == "no suite measures `a/b`"
    assert failed.help
    assert "Traceback" in (tmp_path / "runs" / failed.log).read_text()


def test_a_link_of_an_earlier_plan_goes_away(tmp_path):
    execute(tmp_path, plan(prepare(tmp_path), gates("old/check-gates")))
    execute(tmp_path, plan(prepare(tmp_path)))
    assert not (tmp_path / "runs/old").exists()
    assert (tmp_path / "runs/base/prepare-data").is_symlink()


def test_a_run_until_a_stage_does_what_that_needs_and_no_more(tmp_path):
    needed = gates("base/check-gates", inputs={"suite": "base/prepare-data.report"})
    planned = plan(prepare(tmp_path), prepare(tmp_path, "base/other", seed=1), needed)
    assert [stage.name for stage in selected(planned, "check-gates")] == ["base/prepare-data", "base/check-gates"]


@pytest.mark.parametrize(
    ("until", "message"),
    [("train", "there is no stage `train`"), ("check-gates", "several stages are named `check-gates`")],
)
def test_a_stage_that_cannot_be_meant_is_refused_with_the_choice(until, message):
    with pytest.raises(RunError, match=message) as caught:
        selected(plan(gates("a/check-gates"), gates("b/check-gates")), until)
    assert caught.value.help == "one of: a/check-gates, b/check-gates"


def test_a_plan_without_stages_is_refused():
    with pytest.raises(RunError, match="nothing to run"):
        selected(plan(), None)


def test_a_folder_of_runs_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="the folder of the run cannot be written: Not a directory") as caught:
        execute(tmp_path, plan(gates()))
    assert "--runs DIR" in caught.value.help


def test_stages_for_several_machines_are_refused_on_one(tmp_path):
    stage = gates()
    several = stage.model_copy(
        update={"launcher": "accelerate", "resources": stage.resources.model_copy(update={"nodes": 2})}
    )
    with pytest.raises(RunError, match="is for 2 machines"):
        execute(tmp_path, plan(several))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_stop_ends_its_stage_and_goes_on_later(tmp_path, number):
    planned = stuck(tmp_path)
    with begin(tmp_path, planned) as process:
        stage = worker(tmp_path)
        process.send_signal(number)
        assert process.wait(20) == 130
        assert gone(stage)
        summary = Summary.model_validate_json((tmp_path / "runs/summary.json").read_bytes())
        assert summary.status == "interrupted"
        assert summary.preempted == (number == signal.SIGTERM)
        assert statuses(summary) == ["interrupted", "waiting"]
    (tmp_path / "rows.jsonl").unlink()
    (tmp_path / "rows.jsonl").write_text(ROWS)
    assert execute(tmp_path, planned).status == "complete"


def test_a_second_control_c_does_not_wait_for_the_stage(tmp_path):
    with begin(tmp_path, stuck(tmp_path)) as process:
        stage = worker(tmp_path)
        os.kill(stage, signal.SIGSTOP)  # It cannot answer.
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)  # A launcher around us often doubles the first.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert gone(stage)


def test_the_summary_says_what_is_running(tmp_path):
    with begin(tmp_path, stuck(tmp_path)) as process:
        worker(tmp_path)
        summary = Summary.model_validate_json((tmp_path / "runs/summary.json").read_bytes())
        process.kill()
    assert summary.status == "running"
    assert statuses(summary) == ["running", "waiting"]


def test_the_stage_dies_with_a_killed_run_and_the_next_run_completes_it(tmp_path):
    planned = stuck(tmp_path)
    with begin(tmp_path, planned) as process:
        stage = worker(tmp_path)
        assert Path(f"/proc/{stage}/fd/0").readlink().suffix == ".lock"  # Nobody comes in before it is dead.
        process.kill()
        assert gone(stage)
    (tmp_path / "rows.jsonl").unlink()
    (tmp_path / "rows.jsonl").write_text(ROWS)
    assert execute(tmp_path, planned).status == "complete"
    assert not list((tmp_path / "store/work").iterdir())
    assert not list((tmp_path / "store/artifacts").glob("*.partial"))


def test_a_process_that_was_killed_is_reported_with_the_signal(tmp_path):
    with begin(tmp_path, stuck(tmp_path)) as process:
        os.kill(worker(tmp_path), signal.SIGKILL)
        assert process.wait(20) == 1
    summary = Summary.model_validate_json((tmp_path / "runs/summary.json").read_bytes())
    assert summary.stages[0].message.startswith("its process was killed by SIGKILL")


def test_a_process_that_dies_without_a_word_is_reported_with_the_end_of_its_log(tmp_path):
    with begin(tmp_path, stuck(tmp_path)) as process:
        os.kill(worker(tmp_path), signal.SIGSEGV)
        assert process.wait(20) == 1
    failed = Summary.model_validate_json((tmp_path / "runs/summary.json").read_bytes()).stages[0]
    assert failed.message.startswith("its process was killed by SIGSEGV")
    assert any("prepare_data.py" in line or "importlib" in line or "File" in line for line in failed.tail)


def test_of_two_runs_one_does_the_work_and_the_other_waits_for_it(tmp_path):
    planned = stuck(tmp_path)
    with begin(tmp_path, planned) as first:
        worker(tmp_path)
        with begin(tmp_path, planned) as second:
            said = ""
            while "waiting" not in said:
                said = second.stdout.readline()
            assert f"process {first.pid} on " in said
            (tmp_path / "rows.jsonl").write_text(ROWS)
            assert second.wait(20) == 0
            assert first.wait(20) == 0
            assert "cached" in second.stdout.read()


def test_leftovers_of_a_run_that_was_killed_after_its_stage_had_ended_are_removed(tmp_path):
    planned = plan(gates())
    execute(tmp_path, planned)
    address = planned.addresses()["base/check-gates"]
    (tmp_path / "store/work" / address).mkdir()
    assert statuses(execute(tmp_path, planned)) == ["cached"]
    assert not list((tmp_path / "store/work").iterdir())


def test_lines_tell_what_happens(tmp_path):
    out = io.StringIO()
    execute(tmp_path, plan(prepare(tmp_path), gates()), out=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "small: 2 stages, 0 of them cached"
    assert lines[1] == "base/prepare-data  started"
    assert lines[2].startswith("base/prepare-data  done in ")
    assert json.loads((tmp_path / "runs/summary.json").read_text())["status"] == "complete"
