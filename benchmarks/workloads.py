"""What is measured: each workload, its servers and the columns of its table."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.load import Load, Outcome
from benchmarks.servers import OURS, Server, Setting

FILL_CONNECTIONS = 10
FILL_DEPTH = 50


@dataclass(frozen=True)
class Conditions:
    """Under which everything is measured.

    :ivar seconds: how long a load lasts
    :ivar items: how many items fill a server whose memory or recovery is measured
    :ivar directory: temporary directories for the journals are made in it
    :ivar server_cpu: the server's CPU; None: where the system likes
    :ivar load_cpus: those of the load's processes, one each
    """

    seconds: float
    items: int
    directory: Path
    server_cpu: int | None
    load_cpus: list[int]


@dataclass(frozen=True)
class Column:
    """One figure of a measurement.

    :ivar key: names it in the figures
    :ivar form: a format specification, of the language of :func:`format`
    :ivar ratio: heads a column of RedQueue's ratio to each peer; empty: there is none
    :ivar less_is_better: turns the ratio round, so that above 1 is always in RedQueue's favour
    """

    key: str
    heading: str
    form: str
    ratio: str = ""
    less_is_better: bool = False


@dataclass(frozen=True)
class Figures:
    """A measurement of one server in one round.

    :ivar values: by the key of their column
    :ivar errors: what went wrong
    """

    values: dict[str, float]
    errors: list[str]


@dataclass(frozen=True)
class Workload:
    """Something to measure.

    :ivar settings: RedQueue's first
    :ivar measure: measures one of them once
    """

    name: str
    title: str
    settings: tuple[Setting, ...]
    columns: tuple[Column, ...]
    measure: Callable[[Setting, Conditions], Figures]


LOAD_COLUMNS = (
    Column("rate", "requests/s", ",.0f", "requests/s"),
    Column("cpu", "server CPU us/request", ".2f", "requests/CPU s", less_is_better=True),
    Column("busy", "server busy %", ".0f"),
    Column("p50", "p50 us", ",.0f"),
    Column("p99", "p99 us", ",.0f"),
)
MEMORY_COLUMNS = (
    Column("item", "bytes of RSS an item", ",.0f", "items/byte", less_is_better=True),
    Column("empty", "RSS empty, MB", ",.1f"),
    Column("full", "RSS full, MB", ",.1f"),
)
RECOVERY_COLUMNS = (
    Column("rate", "records/s", ",.0f"),
    Column("records", "records", ",.0f"),
    Column("seconds", "seconds", ".2f"),
)


class _Watch:
    """The kernel's figures of a server around a load, and whether the items add up."""

    def __init__(self, setting: Setting, directory: Path, task: Load, conditions: Conditions) -> None:
        with Server(setting, directory, conditions.server_cpu) as server:
            self._server = server
            self.outcome: Outcome = load.run(task, setting.name, server.address, conditions.load_cpus, self._before)
            self.cpu = server.cpu_seconds() - self._cpu
            self.full = server.resident_bytes()
            self.errors = list(self.outcome.errors)
            due = self.outcome.requests if task.kind == "puts" else 0
            if not self.errors and (items := server.items()) != due:
                self.errors.append(f"{items} items are left, {due} are due")

    def _before(self) -> None:
        self.empty = self._server.resident_bytes()
        self._cpu = self._server.cpu_seconds()


