"""The rules of one queue, on a list for a journal and a clock turned by hand."""

from __future__ import annotations

import pytest

from redqueue.engine.broker import Swap
from redqueue.engine.consumer import Consumer, Reservation
from redqueue.engine.ledger import StorageFailed
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

Q = b"q"


def filled(*items: bytes, settings: QueueSettings | None = None) -> Engine:
    engine = Engine(settings)
    for item in items:
        assert engine.put(Q, item)
    engine.commit()
    return engine


def reserve(engine: Engine, consumer: Consumer, queue: bytes = Q) -> bytes | None:
    found = engine.broker.queues.get(queue)
    reservation = found.reserve(consumer) if found else None
    return None if reservation is None else rec.payload(reservation.record)


def acknowledge(engine: Engine, consumer: Consumer, queue: bytes = Q) -> None:
    reservation = consumer.oldest(queue)
    assert reservation is not None
    reservation.queue.acknowledge(reservation, None)


class TestOrder:
    def test_first_in_first_out(self) -> None:
        engine = filled(b"a", b"b", b"c")
        assert [reserve(engine, Consumer()) for _ in range(4)] == [b"a", b"b", b"c", None]

    def test_nothing_is_seen_before_the_journal_has_it(self) -> None:
        engine = Engine()
        engine.put(Q, b"a")
        assert reserve(engine, Consumer()) is None
        engine.commit()
        assert reserve(engine, Consumer()) == b"a"

    def test_what_is_given_back_is_at_its_old_place(self) -> None:
        engine = filled(b"a", b"b", b"c")
        first, second = Consumer(), Consumer()
        assert reserve(engine, first) == b"a"
        assert reserve(engine, second) == b"b"
        second.close()
        first.close()
        assert payloads(engine, Q) == [b"a", b"b", b"c"]

    def test_an_item_put_first_is_the_next_one_out_even_before_one_given_back(self) -> None:
        engine = filled(b"a", b"b")
        consumer = Consumer()
        reserve(engine, consumer)
        for item in (b"x", b"y"):
            engine.broker.open(Q).put_first(item, 0, 0, None)
        engine.commit()
        consumer.close()
        assert payloads(engine, Q) == [b"y", b"x", b"a", b"b"]
        assert payloads(engine.restart(), Q) == [b"y", b"x", b"a", b"b"]


class TestReservations:
    def test_prefetch(self) -> None:
        engine = filled(b"a", b"b", b"c", settings=QueueSettings(prefetch=2))
        consumer = Consumer()
        assert [reserve(engine, consumer) for _ in range(3)] == [b"a", b"b", None]
        acknowledge(engine, consumer)
        assert reserve(engine, consumer) == b"c"
        assert [rec.payload(r.record) for r in consumer.held[Q]] == [b"b", b"c"]

    def test_acknowledged_means_gone_after_a_restart_too(self) -> None:
        engine = filled(b"a", b"b")
        consumer = Consumer()
        reserve(engine, consumer)
        acknowledge(engine, consumer)
        engine.commit()
        assert consumer.oldest(Q) is None
        assert payloads(engine, Q) == [b"b"]
        assert payloads(engine.restart(), Q) == [b"b"]

    def test_the_sweeper_takes_back_at_the_deadline_and_not_before(self) -> None:
        engine = filled(b"a", settings=QueueSettings(reserve_timeout=30))
        consumer = Consumer()
        reserve(engine, consumer)
        engine.advance(29.9)
        assert consumer.oldest(Q) is not None
        engine.advance(0.2)
        assert consumer.oldest(Q) is None
        assert payloads(engine, Q) == [b"a"]

    def test_a_thousand_reservations_end_each_at_its_own_time(self) -> None:
        engine = filled(*(b"%d" % n for n in range(3000)), settings=QueueSettings(reserve_timeout=30))
        for _ in range(3000):
            reserve(engine, Consumer())
            engine.clock.advance(0.01)
        assert engine.broker.queues[Q].reserved == 3000
        engine.advance(15)  # 30 s after the start the reservations of the first 15 s are over
        assert engine.broker.queues[Q].reserved in (1500, 1501)

    def test_a_deadline_of_its_own(self) -> None:
        engine = filled(b"a", b"b", settings=QueueSettings(reserve_timeout=30))
        short, usual = Consumer(), Consumer()
        engine.broker.queues[Q].reserve(short, 5)
        reserve(engine, usual)
        engine.advance(6)
        assert short.oldest(Q) is None
        assert usual.oldest(Q) is not None
        engine.advance(25)
        assert usual.oldest(Q) is None

    @pytest.mark.parametrize(("seconds", "left"), [(100.0, 100.0), (5.0, 5.0), (None, 30.0)])
    def test_touch(self, seconds: float | None, left: float) -> None:
        engine = filled(b"a", settings=QueueSettings(reserve_timeout=30))
        consumer = Consumer()
        reserve(engine, consumer)
        engine.advance(20)
        reservation = consumer.oldest(Q)
        assert reservation is not None
        engine.broker.queues[Q].touch(reservation, seconds)
        engine.advance(left - 0.1)
        assert consumer.oldest(Q) is reservation
        engine.advance(0.2)
        assert consumer.oldest(Q) is None
        assert payloads(engine, Q) == [b"a"]

    def test_deliveries_are_counted(self) -> None:
        engine = filled(b"a")
        queue = engine.broker.queues[Q]
        for expected in (1, 2, 3):
            consumer = Consumer()
            reservation = queue.reserve(consumer)
            assert reservation is not None
            assert reservation.deliveries == expected
            consumer.close()

    def test_reserving_and_acknowledging_all_day_leaves_nothing_behind(self) -> None:
        engine = Engine()
        consumer = Consumer()
        for _ in range(5000):
            engine.put(Q, b"x")
            engine.commit()
            assert reserve(engine, consumer) == b"x"
            acknowledge(engine, consumer)
        engine.commit()
        queue = engine.broker.queues[Q]
        assert (queue.items, queue.bytes, queue.reserved, len(queue.ready), consumer.held) == (0, 0, 0, 0, {})
        assert len(engine.broker.deadlines._heap) < 10


