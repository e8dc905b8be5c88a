"""New settings for queues that are there already."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.engine import admission, resettings
from redqueue.engine.consumer import Consumer, Reservation
from redqueue.engine.queue import Queue
from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

Q = b"q"


def filled(before: QueueSettings, *items: bytes) -> Engine:
    engine = Engine(before)
    for item in items:
        assert engine.put(Q, item)
    engine.commit()
    return engine


def change(engine: Engine, **changes: Any) -> None:
    """All queues go by the settings they had, with these changes."""
    for _ in resettings.put_in_force(engine.broker, SettingsBook(replace(engine.broker.book.defaults, **changes))):
        pass


def queue_of(engine: Engine) -> Queue:
    return engine.broker.queues[Q]


def reserve(engine: Engine) -> Reservation:
    reservation = queue_of(engine).reserve(Consumer())
    assert reservation is not None
    return reservation


def test_tables_hold_for_queues_that_are_there_and_for_those_to_come() -> None:
    engine = filled(QueueSettings(), b"a")
    tables = {b"q": {"prefetch": 3}, b"later": {"prefetch": 4}}
    for _ in resettings.put_in_force(engine.broker, SettingsBook(QueueSettings(wait=2), tables)):
        pass
    assert (queue_of(engine).settings.prefetch, queue_of(engine).settings.wait) == (3, 2)
    assert engine.broker.open(b"later").settings.prefetch == 4
    assert engine.broker.open(b"other").settings.prefetch == 1


def test_it_goes_step_by_step_through_many_queues() -> None:
    engine = Engine()
    for number in range(3 * resettings.QUEUES):
        engine.put(b"q%d" % number, b"x")
    engine.commit()
    steps = resettings.put_in_force(engine.broker, SettingsBook(QueueSettings(prefetch=2)))
    next(steps)
    settled = [queue.settings.prefetch for queue in engine.broker.queues.values()]
    assert settled.count(2) == resettings.QUEUES
    assert engine.broker.open(b"new").settings.prefetch == 2
    assert sum(1 for _ in steps) == 2
    assert all(queue.settings.prefetch == 2 for queue in engine.broker.queues.values())


class TestReservations:
    def test_keep_the_deadline_they_were_given_and_others_get_the_new_one(self) -> None:
        engine = filled(QueueSettings(reserve_timeout=300), b"old", b"new")
        old = reserve(engine)
        change(engine, reserve_timeout=10)
        new = reserve(engine)
        engine.advance(10)
        assert (old.consumer is None, new.consumer is None) == (False, True)
        engine.advance(289)
        assert old.consumer is not None
        engine.advance(1)
        assert old.consumer is None
        assert payloads(engine, Q) == [b"old", b"new"]

    def test_of_a_timeout_that_becomes_longer(self) -> None:
        engine = filled(QueueSettings(reserve_timeout=10), b"old", b"new")
        old = reserve(engine)
        change(engine, reserve_timeout=300)
        new = reserve(engine)
        engine.advance(10)
        assert (old.consumer is None, new.consumer is None) == (True, False)
        engine.advance(290)
        assert new.consumer is None

    def test_made_and_ended_while_many_are_moved(self) -> None:
        most = 3 * resettings.RESERVATIONS
        engine = filled(QueueSettings(reserve_timeout=300), *(b"%d" % i for i in range(most + 1)))
        old = [reserve(engine) for _ in range(most)]
        steps = resettings.put_in_force(engine.broker, SettingsBook(QueueSettings(reserve_timeout=10)))
        next(steps)
        new = reserve(engine)
        queue_of(engine).cancel(old[-1])
        engine.broker.deadlines.clear(queue_of(engine))
        queue_of(engine).expire(engine.clock.now)  # a sweep comes between, which sees an older one first
        engine.advance(1)
        for _ in steps:
            pass
        engine.advance(9)
        assert new.consumer is None
        assert all(each.consumer is not None for each in old[:-1])
        engine.advance(290)
        assert queue_of(engine).reserved == 0
        assert len(payloads(engine, Q)) == most + 1

    def test_may_be_more_or_fewer(self) -> None:
        engine, consumer = filled(QueueSettings(), b"a", b"b", b"c"), Consumer()
        queue = queue_of(engine)
        assert queue.reserve(consumer)
        assert queue.reserve(consumer) is None
        change(engine, prefetch=2)
        assert queue.reserve(consumer)
        change(engine, prefetch=1)
        assert queue.reserve(consumer) is None


class TestPuts:
    def test_a_limit_that_comes_and_goes(self) -> None:
        engine = filled(QueueSettings(), b"a", b"b")
        change(engine, max_items=2)
        assert not engine.put(Q, b"c")
        change(engine, max_items=0)
        assert engine.put(Q, b"c")
        change(engine, max_bytes=3)
        assert not engine.put(Q, b"d")

    def test_a_ttl(self) -> None:
        engine = filled(QueueSettings(), b"old")
        change(engine, ttl=5)
        engine.put(Q, b"new")
        engine.commit()
        engine.advance(5)
        assert payloads(engine, Q) == [b"old"]

    def test_children_are_still_there(self) -> None:
        engine = filled(QueueSettings(), b"a")
        engine.broker.subscribe(Q + b"+child")
        engine.commit()
        change(engine, fanout_only=True)
        assert engine.put(Q, b"b")
        engine.commit()
        assert (payloads(engine, Q), payloads(engine, Q + b"+child")) == ([b"a"], [b"b"])

    def test_a_queue_that_is_far_over_its_new_limit_shrinks_a_bounded_piece_with_each_put(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admission, "DROP_MOST", 3)
        engine = filled(QueueSettings(), *(b"%d" % i for i in range(10)))
        change(engine, max_items=2, overflow="drop-oldest")
        assert len(payloads(engine, Q)) == 10
        lengths = []
        for item in (b"a", b"b", b"c", b"d", b"e"):
            assert engine.put(Q, item)
            engine.commit()
            lengths.append(len(payloads(engine, Q)))
        assert lengths == [8, 6, 4, 2, 2]
        assert payloads(engine, Q) == [b"d", b"e"]
        assert queue_of(engine).discarded == 13

    def test_one_item_that_is_larger_than_the_new_limit_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(admission, "DROP_MOST", 1)
        engine = filled(QueueSettings(), b"x" * 10, b"y" * 10)
        change(engine, max_bytes=5, overflow="drop-oldest")
        assert not engine.put(Q, b"z" * 6)
        assert len(payloads(engine, Q)) == 2

    def test_what_may_have_to_be_dropped_is_read_back(self) -> None:
        engine = Engine(QueueSettings(), memory=2000)
        for number in range(100):
            engine.put(Q, b"%050d" % number)
            engine.commit()
        assert queue_of(engine).cold_items
        change(engine, max_items=50, overflow="drop-oldest")
        engine.journal.answer_reads()
        assert not queue_of(engine).cold_items
        assert engine.put(Q, b"x")
        engine.commit()
        assert len(payloads(engine, Q)) == 50


class TestLosses:
    def test_the_rules_for_what_was_reserved_before(self) -> None:
        engine = filled(QueueSettings(), b"a", b"b", b"c")
        held = [reserve(engine) for _ in range(3)]
        change(engine, requeue="tail")
        queue_of(engine).give_back(held[1])
        queue_of(engine).give_back(held[0])
        engine.commit()
        assert payloads(engine, Q) == [b"b", b"a"]
        change(engine, requeue="head", max_deliveries=1, dead_letter="graves")
        queue_of(engine).give_back(held[2])
        engine.commit()
        assert payloads(engine, b"graves") == [b"c"]


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "reserve_timeout": st.sampled_from([1.0, 5.0, 30.0]),
        "prefetch": st.integers(1, 3),
        "max_items": st.sampled_from([0, 1, 3]),
        "max_bytes": st.sampled_from([0, 4]),
        "overflow": st.sampled_from(["refuse", "drop-oldest"]),
        "ttl": st.sampled_from([0.0, 20.0]),
        "requeue": st.sampled_from(["head", "tail"]),
    },
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            CHANGES, st.just("put"), st.just("reserve"), st.just("delete"), st.sampled_from([0.5, 1.0, 4.0, 10.0])
        ),
        max_size=40,
    )
)
def test_each_reservation_ends_at_its_own_deadline_whatever_changes(steps: list[Any]) -> None:
    engine = Engine()
    queue = engine.broker.open(Q)
    engine.broker.pause(engine.broker.open(b"unused"), None)
    held: dict[Reservation, float] = {}
    count = 0
    for step in steps:
        if isinstance(step, dict):
            change(engine, **step)
        elif step == "put":
            count += engine.put(Q, b"x")
            engine.commit()
        elif step == "reserve":
            reservation = queue.reserve(Consumer())
            if reservation is not None:
                held[reservation] = engine.clock.now + queue.settings.reserve_timeout
        elif step == "delete" and held:
            reservation, _ = held.popitem()
            queue.acknowledge(reservation, None)
            engine.commit()
        elif isinstance(step, float):
            engine.advance(step)
            engine.commit()
            due = {each for each, ends in held.items() if ends <= engine.clock.now}
            assert {each for each in held if each.consumer is None} == due
            held = {each: ends for each, ends in held.items() if each not in due}
        queue = engine.broker.open(Q)
        assert queue.settings == engine.broker.book.of(Q)
        assert queue.special == queue.settings.examines_puts
        assert queue.reserved == len(held)
        assert [*queue.reservations] == sorted(queue.reservations, key=lambda each: each.ends)
        ready = len(payloads(engine, Q))  # a look at the head drops what has expired there
        assert queue.items == ready + len(held) or queue.mortal
        assert all(rec.payload(each.record) == b"x" for each in held)
