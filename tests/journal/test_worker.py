"""The worker thread: jobs in order, errors to their owner."""

from __future__ import annotations

import threading

from redqueue.journal.worker import Worker
from tests.journal.journaled_queues import CallQueue


def test_jobs_run_in_order_in_another_thread() -> None:
    calls = CallQueue()
    worker = Worker(calls.notify)
    ran: list[tuple[int, int]] = []
    done: list[tuple[int, int]] = []
    for i in range(50):
        worker.submit(
            lambda i=i: ran.append((i, threading.get_ident())),  # type: ignore[misc]
            lambda error, i=i: done.append((i, threading.get_ident())),  # type: ignore[misc]
        )
    calls.run_until(lambda: len(done) == 50)
    worker.close()
    assert [i for i, _ in ran] == [i for i, _ in done] == list(range(50))
    assert {ident for _, ident in done} == {threading.get_ident()}, "done runs where the owner runs it"
    assert threading.get_ident() not in {ident for _, ident in ran}


def test_an_error_reaches_done_and_the_next_job_runs() -> None:
    calls = CallQueue()
    worker = Worker(calls.notify)
    outcomes: list[BaseException | None] = []

    def fail() -> None:
        raise OSError(5, "broken disk")

    def leave() -> None:
        raise SystemExit(1)

    for job in (fail, leave, lambda: None):
        worker.submit(job, outcomes.append)
    calls.run_until(lambda: len(outcomes) == 3)
    worker.close()
    assert isinstance(outcomes[0], OSError)
    assert isinstance(outcomes[1], SystemExit)
    assert outcomes[2] is None


def test_close_finishes_what_was_submitted() -> None:
    worker = Worker(lambda call: None)
    entered, may_end = threading.Event(), threading.Event()
    ran: list[str] = []

    def slow() -> None:
        entered.set()
        may_end.wait(20)
        ran.append("slow")

    def fail() -> None:
        ran.append("failed")
        raise ValueError

    worker.submit(slow)
    worker.submit(fail)
    worker.submit(lambda: ran.append("last"))
    assert entered.wait(20)
    closer = threading.Thread(target=worker.close)
    closer.start()
    may_end.set()
    closer.join(20)
    assert not closer.is_alive()
    assert ran == ["slow", "failed", "last"]
