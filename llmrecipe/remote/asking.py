"""Questions -> what the Hub says, several at a time, and never without an end."""

import queue
import threading
from collections.abc import Iterable

from llmrecipe.remote.repository import Answer, Ask, Question, Refusal

AT_ONCE = 8
PATIENCE = 60.0
"""Seconds without any answer after which no more is waited for."""


def answers(questions: Iterable[Question], ask: Ask, patience: float = PATIENCE) -> dict[Question, Answer]:
    """The answer to each question; each is asked once.

    After the first that the Hub is silent about, those that were not asked yet are not asked: every one of them would
    wait as long, for nothing.
    """
    waiting: queue.SimpleQueue[Question] = queue.SimpleQueue()
    given: queue.SimpleQueue[tuple[Question, Answer | BaseException]] = queue.SimpleQueue()
    distinct = list(dict.fromkeys(questions))
    for question in distinct:
        waiting.put(question)
    silent = threading.Event()

    def work() -> None:
        while not silent.is_set():
            try:
                question = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answer = ask(question)
            except BaseException as error:
                given.put((question, error))
                return
            if isinstance(answer, Refusal) and answer.reason == "silent":
                silent.set()
            given.put((question, answer))

    # Threads that do not outlive the command: one that waits for a server which sends a byte now and then would.
    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(distinct)))]
    for worker in workers:
        worker.start()
    return _collected(distinct, given, workers, patience)


def _collected(
    questions: list[Question],
    given: "queue.SimpleQueue[tuple[Question, Answer | BaseException]]",
    workers: list[threading.Thread],
    patience: float,
) -> dict[Question, Answer]:
    found: dict[Question, Answer] = {}
    waited = 0.0
    step = min(0.05, patience)
    while len(found) < len(questions) and waited < patience:
        working = any(worker.is_alive() for worker in workers)
        try:
            question, answer = given.get(timeout=step if working else 0.001)
        except queue.Empty:
            if not working:
                break
            waited += step
            continue
        if isinstance(answer, BaseException):
            raise answer
        found[question], waited = answer, 0.0
    late = Refusal("silent", f"no answer within {patience:.0f} seconds")
    first = next((one for one in found.values() if isinstance(one, Refusal) and one.reason == "silent"), late)
    return {question: found.get(question, first) for question in questions}
