"""The metrics for Prometheus: what is read from the server's counters when somebody asks.

Names are by Prometheus' rules: base units, ``_total`` for what only grows,
moments and not ages, and labels over which sums make sense: an item is in one
state of one queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from redqueue.engine.broker import Broker
from redqueue.engine.inspection import count_delayed
from redqueue.engine.queue import Queue
from redqueue.histogram import Histogram
from redqueue.journal import record as rec
from redqueue.protocol.counters import COUNTERS, Counters
from redqueue.server.figures import ServerFigures, Tally, resident_bytes
from redqueue.server.health import Health
from redqueue.server.web.dead_letters import dead_letter_names, is_grave
from redqueue.server.web.names import in_path
from redqueue.server.web.queue_rows import SLICE

OTHER = "other"
"""The label of all queues that have none of their own; a queue of that name is among them."""
LABELS = 100
"""Queues of which a metric is written in one turn of the loop."""
_STATES = ("ready", "reserved", "delayed", "dead")
_REASONS = {"client": "released", "disconnect": "disconnected", "timeout": "timed_out"}
_RESULTS = {"hits": "hit", "misses": "miss", "badval": "lost"}


class Labels:
    """Which queues have a label of their own: the first ones that were seen, for as long as they are there.

    A queue that is summed up with others stays so, because what is counted may not move from one label to another.

    :param broker: has the queues
    :param most: how many have labels

    :ivar departed: what the queues without a label have counted that are gone
    """

    def __init__(self, broker: Broker, most: int) -> None:
        self._most = most
        self._labels: dict[bytes, str] = {}
        self._taken = {OTHER}
        self._others: set[bytes] = set()
        self.departed = Tally()
        broker.on_forget.append(self._forget)

    def of(self, name: bytes) -> str:
        """The label of a queue."""
        label = self._labels.get(name)
        if label is not None:
            return label
        if name in self._others:
            return OTHER
        try:
            label = name.decode()
        except UnicodeDecodeError:
            label = in_path(name)
        if len(self._labels) >= self._most or label in self._taken:
            self._others.add(name)
            return OTHER
        self._labels[name] = label
        self._taken.add(label)
        return label

    def _forget(self, queue: Queue) -> None:
        self._others.discard(queue.name)
        label = self._labels.pop(queue.name, None)
        if label is None:
            self.departed.add(queue)
        else:
            self._taken.discard(label)


class _Sums:
    """The figures of the queues that share a label."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.states = dict.fromkeys(_STATES, 0)
        self.bytes = 0
        self.waiters = 0
        self.paused = 0
        self.oldest = 0

    def add(self, queue: Queue, is_grave: bool) -> None:
        """Count a queue in."""
        states = self.states
        states["dead" if is_grave else "ready"] += len(queue.ready)
        states["reserved"] += queue.reserved
        states["delayed"] += count_delayed(queue)
        self.bytes += queue.bytes
        self.waiters += len(queue.waiters)
        self.paused += queue.paused
        head = queue.ready.first()
        if head is not None:
            self.oldest = min(self.oldest or rec.time(head), rec.time(head))
        self.tally.add(queue)


