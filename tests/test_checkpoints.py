"""Checkpoints: sealed, verified, rotated, and what is said when the disk is full."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrecipe.stages import checkpoints
from llmrecipe.stages.place import StageError


def checkpoint(folder: Path, step: int, sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "inner").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights" * step)
    (path / "inner" / "optimizer.pt").write_bytes(b"moments")
    if sealed:
        checkpoints.seal(path)
    return path


def test_a_sealed_checkpoint_is_complete_and_the_newest_wins_by_number(tmp_path: Path) -> None:
    for step in (10, 9, 100):
        checkpoint(tmp_path, step)
    found = checkpoints.newest_complete(tmp_path)
    assert found is not None
    assert checkpoints.step_of(found) == 100


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file cut short": lambda path: (path / "model.safetensors").write_bytes(b"weig"),
    "a changed byte": lambda path: (path / "inner" / "optimizer.pt").write_bytes(b"momentS"),
    "a missing file": lambda path: (path / "inner" / "optimizer.pt").unlink(),
    "no manifest": lambda path: (path / checkpoints.MANIFEST).unlink(),
    "half a manifest": lambda path: (path / checkpoints.MANIFEST).write_text('{"files": {"mod'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_removed_and_the_one_before_it_taken(damage: str, tmp_path: Path) -> None:
    good, bad = checkpoint(tmp_path, 5), checkpoint(tmp_path, 10)
    DAMAGE[damage](bad)
    assert checkpoints.newest_complete(tmp_path) == good
    assert not bad.exists()


def test_without_a_complete_checkpoint_there_is_none(tmp_path: Path) -> None:
    checkpoint(tmp_path, 5, sealed=False)
    (tmp_path / "checkpoint-best").mkdir()
    assert checkpoints.newest_complete(tmp_path) is None
    assert checkpoints.newest_complete(tmp_path / "nowhere") is None
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-best"]


def test_rotation_keeps_the_newest(tmp_path: Path) -> None:
    for step in (8, 9, 10, 11):
        checkpoint(tmp_path, step)
    checkpoints.keep_newest(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-10", "checkpoint-11"}
    checkpoints.keep_newest(tmp_path, 5)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_full_disk_is_said_and_what_was_begun_is_removed(error: Exception, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 5, sealed=False)
    message = r"the checkpoint cannot be written .*No space left .*MB are free"
    with pytest.raises(StageError, match=message) as caught, checkpoints.writing("the checkpoint", folder):
        raise error
    assert "run again" in str(caught.value.help)
    assert not folder.exists()


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of memory"), checkpoints.writing("it", tmp_path / "x"):
        raise RuntimeError("CUDA out of memory")