class TestLine:
    def test_waiters_are_served_in_the_order_of_their_arrival(self) -> None:
        engine = Engine()
        got: list[tuple[int, bytes]] = []
        queue = engine.broker.open(Q)
        for number in range(3):
            queue.wait(Consumer(), 60, None, lambda r, n=number: got.append((n, rec.payload(r.record))))
        engine.put(Q, b"a")
        engine.commit()
        assert got == [(0, b"a")]
        engine.put(Q, b"b")
        engine.put(Q, b"c")
        engine.put(Q, b"d")
        engine.commit()
        assert got == [(0, b"a"), (1, b"b"), (2, b"c")]
        assert payloads(engine, Q) == [b"d"]

    def test_a_wait_ends_with_nothing_at_its_time(self) -> None:
        engine = Engine()
        got: list[object] = []
        engine.broker.open(Q).wait(Consumer(), 5, None, got.append)
        engine.advance(4.9)
        assert got == []
        engine.advance(0.2)
        assert got == [None]

    def test_who_has_gone_swallows_nothing(self) -> None:
        engine = Engine()
        got: list[object] = []
        gone, here = Consumer(), Consumer()
        queue = engine.broker.open(Q)
        waiter = queue.wait(gone, 60, None, lambda r: got.append("gone"))
        queue.wait(here, 60, None, lambda r: got.append("here"))
        waiter.cancel()
        gone.close()
        engine.put(Q, b"a")
        engine.commit()
        assert got == ["here"]

    def test_an_item_given_back_goes_to_who_waits(self) -> None:
        engine = filled(b"a")
        holder = Consumer()
        reserve(engine, holder)
        got: list[bytes] = []
        engine.broker.queues[Q].wait(Consumer(), 60, None, lambda r: got.append(rec.payload(r.record)))
        holder.close()
        assert got == [b"a"]

    def test_an_item_taken_back_by_the_sweeper_goes_to_who_waits(self) -> None:
        engine = filled(b"a", settings=QueueSettings(reserve_timeout=5))
        reserve(engine, Consumer())
        got: list[bytes] = []
        engine.broker.queues[Q].wait(Consumer(), 60, None, lambda r: got.append(rec.payload(r.record)))
        engine.advance(5)
        assert got == [b"a"]


