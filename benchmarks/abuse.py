"""What clients that behave badly do to the others: the p99 of well-behaved ones, alone and beside each kind of abuse.

A few clients put, take and acknowledge items at a moderate pace, and note how long
each answer takes. They do so alone, and beside each kind of
:mod:`benchmarks.attackers`, in turns: a round has every kind once, and figures
are medians over the rounds, those of the ratios of the p99 to that of the same
round's client alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import interrupts
from benchmarks.attackers import KINDS, attack
from benchmarks.servers import OURS, Server, ServerError, Setting, existing_directory
from benchmarks.table import table
from tests.server_process import Wire

ALONE = "alone"
CLIENTS = 10
PERIOD = 0.001
"""Seconds between two requests of the well-behaved clients together."""
SETTLE_SECONDS = 1.0
LIMIT = 2.0


def answer_times(address: tuple[str, int], seconds: float) -> list[float]:
    """How long the answers to well-behaved clients take, sorted."""
    body = b"x" * 64
    times = []
    clock = time.perf_counter
    with ExitStack() as stack:
        clients = [stack.enter_context(Wire(*address)) for _ in range(CLIENTS)]
        until = clock() + seconds
        while clock() < until:
            for number, client in enumerate(clients):
                queue = b"good%d" % number
                for request, last in (
                    (b"set %s 0 0 64\r\n%s\r\n" % (queue, body), b"STORED"),
                    (b"get %s\r\n" % queue, b"END"),
                    (b"delete %s\r\n" % queue, b"DELETED"),
                ):
                    sent = clock()
                    client.send(request)
                    while (line := client.line()) != last:
                        if not (line == body or line.startswith(b"VALUE")):
                            raise ServerError(f"{request!r} was answered by {line!r}")
                    times.append(clock() - sent)
                    time.sleep(PERIOD)
    return sorted(times)


def main() -> int:
    """Print the table.

    :returns: the exit status: 1 where something is slower than it may be
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each is measured in a round (default: 3)")
    parser.add_argument("--only", action="append", choices=sorted(KINDS), help="this kind of abuse; may be repeated")
    parser.add_argument("--reliable", default="yes", choices=("no", "yes", "sync"), help="of the server (default: yes)")
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="as root: server and measuring clients go before everything else, where others use the machine, too",
    )
    parser.add_argument("--directory", type=existing_directory, default=None, help="where the journal goes")
    arguments = parser.parse_args()
    interrupts.install()
    cpus = sorted(os.sched_getaffinity(0))
    own, other = (cpus[0], cpus[-1]) if len(cpus) > 1 else (None, None)
    kinds = arguments.only or list(KINDS)
    columns: dict[str, list[tuple[float, float, float, float]]] = {kind: [] for kind in (ALONE, *kinds)}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.directory)))
        setting = Setting(OURS, arguments.reliable, (f"--reliable={arguments.reliable}",))
        server = stack.enter_context(Server(setting, directory / "log", own))
        if arguments.realtime:
            os.sched_setscheduler(server.pid, os.SCHED_RR, os.sched_param(1))
        if other is not None:
            os.sched_setaffinity(0, {other})
        for _ in range(arguments.rounds):
            base = 0.0
            for kind, column in columns.items():
                with attack([kind] if kind != ALONE else [], server.address, other):
                    time.sleep(SETTLE_SECONDS)
                    if arguments.realtime:
                        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
                    cpu, started = server.cpu_seconds(), time.monotonic()
                    times = answer_times(server.address, arguments.seconds)
                    busy = (server.cpu_seconds() - cpu) / (time.monotonic() - started)
                    if arguments.realtime:
                        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
                p99 = times[len(times) * 99 // 100]
                base = base or p99
                column.append((times[len(times) // 2], p99, p99 / base, busy))
                _flush(server)
    rows = []
    for kind, column in columns.items():
        p50, p99, ratio, busy = (statistics.median(values) for values in zip(*column, strict=True))
        rows.append((kind, f"{p50 * 1e6:.0f}", f"{p99 * 1e6:.0f}", f"{ratio:.2f}", f"{busy * 100:.0f}"))
    print(table(("beside", "p50 us", "p99 us", "ratio of p99", "server busy %"), rows))
    return int(any(float(row[3]) > LIMIT for row in rows))


def _flush(server: Server) -> None:
    """Forget what a flood has left."""
    with Wire(*server.address) as wire:
        wire.ask(b"flush_all")


if __name__ == "__main__":
    sys.exit(main())