class Metrics:
    """The metrics of a server.

    :param figures: what the server has counted
    :param health: tells whether it takes items
    :param most: how many queues have a label of their own
    """

    def __init__(self, figures: ServerFigures, health: Health, most: int) -> None:
        self._figures = figures
        self._health = health
        self._labels = Labels(figures.broker, most)

    async def text(self, encode: Callable[[Collector], bytes]) -> AsyncIterator[bytes]:
        """The metrics as ``encode`` of prometheus_client writes them, in pieces: others are served between them."""
        end = encode(_Families())
        for family in (*self._of_server(), *self._of_journal()):
            yield encode(_Families(family)).removesuffix(end)
        await asyncio.sleep(0)
        found = await self._of_queues()
        labels = [*found]
        for make, add in _OF_QUEUES:
            for start in range(0, len(labels), LABELS):
                family = make()
                for label in labels[start : start + LABELS]:
                    add(family, label, found[label])
                lines = encode(_Families(family)).removesuffix(end)
                if start:  # its head is there already
                    lines = b"".join(line for line in lines.splitlines(keepends=True) if not line.startswith(b"#"))
                yield lines
                await asyncio.sleep(0)
        yield end

    async def _of_queues(self) -> dict[str, _Sums]:
        """The figures of the queues by label, summed up while other clients are served."""
        broker, label_of = self._figures.broker, self._labels.of
        graves = dead_letter_names(broker)
        found = {OTHER: _Sums(self._labels.departed.copy())}
        queues = list(broker.queues.values())
        for start in range(0, len(queues), SLICE):
            for queue in queues[start : start + SLICE]:
                label = label_of(queue.name)
                sums = found.get(label)
                if sums is None:
                    sums = found[label] = _Sums(Tally())
                sums.add(queue, is_grave(queue.name, graves))
            await asyncio.sleep(0)
        return found

    def _of_server(self) -> Iterator[Metric]:
        """What concerns the process and all queues."""
        figures, broker, counters = self._figures, self._figures.broker, self._figures.service.counters
        process = dict(figures.process())
        build = {name: str(process[name]) for name in ("version", "python", "compiled", "event_loop", "reliable")}
        info = GaugeMetricFamily("redqueue_build_info", "Always 1; the labels say what runs", labels=[*build])
        info.add_metric([*build.values()], 1)
        yield info
        obstacles = self._health.obstacles()
        yield _gauge("process_start_time_seconds", "When the process began, Unix time", figures.started)
        yield _counter("process_cpu_seconds", "CPU time that the process has taken", figures.cpu_seconds())
        yield _gauge("process_resident_memory_bytes", "Memory that the process has", resident_bytes())
        yield _gauge("redqueue_ready", "Whether clients should be sent here, as /readyz says", not obstacles)
        yield _gauge("redqueue_writable", "Whether new items are taken", broker.takes_items() and not obstacles)
        yield _gauge("redqueue_queues", "Queues that are there", len(broker.queues))
        yield _gauge("redqueue_connections", "Clients that are connected", len(figures.connections))
        yield _counter("redqueue_connections_accepted", "Clients that have connected", figures.connections.total)
        yield _counter("redqueue_connections_rejected", "Clients that were too many", figures.connections.refused)
        closed = CounterMetricFamily(
            "redqueue_connections_timed_out", "Clients that took too long, with what", labels=["reason"]
        )
        closed.add_metric(["idle"], figures.connections.idle_kicks)
        closed.add_metric(["command"], figures.connections.command_timeouts)
        yield closed
        yield _gauge("redqueue_connections_limit", "How many there may be; 0 for any number", figures.connections.most)
        yield _counter("redqueue_received_bytes", "Bytes from all clients", figures.service.bytes_read)
        yield _counter("redqueue_sent_bytes", "Bytes to all clients", figures.commit.bytes_written)
        yield _commands(counters)
        yield _counter("redqueue_malformed_requests", "Requests that were none", counters.malformed_requests)
        yield _counter("redqueue_auth_attempts", "Passwords that were looked at", counters.auth_cmds)
        yield _counter("redqueue_auth_errors", "Passwords that were wrong", counters.auth_errors)
        yield _counter("redqueue_denied_requests", "Requests for what a user may not", counters.denied_requests)
        yield _counter("redqueue_noreply_errors", "Errors that nobody was told", counters.noreply_errors)
        yield _counter("redqueue_storage_errors", "Requests that the journal could not take", counters.storage_errors)
        yield _histogram("redqueue_loop_lag_seconds", "How late a timer of the event loop was", figures.loop_lag)

    def _of_journal(self) -> Iterator[Metric]:
        """What concerns the journal and the memory; nothing where nothing is kept."""
        figures, journal, compactor = self._figures, self._figures.journal, self._figures.commit.compactor
        if journal is None or compactor is None:
            return
        yield _gauge(
            "redqueue_memory_bytes", "Bytes of items in memory, with what they cost", figures.broker.hot_cost()
        )
        yield _gauge("redqueue_memory_limit_bytes", "How many there may be; 0 for no limit", figures.options.memory)
        yield _gauge("redqueue_journal_bytes", "Bytes that the journal takes on the disk", journal.disk_bytes())
        yield _gauge("redqueue_journal_limit_bytes", "How many it may take; 0 for no limit", figures.commit.max_disk)
        yield _gauge("redqueue_journal_live_bytes", "Bytes of records that still count", journal.live_bytes)
        yield _gauge("redqueue_journal_live_items", "Items in the journal", journal.live_items)
        yield _gauge("redqueue_journal_segments", "Files of the journal", journal.segment_count())
        yield _counter("redqueue_journal_frames", "Frames written, one for all requests of a tick", journal.frames)
        yield _counter("redqueue_journal_compactions", "Segments compacted", compactor.compacted_segments)
        yield _counter("redqueue_journal_copied_items", "Items that compaction has copied", compactor.copied_items)
        yield _histogram("redqueue_journal_fsync_duration_seconds", "How long syncs took", journal.sync_seconds)
        yield _counter("redqueue_journal_fsync_errors", "Syncs that failed", journal.sync_errors)
        failed = bool(figures.broker.failure)
        yield _gauge("redqueue_journal_failed", "Whether the journal cannot be written", failed)
        full = bool(figures.broker.shortage or figures.broker.over_limit)
        yield _gauge("redqueue_journal_full", "Whether there is no room for new items", full)