class TestTime:
    def test_an_expired_item_is_never_delivered_nor_after_a_restart(self) -> None:
        engine = Engine()
        engine.put(Q, b"mortal", ttl=5)
        engine.put(Q, b"immortal")
        engine.commit()
        engine.clock.advance(5)
        assert payloads(engine.restart(), Q) == [b"immortal"]
        assert reserve(engine, Consumer()) == b"immortal"
        engine.commit()
        assert engine.broker.queues[Q].expired == 1

    def test_expired_items_go_without_anybody_asking(self) -> None:
        engine = Engine()
        for n in range(2500):
            engine.put(Q, b"%d" % n, ttl=5)
        engine.commit()
        engine.advance(6)
        assert engine.broker.queues[Q].items == 0
        engine.commit()
        assert engine.journal.items() == {}

    def test_an_item_that_expires_while_reserved_can_be_acknowledged_and_is_not_delivered_again(self) -> None:
        engine = Engine(QueueSettings(reserve_timeout=60))
        engine.put(Q, b"a", ttl=5)
        engine.put(Q, b"b", ttl=5)
        engine.commit()
        acknowledger, loser = Consumer(), Consumer()
        reserve(engine, acknowledger)
        reserve(engine, loser)
        engine.advance(10)
        acknowledge(engine, acknowledger)
        loser.close()
        engine.advance(1)
        assert engine.broker.queues[Q].items == 0
        engine.commit()
        assert engine.journal.items() == {}

    def test_the_wall_clock_does_not_move_reservations(self) -> None:
        engine = filled(b"a", settings=QueueSettings(reserve_timeout=30))
        consumer = Consumer()
        reserve(engine, consumer)
        engine.clock.jump_wall(86400)
        engine.advance(1)
        assert consumer.oldest(Q) is not None
        engine.clock.jump_wall(-2 * 86400)
        engine.advance(30)
        assert consumer.oldest(Q) is None

    def test_an_unused_queue_is_forgotten_and_a_used_one_is_not(self) -> None:
        engine = filled(b"a")
        consumer = Consumer()
        reserve(engine, consumer)
        engine.advance(100)
        assert Q in engine.broker.queues
        acknowledge(engine, consumer)
        engine.commit()
        engine.advance(100)
        assert Q not in engine.broker.queues
        assert len(engine.broker.deadlines) == 0

    def test_an_unused_queue_is_forgotten_after_a_wait(self) -> None:
        engine = Engine()
        engine.broker.open(Q).wait(Consumer(), 5, None, lambda r: None)
        engine.advance(6)
        engine.advance(100)
        assert Q not in engine.broker.queues


class TestLimits:
    def test_max_items_counts_reserved_and_uncommitted_ones(self) -> None:
        engine = Engine(QueueSettings(max_items=2))
        assert engine.put(Q, b"a")
        assert engine.put(Q, b"b")
        assert not engine.put(Q, b"c")
        engine.commit()
        consumer = Consumer()
        reserve(engine, consumer)
        assert not engine.put(Q, b"c")
        acknowledge(engine, consumer)
        assert engine.put(Q, b"c")

    def test_max_bytes(self) -> None:
        engine = Engine(QueueSettings(max_bytes=10))
        assert engine.put(Q, b"x" * 6)
        assert not engine.put(Q, b"y" * 5)
        assert engine.put(Q, b"z" * 4)

    def test_a_draining_server_takes_nothing_and_gives_everything(self) -> None:
        engine = filled(b"a")
        engine.broker.drain(True)
        assert not engine.put(Q, b"b")
        consumer = Consumer()
        assert reserve(engine, consumer) == b"a"
        acknowledge(engine, consumer)
        engine.broker.drain(False)
        assert engine.put(Q, b"b")


