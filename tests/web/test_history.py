"""Depth and rates over time: what the history says of a made-up hour."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest

from redqueue.engine.broker import Broker
from redqueue.engine.clock import ManualClock
from redqueue.engine.consumer import Consumer
from redqueue.engine.journal import NullJournal
from redqueue.engine.settings import QueueSettings
from redqueue.server.web import history as history_module
from redqueue.server.web.history import MOST_TRACKED, SLICE, History
from redqueue.server.web.samples import RANGES, Range, Reading, Samples


class Past:
    """A broker whose history is kept while its clock is turned."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = Broker(QueueSettings(prefetch=1000), self.clock, NullJournal())
        self.history = History(self.broker)
        self.consumer = Consumer()

    def put(self, name: bytes, items: int = 1, delay: float = 0.0) -> None:
        queue = self.broker.open(name)
        for _ in range(items):
            assert queue.put(b"x", 0, 0, None, delay)
        self.commit()

    def take(self, name: bytes, items: int = 1, acknowledge: bool = True) -> None:
        queue = self.broker.open(name)
        for _ in range(items):
            reservation = queue.reserve(self.consumer)
            assert reservation is not None
            if acknowledge:
                queue.acknowledge(reservation, None)
        self.commit()

    def commit(self) -> None:
        self.broker.commit(self.broker.seal())

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the history look at what is due."""
        end = self.clock.now + seconds
        while (pause := self.history.turn()) <= end - self.clock.now:
            self.clock.advance(max(pause, 0.001))
            self.broker.deadlines.fire(self.clock.now)
        self.clock.advance(end - self.clock.now)

    def rows(self, name: bytes | None = None, span: str = "5m", since: float = 0.0) -> list[dict[str, float]]:
        """The samples, each by the names of its columns."""
        found = self.history.of_all(span, since) if name is None else self.history.of_queue(name, span, since)
        assert found is not None
        columns = {key: value for key, value in found.items() if isinstance(value, list)}
        assert len({len(column) for column in columns.values()}) == 1
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.fixture
def past() -> Past:
    return Past()


def depths(row: dict[str, float]) -> tuple[float, ...]:
    return row["ready"], row["reserved"], row["delayed"], row["dead"]


def rates(row: dict[str, float]) -> tuple[float, ...]:
    return row["put_rate"], row["delivered_rate"], row["acknowledged_rate"]


def test_depth_and_rates_of_all_queues(past: Past) -> None:
    past.pass_time(3)
    past.put(b"a", 10)
    past.put(b"b", 4, delay=100)
    past.take(b"a", 3)
    past.take(b"a", 2, acknowledge=False)
    past.pass_time(2)
    rows = past.rows()
    assert [depths(row) for row in rows[-2:]] == [(5, 2, 4, 0)] * 2
    assert [rates(row) for row in rows if any(rates(row))] == [pytest.approx((14, 5, 3))]
    assert [b["time"] - a["time"] for a, b in itertools.pairwise(rows)] == pytest.approx([1] * (len(rows) - 1))
    assert past.history.totals() == {
        "queues": 2,
        "ready": 5,
        "reserved": 2,
        "delayed": 4,
        "dead": 0,
        "put_rate": 0,
        "delivered_rate": 0,
        "acknowledged_rate": 0,
    }


def test_rates_of_a_queue_are_those_of_the_last_round(past: Past) -> None:
    past.put(b"a", 8)
    past.pass_time(1.5)
    queue = past.broker.queues[b"a"]
    past.put(b"a", 20)
    past.take(b"a", 6)
    past.pass_time(1)
    assert past.history.rates(queue) == pytest.approx((20, 6, 6))
    past.pass_time(1)
    assert past.history.rates(queue) == (0, 0, 0)
    other = Past()
    other.put(b"a")
    assert past.history.rates(other.broker.queues[b"a"]) == (0, 0, 0)


def test_dead_letters_are_counted_apart(past: Past) -> None:
    past.put(b"jobs", 2)
    past.put(b"jobs.dead", 3)
    past.pass_time(2)
    assert depths(past.rows()[-1]) == (2, 0, 0, 3)
    past.rows(b"jobs")
    past.pass_time(2)
    assert depths(past.rows(b"jobs")[-1]) == (2, 0, 0, 3)


def test_a_queue_that_somebody_looks_at_has_samples_each_second(past: Past) -> None:
    past.put(b"a", 5)
    past.pass_time(20)
    past.rows(b"a")
    past.pass_time(3)
    past.put(b"a", 7)
    past.pass_time(3)
    rows = past.rows(b"a")
    assert [depths(row)[0] for row in rows[-6:]] == [5, 5, 5, 12, 12, 12]
    assert [row["put_rate"] for row in rows[-6:]] == pytest.approx([0, 0, 0, 7, 0, 0])


def test_before_it_was_tracked_an_idle_queue_was_as_it_is(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MOST_TRACKED", 1)
    past.put(b"a", 5)
    past.put(b"b", 50)
    past.pass_time(60)
    assert past.history.tracked() == {b"b"}
    began = past.clock.wall / 1e9 - 60
    past.rows(b"a")
    past.pass_time(3)
    rows = past.rows(b"a")
    assert rows[0]["time"] == pytest.approx(began, abs=1.1)
    assert {depths(row) for row in rows} == {(5, 0, 0, 0)}
    assert {rates(row) for row in rows} == {(0, 0, 0)}
    assert past.rows(b"a", since=rows[-2]["time"]) == rows[-1:], "only what is new"


def test_a_queue_that_comes_back_goes_on(past: Past) -> None:
    past.put(b"a", 3)
    past.rows(b"a")
    past.pass_time(2)
    past.take(b"a", 3)
    past.pass_time(30)
    assert b"a" not in past.broker.queues
    past.put(b"a", 2)
    past.pass_time(2)
    assert [row["put_rate"] for row in past.rows(b"a")][-2:] == pytest.approx([2, 0])
    assert sum(row["put_rate"] for row in past.rows()) == pytest.approx(5)


def test_there_is_no_history_of_what_never_was(past: Past) -> None:
    past.pass_time(2)
    assert past.history.of_queue(b"nothing", "5m", 0.0) is None


def test_only_what_is_new(past: Past) -> None:
    past.pass_time(10)
    since = past.rows()[-1]["time"]
    past.pass_time(3)
    found = past.history.of_all("5m", since)
    assert found["is_continued"]
    assert found["time"] == pytest.approx([since + 1, since + 2, since + 3])
    assert not past.history.of_all("5m", 0.0)["is_continued"]


@pytest.mark.parametrize("span", RANGES)
def test_each_range_reaches_back_so_far_and_no_further(past: Past, span: str) -> None:
    past.put(b"a", 1)
    past.rows(b"a")
    reach, step = RANGES[span]
    for _ in range(reach // step + 20):
        past.put(b"a", step)
        past.clock.advance(step)
        past.history.turn()
        past.history.turn()
    for name in (None, b"a"):
        rows = past.rows(name, span)
        assert reach // step <= len(rows) <= reach // step + 1
        assert rows[-1]["time"] - rows[0]["time"] <= reach + step
        assert [row["put_rate"] for row in rows[2:]] == pytest.approx([1] * (len(rows) - 2), rel=0.1)
        times = [row["time"] for row in rows]
        assert times == sorted(times)


def test_the_queues_with_the_most_traffic_are_tracked(past: Past) -> None:
    names = [b"q%d" % i for i in range(MOST_TRACKED + 20)]
    past.history.of_all("5m", 0.0)
    for i, name in enumerate(names[:MOST_TRACKED]):
        past.put(name, 1 + i % 3)
    past.pass_time(2)
    assert past.history.tracked() == set(names[:MOST_TRACKED])
    past.put(names[0])
    past.rows(names[0])
    for _ in range(20):
        for name in names[MOST_TRACKED:]:
            past.put(name, 30)
        past.pass_time(1)
    assert set(names[MOST_TRACKED:]) <= past.history.tracked()
    assert names[0] in past.history.tracked(), "somebody looks at it"
    assert len(past.history.tracked()) == MOST_TRACKED
    past.rows(names[1])
    assert names[1] in past.history.tracked(), "what is asked for is tracked, however little happens there"
    assert len(past.history.tracked()) == MOST_TRACKED


def test_many_queues_are_looked_at_in_slices(past: Past) -> None:
    for i in range(2 * SLICE + 10):
        past.put(b"q%d" % i)
    looked = [len(past.history._seen)]
    while len(past.history._seen) < 2 * SLICE + 10:
        past.clock.advance(past.history.turn())
        looked.append(len(past.history._seen))
    assert max(b - a for a, b in itertools.pairwise(looked)) == SLICE
    past.pass_time(2)
    assert past.rows()[-1]["ready"] == 2 * SLICE + 10


def test_what_a_thousand_queues_cost_is_bounded(past: Past) -> None:
    for i in range(1000):
        past.put(b"q%d" % i)
    past.pass_time(3)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        past.history = History(past.broker)
        for _ in range(400):
            past.pass_time(1)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 3_000_000, "a hundred tracked ones take 30 KB each at the most, the others 400 bytes"


def test_forgotten_queues_are_forgotten(past: Past) -> None:
    for i in range(50):
        past.put(b"q%d" % i)
        past.take(b"q%d" % i)
    past.pass_time(60)
    assert not past.broker.queues
    assert not past.history._seen


def test_a_ring_overwrites_its_oldest_samples() -> None:
    samples = Samples(Range(3, 1))
    for i in range(10):
        samples.add(float(i), 100.0 + i, Reading(ready=i, put=2 * i))
    columns = samples.after(0.0)
    assert columns["time"] == [106, 107, 108, 109]
    assert columns["ready"] == [6, 7, 8, 9]
    assert columns["put_rate"] == [2, 2, 2, 2]
    assert samples.after(107.5)["time"] == [108, 109]
    assert samples.after(109.0)["time"] == []


def test_counters_that_fall_are_no_negative_rates() -> None:
    samples = Samples(Range(3, 1))
    samples.add(0.0, 100.0, Reading(put=50))
    samples.add(1.0, 101.0, Reading(ready=-1, put=10))
    assert samples.after(0.0)["put_rate"] == [0]
    assert samples.after(0.0)["ready"] == [0]
