"""Measure what a long backlog costs: memory, speed, disk, recovery and pauses. README.md says how to read it."""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import interrupts, mixtures, servers
from benchmarks.dialects import ReplyError
from benchmarks.heartbeat import Pauses
from benchmarks.load import LoadError
from benchmarks.mixtures import MIXTURES, Disk
from benchmarks.pipeline import BATCH, Pipeline
from benchmarks.probe import Probe
from benchmarks.servers import OURS, Server, ServerError, Setting
from benchmarks.table import table

FAILED, INTERRUPTED = 1, 130
SIZES = (64, 1024)
"""Bytes of payload of an item."""
MEMORY = 16 << 20
ITEM_BYTES = 16
"""Bytes of RSS that an item which is not in memory may take."""
LONGEST_PAUSE = 0.050
LEAST_SPEED = 0.8
"""Of the speed at the least depth."""
RECOVERED_A_SECOND = 1_000_000
TURNOVER = 100_000
"""Items put and taken to measure the speed at a depth."""
BLOCK = 5000
"""Items put, and then as many taken, in a row; fewer where the queue is not so deep."""
SEGMENT_SIZES = (1 << 20, 64 << 20)
REST_SECONDS = 0.3
REST_LOAD = 0.15
"""A server that uses less of a CPU for so long has nothing left to do."""
SETTLE_SECONDS = 60.0
MB = 1 << 20


@dataclass(frozen=True)
class Conditions:
    """Under which everything is measured.

    :ivar items: how many a long backlog has
    :ivar rotations: how many segments are written in each mixture
    :ivar directory: temporary directories for the journals are made in it
    """

    items: int
    rotations: float
    directory: Path


@dataclass
class Section:
    """A table, as it grows.

    :ivar measure: fills it
    """

    name: str
    title: str
    headings: tuple[str, ...]
    measure: Callable[[Section, Conditions], None]
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """A line of the table."""
        print(f"{self.name}: {'; '.join(cells)}", file=sys.stderr, flush=True)
        self.rows.append([*cells])

    def text(self) -> str:
        """The table, with its title."""
        return f"## {self.name}: {self.title}\n\n{table(self.headings, self.rows)}"


