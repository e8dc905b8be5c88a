"""Delays: on the monotonic clock while the server runs, as wall-clock moments over a restart."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from redqueue.engine import delayed
from redqueue.engine.consumer import Consumer
from redqueue.engine.delayed import PROMOTE_MOST, Delayed, Moments
from redqueue.engine.queue import Queue
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

Q = b"q"


def queue_of(engine: Engine) -> Queue:
    return engine.broker.queues[Q]


def waiting(engine: Engine) -> int:
    found = queue_of(engine).delayed
    return 0 if found is None else len(found)


def give_back(engine: Engine, delay: float) -> None:
    reservation = queue_of(engine).reserve(Consumer())
    assert reservation is not None
    queue_of(engine).cancel(reservation, delay)
    engine.commit()


class TestPut:
    def test_is_not_ready_before_its_moment(self) -> None:
        engine = Engine()
        engine.put(Q, b"later", delay=10)
        engine.commit()
        engine.advance(9.9)
        assert (payloads(engine, Q), waiting(engine), queue_of(engine).items) == ([], 1, 1)
        engine.advance(0.2)
        assert (payloads(engine, Q), waiting(engine), queue_of(engine).items) == ([b"later"], 0, 1)
        assert queue_of(engine).total_items == engine.broker.total_items == 1

    def test_a_fraction_of_a_second(self) -> None:
        engine = Engine()
        engine.put(Q, b"soon", delay=0.25)
        engine.commit()
        engine.advance(0.24)
        assert payloads(engine, Q) == []
        engine.advance(0.02)
        assert payloads(engine, Q) == [b"soon"]

    def test_each_has_its_own_moment(self) -> None:
        engine = Engine()
        engine.put(Q, b"a", delay=5.3)
        engine.put(Q, b"b", delay=5)
        engine.commit()
        engine.advance(5.1)
        assert payloads(engine, Q) == [b"b"]
        engine.advance(0.2)
        assert payloads(engine, Q) == [b"a", b"b"]

    def test_takes_its_place_by_the_order_of_arrival(self) -> None:
        engine = Engine()
        engine.put(Q, b"a", delay=10)
        engine.put(Q, b"b", delay=5)
        engine.put(Q, b"c")
        engine.commit()
        engine.advance(5)
        assert payloads(engine, Q) == [b"b", b"c"]
        engine.advance(5)
        assert payloads(engine, Q) == [b"a", b"b", b"c"]

    def test_goes_to_who_waits_when_it_is_ready(self) -> None:
        engine = Engine()
        engine.put(Q, b"later", delay=10)
        engine.commit()
        got: list[bytes] = []
        queue_of(engine).wait(Consumer(), 60, None, lambda r: got.append(rec.payload(r.record)))
        engine.advance(9)
        assert got == []
        engine.advance(1)
        assert got == [b"later"]

    def test_at_the_head(self) -> None:
        engine = Engine()
        engine.put(Q, b"a")
        engine.broker.open(Q).put_first(b"first", 0, 0, None, delay=5)
        engine.commit()
        assert payloads(engine, Q) == [b"a"]
        engine.advance(5)
        assert payloads(engine, Q) == [b"first", b"a"]

    def test_a_failed_one_has_not_happened(self) -> None:
        engine = Engine()
        engine.put(Q, b"later", delay=5)
        assert engine.fail() == [b"later"]
        engine.advance(6)
        assert (payloads(engine, Q), queue_of(engine).items, queue_of(engine).bytes) == ([], 0, 0)

    def test_one_beyond_all_bounds_is_a_century(self) -> None:
        engine = Engine()
        engine.put(Q, b"a", delay=1e300)
        engine.put(Q, b"b")
        engine.commit()
        give_back(engine, float("inf"))
        assert waiting(engine) == 2
        engine = engine.restart()
        engine.advance(99 * 365 * 86400)
        assert waiting(engine) == 2
        engine.advance(2 * 365 * 86400)
        assert payloads(engine, Q) == [b"a", b"b"]

    def test_counts_towards_the_limits(self) -> None:
        engine = Engine(QueueSettings(max_items=1))
        assert engine.put(Q, b"later", delay=5)
        engine.commit()
        assert not engine.put(Q, b"x")

    def test_one_that_expires_meanwhile_is_never_delivered(self) -> None:
        engine = Engine()
        engine.put(Q, b"mortal", ttl=3, delay=5)
        engine.commit()
        engine.advance(6)
        engine.advance(1)
        assert (payloads(engine, Q), queue_of(engine).items) == ([], 0)

    def test_a_queue_with_nothing_else_is_not_forgotten(self) -> None:
        engine = Engine()
        engine.put(Q, b"later", delay=1000)
        engine.commit()
        engine.advance(999)
        assert waiting(engine) == 1


class TestGiveBack:
    def test_is_ready_again_at_its_old_place_after_the_delay(self) -> None:
        engine = Engine()
        for item in (b"a", b"b"):
            engine.put(Q, item)
        engine.commit()
        give_back(engine, 10)
        assert payloads(engine, Q) == [b"b"]
        engine.advance(9)
        assert payloads(engine, Q) == [b"b"]
        engine.advance(1)
        assert payloads(engine, Q) == [b"a", b"b"]
        assert queue_of(engine).cancelled == 1

    def test_its_deliveries_are_remembered(self) -> None:
        engine = Engine()
        engine.put(Q, b"a")
        engine.commit()
        for expected in (1, 2, 3):
            reservation = queue_of(engine).reserve(Consumer())
            assert reservation is not None
            assert reservation.deliveries == expected
            queue_of(engine).cancel(reservation, 1)
            engine.advance(1)

    def test_without_a_delay_nothing_is_journaled(self) -> None:
        engine = Engine()
        engine.put(Q, b"a")
        engine.commit()
        written = len(engine.journal.written)
        give_back(engine, 0)
        assert len(engine.journal.written) == written


class TestRestart:
    def test_the_rest_of_the_delay_outlives_it(self) -> None:
        engine = Engine()
        engine.put(Q, b"given back")
        engine.commit()
        give_back(engine, 20)
        engine.put(Q, b"put", delay=10)
        engine.commit()
        engine.advance(4)
        engine = engine.restart()
        assert (payloads(engine, Q), waiting(engine)) == ([], 2)
        engine.advance(5.9)
        assert payloads(engine, Q) == []
        engine.advance(0.2)
        assert payloads(engine, Q) == [b"put"]
        engine.advance(10)
        assert payloads(engine, Q) == [b"given back", b"put"]

    def test_what_is_put_at_the_head_later_comes_before_one_that_was_put_there(self) -> None:
        engine = Engine()
        engine.broker.open(Q).put_first(b"first", 0, 0, None, delay=5)
        engine.commit()
        engine = engine.restart()
        engine.broker.open(Q).put_first(b"before it", 0, 0, None, delay=1)
        engine.commit()
        engine.advance(5)
        assert payloads(engine, Q) == [b"before it", b"first"]

    def test_what_is_due_by_then_is_ready(self) -> None:
        engine = Engine()
        engine.put(Q, b"later", delay=10)
        engine.commit()
        engine.clock.advance(10)
        assert payloads(engine.restart(), Q) == [b"later"]


class TestClocks:
    def test_a_jump_of_the_wall_clock_neither_stretches_nor_cuts_a_running_delay(self) -> None:
        engine = Engine()
        engine.put(Q, b"later", delay=10)
        engine.commit()
        engine.clock.jump_wall(-86400)
        engine.advance(5)
        engine.clock.jump_wall(2 * 86400)
        engine.advance(4)
        assert payloads(engine, Q) == []
        engine.advance(1)
        assert payloads(engine, Q) == [b"later"]


class TestFlush:
    def test_drops_delayed_ones(self) -> None:
        engine = Engine()
        engine.put(Q, b"later", ttl=50, delay=10)
        engine.commit()
        engine.broker.flush(queue_of(engine), None)
        engine.put(Q, b"after", delay=10)
        engine.commit()
        engine.advance(10)
        queue = queue_of(engine)
        assert (payloads(engine, Q), queue.items, queue.bytes, queue.mortal) == ([b"after"], 1, 5, 0)
        assert payloads(engine.restart(), Q) == [b"after"]

    def test_what_is_given_back_behind_it_does_not_come_back_with_a_restart(self) -> None:
        engine = Engine()
        engine.put(Q, b"a")
        engine.commit()
        reservation = queue_of(engine).reserve(Consumer())
        assert reservation is not None
        engine.broker.flush(queue_of(engine), None)
        queue_of(engine).cancel(reservation, 5)
        engine.commit()
        assert waiting(engine) == 0
        assert engine.restart().broker.sum_items() == 0


class TestMany:
    def test_so_many_at_a_time_and_the_rest_in_the_next_turns(self) -> None:
        engine = Engine()
        for number in range(2 * PROMOTE_MOST + 10):
            engine.put(Q, b"%d" % number, delay=1)
        engine.commit()
        ready = []
        engine.advance(1)
        while waiting(engine):
            ready.append(len(queue_of(engine).ready))
            engine.advance(0.001)
        assert ready == [PROMOTE_MOST, 2 * PROMOTE_MOST]
        assert len(queue_of(engine).ready) == 2 * PROMOTE_MOST + 10

    def test_one_deadline_for_all_of_them(self) -> None:
        engine = Engine()
        for number in range(1000):
            engine.put(Q, b"x", delay=1000 - number)
        engine.commit()
        assert len(engine.broker.deadlines) <= 2

    def test_the_index_takes_little_memory(self) -> None:
        tracemalloc.start()
        try:
            moments = Moments()
            for number in range(200_000):
                moments.push(10**18 + number * 7919 % 200_000, 1 << 40 | number)
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken / 200_000 < 25, "bytes an item"


@given(
    st.lists(st.integers(0, 50), max_size=40),
    st.lists(st.one_of(st.none(), st.none(), st.integers(0, 50)), max_size=80),
)
def test_moments_against_a_sorted_list(pushes: list[int], others: list[int | None]) -> None:
    near = delayed._NEAR
    delayed._NEAR = 4
    try:
        moments, model = Moments(), list[tuple[int, int]]()
        for number, step in enumerate([*pushes, *others]):
            if step is not None:
                moments.push(step, number)
                model = sorted([*model, (step, number)])
            elif model:
                moments.pop()
                del model[0]
            assert moments.first() == (model[0] if model else None)
            assert len(moments) == len(model)
    finally:
        delayed._NEAR = near


def test_an_emptied_one_has_no_deadline() -> None:
    engine = Engine()
    ready: list[bytes] = []
    items = Delayed(
        engine.broker.deadlines,
        lambda record, deliveries: ready.append(record),
        lambda item_id, place, deliveries: None,
    )
    items.add(rec.put(1, 7, 0, 0, b"x"), 2000.0, 0)
    assert items.deadline == 2000.0
    assert [*items.clear()] == [7]
    assert (items.deadline, len(items)) == (None, 0)
