"""Celery on RedQueue, and with the same settings on the redis-server and rabbitmq-server that are installed here.

``python -m benchmarks.celery``; README.md says what is measured.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from benchmarks import rabbitmq, servers
from benchmarks.rabbitmq import RabbitMQ
from benchmarks.servers import HOST, OURS, ROOT, Server, ServerError, Setting
from benchmarks.table import table

WORKER_SECONDS = 120.0
MEASURES = ("publish", "run", "round trip")
_PUBLISH = """
import sys, time
from benchmarks.celery_app import mark
mark.delay()
begin = time.perf_counter()
for _ in range(int(sys.argv[1])):
    mark.delay()
print(time.perf_counter() - begin)
"""
_ROUND_TRIPS = """
import os, statistics, sys, time
from benchmarks.celery_app import mark
marks = os.environ["BENCH_MARKS"]
times = []
for _ in range(int(sys.argv[1])):
    before = os.stat(marks).st_size
    begin = time.perf_counter()
    mark.delay()
    while os.stat(marks).st_size == before:
        time.sleep(0.0002)
    times.append(time.perf_counter() - begin)
print(statistics.median(times))
"""


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.celery", description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000, help="tasks of a round (default 5000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each with all brokers in turn (default 3)")
    parser.add_argument("--concurrency", type=int, default=2, help="child processes of the worker (default 2)")
    parser.add_argument("--only", choices=BROKERS, action="append", help="this broker alone; may be repeated")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = {}
    for number in range(arguments.rounds):
        for name in arguments.only or BROKERS:
            version = BROKERS[name][0]()
            if version is None:
                if number == 0:
                    print(f"{name} is not measured; it takes: {BROKERS[name][2]}", file=sys.stderr)
                continue
            found = _measure(name, arguments.tasks, arguments.concurrency)
            print(f"round {number + 1}, {name} {version}: {found}", file=sys.stderr, flush=True)
            for measure, value in found.items():
                figures.setdefault(f"{name} {version}", {}).setdefault(measure, []).append(value)
    print(_table(figures))
    return 0


def _table(figures: dict[str, dict[str, list[float]]]) -> str:
    medians = {name: {m: statistics.median(values) for m, values in found.items()} for name, found in figures.items()}
    ours = next(iter(medians.values()))
    rows = []
    for name, found in medians.items():
        rows.append(
            [
                name,
                f"{found['publish']:,.0f}",
                f"{found['run']:,.0f}",
                f"{found['round trip'] * 1000:.1f} ms",
                f"{found['publish'] / ours['publish']:.2f}",
                f"{found['run'] / ours['run']:.2f}",
                f"{found['round trip'] / ours['round trip']:.2f}",
            ]
        )
    return table(("broker", "published/s", "run/s", "round trip", *(f"{m}, ratio" for m in MEASURES)), rows)


def _measure(name: str, tasks: int, concurrency: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="redqueue-celery-") as place, BROKERS[name][1](Path(place) / "data") as url:
        marks = Path(place) / "marks"
        marks.touch()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_BROKER": url, "BENCH_MARKS": str(marks)}
        published = float(_run(_PUBLISH, tasks, environment))
        with _worker(Path(place) / "worker.log", concurrency, environment):
            first = tasks // 10
            _wait(lambda: marks.stat().st_size >= first, "the first tasks")
            begin, begun = time.perf_counter(), marks.stat().st_size
            _wait(lambda: marks.stat().st_size >= tasks + 1, "all tasks")
            run = (tasks + 1 - begun) / (time.perf_counter() - begin)
            round_trip = float(_run(_ROUND_TRIPS, 100, environment))
    return {"publish": tasks / published, "run": run, "round trip": round_trip}


def _run(program: str, count: int, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", program, str(count)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=ROOT).stdout


@contextmanager
def _worker(log: Path, concurrency: int, environment: dict[str, str]) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "benchmarks.celery_app", "worker", f"-c{concurrency}"),
                *("-l", "warning", "--without-mingle", "--without-gossip", "--without-heartbeat"),
            ],
            stdout=out,
            stderr=out,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        yield
    except ServerError:
        print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
        raise
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WORKER_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"the worker has not done {what} within {WORKER_SECONDS:g} s")
        time.sleep(0.01)


@contextmanager
def _redqueue(directory: Path) -> Iterator[str]:
    with Server(Setting(OURS, "reliable=yes", ("--reliable=yes",)), directory, None) as server:
        yield f"redqueue://{HOST}:{server.port}//"


@contextmanager
def _redis(directory: Path) -> Iterator[str]:
    with Server(Setting("redis", "appendfsync everysec", ("--appendfsync", "everysec")), directory, None) as server:
        yield f"redis://{HOST}:{server.port}/0"


@contextmanager
def _rabbitmq(directory: Path) -> Iterator[str]:
    with RabbitMQ(directory) as broker:
        yield broker.url


BROKERS = {
    "redqueue": (lambda: servers.version(OURS), _redqueue, ""),
    "redis-server": (
        lambda: servers.version("redis") if find_spec("redis") else None,
        _redis,
        "apt-get install redis-server; pip install redis",
    ),
    "rabbitmq-server": (rabbitmq.version, _rabbitmq, "apt-get install rabbitmq-server"),
}
"""By name: its version, None where something is missing; how one is started; what installs what it needs."""

if __name__ == "__main__":
    sys.exit(main())
