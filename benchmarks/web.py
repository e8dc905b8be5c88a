"""What it costs everybody else when somebody asks over HTTP: the longest pause of the event loop for each request.

``python -m benchmarks.web --queues=10000`` fills so many queues and prints, for each
path, the server's own longest pause (:mod:`benchmarks.heartbeat`), the time until the answer is there, and its size.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.heartbeat import Pauses

ROOT = Path(__file__).resolve().parent.parent
PATHS = (
    "/livez",
    "/metrics",
    "/api/queues",
    "/api/queues?sort=bytes&order=desc&limit=500",
    "/api/queues?search=9&sort=consumers",
    "/api/server",
    "/api/queues/queue0/items",
)
START_SECONDS = 60
PUT_AT_ONCE = 500


@contextlib.contextmanager
def server(directory: Path, options: Sequence[str]) -> Iterator[tuple[int, str]]:
    """A running server with a heartbeat: its port, and host and port for HTTP."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.heartbeat", str(directory / "pauses")),
            *("--port=0", "--http_port=any", f"--logdir={directory / 'log'}", *options),
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stderr is not None
    try:
        log = ""
        for line in process.stderr:
            log += line
            found = re.search(r"ready on \S+:(\d+)\s.*web page is on http://([^/]+)/", log, re.DOTALL)
            if found:
                break
        else:
            raise SystemExit(f"the server does not start:\n{log}")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield int(found[1]), found[2]
    finally:
        process.kill()
        process.wait()


def fill(port: int, queues: int) -> None:
    """Put an item into each of so many queues."""
    with socket.create_connection(("127.0.0.1", port), START_SECONDS) as sock:
        for first in range(0, queues, PUT_AT_ONCE):
            names = range(first, min(queues, first + PUT_AT_ONCE))
            sock.sendall(b"".join(b"set queue%d 0 0 5 noreply\r\nhello\r\n" % name for name in names) + b"mn\r\n")
            while not sock.recv(1000).endswith(b"MN\r\n"):
                pass


def ask(place: str, path: str) -> tuple[float, int]:
    """Seconds until an answer is there, and its bytes as they travel."""
    connection = http.client.HTTPConnection(place, timeout=START_SECONDS)
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    body = response.read()
    taken = time.perf_counter() - begun
    connection.close()
    if response.status != 200:
        raise SystemExit(f"{path}: {response.status} {body!r}")
    return taken, len(body)


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--queues", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5, help="the worst of so many requests counts")
    parser.add_argument("options", nargs="*", help="options of the server, behind --")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="redqueue-benchmark-") as name:
        directory = Path(name)
        with server(directory, given.options) as (port, place):
            fill(port, given.queues)
            pauses = Pauses(directory / "pauses")
            print(f"| path, {given.queues:,} queues | longest pause, ms | answer, ms | kB |")
            print("| --- | ---: | ---: | ---: |")
            for path in PATHS:
                longest = slowest = 0.0
                size = 0
                for _ in range(given.rounds):
                    pauses.take()
                    taken, size = ask(place, path)
                    slowest = max(slowest, taken)
                    while pauses.count < 20:  # the heartbeat has gone on behind it
                        time.sleep(0.001)
                    longest = max(longest, pauses.take()[1])
                print(f"| `{path}` | {longest * 1000:.1f} | {slowest * 1000:.0f} | {size / 1000:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
