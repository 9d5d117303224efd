"""A thread that notices when training has stopped to move."""

import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

INTERVAL = 1.0
"""Seconds between two looks, at most."""
REMEMBERED = 100
"""Steps of which the median is taken."""


class Heartbeat:
    """Calls `silent(seconds, limit)` once when nothing has beaten for too long, and again after the next such silence.

    A machine that was asleep or a process that was paused does not count: only time that this thread has lived through
    while looking does.
    """

    def __init__(self, floor: float, times: float, silent: Callable[[float, float], None]) -> None:
        """
        Args:
            floor: seconds that are never too long.
            times: multiple of the median step that is not too long either.
            silent: called in the thread.
        """
        self.floor = floor
        self.times = times
        self.silent = silent
        self._steps: deque[float] = deque(maxlen=REMEMBERED)
        self._beats = 0
        self._step_began: float | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def limit(self) -> float:
        """Seconds after which a silence is too long."""
        return max(self.floor, self.times * statistics.median(self._steps)) if self._steps else self.floor

    def start(self) -> None:
        """Begin to look."""
        self._step_began = None
        self._ended.clear()
        self._thread = threading.Thread(target=self._look, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def beat(self) -> None:
        """Something has moved."""
        self._beats += 1

    def step(self) -> None:
        """An optimizer step has ended."""
        now = time.monotonic()
        if self._step_began is not None:
            self._steps.append(now - self._step_began)
        self._step_began = now
        self._beats += 1

    def _look(self) -> None:
        interval = min(INTERVAL, self.floor / 4)
        heard, quiet, told = self._beats, 0.0, False
        while True:
            began = time.monotonic()
            if self._ended.wait(interval):
                return
            if self._beats != heard:
                heard, quiet, told = self._beats, 0.0, False
                continue
            quiet += min(time.monotonic() - began, 2 * interval)
            if quiet > self.limit and not told:
                told = True
                self.silent(quiet, self.limit)


def where(thread: threading.Thread) -> str:
    """What a thread is doing: the file, line and function of its innermost frame."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return "nowhere"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