class _Families(Collector):
    """Hands families to an encoder."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """These."""
        return self._families


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    counts = [*zip(bounds, map(float, histogram.cumulative()), strict=True)]
    return HistogramMetricFamily(name, text, counts, histogram.sum)


def _commands(counters: Counters) -> Metric:
    family = CounterMetricFamily(
        "redqueue_commands", "Requests by verb and by what came of them", labels=["command", "result"]
    )
    for name in COUNTERS:
        verb, _, outcome = name.partition("_")
        if outcome in _RESULTS:
            family.add_metric([verb, _RESULTS[outcome]], getattr(counters, name))
        elif verb == "cmd":
            family.add_metric([outcome, "received"], getattr(counters, name))
    return family


_Spec = tuple[Callable[[], Metric], Callable[[Metric, str, _Sums], None]]
"""What makes a family, and what adds the values of a label to it."""


def _of_queue(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    text: str,
    values: Callable[[_Sums], Iterable[tuple[tuple[str, ...], float]]],
    *more: str,
) -> _Spec:
    """A metric of queues.

    :param values: the values, each with its other labels, whose names are ``more``
    """

    def add(family: Metric, label: str, sums: _Sums) -> None:
        for labels, value in values(sums):
            family.add_metric([label, *labels], value)  # type: ignore[attr-defined]

    return lambda: kind(name, text, labels=["queue", *more]), add


def _total(name: str, text: str, counted: str) -> _Spec:
    return _of_queue(CounterMetricFamily, name, text, lambda sums: [((), sums.tally[counted])])


_OF_QUEUES = (
    _total("redqueue_items_enqueued", "Items put", "put"),
    _total("redqueue_items_delivered", "Items handed to a consumer", "delivered"),
    _total("redqueue_items_acknowledged", "Items acknowledged", "acknowledged"),
    _of_queue(
        CounterMetricFamily,
        "redqueue_items_released",
        "Deliveries that ended without an acknowledgement",
        lambda sums: [((reason,), sums.tally[counted]) for reason, counted in _REASONS.items()],
        "reason",
    ),
    _total("redqueue_items_expired", "Items dropped because their time to live had passed", "expired"),
    _total("redqueue_items_discarded", "Items dropped to make room for newer ones (overflow=drop-oldest)", "discarded"),
    _total("redqueue_items_dead_lettered", "Items moved to the dead letters", "dead_lettered"),
    _of_queue(
        GaugeMetricFamily,
        "redqueue_queue_items",
        "Items, by what they wait for",
        lambda sums: [((state,), count) for state, count in sums.states.items()],
        "state",
    ),
    _of_queue(GaugeMetricFamily, "redqueue_queue_bytes", "Bytes of payload", lambda sums: [((), sums.bytes)]),
    _of_queue(
        GaugeMetricFamily,
        "redqueue_queue_oldest_item_timestamp_seconds",
        "When the next item arrived, Unix time; not there while nothing is ready",
        lambda sums: [((), sums.oldest / 1e9)] if sums.oldest else [],
    ),
    _of_queue(
        GaugeMetricFamily,
        "redqueue_queue_paused",
        "Whether it is paused; how many are",
        lambda sums: [((), sums.paused)],
    ),
    _of_queue(
        GaugeMetricFamily, "redqueue_waiters", "Consumers that wait for an item", lambda sums: [((), sums.waiters)]
    ),
)
