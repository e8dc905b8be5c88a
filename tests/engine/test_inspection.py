"""Looking into a queue tells what it does next, and changes nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.engine import inspection
from redqueue.engine.consumer import Consumer
from redqueue.engine.delayed import Moments
from redqueue.engine.inspection import Found
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

Q = b"q"
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "first", "reserve", "give back", "restart"]), st.just(0)),
        st.tuples(st.just("delay"), st.integers(1, 50)),
        st.tuples(st.just("mortal"), st.integers(1, 50)),
        st.tuples(st.just("pass"), st.integers(1, 20)),
    ),
    max_size=60,
)


def ids(engine: Engine, found: list[Found]) -> list[int]:
    return [rec.item_id(engine.record_of(each.entry)) for each in found]


@settings(deadline=None)
@given(CHANGES, st.sampled_from([0, 1, 4000]))
def test_it_tells_in_which_order_items_come(changes: list[tuple[str, int]], memory: int) -> None:
    engine = Engine(QueueSettings(prefetch=1000), memory=memory)
    consumer = Consumer()
    for number, (change, amount) in enumerate(changes):
        payload = b"%d" % number
        if change == "first":
            engine.broker.open(Q).put_first(payload, 0, 0, payload)
        elif change == "reserve":
            engine.warm(Q)
            if Q in engine.broker.queues:
                engine.broker.queues[Q].reserve(consumer)
        elif change == "give back":
            for reservation in consumer.held.get(Q, [])[:1]:
                reservation.queue.cancel(reservation)
        elif change == "restart":
            engine.commit()
            engine, consumer = engine.restart(), Consumer()
        elif change == "pass":
            engine.advance(amount)
        else:
            engine.put(Q, payload, ttl=amount if change == "mortal" else 0, delay=amount if change == "delay" else 0)
        engine.commit()
    queue = engine.broker.queues.get(Q)
    if queue is None:
        return
    before = payloads(engine, Q)
    ready = [each for each in inspection.ready(queue) if is_alive(engine, each)]
    assert [rec.payload(engine.record_of(each.entry)) for each in ready] == before
    held = consumer.held.get(Q, [])
    assert ids(engine, [*inspection.reserved(queue)]) == [rec.item_id(reservation.record) for reservation in held]
    assert {each.consumer for each in inspection.reserved(queue)} == ({consumer} if held else set())
    delayed = [*inspection.delayed(queue)]
    assert [each.until for each in delayed] == sorted(each.until for each in delayed)
    assert len(delayed) == inspection.count_delayed(queue)
    assert inspection.count_consumers(queue) == bool(held)
    assert payloads(engine, Q) == before
    drained = []
    drainer = Consumer()
    while True:
        engine.warm(Q)
        reservation = queue.reserve(drainer)
        if reservation is None:
            break
        drained.append(rec.item_id(reservation.record))
    assert drained == ids(engine, ready)


def is_alive(engine: Engine, found: Found) -> bool:
    """Whether its time to live has not passed: of what is not in memory that is not known."""
    expires = rec.expires(engine.record_of(found.entry))
    return not expires or expires > engine.clock.wall


@settings(deadline=None)
@given(st.lists(st.integers(0, 1 << 60), max_size=20), st.integers(0, 20_000))
def test_moments_in_their_order(some: list[int], more: int) -> None:
    moments = Moments()
    pairs = [*zip(some, range(len(some)), strict=True), *((1000 + i * 7919 % 20_011, 100 + i) for i in range(more))]
    for moment, item_id in pairs:
        moments.push(moment, item_id)
    assert [*moments.in_order()] == sorted(pairs)
    assert len(moments) == len(pairs)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["put", "first", "reserve", "cancel"]), max_size=40), st.data(), st.sampled_from([0, 1])
)
def test_an_item_is_brought_in_from_wherever_it_stands(changes: list[str], data: st.DataObject, memory: int) -> None:
    engine = Engine(QueueSettings(prefetch=1000), memory=memory)
    consumer, queue = Consumer(), engine.broker.open(Q)
    for number, change in enumerate(changes):
        payload = b"%d" % number
        if change == "put":
            engine.put(Q, payload)
        elif change == "first":
            queue.put_first(payload, 0, 0, payload)
        elif change == "reserve":
            engine.warm(Q)
            queue.reserve(consumer)
        else:
            for reservation in consumer.held.get(Q, [])[:1]:
                reservation.queue.cancel(reservation)
        engine.commit()
    before = ids(engine, [*inspection.ready(queue)])
    item_id = data.draw(st.sampled_from([*before, 10**6]))
    while queue.is_bringing_in(item_id):
        engine.journal.answer_reads()
    assert ids(engine, [*inspection.ready(queue)]) == before
    found = queue.ready.remove(item_id)
    if found is None:
        assert item_id not in before
    else:
        assert isinstance(found[1], bytes)
        assert ids(engine, [*inspection.ready(queue)]) == [each for each in before if each != item_id]
