"""What must hold between the ranks of a launcher: all do what rank 0 says, and no one waits for who has failed."""

import json
import os
import threading
from pathlib import Path

import pytest
from plans import gates, prepare

from llmrecipe import ranks
from llmrecipe.plan import Job, Outcome, Stage
from llmrecipe.ranks import Leader, follow
from llmrecipe.store import RunError

AROUND = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


class Memory:
    """A board for threads."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def post(self, name: str, text: str) -> None:
        self.texts[name] = text

    def read(self, name: str) -> str | None:
        return self.texts.get(name)


def job(root: Path, stage: Stage) -> Path:
    (root / "work").mkdir()
    content = Job(
        name=stage.name, address="a" * 32, spec=stage.spec, inputs={}, output=str(root / "store/out"),
        work=str(root / "work"), root=str(root),
    )  # fmt: skip
    (root / "job.json").write_text(content.model_dump_json())
    return root / "job.json"


def led(board: Memory, *steps) -> int:
    """What rank 1 leaves with when rank 0 does these steps."""
    leader = Leader(board, AROUND)
    thread = threading.Thread(target=lambda: [step(leader) for step in steps])
    thread.start()
    code = follow(board, os.environ | AROUND | {"RANK": "1"})
    thread.join()
    return code


def test_the_others_leave_with_the_code_of_rank_zero():
    assert led(Memory(), lambda leader: leader.end(130)) == 130


def test_the_others_do_the_job_and_meet_elsewhere_each_time(tmp_path):
    board = Memory()
    path = job(tmp_path, gates())
    (tmp_path / "store/out.partial").mkdir(parents=True)  # that of rank 0
    log = tmp_path / "log"
    begun = []
    code = led(
        board,
        lambda leader: begun.append(leader.begin(path, log, {})),
        lambda leader: leader.finish(0),
        lambda leader: leader.end(0),
    )
    assert code == 0, log.read_text()
    outcome = Outcome.model_validate_json((tmp_path / "work/outcome-1.json").read_bytes())
    assert outcome.status == "complete"
    said = json.loads(board.texts["turn/1"])
    assert said["variables"]["MASTER_PORT"] == begun[0]["MASTER_PORT"] != "29500"
    assert begun[0]["RANK"] == "0"


def test_rank_zero_learns_that_another_has_failed(tmp_path):
    board = Memory()
    lost = []
    path = job(tmp_path, gates("base/check-gates", "a/b"))
    led(
        board,
        lambda leader: leader.begin(path, tmp_path / "log", {}),
        lambda leader: leader.finish(0),
        lambda leader: lost.append(leader.lost()),
        lambda leader: leader.end(1),
    )
    assert lost == [True]


def test_the_others_end_the_job_when_rank_zero_has_failed(tmp_path):
    path = job(tmp_path, prepare(tmp_path))
    (tmp_path / "rows.jsonl").unlink()
    os.mkfifo(tmp_path / "rows.jsonl")  # reading it would take for ever
    (tmp_path / "store/out.partial").mkdir(parents=True)
    code = led(
        Memory(),
        lambda leader: leader.begin(path, tmp_path / "log", {}),
        lambda leader: leader.finish(1),
        lambda leader: leader.end(1),
    )
    assert code == 1


def test_ranks_without_a_launcher_of_pytorch_are_refused():
    with pytest.raises(RunError, match="WORLD_SIZE is 2, but no launcher"):
        ranks.connect({"WORLD_SIZE": "2", "RANK": "0"})
