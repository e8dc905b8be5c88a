"""A launcher of the server that notes the longest pauses of its event loop.

``python -m benchmarks.heartbeat FILE OPTIONS...`` runs the daemon with a timer
that fires each millisecond. How much later than that it fires is the pause,
less the time in which the kernel let another process have the CPU
(``/proc/thread-self/schedstat``): what is left is the server's own.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from struct import Struct

from redqueue.server import daemon

PERIOD = 0.001
_FIELDS = Struct("3d")


class Pauses:
    """The longest pauses since they were last asked for, in a file that two processes share.

    :param file: made where there is none
    """

    def __init__(self, file: Path) -> None:
        fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(fd, mmap.PAGESIZE)
            self._shared = mmap.mmap(fd, mmap.PAGESIZE)
        finally:
            os.close(fd)

    def note(self, passed: float, own: float) -> None:
        """A pause, in seconds: all of it, and what of it is the server's own."""
        count, longest, longest_own = _FIELDS.unpack_from(self._shared)
        _FIELDS.pack_into(self._shared, 0, count + 1, max(longest, passed), max(longest_own, own))

    def take(self) -> tuple[float, float]:
        """The longest pause and the longest of the server's own, in seconds; they are noted anew from here on."""
        _, longest, longest_own = _FIELDS.unpack_from(self._shared)
        _FIELDS.pack_into(self._shared, 0, 0.0, 0.0, 0.0)
        return longest, longest_own

    @property
    def count(self) -> int:
        """How many were noted since the last :meth:`take`."""
        return int(_FIELDS.unpack_from(self._shared)[0])


class Heartbeat:
    """The timer. It begins when it is made, in a running loop, and never ends."""

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses
        self._later = asyncio.get_running_loop().call_later
        self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._last = time.perf_counter()
        self._waited = self._run_queue_seconds()
        self._later(PERIOD, self._beat)

    def _run_queue_seconds(self) -> float:
        """How long this thread has been ready to run while another had the CPU."""
        return int(os.pread(self._schedstat, 64, 0).split()[1]) / 1e9

    def _beat(self) -> None:
        now, waited = time.perf_counter(), self._run_queue_seconds()
        passed = max(0.0, now - self._last - PERIOD)
        self._pauses.note(passed, max(0.0, passed - (waited - self._waited)))
        self._last, self._waited = now, waited
        self._later(PERIOD, self._beat)


def main(arguments: list[str]) -> int:
    """Run the daemon, and the heartbeat from just before it says that it is ready."""
    pauses = Pauses(Path(arguments[0]))
    settle: Callable[[], None] = daemon.settle_garbage_collector

    def settle_and_beat() -> None:
        settle()
        Heartbeat(pauses)

    daemon.settle_garbage_collector = settle_and_beat
    return daemon.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
