"""The part of a queue that is not in memory: its ids, and how items come and go."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.engine.backlog import _CHUNK, Backlog
from redqueue.engine.consumer import Consumer
from redqueue.engine.ledger import StorageFailed
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

Q = b"q"


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.tuples(st.sampled_from(["extend", "prepend", "remove"]), st.integers(0, 9000)), st.integers(0, 9))
    )
)
def test_a_backlog_is_a_deque(changes: list[tuple[str, int] | int]) -> None:
    backlog, model, next_id = Backlog(), list[int](), 0
    for change in changes:
        if isinstance(change, int):
            count = len(model) * change // 9
            assert backlog.first(count) == model[:count]
            backlog.drop_first(count)
            del model[:count]
        else:
            kind, count = change
            if kind == "remove":
                assert backlog.remove(count) == (count in model)
                model = [item_id for item_id in model if item_id != count]
                continue
            ids = array("Q", range(next_id, next_id + count))
            next_id += count
            if kind == "extend":
                backlog.extend(ids)
                model.extend(ids)
                backlog.append(next_id)
                model.append(next_id)
                next_id += 1
            else:
                backlog.prepend(ids)
                model[:0] = ids
        assert len(backlog) == len(model)
        for index in {0, len(model) // 2, len(model) - 1} if model else ():
            assert backlog[index] == model[index]
    assert list(backlog) == model


def test_a_backlog_past_its_end() -> None:
    backlog = Backlog()
    backlog.extend(array("Q", range(_CHUNK + 1)))
    with pytest.raises(IndexError):
        backlog[_CHUNK + 1]


def filled(count: int, memory: int = 1, prefetch: int = 1) -> Engine:
    """An engine with so little memory that it holds the first item only."""
    engine = Engine(QueueSettings(prefetch=prefetch), memory=memory)
    for number in range(count):
        engine.put(Q, b"%d" % number)
        engine.commit()
    return engine


def test_what_is_too_much_leaves_memory_and_comes_back_in_order() -> None:
    engine = filled(10)
    queue = engine.broker.queues[Q]
    assert queue.cold_items == 9
    assert engine.broker.hot_cost() == 64 + 33
    consumer = Consumer()
    for number in range(10):
        engine.warm(Q)
        reservation = queue.reserve(consumer)
        assert reservation is not None
        assert rec.payload(reservation.record) == b"%d" % number
        queue.acknowledge(reservation, None)
        engine.commit()
    assert queue.items == queue.bytes == queue.cold_items == queue.cold_cost == 0
    assert engine.broker.cold_cost == engine.broker.cold_queues == engine.broker.hot_cost() == 0


def test_a_put_behind_a_backlog_goes_there_and_one_before_it_does_not() -> None:
    engine = filled(3)
    queue = engine.broker.queues[Q]
    queue.put_first(b"first", 0, 0, None)
    engine.put(Q, b"last")
    engine.commit()
    assert payloads(engine, Q) == [b"first", b"0", b"1", b"2", b"last"]
    assert isinstance(next(iter(queue.ready)), bytes)
    assert isinstance([*queue.ready][4], int)


def test_the_next_items_are_read_before_they_are_wanted() -> None:
    engine = filled(20, memory=4000, prefetch=20)
    queue = engine.broker.queues[Q]
    for _ in range(15):
        queue.evict(1, 1)
    in_memory = queue.items - queue.cold_items
    assert in_memory > 2
    consumer = Consumer()
    while not engine.journal.reads:
        assert queue.reserve(consumer) is not None
    assert len(queue.ready) > queue.cold_items, "there was still one in memory"
    engine.journal.answer_reads()
    while len(queue.ready):
        engine.warm(Q)
        assert queue.reserve(consumer) is not None
    assert [rec.payload(r.record) for r in consumer.held[Q]] == [b"%d" % n for n in range(20)]


def test_a_waiting_consumer_gets_what_is_read_back() -> None:
    engine = filled(2)
    queue = engine.broker.queues[Q]
    one, two = Consumer(), Consumer()
    engine.warm(Q)
    assert queue.reserve(one) is not None
    engine.journal.answer_reads()
    queue.evict(5, 1)
    assert queue.is_reading_back(two) == (queue.cold_items == 1)
    got = []
    queue.wait(two, 5, None, lambda reservation: got.append(reservation))
    engine.journal.answer_reads()
    queue.serve()
    assert [rec.payload(r.record) for r in got if r] == [b"1"]


def test_what_cannot_be_read_is_said_once_and_tried_again() -> None:
    engine = filled(3)
    queue = engine.broker.queues[Q]
    consumer = Consumer()
    first = queue.reserve(consumer)
    assert first is not None
    queue.acknowledge(first, None)
    engine.commit()
    assert queue.reserve(consumer) is None
    assert queue.is_reading_back(consumer)
    called = []
    queue.when_read_back(lambda: called.append(1))
    engine.journal.answer_reads(OSError(5, "Input/output error"))
    assert called
    with pytest.raises(StorageFailed, match="Input/output error"):
        queue.is_reading_back(consumer)
    assert queue.is_reading_back(consumer), "the next request tries again"
    engine.journal.answer_reads()
    assert not queue.is_reading_back(consumer)
    assert queue.reserve(consumer) is not None


def test_a_flush_while_items_are_being_read() -> None:
    engine = filled(5)
    queue = engine.broker.queues[Q]
    consumer = Consumer()
    first = queue.reserve(consumer)
    assert first is not None
    assert queue.is_reading_back(Consumer())
    engine.broker.flush(queue, None)
    engine.put(Q, b"new")
    engine.commit()
    engine.journal.answer_reads()
    assert payloads(engine, Q) == [b"new"]
    assert (queue.items, queue.cold_items, queue.cold_cost) == (1, 0, 0)
    assert engine.journal.buried == 5


def test_given_back_items_can_leave_memory_too() -> None:
    engine = filled(200, memory=0, prefetch=200)
    queue = engine.broker.queues[Q]
    consumer = Consumer()
    while queue.reserve(consumer):
        pass
    consumer.close()
    engine.broker.memory = 1
    assert queue.evict(1000, 1) == 200 - 31
    assert payloads(engine, Q) == [b"%d" % n for n in range(200)]
    for number in range(200):
        engine.warm(Q)
        reservation = queue.reserve(consumer)
        assert reservation is not None
        assert rec.payload(reservation.record) == b"%d" % number
        assert reservation.deliveries == 2
    assert queue.cold_cost == 0


def test_a_restart_reads_nothing_but_the_window() -> None:
    engine = filled(1000, memory=10_000)
    again = engine.restart()
    queue = again.broker.queues[Q]
    assert 0 < queue.items - queue.cold_items < 100
    assert again.broker.hot_cost() <= 10_000
    assert payloads(again, Q) == [b"%d" % n for n in range(1000)]
    assert queue.age() >= 0


def test_memory_is_shared_by_queues_with_backlogs() -> None:
    engine = Engine(memory=20_000)
    for number in range(600):
        engine.put(b"queue-%d" % (number % 20), bytes(100))
        engine.commit()
        assert engine.broker.hot_cost() <= 20_000
    for queue in engine.broker.queues.values():
        assert queue.items - queue.cold_items >= 1, "the head of each stays"
