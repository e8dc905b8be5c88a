"""CPU per request from bytes in to reply out, without sockets: the part of the hot path that is ours.

Connections with a transport that swallows what it is given are fed set, get and
delete, in classic words and in those of the meta commands, with and without
tokens; the journal is a real one in a temporary directory. Prints microseconds
per request for several numbers of connections a tick.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Dialect:
    """The three verbs in one protocol.

    :ivar delete: makes the acknowledgement of a reply to ``get``
    """

    set: bytes
    get: bytes
    delete: Callable[[bytes], bytes]


def _token(reply: bytes) -> bytes:
    return reply[: reply.index(b"\r")].rpartition(b" c")[2]


REPEATS = 15
PAYLOAD = b"x" * 64 + b"\r\n"

DIALECTS: dict[str, Dialect] = {
    "classic": Dialect(b"set q 0 0 64\r\n" + PAYLOAD, b"get q\r\n", lambda reply: b"delete q\r\n"),
    "meta": Dialect(b"ms q 64\r\n" + PAYLOAD, b"mg q v\r\n", lambda reply: b"md q\r\n"),
    "meta, by token": Dialect(b"ms q 64\r\n" + PAYLOAD, b"mg q v c\r\n", lambda reply: b"md q C%b\r\n" % _token(reply)),
}


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


def measure(dialect: Dialect, connections: int, rounds: int, directory: Path | None) -> float:
    """Microseconds of CPU per request: the best of several runs, since whatever else runs only adds.

    What a client does between two requests, to see a reply's token, is not counted.
    """
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
    settle_garbage_collector()
    best = math.inf
    for _ in range(REPEATS):
        spent = 0.0
        for _ in range(rounds):
            start = time.process_time()
            for client in clients:
                client.data_received(dialect.set)
            soon.pop()()
            for client in clients:
                client.data_received(dialect.get)
            between = time.process_time()
            deletes = [dialect.delete(client.session.out[-1]) for client in clients]
            resumed = time.process_time()
            soon.pop()()
            for client, line in zip(clients, deletes, strict=True):
                client.data_received(line)
            soon.pop()()
            spent += time.process_time() - resumed + between - start
        best = min(best, spent)
    return best * 1e6 / (rounds * 3 * connections)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=30_000, help="requests in each run")
    arguments = parser.parse_args()
    print("connections a tick   protocol         reliable=no   reliable=yes   (us of CPU per request)")
    for connections in (1, 5, 10, 50):
        rounds = arguments.requests // 3 // connections
        for name, dialect in DIALECTS.items():
            with tempfile.TemporaryDirectory() as directory:
                memory = measure(dialect, connections, rounds, None)
                disk = measure(dialect, connections, rounds, Path(directory))
            print(f"{connections:18}   {name:14}   {memory:11.2f}   {disk:12.2f}")


if __name__ == "__main__":
    main()
