"""Limits and TTLs that the settings of a queue set."""

from __future__ import annotations

import pytest

from redqueue.engine.consumer import Consumer
from redqueue.engine.queue import Queue
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

Q = b"q"
LIMITED = QueueSettings(max_items=3, overflow="drop-oldest")


def filled(settings: QueueSettings, *items: bytes) -> Engine:
    engine = Engine(settings)
    for item in items:
        assert engine.put(Q, item)
    engine.commit()
    return engine


def queue_of(engine: Engine) -> Queue:
    return engine.broker.queues[Q]


class TestTtl:
    @pytest.mark.parametrize(("asked", "lives"), [(0, 10), (5, 5), (10, 10), (60, 10)])
    def test_is_what_items_get_that_name_none_and_the_most_for_others(self, asked: float, lives: float) -> None:
        engine = Engine(QueueSettings(ttl=10))
        engine.put(Q, b"a", ttl=asked)
        engine.commit()
        engine.advance(lives - 0.1)
        assert payloads(engine, Q) == [b"a"]
        engine.advance(0.1)
        assert payloads(engine, Q) == []

    def test_at_the_head_too(self) -> None:
        engine = Engine(QueueSettings(ttl=10))
        engine.broker.open(Q).put_first(b"a", 0, 0, None)
        engine.commit()
        engine.advance(10)
        assert payloads(engine, Q) == []


class TestDropOldest:
    def test_the_oldest_ready_ones_go_and_are_counted(self) -> None:
        engine = filled(LIMITED, b"a", b"b", b"c", *())
        engine.put(Q, b"d")
        engine.commit()
        for each in (engine, engine.restart()):
            assert payloads(each, Q) == [b"b", b"c", b"d"]
        assert (queue_of(engine).discarded, queue_of(engine).items, queue_of(engine).bytes) == (1, 3, 3)

    def test_reserved_ones_stay(self) -> None:
        engine = filled(LIMITED, b"a", b"b", b"c")
        consumer = Consumer()
        assert queue_of(engine).reserve(consumer) is not None
        engine.put(Q, b"d")
        engine.commit()
        assert payloads(engine, Q) == [b"c", b"d"]
        consumer.close()
        assert payloads(engine, Q) == [b"a", b"c", b"d"]

    def test_refused_where_nothing_ready_can_go(self) -> None:
        engine = filled(QueueSettings(max_items=2, overflow="drop-oldest"), b"a")
        assert queue_of(engine).reserve(Consumer()) is not None
        engine.put(Q, b"later", delay=5)
        engine.commit()
        assert not engine.put(Q, b"b")

    def test_as_many_as_make_room_for_its_bytes(self) -> None:
        engine = filled(QueueSettings(max_bytes=10, overflow="drop-oldest"), b"xxxx", b"yyyy", b"z")
        assert engine.put(Q, b"1234567")
        engine.commit()
        assert payloads(engine, Q) == [b"z", b"1234567"]
        assert queue_of(engine).discarded == 2

    def test_refused_where_all_that_is_ready_would_not_make_room(self) -> None:
        engine = filled(QueueSettings(max_bytes=10, overflow="drop-oldest"), b"123456", b"x", b"y")
        assert queue_of(engine).reserve(Consumer()) is not None
        assert not engine.put(Q, b"12345")
        engine.commit()
        assert payloads(engine, Q) == [b"x", b"y"]
        assert engine.put(Q, b"1234")
        engine.commit()
        assert payloads(engine, Q) == [b"1234"]

    def test_nothing_goes_for_an_item_that_cannot_fit(self) -> None:
        engine = filled(QueueSettings(max_bytes=10, overflow="drop-oldest"), b"xxxx")
        assert not engine.put(Q, b"y" * 11)
        engine.commit()
        assert payloads(engine, Q) == [b"xxxx"]

    def test_both_or_neither_when_the_journal_fails(self) -> None:
        engine = filled(LIMITED, b"a", b"b", b"c")
        engine.put(Q, b"d")
        engine.fail()
        assert payloads(engine, Q) == [b"a", b"b", b"c"]
        assert (queue_of(engine).discarded, queue_of(engine).items) == (0, 3)

    def test_items_given_back_are_the_oldest_again(self) -> None:
        engine = filled(LIMITED, b"a", b"b", b"c")
        consumer = Consumer()
        assert queue_of(engine).reserve(consumer) is not None
        consumer.close()
        engine.put(Q, b"d")
        engine.commit()
        assert payloads(engine, Q) == [b"b", b"c", b"d"]

    def test_a_paused_queue_drops_too(self) -> None:
        engine = filled(LIMITED, b"a", b"b", b"c")
        engine.broker.pause(queue_of(engine), None)
        assert engine.put(Q, b"d")
        engine.commit()
        assert payloads(engine, Q) == [b"b", b"c", b"d"]