class TestSwap:
    def token(self, engine: Engine, consumer: Consumer) -> int:
        reservation = engine.broker.queues[Q].reserve(consumer)
        assert reservation is not None
        return engine.broker.token_of(reservation)

    def swap(self, engine: Engine, token: int, to: bytes, payload: bytes) -> Swap:
        return engine.broker.swap(token, to, payload, 0, 0, None)

    def test_acknowledges_and_puts_in_one_frame(self) -> None:
        engine = filled(b"a")
        consumer = Consumer()
        assert self.swap(engine, self.token(engine, consumer), b"next", b"A") is Swap.STORED
        assert {kind for kind, _ in engine.journal.open} == {"put", "ack with put"}
        engine.commit()
        assert payloads(engine, b"next") == [b"A"]
        assert payloads(engine.restart(), b"next") == [b"A"]
        assert Q not in engine.restart().broker.queues
        assert consumer.oldest(Q) is None

    def test_a_lost_reservation(self) -> None:
        engine = filled(b"a")
        consumer = Consumer()
        token = self.token(engine, consumer)
        consumer.close()
        assert self.swap(engine, token, Q, b"A") is Swap.LOST
        engine.commit()
        assert payloads(engine, Q) == [b"a"]

    def test_a_token_of_before_a_restart_is_lost_not_unknown(self) -> None:
        engine = filled(b"a")
        token = self.token(engine, Consumer())
        engine.clock.advance(1)
        assert self.swap(engine.restart(), token, Q, b"A") is Swap.LOST

    @pytest.mark.parametrize("token", [0, 1, 2, 1000, 2**62, 2**63, 2**64 - 1])
    def test_a_token_never_given(self, token: int) -> None:
        assert self.swap(filled(b"a"), token, Q, b"A") is Swap.UNKNOWN

    def test_tokens_differ_for_each_delivery(self) -> None:
        engine = filled(b"a")
        tokens = set()
        for _ in range(1000):
            consumer = Consumer()
            tokens.add(self.token(engine, consumer))
            consumer.close()
        assert len(tokens) == 1000
        assert all(0 < token < 2**63 for token in tokens)
        assert engine.broker.tokens == {}

    def test_a_full_queue_refuses_and_the_reservation_stands(self) -> None:
        engine = Engine(QueueSettings(max_items=1))
        engine.put(Q, b"a")
        engine.put(b"full", b"x")
        engine.commit()
        consumer = Consumer()
        token = self.token(engine, consumer)
        assert self.swap(engine, token, b"full", b"A") is Swap.REFUSED
        assert consumer.oldest(Q) is not None
        assert self.swap(engine, token, Q, b"A") is Swap.STORED  # its own place is free

    def test_both_or_neither_when_the_journal_fails(self) -> None:
        engine = filled(b"a")
        consumer = Consumer()
        token = self.token(engine, consumer)
        self.swap(engine, token, b"next", b"A")
        engine.fail()
        assert payloads(engine, b"next") == []
        assert consumer.oldest(Q) is not None
        assert self.swap(engine, token, b"next", b"A") is Swap.STORED


class TestHead:
    def test_rewrite_keeps_place_and_id(self) -> None:
        engine = filled(b"1", b"2")
        queue = engine.broker.queues[Q]
        head = queue.head()
        assert head is not None
        queue.rewrite_head(b"one", 7, 0, None)
        assert not queue.is_settled()
        assert reserve(engine, Consumer()) is None
        engine.commit()
        assert payloads(engine, Q) == [b"one", b"2"]
        changed = queue.head()
        assert changed is not None
        assert (rec.item_id(changed), rec.flags(changed)) == (rec.item_id(head), 7)
        assert payloads(engine.restart(), Q) == [b"one", b"2"]

    def test_who_waits_is_served_the_rewritten_item_after_the_commit(self) -> None:
        engine = filled(b"1")
        queue = engine.broker.queues[Q]
        queue.rewrite_head(b"one", 0, 0, None)
        got: list[bytes] = []
        queue.wait(Consumer(), 60, None, lambda r: got.append(rec.payload(r.record)))
        assert got == []
        engine.commit()
        assert got == [b"one"]

    def test_drop_head(self) -> None:
        engine = filled(b"1", b"2")
        engine.broker.queues[Q].drop_head(None)
        engine.fail()
        assert payloads(engine, Q) == [b"1", b"2"]
        engine.broker.queues[Q].drop_head(None)
        engine.commit()
        assert payloads(engine, Q) == payloads(engine.restart(), Q) == [b"2"]


