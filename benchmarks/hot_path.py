"""CPU per request from bytes in to reply out, without sockets: the part of the hot path that is ours.

Connections with a transport that swallows what it is given are fed set, get and
delete; the journal is a real one in a temporary directory. Prints microseconds
per request for several numbers of connections a tick.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from redqueue.engine.broker import Broker
from redqueue.engine.clock import Clock
from redqueue.engine.journal import NullJournal
from redqueue.engine.settings import QueueSettings
from redqueue.journal.log import Log
from redqueue.journal.recovery import Recovered
from redqueue.journal.worker import Worker
from redqueue.protocol.commands import CODECS, COMMANDS
from redqueue.protocol.request import Requests
from redqueue.protocol.service import Service
from redqueue.server.connection import Connection, Connections
from redqueue.server.daemon import settle_garbage_collector
from redqueue.server.group_commit import GroupCommit

REPEATS = 15


class Sink:
    """A transport that swallows everything."""

    def __init__(self) -> None:
        self._null = open(os.devnull, "wb")  # noqa: SIM115

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing."""

    def write(self, data: bytes) -> None:
        """Nothing."""

    def get_extra_info(self, name: str) -> object:
        """A file that swallows everything, for the socket."""
        return self._null if name == "socket" else None


def measure(connections: int, rounds: int, directory: Path | None) -> float:
    """Microseconds of CPU per request: the best of several runs, since whatever else runs only adds."""
    clock = Clock()
    journal = None
    if directory is not None:
        worker = Worker(lambda call: None)
        journal = Log(directory, Recovered(), segment_size=1 << 30, sync=False, wall_ns=time.time_ns, worker=worker)
    broker = Broker(QueueSettings(), clock, journal or NullJournal())
    soon: list[Callable[[], None]] = []
    service = Service(broker, Requests(COMMANDS, 1 << 20), None, CODECS)  # type: ignore[arg-type]
    commit = GroupCommit(soon.append, service, journal)
    registry = Connections(0)
    clients = []
    for _ in range(connections):
        client = Connection(service, commit, registry)
        client.connection_made(Sink())  # type: ignore[arg-type]
        clients.append(client)
    lines = (b"set q 0 0 64\r\n" + b"x" * 64 + b"\r\n", b"get q\r\n", b"delete q\r\n")
    settle_garbage_collector()
    best = math.inf
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in range(rounds):
            for line in lines:
                for client in clients:
                    client.data_received(line)
                soon.pop()()
        best = min(best, time.process_time() - start)
    return best * 1e6 / (rounds * 3 * connections)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=30_000, help="requests in each run")
    arguments = parser.parse_args()
    print("connections a tick   reliable=no   reliable=yes   (us of CPU per request)")
    for connections in (1, 5, 10, 50):
        rounds = arguments.requests // 3 // connections
        with tempfile.TemporaryDirectory() as directory:
            memory = measure(connections, rounds, None)
            disk = measure(connections, rounds, Path(directory))
        print(f"{connections:18}   {memory:11.2f}   {disk:12.2f}")


if __name__ == "__main__":
    main()
