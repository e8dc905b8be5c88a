"""The server without sockets, threads and clocks: every step of it happens when a test says so.

All parts but those are real: sessions, connections, group commit, broker, journal,
compaction and recovery, on real files.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path

from redqueue.engine.broker import Broker
from redqueue.engine.clock import ManualClock
from redqueue.engine.settings import QueueSettings
from redqueue.journal.log import Log
from redqueue.journal.recovery import Recovered, Recovery
from redqueue.protocol.commands import CODECS, COMMANDS
from redqueue.protocol.request import Requests
from redqueue.protocol.service import Service
from redqueue.server.connection import Connection, Connections
from redqueue.server.group_commit import GroupCommit
from tests.protocol.conversation import FakeHost

Call = Callable[[], None]
Done = Callable[[BaseException | None], None]


class StepWorker:
    """Does a job when it is told to, in the caller's thread."""

    def __init__(self, calls: deque[Call]) -> None:
        self._calls = calls
        self.jobs: deque[tuple[Call, Done | None]] = deque()

    def submit(self, job: Call, done: Done | None = None) -> None:
        """As :meth:`redqueue.journal.worker.Worker.submit`."""
        self.jobs.append((job, done))

    def step(self) -> None:
        """Do the next job."""
        job, done = self.jobs.popleft()
        error: BaseException | None = None
        try:
            job()
        except OSError as caught:  # anything else is a defect, of the server or of a test
            error = caught
        if done is not None:
            self._calls.append(lambda: done(error))

    def close(self) -> None:
        """Do all that is left."""
        while self.jobs:
            self.step()


class Client:
    """One connection: a transport that keeps what is written to it."""

    def __init__(self, server: InProcessServer) -> None:
        self.server = server
        self.received = b""
        self.connection = Connection(server.service, server.commit, server.connections)
        self.connection.connection_made(self)  # type: ignore[arg-type]
        self.is_open = True

    def send(self, data: bytes) -> None:
        """Bytes arrive at the server; nothing is answered before it runs."""
        self.connection.data_received(data)

    def take(self) -> bytes:
        """What has been answered since the last time."""
        received, self.received = self.received, b""
        return received

    def ask(self, data: bytes) -> bytes:
        """Send, let the server run until it rests, and return what has been answered."""
        self.send(data)
        self.server.run()
        return self.take()

    def put(self, queue: bytes, body: bytes, exptime: int = 0, flags: int = 0) -> bytes:
        """``set``; returns the answer."""
        return self.ask(b"set %s %d %d %d\r\n%s\r\n" % (queue, flags, exptime, len(body), body))

    def get(self, key: bytes, verb: bytes = b"get") -> bytes | None:
        """The body that a get returns, or None."""
        return body_of(self.ask(b"%s %s\r\n" % (verb, key)))

    # -- the transport's side -------------------------------------------------------

    def get_extra_info(self, name: str) -> None:
        """Nothing."""

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing."""

    def get_write_buffer_size(self) -> int:
        """Everything is sent at once."""
        return 0

    def write(self, data: bytes) -> None:
        """The server answers."""
        self.received += data

    def pause_reading(self) -> None:
        """Nothing."""

    def resume_reading(self) -> None:
        """Nothing."""

    def can_write_eof(self) -> bool:
        """No lingering."""
        return False

    def close(self) -> None:
        """The connection ends, from either side."""
        if self.is_open:
            self.is_open = False
            self.connection.connection_lost(None)

    abort = close


def body_of(answer: bytes) -> bytes | None:
    """The body in the answer to a get of one queue; None for a miss."""
    if answer == b"END\r\n":
        return None
    line, _, rest = answer.partition(b"\r\n")
    assert line.startswith(b"VALUE "), answer
    size = int(line.split(b" ")[3])
    assert rest[size:] == b"\r\nEND\r\n", answer
    return rest[:size]


class InProcessServer:
    """A server on the journal in ``directory``.

    :param order: chooses which of the loop and the two workers does the next step; None for the loop first
    """

    def __init__(
        self,
        directory: Path,
        *,
        sync: bool = False,
        segment_size: int = 4096,
        memory: int = 0,
        clock: ManualClock | None = None,
        settings: QueueSettings | None = None,
        order: random.Random | None = None,
    ) -> None:
        self.directory = directory
        self.clock = clock or ManualClock()
        self.calls: deque[Call] = deque()
        self.worker, self.reader = StepWorker(self.calls), StepWorker(self.calls)
        self._order = order
        self.recovered: Recovered = Recovery(directory, now=self.clock.wall).run()
        self.log = Log(
            directory,
            self.recovered,
            segment_size=segment_size,
            sync=sync,
            wall_ns=lambda: self.clock.wall,
            worker=self.worker,  # type: ignore[arg-type]
            reader=self.reader,  # type: ignore[arg-type]
        )
        self.broker = Broker(settings or QueueSettings(), self.clock, self.log, memory)
        self.broker.last_id = self.recovered.last_id
        for name, queue in self.recovered.queues.items():
            self.broker.open(name).restore_items(queue.ids, queue.heads, queue.bytes, queue.all_fields, queue.mortal)
        self.service = Service(self.broker, Requests(COMMANDS, 1 << 20), FakeHost(), CODECS)
        self.connections = Connections(0)
        self.commit = GroupCommit(self.calls.append, self.service, self.log)

    def connect(self) -> Client:
        """A new client."""
        return Client(self)

    # -- steps ------------------------------------------------------------------------

    def step(self) -> bool:
        """One call of the loop, or one job of a worker; returns False where nothing is left to do."""
        ready: list[Call] = []
        if self.calls:
            ready.append(lambda: self.calls.popleft()())
        ready += [worker.step for worker in (self.worker, self.reader) if worker.jobs]
        if not ready:
            return False
        (self._order.choice(ready) if self._order else ready[0])()
        return True

    def run(self) -> None:
        """Step until it rests."""
        for _ in range(200_000):
            if not self.step():
                return
        raise AssertionError("the server never comes to rest")

    def pass_time(self, seconds: float = 1.0) -> None:
        """Time passes, then what is due happens: deadlines, the sync, what has failed is tried again."""
        self.clock.advance(seconds)
        self.fire()

    def fire(self) -> None:
        """What is due happens."""
        while self.broker.deadlines.fire(self.clock.now):
            pass
        self.run()
        self.commit.sync()
        self.run()
        self.commit.maintain()
        self.run()

    def health(self) -> str:
        """What is wrong, in words, or ok."""
        assert self.commit.compactor is not None
        return self.broker.failure or self.broker.shortage or self.commit.compactor.failure or "ok"

    def tidy_up(self) -> None:
        """Let compaction and the removal of segments come to an end."""
        for _ in range(5):
            self.pass_time(0.001)

    # -- ends ---------------------------------------------------------------------------

    def close(self) -> None:
        """SIGTERM."""
        self.commit.when_idle(self._end)
        self.run()

    def _end(self) -> None:
        self.commit.end()
        if self.broker.failure:
            self.log.abandon()
        else:
            self.log.close()

    def kill(self) -> None:
        """kill -9: nothing that waits is done any more."""
        self.worker.jobs.clear()
        self.reader.jobs.clear()
        self.log.abandon()