def _load_measurement(kind: str, connections: int, depth: int = 1) -> Callable[[Setting, Conditions], Figures]:
    def measure(setting: Setting, conditions: Conditions) -> Figures:
        task = Load(kind, connections, depth, conditions.seconds)
        with tempfile.TemporaryDirectory(prefix="redqueue-benchmark-", dir=conditions.directory) as scratch:
            watch = _Watch(setting, Path(scratch) / "journal", task, conditions)
        outcome = watch.outcome
        latencies = sorted(outcome.latencies)
        if not latencies:
            return Figures({}, watch.errors or ["no request was answered"])
        seconds = outcome.ended - outcome.begun
        values = {
            "rate": outcome.requests / seconds,
            "cpu": watch.cpu * 1e6 / outcome.requests,
            "busy": watch.cpu * 100 / seconds,
            "p50": latencies[len(latencies) // 2] * 1e6,
            "p99": latencies[len(latencies) * 99 // 100] * 1e6,
        }
        return Figures(values, watch.errors)

    return measure


def _fill(setting: Setting, directory: Path, conditions: Conditions) -> _Watch:
    batches = max(1, round(conditions.items / FILL_CONNECTIONS / FILL_DEPTH))
    return _Watch(setting, directory, Load("puts", FILL_CONNECTIONS, FILL_DEPTH, batches=batches), conditions)


def _measure_memory(setting: Setting, conditions: Conditions) -> Figures:
    with tempfile.TemporaryDirectory(prefix="redqueue-benchmark-", dir=conditions.directory) as scratch:
        watch = _fill(setting, Path(scratch) / "journal", conditions)
    if not watch.outcome.requests:
        return Figures({}, watch.errors)
    values = {
        "item": (watch.full - watch.empty) / watch.outcome.requests,
        "empty": watch.empty / (1 << 20),
        "full": watch.full / (1 << 20),
    }
    return Figures(values, watch.errors)


def _measure_recovery(setting: Setting, conditions: Conditions) -> Figures:
    with tempfile.TemporaryDirectory(prefix="redqueue-benchmark-", dir=conditions.directory) as scratch:
        directory = Path(scratch) / "journal"
        watch = _fill(setting, directory, conditions)
        with Server(setting, directory, conditions.server_cpu) as server:
            line = re.search(
                r": (\d+) items in \d+ queues from (\d+) records in \d+ segments, in ([\d.]+) s", server.log
            )
            items = server.items()
    if line is None:
        return Figures({}, [*watch.errors, "the log does not say what was recovered"])
    errors = watch.errors
    if not int(line[1]) == items == watch.outcome.requests:
        errors.append(f"{items} items recovered, {watch.outcome.requests} are due")
    records, seconds = int(line[2]), float(line[3])
    step = 10.0 ** -len(line[3].partition(".")[2])  # a time below what the log resolves counts as the least it can say
    return Figures({"rate": records / max(seconds, step), "records": records, "seconds": seconds}, errors)


_CACHE = Setting("memcached", "-t 1 -m 1024", ("-t", "1", "-m", "1024"))
_RELIABLE = Setting(OURS, "reliable=yes", ("--reliable=yes",))
_SYNC = Setting(OURS, "reliable=sync", ("--reliable=sync",))
_BEANSTALK = Setting("beanstalkd", "-b")
_BEANSTALK_SYNC = Setting("beanstalkd", "-b -f0", ("-f", "0"))
_REDIS = Setting("redis", "appendfsync everysec", ("--appendfsync", "everysec"))
_REDIS_SYNC = Setting("redis", "appendfsync always", ("--appendfsync", "always"))


def _cycle(connections: int) -> Workload:
    return Workload(
        f"cycle-{connections}",
        f"set-get-delete of 64 bytes, {connections} connections",
        (_RELIABLE, _CACHE, _BEANSTALK, _REDIS),
        LOAD_COLUMNS,
        _load_measurement("cycle", connections),
    )


def _durable(connections: int) -> Workload:
    return Workload(
        f"durable-{connections}",
        f"durable sets of 64 bytes, each synced before its reply, {connections} connections",
        (_SYNC, _BEANSTALK_SYNC, _REDIS_SYNC),
        LOAD_COLUMNS,
        _load_measurement("puts", connections),
    )


WORKLOADS = (
    _cycle(10),
    _cycle(50),
    Workload(
        "pipelined",
        "pipelined sets of 64 bytes, 10 connections, 50 deep",
        (_RELIABLE, _CACHE, _REDIS),
        LOAD_COLUMNS,
        _load_measurement("puts", 10, 50),
    ),
    _durable(50),
    _durable(500),
    Workload(
        "memory", "memory of queued items of 64 bytes", (_RELIABLE, _BEANSTALK, _REDIS), MEMORY_COLUMNS, _measure_memory
    ),
    Workload("recovery", "recovery of a queue of items of 64 bytes", (_RELIABLE,), RECOVERY_COLUMNS, _measure_recovery),
)
"""In the order in which they are run."""
