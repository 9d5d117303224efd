"""What must hold of the store: versions, locks, leftovers, and exact words when it cannot be used."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from llmrecipe.store import Holder, RunError, Store, write

ADDRESS = "0" * 32


class Waited(Exception):  # noqa: N818 - it is no error
    pass


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.create()
    return made


def refuse(holder: Holder) -> None:
    raise Waited(str(holder))


def test_a_new_store_says_its_version_and_can_be_opened_again(store):
    assert json.loads((store.root / "store.json").read_text()) == {"version": 1}
    store.create()


def test_looking_does_not_make_a_store(tmp_path):
    looked = Store(tmp_path / "none")
    looked.check()
    assert not looked.has(ADDRESS)
    assert not looked.root.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"version": 2}', "has version 2; this llmrecipe works with 1"),
        ("not json", "does not say which version the store has"),
        ("{}", "does not say which version the store has"),
    ],
)
def test_a_store_of_another_version_is_refused_and_left_alone(store, content, message):
    (store.root / "store.json").write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        store.create()
    assert "--store DIR" in caught.value.help
    assert (store.root / "store.json").read_text() == content


def test_a_store_that_cannot_be_written_is_refused_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"the store cannot be written: Not a directory: .*file") as caught:
        Store(tmp_path / "file" / "store").create()
    assert "--store DIR" in caught.value.help


@pytest.mark.parametrize("name", ["artifacts", "work", "locks"])
def test_every_folder_of_a_store_must_be_writable(store, monkeypatch, name):
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != name)
    with pytest.raises(RunError, match=f"the store cannot be written: Permission denied: .*/{name}"):
        store.create()


def test_a_damaged_artifact_is_named(store):
    store.artifact(ADDRESS).mkdir()
    with pytest.raises(RunError, match=f"{ADDRESS} is damaged"):
        store.record(ADDRESS)


def test_the_second_learns_who_holds_the_lock(store):
    second = store.locked(ADDRESS, refuse)
    with store.locked(ADDRESS, refuse), pytest.raises(Waited, match=r"process \d+ on "), second:
        pass


def test_the_second_gets_the_lock_when_the_first_lets_go(store):
    order = []

    def second() -> None:
        with store.locked(ADDRESS, lambda holder: time.sleep(0.01)):
            order.append("second")

    with store.locked(ADDRESS, refuse):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_the_lock_lasts_as_long_as_a_process_that_was_given_it(store):
    with store.locked(ADDRESS, refuse) as lock:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], stdin=lock)
    try:
        with pytest.raises(Waited), store.locked(ADDRESS, refuse):
            pass
    finally:
        child.kill()
        child.wait()
    with store.locked(ADDRESS, refuse):
        pass


def test_the_lock_of_a_complete_stage_leaves_no_file(store):
    with store.locked(ADDRESS, refuse):
        store.artifact(ADDRESS).mkdir()
    assert not list((store.root / "locks").iterdir())


def test_a_lock_that_is_removed_while_it_is_taken_is_none(store, monkeypatch):
    """Else two could hold locks of one name: one of the removed file, another of the new one."""
    first, third = store.locked(ADDRESS, refuse), store.locked(ADDRESS, refuse)
    first.__enter__()
    flock = fcntl.flock

    def late(file: BinaryIO, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        store.artifact(ADDRESS).mkdir()
        first.__exit__(None, None, None)
        third.__enter__()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(Waited), store.locked(ADDRESS, refuse):
        pass
    third.__exit__(None, None, None)


def test_cleaning_leaves_the_artifact_alone(store):
    store.artifact(ADDRESS).mkdir()
    store.work(ADDRESS).mkdir()
    (store.work(ADDRESS) / "checkpoint").write_text("")
    store.artifact(f"{ADDRESS}.partial").mkdir()
    assert store.has_leftovers(ADDRESS)
    store.clean(ADDRESS)
    assert not store.has_leftovers(ADDRESS)
    assert [path.name for path in (store.root / "artifacts").iterdir()] == [ADDRESS]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "summary.json"
    write(file, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write(file, "new")
    assert file.read_text() == "old"
