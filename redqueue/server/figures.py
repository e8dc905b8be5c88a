"""The figures of the server: what ``stats``, the JSON API and the metrics say comes from here.

Nothing is kept for them. Each is read, at the moment of asking, from the counters
of the part that counts it.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from operator import attrgetter

import tornado

from redqueue import __version__
from redqueue.engine.queue import Queue
from redqueue.engine.settings import written
from redqueue.histogram import Histogram
from redqueue.journal.log import Log
from redqueue.options import Options
from redqueue.protocol.service import Service
from redqueue.server.build import is_compiled
from redqueue.server.connection import Connections
from redqueue.server.group_commit import GroupCommit
from redqueue.server.tcp import Listeners

LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds."""
COUNTED: dict[str, Callable[[Queue], int]] = {
    "put": attrgetter("total_items"),
    "delivered": attrgetter("total_reserved"),
    "acknowledged": attrgetter("acknowledged"),
    "released": attrgetter("cancelled"),
    "disconnected": attrgetter("abandoned"),
    "timed_out": attrgetter("timed_out"),
    "expired": attrgetter("expired"),
    "discarded": attrgetter("discarded"),
    "dead_lettered": attrgetter("dead_letters"),
    "flushes": attrgetter("flushes"),
}
"""What a queue counts from its beginning: items put, deliveries, how those ended, what became of items otherwise."""


class Tally:
    """The sums of :data:`COUNTED` over some queues."""

    def __init__(self, sums: Iterable[int] = ()) -> None:
        self._sums = [*sums] or [0] * len(COUNTED)

    def add(self, queue: Queue) -> None:
        """Count a queue in."""
        for i, count in enumerate(_COUNTS):
            self._sums[i] += count(queue)

    def __getitem__(self, name: str) -> int:
        """The sum of what is counted by that name."""
        return self._sums[_INDEX[name]]

    def copy(self) -> Tally:
        """One that goes on from here by itself."""
        return Tally(self._sums)

    def figures(self) -> Iterator[tuple[str, int]]:
        """Names and sums."""
        return zip(COUNTED, self._sums, strict=True)


_COUNTS = tuple(COUNTED.values())
_INDEX = {name: i for i, name in enumerate(COUNTED)}


class ServerFigures:
    """The figures of a server, by memcached's names where it has them.

    :param options: those in force
    :param connections: all connections
    :param service: what all sessions share
    :param commit: the group commit
    :param journal: None where nothing is kept
    :param started: when the process began, Unix time in seconds
    :param listeners: the listening sockets
    :param is_ending: tells whether the server is on its way out

    :ivar loop_lag: seconds by which the loop was late for a timer that fires about each second
    :ivar departed: what the queues have counted that are gone
    """

    def __init__(
        self,
        options: Options,
        connections: Connections,
        service: Service,
        commit: GroupCommit,
        journal: Log | None,
        started: float,
        listeners: Listeners,
        is_ending: Callable[[], bool],
    ) -> None:
        self.options = options
        self.connections = connections
        self.service = service
        self.broker = service.broker
        self.commit = commit
        self.journal = journal
        self.started = started
        self.loop_lag = Histogram(LAG_BOUNDS)
        self.departed = Tally()
        self.broker.on_forget.append(self.departed.add)
        self._listeners = listeners
        self._is_ending = is_ending

    def process(self) -> list[tuple[str, object]]:
        """Figures of the process, its connections and its journal; times in seconds, sizes in bytes."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        commit, journal, connections = self.commit, self.journal, self.connections
        figures: list[tuple[str, object]] = [
            ("pid", os.getpid()),
            ("uptime", int(time.time() - self.started)),
            ("time", int(time.time())),
            ("version", __version__),
            ("python", platform.python_version()),
            ("compiled", "yes" if is_compiled() else "no"),
            ("tornado", tornado.version),
            ("event_loop", type(asyncio.get_running_loop()).__module__.partition(".")[0]),
            ("pointer_size", 64 if sys.maxsize > 1 << 32 else 32),
            ("rusage_user", usage.ru_utime),
            ("rusage_system", usage.ru_stime),
            ("max_connections", connections.most),
            ("curr_connections", len(connections)),
            ("total_connections", connections.total),
            ("rejected_connections", connections.refused),
            ("listen_disabled_num", self._listeners.waits),
            ("idle_kicks", connections.idle_kicks),
            ("command_timeouts", connections.command_timeouts),
            ("auth_timeouts", 0 if connections.doorway is None else connections.doorway.timeouts),
            ("tls_handshake_errors", self._listeners.failed_handshakes),
            ("bytes_read", self.service.bytes_read),
            ("bytes_written", commit.bytes_written),
            ("limit_maxbytes", self.options.max_bytes),
            ("threads", 1),
            ("reliable", self.options.reliable),
            ("accepting_conns", int(not (self._is_ending() or self._listeners.is_waiting))),
            ("readonly", int(self.broker.readonly)),
            ("draining", int(self.broker.draining)),
            ("health", self.trouble() or "ok"),
        ]
        if journal is not None:
            figures += [
                ("journal_segments", journal.segment_count()),
                ("journal_bytes", journal.disk_bytes()),
                ("limit_journal_bytes", commit.max_disk),
                ("journal_live_items", journal.live_items),
                ("journal_live_bytes", journal.live_bytes),
                ("journal_frames", journal.frames),
                ("journal_syncs", journal.syncs),
            ]
        if commit.compactor is not None:
            figures += [
                ("journal_compacted_segments", commit.compactor.compacted_segments),
                ("journal_copied_items", commit.compactor.copied_items),
                ("memory_bytes", self.broker.hot_cost()),
            ]
        return figures

    @staticmethod
    def cpu_seconds() -> float:
        """CPU time that the process has taken."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def trouble(self) -> str:
        """What is wrong with the journal, in words; empty where nothing is."""
        compactor = self.commit.compactor
        broker = self.broker
        return broker.failure or broker.shortage or broker.over_limit or (compactor.failure if compactor else "")

    def settings(self) -> Iterator[tuple[str, object]]:
        """The options in force, as one would write them."""
        for name, value in asdict(self.options).items():
            yield name, written(value)

    def of_connections(self) -> Iterator[tuple[str, object]]:
        """A few figures for each connection, their names behind its number and a colon."""
        for connection in self.connections:
            session = connection.session
            yield f"{connection.number}:addr", connection.describe()
            yield f"{connection.number}:reserved", sum(map(len, session.consumer.held.values()))
            yield f"{connection.number}:waiting", int(session.waiter is not None)

    def reset(self) -> None:
        """Count from zero."""
        self.service.counters.reset()
        self.connections.reset()
        self.service.bytes_read = self.commit.bytes_written = 0
        self.broker.total_items = 0


def resident_bytes() -> int:
    """Bytes of memory that the process has, by what the system tells; at their highest where it tells no more."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
