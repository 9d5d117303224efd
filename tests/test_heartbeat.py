"""The thread that notices silence."""

import threading
import time

from llmrecipe.trainers.heartbeat import Heartbeat, where


def until(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.005)
    return bool(condition())


def test_silence_is_told_once_and_again_after_the_next_beat() -> None:
    told: list[float] = []
    heart = Heartbeat(0.05, 20, lambda seconds, limit: told.append(seconds))
    heart.start()
    assert until(lambda: told)
    assert told[0] > 0.05
    time.sleep(0.2)
    assert len(told) == 1
    heart.beat()
    assert until(lambda: len(told) == 2)
    heart.stop()


def test_whoever_beats_is_left_alone() -> None:
    told: list[float] = []
    heart = Heartbeat(0.4, 20, lambda seconds, limit: told.append(seconds))
    heart.start()
    for _ in range(30):
        time.sleep(0.02)
        heart.beat()
    heart.stop()
    assert not told


def test_slow_steps_are_given_more_time() -> None:
    heart = Heartbeat(1.0, 20, lambda seconds, limit: None)
    assert heart.limit == 1.0
    for _ in range(3):
        heart.step()
        time.sleep(0.1)
    assert 2.0 <= heart.limit < 8.0


def test_nothing_is_told_after_the_end() -> None:
    told: list[float] = []
    heart = Heartbeat(0.05, 20, lambda seconds, limit: told.append(seconds))
    heart.start()
    heart.stop()
    time.sleep(0.2)
    assert not told


def test_where_a_thread_stands() -> None:
    ready, go = threading.Event(), threading.Event()

    def waits_here() -> None:
        ready.set()
        go.wait()

    thread = threading.Thread(target=waits_here)
    thread.start()
    ready.wait()
    assert "threading.py" in where(thread)
    go.set()
    thread.join()
    assert where(thread) == "nowhere"