class Measured(Server):
    """A server with a heartbeat in its event loop."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(Setting(OURS, "", options), directory, None)
        self._heartbeat = directory.with_name(directory.name + ".heartbeat")
        self.pauses = Pauses(self._heartbeat)

    def _command(self) -> list[str]:
        executable, _, *options = super()._command()
        return [executable, "-m", "benchmarks.heartbeat", str(self._heartbeat), *options]

    def rest(self) -> None:
        """Wait until it has nothing left to do."""
        deadline = time.monotonic() + SETTLE_SECONDS
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(REST_SECONDS)
            now = self.cpu_seconds()
            if now - before < REST_LOAD * REST_SECONDS:
                return
            before = now
        raise ServerError(f"the server is still at work {SETTLE_SECONDS:g} s after the load")

    def recovered(self) -> tuple[int, float]:
        """Records that it has replayed, and in how many seconds."""
        found = re.search(r" from (\d+) records in \d+ segments, in ([\d.]+) s", self.log)
        if found is None:
            raise ServerError("the log does not say what was recovered")
        return int(found[1]), max(0.01, float(found[2]))


@contextmanager
def _scratch(conditions: Conditions) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="redqueue-benchmark-", dir=conditions.directory) as directory:
        yield Path(directory)


@contextmanager
def _pipeline(server: Server, between: Callable[[], object] = lambda: None) -> Iterator[Pipeline]:
    with closing(Pipeline(server.address, between)) as connection:
        yield connection


class Watch:
    """What is measured around a load: pauses, as the loop and as a client sees them, and CPU.

    A context manager. ``idle`` is a server that does nothing: a client of it
    sees what the machine adds.
    """

    def __init__(self, server: Measured, idle: Server) -> None:
        self._server = server
        self._probe = Probe(server.address, idle.address)
        self._stack = ExitStack()

    def __enter__(self) -> Watch:
        self._stack.enter_context(self._probe)
        self.begin()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def begin(self) -> None:
        """What comes now is measured."""
        self._probe.take()
        self._server.pauses.take()
        self._begun = time.monotonic()
        self._cpu = self._server.cpu_seconds()

    def speed(self, requests: int) -> list[str]:
        """Requests a second since :meth:`begin`, and microseconds of CPU for each, all threads."""
        seconds, cpu = time.monotonic() - self._begun, self._server.cpu_seconds() - self._cpu
        return [f"{requests / seconds:,.0f}", f"{cpu * 1e6 / requests:.2f}"]

    def pauses(self) -> list[str]:
        """The cells of :data:`PAUSES`."""
        passed, own = self._server.pauses.take()
        seen, idle = self._probe.take()
        cells = [f"{seconds * 1e3:.1f}" for seconds in (own, passed, seen, idle)]
        return [*cells, _met(own <= LONGEST_PAUSE)]


PAUSES = ("pause ms", "with others' CPU ms", "client ms", "of an idle server ms", "at most 50 ms")


def _met(holds: bool) -> str:
    return "yes" if holds else "MISSED"


def _megabytes(count: float) -> str:
    return f"{count / MB:,.1f}"


# -- memory and recovery ----------------------------------------------------------------------


def _measure_memory(section: Section, conditions: Conditions) -> None:
    count = conditions.items
    allowed = MEMORY + ITEM_BYTES * count
    for size in SIZES:
        with _scratch(conditions) as scratch, Measured(scratch / "idle") as idle:
            directory, options = scratch / "journal", (f"--memory={MEMORY}",)

            def add(
                what: str,
                server: Measured,
                empty: int,
                watch: Watch,
                *,
                peak: bool,
                requests: int = 0,
                size: int = size,
            ) -> None:
                speed = watch.speed(requests) if requests else ["", ""]
                pauses = watch.pauses()
                server.rest()
                rss = (server.peak_bytes() if peak else server.resident_bytes()) - empty
                an_item = f"{rss / count:,.1f}"
                section.add(
                    f"{size} B: {what}",
                    _megabytes(empty),
                    _megabytes(rss),
                    an_item,
                    _met(rss <= allowed),
                    *speed,
                    *pauses,
                )

            with Measured(directory, *options) as server, Watch(server, idle) as watch:
                empty = server.resident_bytes()
                with _pipeline(server) as client:
                    client.put(b"q", range(count), size)
                add("peak of the fill", server, empty, watch, peak=True, requests=count)
                add("full", server, empty, watch, peak=False)
            with Measured(directory, *options) as server, Watch(server, idle) as watch:
                add("peak of a restart", server, empty, watch, peak=True)
                add("after a restart", server, empty, watch, peak=False)
                with _pipeline(server) as client:
                    watch.begin()
                    client.take(b"q", range(count), size)
                add("peak of draining", server, empty, watch, peak=True, requests=2 * count)
                add("drained", server, empty, watch, peak=False)
                if left := server.items():
                    raise ServerError(f"{left} items are left after the last")


def _measure_recovery(section: Section, conditions: Conditions) -> None:
    count, size = conditions.items, SIZES[0]
    for what, taken in (("all alive", 0), ("every second one acknowledged", count // 2)):
        with _scratch(conditions) as scratch:
            directory, options = scratch / "journal", (f"--memory={MEMORY}", "--segment_size=1gb")
            with Measured(directory, *options) as server, _pipeline(server) as client:
                empty = server.resident_bytes()
                for first in range(0, count, BLOCK):
                    numbers = range(first, min(count, first + BLOCK))
                    if taken:
                        client.put(b"kept", numbers[::2], size)
                        client.put(b"gone", numbers[1::2], size)
                        client.take(b"gone", numbers[1::2], size)
                    else:
                        client.put(b"kept", numbers, size)
            rates = []
            for _ in range(3):
                with Measured(directory, *options) as server:
                    records, seconds = server.recovered()
                    rates.append(records / seconds)
                    peak = server.peak_bytes() - empty
            with Measured(directory, *options) as server, _pipeline(server) as client:
                client.take(b"kept", range(0, count, 2) if taken else range(count), size)
                if left := server.items():
                    raise ServerError(f"{left} items are left after the last")
            section.add(
                what,
                f"{records:,}",
                f"{max(rates):,.0f}",
                f"{min(rates):,.0f}",
                _met(max(rates) >= RECOVERED_A_SECOND),
                _megabytes(peak),
                _met(peak <= MEMORY + ITEM_BYTES * count),
            )


# -- speed ------------------------------------------------------------------------------------------


def _measure_speed(section: Section, conditions: Conditions) -> None:
    depths = (100, 10_000, conditions.items)
    for size in SIZES:
        with _scratch(conditions) as scratch, ExitStack() as stack:
            idle = stack.enter_context(Measured(scratch / "idle"))
            turns = []
            for depth in depths:
                server = stack.enter_context(Measured(scratch / f"journal-{depth}", f"--memory={MEMORY}"))
                watch = stack.enter_context(Watch(server, idle))
                client = stack.enter_context(_pipeline(server))
                client.put(b"q", range(depth), size)
                turns.append(Turnover(server, watch, client, depth, size))
            for turn in turns:
                turn.server.rest()
                turn.watch.begin()
            for _ in range(TURNOVER // BLOCK):  # side by side, so that all have the same machine
                for turn in turns:
                    turn.run(BLOCK)
            for turn in turns:
                pauses = turn.watch.pauses()
                ratios = [one / other for one, other in zip(turns[0].costs(), turn.costs(), strict=True)]
                turn.finish()
                section.add(
                    f"{size} B, depth {turn.depth:,}",
                    *(f"{rate:,.0f}" for rate in turn.rates()),
                    *(f"{cost:.2f}" for cost in turn.costs()),
                    *(f"{ratio:.2f}" for ratio in ratios),
                    _met(min(ratios) >= LEAST_SPEED),
                    *pauses,
                )


class Turnover:
    """Puts and takes at a depth."""

    def __init__(self, server: Measured, watch: Watch, client: Pipeline, depth: int, size: int) -> None:
        self.server = server
        self.watch = watch
        self.depth = depth
        self._client = client
        self._size = size
        self._done = 0
        self._cpu: tuple[list[float], list[float]] = ([], [])
        self._passed = [0.0, 0.0]

    def run(self, count: int) -> None:
        """Put and take so many items, in blocks no longer than the queue is deep."""
        costs = [0.0, 0.0]
        block = min(count, self.depth)
        for _ in range(0, count, block):
            first, self._done = self._done, self._done + block
            put = range(self.depth + first, self.depth + first + block)
            for i, (work, numbers) in enumerate(
                ((self._client.put, put), (self._client.take, range(first, first + block)))
            ):
                before, begun = self.server.cpu_seconds(), time.monotonic()
                work(b"q", numbers, self._size)
                self._passed[i] += time.monotonic() - begun
                costs[i] += self.server.cpu_seconds() - before
        for each, cost in zip(self._cpu, costs, strict=True):
            each.append(cost / count)

    def costs(self) -> list[float]:
        """Microseconds of CPU for a put, and for a get with delete: the medians of the runs."""
        return [statistics.median(each) * 1e6 for each in self._cpu]

    def rates(self) -> list[float]:
        """Puts, and gets with deletes, in a second."""
        return [self._done / passed for passed in self._passed]

    def finish(self) -> None:
        """Take what is left.

        :raises ServerError: where more is left
        """
        self._client.take(b"q", range(self._done, self._done + self.depth), self._size)
        if left := self.server.items():
            raise ServerError(f"{left} items are left after the last")


# -- many queues ------------------------------------------------------------------------------------


def _measure_queues(section: Section, conditions: Conditions) -> None:
    size = SIZES[0]
    with _scratch(conditions) as scratch, Measured(scratch / "idle") as idle:
        for queues, each in ((200, conditions.items // 200), (2000, conditions.items // 2000)):
            names = [b"q%d" % i for i in range(queues)]
            directory = scratch / f"journal-{queues}"

            def add(what: str, server: Measured, empty: int, watch: Watch, requests: int) -> None:
                speed, pauses = watch.speed(requests), watch.pauses()
                server.rest()
                rss = server.resident_bytes() - empty
                section.add(what, _megabytes(rss), *speed, *pauses)

            with (
                Measured(directory, f"--memory={MEMORY}") as server,
                Watch(server, idle) as watch,
                _pipeline(server) as client,
            ):
                empty = server.resident_bytes()
                about = f"{queues:,} queues x {each:,}"
                for first in range(0, each, BATCH):
                    for name in names:
                        client.put(name, range(first, min(each, first + BATCH)), size)
                add(f"{about}: filled in turn", server, empty, watch, queues * each)
                busy = max(1, TURNOVER // 10 // each) * each
                watch.begin()
                for first in range(0, busy, each):
                    client.put(names[0], range(each + first, 2 * each + first), size)
                    client.take(names[0], range(first, first + each), size)
                add(f"{about}: one of them busy", server, empty, watch, 3 * busy)
                client.take(names[0], range(busy, busy + each), size)
                client.put(names[0], range(each), size)
                watch.begin()
                if queues == 200:
                    for name in names:
                        client.take(name, range(each), size)
                    add(f"{about}: drained one after the other", server, empty, watch, 2 * queues * each)
                else:
                    for first in range(0, each, BATCH):
                        for name in names:
                            client.take(name, range(first, min(each, first + BATCH)), size)
                    add(f"{about}: drained in turn", server, empty, watch, 2 * queues * each)
                if left := server.items():
                    raise ServerError(f"{left} items are left after the last")


# -- disk -------------------------------------------------------------------------------------------


def _measure_disk(section: Section, conditions: Conditions) -> None:
    for segment_size in SEGMENT_SIZES:
        for mixture in MIXTURES:
            with _scratch(conditions) as scratch, Measured(scratch / "idle") as idle:
                directory = scratch / "journal"
                with Measured(directory, f"--segment_size={segment_size}", f"--memory={MEMORY}") as server:
                    disk = Disk(directory, segment_size)
                    with Watch(server, idle) as watch, _pipeline(server, disk.sample) as client:
                        bytes_written = segment_size * min(conditions.rotations, mixture.rotations(segment_size))
                        requests = mixture.run(client, disk, int(bytes_written))
                        speed, pauses = watch.speed(requests), watch.pauses()
                    server.rest()
                    settled = disk.sample()
                    if (items := server.items()) != disk.items:
                        raise ServerError(f"{items} items are left, {disk.items} are due")
            section.add(
                f"{segment_size >> 20} MB segments: {mixture.title}",
                _megabytes(disk.live),
                _megabytes(disk.peak),
                f"{(disk.peak_excess + 2 * segment_size) / segment_size:.2f}",
                _met(disk.peak_excess <= 0),
                _megabytes(settled),
                _met(settled <= disk.allowed),
                *speed,
                *pauses,
            )


# -- pauses -----------------------------------------------------------------------------------------


def _measure_pauses(section: Section, conditions: Conditions) -> None:
    count, size = conditions.items, SIZES[0]
    for memory in ("16mb", "2gb"):
        for words in ("flush q", "flush_all"):
            for moved in (False, True):
                with _scratch(conditions) as scratch, Measured(scratch / "idle") as idle:
                    options = (f"--memory={memory}", f"--segment_size={16 << 20}")
                    with (
                        Measured(scratch / "journal", *options) as server,
                        Watch(server, idle) as watch,
                        _pipeline(server) as client,
                    ):
                        if moved:
                            mixtures.move(client, count, size)
                        else:
                            client.put(b"q", range(count), size)
                        server.rest()
                        watch.begin()
                        client.ask(words.encode() + b"\r\n", b"OK\r\n")
                        server.rest()
                        left = "moved by compaction, " if moved else ""
                        section.add(f"{words}, {count:,} items, {left}memory={memory}", *watch.pauses())
                        client.put(b"q", range(BATCH), size)
                        client.take(b"q", range(BATCH), size)
    with _scratch(conditions) as scratch, Measured(scratch / "idle") as idle:
        directory, options = scratch / "journal", (f"--memory={MEMORY}",)
        names = [b"q%d" % i for i in range(200)]
        with Measured(directory, *options) as server, _pipeline(server) as client:
            for name in names:
                client.put(name, range(count // 200), size)
        with Measured(directory, *options) as server, Watch(server, idle) as watch, _pipeline(server) as client:
            for name in names:
                client.take(name, range(1), size)
            section.add(f"first gets after a restart, 200 queues, {count:,} items", *watch.pauses())


SECTIONS = (
    Section(
        "memory",
        f"RSS of a queue with memory={MEMORY >> 20}mb over that of the empty server; every item checked",
        (
            "items of",
            "empty MB",
            "more MB",
            "bytes an item",
            f"at most {MEMORY >> 20} MB + {ITEM_BYTES} B an item",
            "requests/s",
            "CPU us/request",
            *PAUSES,
        ),
        _measure_memory,
    ),
    Section(
        "speed",
        f"put, and get with delete, at several depths with memory={MEMORY >> 20}mb; every item checked",
        (
            "items of",
            "puts/s",
            "gets/s",
            "CPU us/put",
            "CPU us/get",
            "put: speed by CPU",
            "get: speed by CPU",
            f"at least {LEAST_SPEED}",
            *PAUSES,
        ),
        _measure_speed,
    ),
    Section(
        "queues",
        f"many queues with memory={MEMORY >> 20}mb, {SIZES[0]} B an item; every item checked",
        ("queues", "RSS, more MB", "requests/s", "CPU us/request", *PAUSES),
        _measure_queues,
    ),
    Section(
        "recovery",
        f"replay of the journal in the page cache, {SIZES[0]} B an item; the best and the worst of three",
        (
            "items",
            "records",
            "records/s",
            "worst",
            f"at least {RECOVERED_A_SECOND:,}",
            "peak RSS, more MB",
            f"at most {MEMORY >> 20} MB + {ITEM_BYTES} B an item",
        ),
        _measure_recovery,
    ),
    Section(
        "disk",
        "what the journal takes on disk, and what lives in it",
        (
            "mixture",
            "live MB",
            "peak MB",
            "segments over 2 x live",
            "at most 2",
            "settled MB",
            "settled",
            "requests/s",
            "CPU us/request",
            *PAUSES,
        ),
        _measure_disk,
    ),
    Section("pauses", "the longest pause of the event loop", ("while", *PAUSES), _measure_pauses),
)
"""In the order in which they are run."""

NOTES = """\
pause: the longest of the event loop, less the time in which another process had the CPU; the next column has that
in. client: the longest answer to a client that asks for the version each millisecond, beside one that asks a server
which does nothing. CPU: of the server process and all its threads, by the kernel."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backlog", description=__doc__)
    parser.add_argument(
        "--items", type=_number(int, 4000), default=1_000_000, help="items of a long backlog (default 1000000)"
    )
    parser.add_argument(
        "--rotations", type=_number(float, 0), default=12.0, help="segments written in each mixture (default 12)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[section.name for section in SECTIONS],
        metavar="TABLE",
        help="measure this alone; may be repeated: " + ", ".join(section.name for section in SECTIONS),
    )
    parser.add_argument(
        "--directory",
        type=servers.existing_directory,
        default=Path(tempfile.gettempdir()),
        help="where the journals go, and are removed (default %(default)s)",
    )
    return parser


def _number(kind: type[int] | type[float], least: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"wants a number from {least:g} on, not {text!r}")
        return value

    return convert


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print.

    :returns: the exit status: 0, missed targets included; 1 where anything went wrong; 130 after a signal
    """
    options = _parser().parse_args(arguments)
    if not sys.platform.startswith("linux"):
        print("benchmarks.backlog needs Linux: /proc and the CPU clocks of other processes", file=sys.stderr)
        return FAILED
    interrupts.install()
    conditions = Conditions(options.items, options.rotations, options.directory)
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} CPUs"
    print(f"# A backlog of {conditions.items:,} items\n\n{system}; journals in {conditions.directory}", flush=True)
    try:
        for section in SECTIONS:
            if options.only and section.name not in options.only:
                continue
            section.measure(section, conditions)
            print("\n" + section.text(), flush=True)
    except (ServerError, LoadError, ReplyError, OSError) as error:
        print(f"{section.name}: {error}\n{section.text()}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"interrupted\n{section.text()}", file=sys.stderr)
        return INTERRUPTED
    print("\n" + NOTES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