class TestPause:
    def test_gets_miss_or_wait_and_puts_go_on(self) -> None:
        engine = filled(QueueSettings(prefetch=9), b"a")
        engine.broker.pause(queue_of(engine), None)
        assert queue_of(engine).reserve(Consumer()) is None
        got: list[bytes] = []
        queue_of(engine).wait(Consumer(), 600, None, lambda r: got.append(rec.payload(r.record)))
        engine.put(Q, b"b")
        engine.commit()
        engine.advance(500)
        assert (got, payloads(engine, Q)) == ([], [b"a", b"b"])
        engine.broker.resume(queue_of(engine))
        assert got == [b"a"]
        assert queue_of(engine).reserve(Consumer()) is not None

    def test_it_stands_whatever_happens_to_the_head_meanwhile(self) -> None:
        engine = filled(QueueSettings(), b"1", b"2")
        engine.broker.pause(queue_of(engine), None)
        queue_of(engine).rewrite_head(b"one", 0, 0, None)
        engine.commit()
        assert queue_of(engine).reserve(Consumer()) is None
        engine.broker.flush(queue_of(engine), None)
        engine.put(Q, b"3")
        engine.commit()
        assert queue_of(engine).reserve(Consumer()) is None

    def test_what_is_held_can_be_acknowledged_and_given_back(self) -> None:
        engine = filled(QueueSettings(), b"a", b"b")
        first, second = Consumer(), Consumer()
        assert queue_of(engine).reserve(first) is not None
        assert queue_of(engine).reserve(second) is not None
        engine.broker.pause(queue_of(engine), None)
        reservation = first.oldest(Q)
        assert reservation is not None
        reservation.queue.acknowledge(reservation, None)
        second.close()
        engine.commit()
        assert payloads(engine, Q) == [b"b"]
        assert queue_of(engine).reserve(Consumer()) is None

    def test_for_so_many_seconds(self) -> None:
        engine = filled(QueueSettings(), b"a")
        engine.broker.pause(queue_of(engine), 1000)
        engine.broker.pause(queue_of(engine), 5)
        engine.advance(4.9)
        assert queue_of(engine).reserve(Consumer()) is None
        engine.advance(0.2)
        assert queue_of(engine).reserve(Consumer()) is not None

    def test_a_resumed_one_is_not_resumed_again_later(self) -> None:
        engine = filled(QueueSettings(), b"a")
        engine.broker.pause(queue_of(engine), 5)
        engine.broker.resume(queue_of(engine))
        engine.broker.pause(queue_of(engine), None)
        engine.advance(10)
        assert queue_of(engine).reserve(Consumer()) is None

    def test_an_empty_one_is_not_forgotten_and_a_resumed_one_is(self) -> None:
        engine = Engine()
        engine.broker.pause(engine.broker.open(Q), None)
        engine.advance(1000)
        assert queue_of(engine).paused
        engine.broker.resume(queue_of(engine))
        engine.advance(1000)
        engine.advance(1000)
        assert Q not in engine.broker.queues


class TestDrop:
    def test_leaves_nothing_of_the_queue(self) -> None:
        engine = filled(QueueSettings(), b"a", b"b")
        consumer = Consumer()
        assert queue_of(engine).reserve(consumer) is not None
        engine.put(Q, b"later", delay=5)
        engine.commit()
        engine.broker.pause(queue_of(engine), 50)
        assert engine.broker.drop(Q, None)
        engine.commit()
        assert (engine.broker.queues, consumer.held) == ({}, {})
        assert len(engine.broker.deadlines) == 0
        assert engine.restart().broker.queues == {}

    def test_a_failed_one_leaves_the_pause(self) -> None:
        engine = filled(QueueSettings(), b"a")
        engine.broker.pause(queue_of(engine), None)
        engine.broker.drop(Q, None)
        engine.fail()
        assert (payloads(engine, Q), queue_of(engine).reserve(Consumer())) == ([b"a"], None)

    def test_of_nothing(self) -> None:
        assert not Engine().broker.drop(Q, None)

    def test_who_waits_goes_on_waiting(self) -> None:
        engine = Engine()
        got: list[bytes] = []
        engine.broker.open(Q).wait(Consumer(), 60, None, lambda r: got.append(rec.payload(r.record)))
        assert engine.broker.drop(Q, None)
        engine.commit()
        engine.put(Q, b"a")
        engine.commit()
        assert got == [b"a"]

    def test_an_item_put_behind_it_in_the_same_batch_stays(self) -> None:
        engine = filled(QueueSettings(), b"a")
        engine.broker.drop(Q, None)
        engine.put(Q, b"b")
        engine.commit()
        assert payloads(engine, Q) == payloads(engine.restart(), Q) == [b"b"]


def test_a_read_only_server_takes_nothing_and_gives_everything() -> None:
    engine = filled(QueueSettings(), b"a")
    engine.broker.set_readonly(True)
    engine.broker.drain(True)
    engine.broker.drain(False)
    assert not engine.put(Q, b"b")
    consumer = Consumer()
    reservation = queue_of(engine).reserve(consumer)
    assert reservation is not None
    reservation.queue.acknowledge(reservation, None)
    engine.commit()
    engine.broker.set_readonly(False)
    assert engine.put(Q, b"b")