class TestFlush:
    def test_drops_reserved_ones_too(self) -> None:
        engine = filled(b"a", b"b")
        engine.put(b"other", b"x")
        engine.commit()
        consumer = Consumer()
        reserve(engine, consumer)
        engine.broker.flush(engine.broker.queues[Q], None)
        assert reserve(engine, Consumer()) is None
        engine.commit()
        queue = engine.broker.queues[Q]
        assert (queue.items, queue.bytes, queue.reserved, consumer.held) == (0, 0, 0, {})
        assert engine.journal.buried == 2
        assert payloads(engine.restart(), b"other") == [b"x"]
        assert payloads(engine.restart(), Q) == []

    def test_an_item_put_behind_it_in_the_same_batch_stays(self) -> None:
        engine = filled(b"a")
        engine.put(Q, b"before")
        engine.broker.flush(engine.broker.queues[Q], None)
        engine.put(Q, b"after")
        engine.commit()
        assert payloads(engine, Q) == payloads(engine.restart(), Q) == [b"after"]

    def test_all(self) -> None:
        engine = filled(b"a")
        engine.put(b"other", b"x")
        engine.commit()
        engine.broker.flush_all(None)
        engine.put(b"other", b"y")
        engine.commit()
        for each in (engine, engine.restart()):
            assert (payloads(each, Q), payloads(each, b"other")) == ([], [b"y"])

    def test_later(self) -> None:
        engine = filled(b"a")
        engine.broker.flush_all_later(10)
        engine.advance(9)
        engine.put(Q, b"b")
        engine.commit()
        assert payloads(engine, Q) == [b"a", b"b"]
        engine.advance(2)
        engine.commit()
        assert payloads(engine, Q) == []

    def test_failed(self) -> None:
        engine = filled(b"a")
        engine.broker.flush_all(None)
        engine.fail()
        assert reserve(engine, Consumer()) == b"a"


class TestFailure:
    def test_a_failed_put_has_not_happened(self) -> None:
        engine = filled(b"a")
        engine.put(Q, b"b")
        assert engine.fail() == [b"b"]
        queue = engine.broker.queues[Q]
        assert (payloads(engine, Q), queue.items, queue.bytes) == ([b"a"], 1, 1)

    def test_a_failed_acknowledgement_leaves_the_reservation(self) -> None:
        engine = filled(b"a", settings=QueueSettings(reserve_timeout=30))
        consumer = Consumer()
        reserve(engine, consumer)
        acknowledge(engine, consumer)
        engine.fail()
        reservation: Reservation | None = consumer.oldest(Q)
        assert reservation is not None
        assert engine.broker.queues[Q].items == 1
        engine.advance(31)
        assert payloads(engine, Q) == [b"a"]

    def test_a_failed_acknowledgement_of_who_has_gone_gives_the_item_back(self) -> None:
        engine = filled(b"a")
        consumer = Consumer()
        reserve(engine, consumer)
        acknowledge(engine, consumer)
        consumer.close()
        engine.fail()
        assert payloads(engine, Q) == [b"a"]

    def test_failed_rewrites_are_undone_in_order(self) -> None:
        engine = filled(b"1")
        queue = engine.broker.queues[Q]
        for text in (b"2", b"3"):
            queue.rewrite_head(text, 0, 0, None)
        engine.fail()
        assert payloads(engine, Q) == [b"1"]
        assert reserve(engine, Consumer()) == b"1"

    def test_a_failed_journal_refuses_with_its_reason(self) -> None:
        engine = filled(b"a")
        consumer = Consumer()
        reserve(engine, consumer)
        engine.broker.fail("no disk")
        with pytest.raises(StorageFailed, match="no disk"):
            engine.put(Q, b"b")
        with pytest.raises(StorageFailed):
            acknowledge(engine, consumer)
        assert consumer.oldest(Q) is not None
        engine.broker.fail("")
        assert engine.put(Q, b"b")


def test_the_two_restarts_that_lost_an_item_in_2010() -> None:
    """Queue [A, B], A reserved, crash; put C, acknowledge B and A, crash: C is left, and only C."""
    engine = filled(b"A", b"B")
    reserve(engine, Consumer())
    engine = engine.restart()
    engine.put(Q, b"C")
    engine.commit()
    first, second = Consumer(), Consumer()
    assert (reserve(engine, first), reserve(engine, second)) == (b"A", b"B")
    acknowledge(engine, second)
    acknowledge(engine, first)
    engine.commit()
    assert payloads(engine.restart(), Q) == [b"C"]


def test_peek_by_index_sees_items_given_back_in_their_places() -> None:
    engine = filled(b"a", b"b", b"c", b"d")
    consumers = [Consumer() for _ in range(3)]
    for consumer in consumers:
        reserve(engine, consumer)
    consumers[2].close()
    consumers[0].close()
    assert payloads(engine, Q) == [b"a", b"c", b"d"]
