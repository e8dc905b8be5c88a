"""The one thread that waits for the disk, so that the event loop never does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]
Done = Callable[[BaseException | None], None]


class Worker:
    """Runs jobs one after the other.

    :param notify: called in the worker's thread with a function that the owner
        is to call in its own, such as ``loop.call_soon_threadsafe``
    """

    def __init__(self, notify: Callable[[Callable[[], None]], object]) -> None:
        self._notify = notify
        self._jobs: SimpleQueue[tuple[Job, Done | None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Done | None = None) -> None:
        """Run ``job`` in the thread, then ``done`` with its exception, or None, in the owner's."""
        self._jobs.put((job, done))

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while entry := self._jobs.get():
            job, done = entry
            error: BaseException | None = None
            try:
                job()
            except BaseException as caught:
                error = caught
            if done is not None:
                self._notify(_Call(done, error))


class _Call:
    __slots__ = ("_done", "_error")

    def __init__(self, done: Done, error: BaseException | None) -> None:
        self._done = done
        self._error = error

    def __call__(self) -> None:
        self._done(self._error)
