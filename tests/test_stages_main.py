"""What must hold of one stage in one process: its artifact, its outcome, its exit code."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plans import gates, prepare

from llmrecipe.plan import PACKAGES, Job, Outcome, Record, Spec, Stage
from llmrecipe.stages.__main__ import STAGES
from llmrecipe.stages.place import Place


def job(root: Path, stage: Stage) -> Path:
    content = Job(
        name=stage.name, address="a" * 32, spec=stage.spec, inputs=stage.inputs, output="store/out", work="work",
        root=".",
    )  # fmt: skip
    path = root / "job.json"
    path.write_text(content.model_dump_json())
    return path


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "llmrecipe.stages", str(path)]


def start(path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(path), cwd=path.parent, env=os.environ | variables, capture_output=True, text=True, check=False
    )


def outcome(root: Path, name: str = "outcome.json") -> Outcome:
    return Outcome.model_validate_json((root / "work" / name).read_bytes())


def test_every_kind_of_a_plan_has_a_module():
    kinds = {section.model_fields["kind"].annotation.__args__[0] for section in Spec.__args__[0].__args__}
    assert set(STAGES) == kinds


def test_a_complete_stage_has_its_name_its_record_and_nothing_beside_it(tmp_path):
    ended = start(job(tmp_path, prepare(tmp_path)))
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["out"]
    record = Record.model_validate_json((tmp_path / "store/out/stage.json").read_bytes())
    assert record.name == "base/prepare-data"
    assert record.packages["llmrecipe"] == "0.1.0"
    assert record.packages["pyarrow"]
    assert outcome(tmp_path).status == "complete"
    assert outcome(tmp_path).metrics == record.metrics


def test_inputs_are_recorded_relative_to_the_store(tmp_path):
    (tmp_path / "store/other/metrics").mkdir(parents=True)
    (tmp_path / "store/other/metrics/metrics.json").write_text('{"score": 1}')
    assert start(job(tmp_path, gates("base/check-gates", inputs={"suite": "store/other/metrics"}))).returncode == 0
    record = json.loads((tmp_path / "store/out/stage.json").read_text())
    assert record["inputs"] == {"suite": "other/metrics"}


def test_an_artifact_that_exists_is_not_made_again(tmp_path):
    path = job(tmp_path, prepare(tmp_path))
    start(path)
    made = (tmp_path / "store/out/stage.json").stat()
    assert start(path).returncode == 0
    assert (tmp_path / "store/out/stage.json").stat() == made


def test_a_mistake_of_the_user_is_an_outcome_with_help_and_leaves_nothing(tmp_path):
    ended = start(job(tmp_path, gates("base/check-gates", "a/b")))
    assert ended.returncode == 1
    assert outcome(tmp_path).status == "failed"
    assert outcome(tmp_path).message == "no suite measures `a/b`"
    assert outcome(tmp_path).help
    assert not list((tmp_path / "store").iterdir())


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "store/in").mkdir(parents=True)
    start(job(tmp_path, gates("base/check-gates", inputs={"suite": "store/in"})))
    assert outcome(tmp_path).message == f"No such file or directory: {tmp_path}/store/in/metrics.json"


def test_a_full_disk_can_still_be_told(tmp_path):
    """The outcome is written over blocks that were taken when the stage started."""
    start(job(tmp_path, gates()))
    assert (tmp_path / "work/outcome.json").stat().st_size == 8192


def test_leftovers_of_a_killed_process_do_not_get_into_the_artifact(tmp_path):
    (tmp_path / "store/out.partial").mkdir(parents=True)
    (tmp_path / "store/out.partial/half").write_text("written")
    assert start(job(tmp_path, gates())).returncode == 0
    assert not (tmp_path / "store/out/half").exists()


def test_a_job_that_cannot_be_read_is_a_usage_error(tmp_path):
    (tmp_path / "job.json").write_text("{}")
    ended = start(tmp_path / "job.json")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def slow(root: Path) -> Path:
    """A job that takes long: it reads rows from a pipe into which nobody writes."""
    path = job(root, prepare(root))
    (root / "rows.jsonl").unlink()
    os.mkfifo(root / "rows.jsonl")
    return path


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("rank", "code", "name"), [("0", 130, "outcome.json"), ("1", 0, "outcome-1.json")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_is_told_to_stop_says_so(tmp_path, number, rank, code, name):
    variables = {"RANK": rank, "WORLD_SIZE": "2"}
    (tmp_path / "store/out.partial").mkdir(parents=True)  # that of rank 0, when this is rank 1
    process = subprocess.Popen(command(slow(tmp_path)), cwd=tmp_path, env=os.environ | variables)
    until((tmp_path / "work" / f"rank-{rank}.pid").exists)
    process.send_signal(number)
    assert process.wait(20) == code
    assert outcome(tmp_path, name).status == "interrupted"


SWALLOWS = """
import os, signal, sys, time, types
from llmrecipe.stages import __main__ as stages

def run(spec, place):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
    except KeyboardInterrupt:
        raise RuntimeError("some library failed") from None

sys.modules["swallows"] = types.SimpleNamespace(run=run)
stages.STAGES["check_gates"] = "swallows"
sys.exit(stages.main([sys.argv[1]]))
"""


def test_a_stage_is_interrupted_even_when_a_library_makes_another_error_of_it(tmp_path):
    ended = subprocess.run([sys.executable, "-c", SWALLOWS, str(job(tmp_path, gates()))], cwd=tmp_path, check=False)
    assert ended.returncode == 130
    assert outcome(tmp_path).status == "interrupted"


def test_a_stage_dies_with_its_parent(tmp_path):
    script = (
        "import os, subprocess, sys\n"
        f"subprocess.Popen({command(slow(tmp_path))!r}, cwd={str(tmp_path)!r})\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    pid = tmp_path / "work/rank-0.pid"
    until(lambda: pid.exists() and pid.read_text())
    number = int(pid.read_text())
    parent.kill()
    parent.wait()
    until(lambda: not alive(number))


def test_a_stage_whose_parent_died_before_it_began_does_not_begin(tmp_path):
    assert start(job(tmp_path, gates()), LLMRECIPE_PARENT="1").returncode == 1
    assert not (tmp_path / "work").exists()


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_events_are_lines_of_rank_zero(tmp_path):
    for rank in (0, 1):
        Place({}, tmp_path, tmp_path, tmp_path, rank=rank).event(event="progress", done=rank)
    assert (tmp_path / "events.jsonl").read_text() == '{"event": "progress", "done": 0}\n'


def test_every_kind_of_stage_has_a_module_that_runs_it() -> None:
    assert set(STAGES) == set(PACKAGES)
    assert all(importlib.util.find_spec(module) for module in STAGES.values())
