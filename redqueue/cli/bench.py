"""``redqueue bench``: how fast a server answers, from here."""

from __future__ import annotations

import argparse
import json
import os
import selectors
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from redqueue.cli.command import GOOD, PARTLY, CommandFailed, SubParsers, add_command
from redqueue.cli.connection import Answer, Connection
from redqueue.cli.ending import Ending, ending
from redqueue.cli.server_options import ENVIRONMENT, STATUSES, Server, add_json, add_server_options, whole
from redqueue.cli.terminal import print_table

TTL = 3600
"""Seconds after which nothing is left of a bench that was killed."""

DESCRIPTION = """
Put items into a queue of its own, reserve them and acknowledge them, over several connections, each of which has one
request under way; then print how many requests a second that were, and how long they took: the median, and what 99 of
100 did not exceed. It shows what this server does for this client, network and all; the load generator is one process
of Python, which may well be the slower of the two.

The queue is gone afterwards, whatever happens; the items of a bench that was killed expire within an hour.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "bench",
        run,
        summary="measure how fast the server answers",
        description=DESCRIPTION,
        epilog=STATUSES + ENVIRONMENT,
    )
    parser.add_argument("-n", "--count", metavar="N", type=whole(1), default=20_000, help="so many items")
    parser.add_argument("-c", "--connections", metavar="N", type=whole(1), default=10, help="over so many connections")
    parser.add_argument("--size", metavar="BYTES", type=whole(0), default=64, help="bytes of a payload")
    add_json(parser)
    add_server_options(parser)


@dataclass
class Figures:
    """What was measured of one kind of request.

    :ivar seconds: that each request took
    :ivar errors: requests that did not do what they were to do
    :ivar duration: seconds from the first request to the last answer
    """

    seconds: array[float] = field(default_factory=lambda: array("d"))
    errors: int = 0
    duration: float = 0.0

    def fields(self) -> dict[str, float]:
        """For JSON; times are in milliseconds."""
        ordered = sorted(self.seconds)
        return {
            "requests": len(ordered),
            "per_second": round(len(ordered) / self.duration, 1) if self.duration else 0.0,
            "p50_ms": round(1000 * percentile(ordered, 50), 3),
            "p99_ms": round(1000 * percentile(ordered, 99), 3),
            "max_ms": round(1000 * percentile(ordered, 100), 3),
            "errors": self.errors,
        }


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The value that so many percent do not exceed; 0 where there is none."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


def run(options: argparse.Namespace) -> int:
    """Measure, and tell."""
    server = Server(options)
    queue = b"redqueue-bench-%d-%d" % (os.getpid(), time.time_ns())
    with ExitStack() as stack, ending() as asked:
        connections = [stack.enter_context(server.connect()) for _ in range(min(options.connections, options.count))]
        stack.callback(_clean_up, server, queue)
        bench = _Bench(connections, queue, asked)
        bench.put(options.count, options.size)
        bench.take()
    phases = {"put": bench.puts, "reserve": bench.reserves, "acknowledge": bench.acknowledgements}
    if options.json:
        about = {"items": options.count, "connections": len(connections), "size": options.size}
        print(json.dumps(about | {name: figures.fields() for name, figures in phases.items()}))
    else:
        rows = []
        for name, figures in phases.items():
            fields = figures.fields()
            times = (f"{fields[column]:.3f}" for column in ("p50_ms", "p99_ms", "max_ms"))
            rows.append((name, f"{fields['requests']}", f"{fields['per_second']:.0f}", *times, f"{figures.errors}"))
        print_table(("", "requests", "per second", "p50 ms", "p99 ms", "max ms", "errors"), rows)
    return PARTLY if asked.is_asked_for or any(figures.errors for figures in phases.values()) else GOOD


def _clean_up(server: Server, queue: bytes) -> None:
    with server.connect() as connection:
        connection.ask(b"flush " + queue)
        with suppress(CommandFailed):  # drop is for those on the server's own machine
            connection.ask(b"drop " + queue)


Next = Callable[[Connection, "Answer | None"], "tuple[bytes, Figures] | None"]
"""What a connection sends, given the last answer, and where it counts; None for no more."""


class _Bench:
    def __init__(self, connections: list[Connection], queue: bytes, asked: Ending) -> None:
        self._connections = connections
        self._queue = queue
        self._asked = asked
        self.puts, self.reserves, self.acknowledgements = Figures(), Figures(), Figures()

    def put(self, count: int, size: int) -> None:
        """Put so many items of so many bytes."""
        request = b"ms %b %d T%d\r\n%b\r\n" % (self._queue, size, TTL, b"x" * size)
        left = count

        def following(connection: Connection, answer: Answer | None) -> tuple[bytes, Figures] | None:
            nonlocal left
            self.puts.errors += answer is not None and answer.code != b"HD"
            left -= 1
            return (request, self.puts) if left >= 0 else None

        self._run(following)

    def take(self) -> None:
        """Reserve and acknowledge until there is nothing left."""
        request = b"mg %b v c\r\n" % self._queue
        held = set[Connection]()

        def following(connection: Connection, answer: Answer | None) -> tuple[bytes, Figures] | None:
            if connection in held:
                held.remove(connection)
                self.acknowledgements.errors += answer is None or answer.code != b"HD"
            elif answer is not None and answer.code == b"EN":
                return None
            elif answer is not None:
                held.add(connection)
                return b"md %b C%b\r\n" % (self._queue, answer.flags[b"c"]), self.acknowledgements
            return request, self.reserves

        self._run(following)

    def _run(self, following: Next) -> None:
        """Keep every connection busy until there is nothing to send."""
        began = time.perf_counter()
        used: list[Figures] = []
        under_way: dict[Connection, tuple[float, Figures]] = {}
        with selectors.DefaultSelector() as selector:

            def send(connection: Connection, answer: Answer | None) -> None:
                step = None if self._asked.is_asked_for else following(connection, answer)
                if step is None:
                    if connection in under_way:
                        del under_way[connection]
                        selector.unregister(connection)
                    return
                request, counted = step
                if not any(counted is figures for figures in used):
                    used.append(counted)
                under_way[connection] = (time.perf_counter(), counted)
                connection.send(request)

            for connection in self._connections:
                selector.register(connection, selectors.EVENT_READ, connection)
                send(connection, None)
                if connection not in under_way:
                    selector.unregister(connection)
            while under_way:
                for key, _ in selector.select(self._connections[0].timeout):
                    connection = key.data
                    answer = connection.answer()
                    began_request, counted = under_way[connection]
                    counted.seconds.append(time.perf_counter() - began_request)
                    send(connection, answer)
        duration = time.perf_counter() - began
        for counted in used:
            counted.duration = duration
