"""The whole life of items, against a small model: any order of operations, failures and restarts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from redqueue.engine.consumer import Consumer
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

QUEUES = st.sampled_from([b"a", b"b/c"])
ANY_QUEUE = st.sampled_from([b"a", b"b/c", b"a.dead", b"b/c.dead"])
CONSUMERS = st.integers(0, 3)


@dataclass
class Item:
    payload: bytes
    number: int
    place: tuple[int, int]
    expires: float
    ready_at: float = 0.0
    losses: int = 0
    origin: bytes | None = None
    holder: int | None = None
    ends: float = 0.0


@dataclass
class Model:
    """What must be true, as simply as it can be said: one list of items a queue."""

    queues: dict[bytes, list[Item]] = field(
        default_factory=lambda: {b"a": [], b"b/c": [], b"a.dead": [], b"b/c.dead": []}
    )
    now: float = 0.0

    def ready(self, queue: bytes) -> list[Item]:
        alive = [i for i in self.queues[queue] if i.holder is None and i.expires > self.now >= i.ready_at]
        return sorted(alive, key=lambda item: item.place)

    def held(self, queue: bytes, holder: int) -> list[Item]:
        return [i for i in self.queues[queue] if i.holder == holder]


class Life(RuleBasedStateMachine):
    @initialize(
        prefetch=st.integers(1, 2),
        requeue=st.sampled_from(["head", "tail"]),
        max_deliveries=st.sampled_from([0, 1, 2, 3]),
        retry_delay=st.sampled_from([0.0, 0.0, 7.0]),
        max_items=st.sampled_from([0, 0, 4]),
        overflow=st.sampled_from(["refuse", "refuse", "drop-oldest"]),
        memory=st.sampled_from([0, 0, 300, 1]),
    )
    def start(self, prefetch: int, memory: int, **others: Any) -> None:
        self.prefetch = prefetch
        self.settings = QueueSettings(reserve_timeout=20, prefetch=prefetch, **others)
        self.engine = Engine(self.settings, memory=memory)
        self.model = Model()
        self.consumers = [Consumer() for _ in range(4)]
        self.order: dict[tuple[bytes, int], list[Item]] = {}
        self.number = 0
        self.front = 0

    def new(self) -> bytes:
        self.number += 1
        return b"%d" % self.number

    def holding(self, queue: bytes, who: int) -> list[Item]:
        return self.order.setdefault((queue, who), [])

    @rule(queue=QUEUES, ttl=st.sampled_from([0, 0, 5, 50]), delay=st.sampled_from([0, 0, 4, 13]), fails=st.booleans())
    def put(self, queue: bytes, ttl: int, delay: int, fails: bool) -> None:
        payload = self.new()
        makes_room = self.oldest_that_has_to_go(queue)
        taken = self.engine.put(queue, payload, ttl, delay)
        assert taken == (makes_room is not None)
        if fails and taken:
            assert payload in self.engine.fail()
        else:
            self.engine.commit()
            expires = self.model.now + ttl if ttl else float("inf")
            self.take_in(
                queue, makes_room, Item(payload, self.number, (1, self.number), expires, self.model.now + delay)
            )

    @rule(queue=QUEUES, fails=st.booleans())
    def put_first(self, queue: bytes, fails: bool) -> None:
        payload = self.new()
        makes_room = self.oldest_that_has_to_go(queue)
        taken = self.engine.broker.open(queue).put_first(payload, 0, 0, payload)
        assert taken == (makes_room is not None)
        if fails:
            self.engine.fail()
        else:
            self.engine.commit()
            self.front -= 1
            self.take_in(queue, makes_room, Item(payload, self.number, (0, self.front), float("inf")))

    def oldest_that_has_to_go(self, queue: bytes) -> list[bytes] | None:
        """Payloads of what must go for one more item; None where there is no way."""
        found = self.engine.broker.queues.get(queue)
        too_many = found.items + 1 - self.settings.max_items if found and self.settings.max_items else 0
        if found is None or too_many <= 0:
            return []
        ready = [
            rec.payload(record) for record in map(self.engine.record_of, found.ready)
        ]  # those too that have expired unnoticed
        can = self.settings.overflow == "drop-oldest" and len(ready) >= too_many
        return ready[:too_many] if can else None

    def take_in(self, queue: bytes, makes_room: list[bytes] | None, item: Item) -> None:
        items = self.model.queues[queue]
        if makes_room is not None:
            items[:] = [each for each in items if each.payload not in makes_room]
            items.append(item)

    @rule(queue=ANY_QUEUE, who=CONSUMERS, timeout=st.sampled_from([None, None, 3.0]))
    def reserve(self, queue: bytes, who: int, timeout: float | None) -> None:
        self.engine.warm(queue)
        found = self.engine.broker.queues.get(queue)
        got = found.reserve(self.consumers[who], timeout) if found else None
        ready = self.model.ready(queue)
        if not ready or len(self.holding(queue, who)) >= self.prefetch:
            assert got is None
            return
        assert got is not None
        assert rec.payload(got.record) == ready[0].payload
        ready[0].holder = who
        ready[0].ends = self.model.now + (20 if timeout is None else timeout)
        self.holding(queue, who).append(ready[0])

    @rule(queue=ANY_QUEUE, who=CONSUMERS, fails=st.booleans())
    def acknowledge(self, queue: bytes, who: int, fails: bool) -> None:
        reservation = self.consumers[who].oldest(queue)
        held = self.holding(queue, who)
        assert (reservation is None) == (not held)
        if reservation is None:
            return
        assert rec.payload(reservation.record) == held[0].payload
        reservation.queue.acknowledge(reservation, None)
        if fails:
            self.engine.fail()
        else:
            self.engine.commit()
            self.model.queues[queue].remove(held.pop(0))

    @rule(queue=ANY_QUEUE, who=CONSUMERS)
    def touch(self, queue: bytes, who: int) -> None:
        reservation = self.consumers[who].oldest(queue)
        if reservation is not None:
            reservation.queue.touch(reservation, 12)
            self.holding(queue, who)[0].ends = self.model.now + 12

    @rule(who=CONSUMERS)
    def disconnect(self, who: int) -> None:
        self.consumers[who].close()
        self.engine.commit()
        self.consumers[who] = Consumer()
        for queue in self.model.queues:
            for item in self.holding(queue, who):
                self.lose(queue, item)
            self.holding(queue, who).clear()

    @rule(queue=ANY_QUEUE, how=st.sampled_from(["close", "close", "cancel", "delay"]))
    def take_and_return(self, queue: bytes, how: str) -> None:
        """What workers do that an item is too much for."""
        self.engine.warm(queue)
        found = self.engine.broker.queues.get(queue)
        worker = Consumer()
        ready = self.model.ready(queue)
        reservation = found.reserve(worker) if found else None
        assert (reservation is not None) == bool(ready)
        if found is None or reservation is None:
            return
        if how == "close":
            worker.close()
            self.lose(queue, ready[0])
        else:
            delay = 9 if how == "delay" else 0
            found.cancel(reservation, delay)
            ready[0].ready_at = self.model.now + delay
            self.return_to_place(ready[0])
        self.engine.commit()

    def lose(self, queue: bytes, item: Item) -> None:
        item.holder = None
        settings = self.settings
        if settings.counts_losses and item.origin is None:
            item.losses += 1
            if settings.max_deliveries and item.losses >= settings.max_deliveries:
                self.model.queues[queue].remove(item)
                self.model.queues[queue + b".dead"].append(item)
                item.origin, item.place, item.ready_at = queue, (1, item.number), 0.0
                return
            item.ready_at = self.model.now + settings.retry_delay * 2 ** (item.losses - 1)
            if not settings.retry_delay:
                item.ready_at = 0.0
        self.return_to_place(item)

    def return_to_place(self, item: Item) -> None:
        if self.settings.requeue == "tail":
            self.number += 1
            item.place = (1, self.number)

    @rule(queue=ANY_QUEUE, who=CONSUMERS, delay=st.sampled_from([0, 3, 25]))
    def give_back(self, queue: bytes, who: int, delay: int) -> None:
        reservation = self.consumers[who].oldest(queue)
        if reservation is None:
            return
        reservation.queue.cancel(reservation, delay)
        self.engine.commit()
        item = self.holding(queue, who).pop(0)
        item.holder = None
        item.ready_at = self.model.now + delay
        self.return_to_place(item)

    @rule(queue=QUEUES, most=st.integers(1, 3), fails=st.booleans())
    def redrive(self, queue: bytes, most: int, fails: bool) -> None:
        grave = self.engine.broker.queues.get(queue + b".dead")
        letters = self.model.ready(queue + b".dead")
        if grave is None:
            assert not letters
            return
        origin = self.engine.broker.queues.get(queue)
        there = origin.items if origin else 0
        room = max(0, self.settings.max_items - there) if self.settings.max_items else most
        expected = letters[: min(most, room)]
        assert self.engine.broker.redrive(grave, most, None) == bool(expected)
        if fails:
            self.engine.fail()
            return
        self.engine.commit()
        for item in expected:
            self.model.queues[queue + b".dead"].remove(item)
            self.model.queues[queue].append(item)
            self.number += 1
            item.place, item.losses, item.origin, item.ready_at = (1, self.number), 0, None, 0.0

    @rule(queue=ANY_QUEUE, fails=st.booleans(), immortal=st.booleans())
    def rewrite(self, queue: bytes, fails: bool, immortal: bool) -> None:
        self.engine.warm(queue)
        ready = self.model.ready(queue)
        found = self.engine.broker.queues.get(queue)
        head = found.head() if found else None
        assert (head is None) == (not ready)
        if found is None or head is None:
            return
        payload = self.new()
        found.rewrite_head(payload, 0, 0 if immortal else rec.expires(head), None)
        if fails:
            self.engine.fail()
        else:
            self.engine.commit()
            ready[0].payload = payload
            if immortal:
                ready[0].expires = float("inf")

    @precondition(lambda self: self.engine.memory)
    @rule()
    def evict(self) -> None:
        for queue in self.engine.broker.queues.values():
            queue.evict(2, 1)

    @rule()
    def answer_reads(self) -> None:
        self.engine.journal.answer_reads()

    @rule(queue=ANY_QUEUE, fails=st.booleans())
    def flush(self, queue: bytes, fails: bool) -> None:
        found = self.engine.broker.queues.get(queue)
        if found is None:
            return
        self.engine.broker.flush(found, None)
        if fails:
            self.engine.fail()
        else:
            self.engine.commit()
            self.model.queues[queue].clear()
            for (name, _), held in self.order.items():
                if name == queue:
                    held.clear()

    @rule(seconds=st.sampled_from([1, 4, 11, 30]))
    def let_time_pass(self, seconds: int) -> None:
        self.model.now += seconds
        self.engine.advance(seconds)
        self.engine.commit()
        lost = [(q, h, i) for (q, _), h in self.order.items() for i in h if i.ends <= self.model.now]
        places = self.places()
        # Which of several that end in the same moment ends first is nobody's business.
        for queue, held, item in sorted(lost, key=lambda entry: places.get(entry[2].payload, 0)):
            self.lose(queue, item)
            held.remove(item)

    def places(self) -> dict[bytes, int]:
        """By payload, the place of each item in the journal."""
        return {rec.payload(r): rec.place(r) for records in self.engine.journal.items().values() for r in records}

    @precondition(lambda self: self.engine.broker.queues)
    @rule()
    def restart(self) -> None:
        self.engine = self.engine.restart()
        self.consumers = [Consumer() for _ in range(4)]
        for held in self.order.values():
            for item in held:
                item.holder = None
            held.clear()

    @invariant()
    def ready_items_are_what_the_model_says(self) -> None:
        for queue in self.model.queues:
            assert payloads(self.engine, queue) == [item.payload for item in self.model.ready(queue)]

    @invariant()
    def counts_are_right(self) -> None:
        for name, items in self.model.queues.items():
            queue = self.engine.broker.queues.get(name)
            held = [i for i in items if i.holder is not None]
            alive = [i for i in items if i.holder is not None or i.expires > self.model.now]
            if queue is None:
                assert not alive
                continue
            assert queue.reserved == len(held)
            delayed = [*(queue.delayed or ())]
            containers = len(queue.ready) + len(delayed) + queue.reserved
            assert queue.items == containers
            assert len(alive) <= queue.items <= len(items) or queue.items == len(alive)
            items_there = [*queue.ready, *delayed]
            assert queue.cold_items == sum(isinstance(item, int) for item in items_there)
            assert all(rec.ready_at(r) > self.engine.clock.wall for r in map(self.engine.record_of, delayed))
            records = [*map(self.engine.record_of, items_there)]
            records += [r.record for r in (*queue.reservations, *queue.timed)]
            assert queue.bytes == sum(map(rec.payload_size, records))
            assert queue.stored == sum(map(len, records))
            assert queue.mortal == sum(record[1] & rec.HAS_EXPIRY for record in records)

    @invariant()
    def the_journal_agrees(self) -> None:
        kept = self.engine.journal.items()
        for name, items in self.model.queues.items():
            alive = sorted((i for i in items if i.expires > self.model.now), key=lambda item: item.place)
            now = self.engine.clock.wall
            found = [r for r in kept.get(name, ()) if not rec.expires(r) or rec.expires(r) > now]
            assert [rec.payload(r) for r in found] == [i.payload for i in alive]
            assert [rec.deliveries(r) for r in found] == [i.losses for i in alive]
            assert [self.engine.broker.origins.name_of(r) for r in found] == [i.origin for i in alive]
            start = now - int(self.model.now * 1e9)
            for record, item in zip(found, alive, strict=True):
                if item.ready_at > self.model.now:
                    assert abs(rec.ready_at(record) - start - item.ready_at * 1e9) < 1e6
                else:
                    assert rec.ready_at(record) <= now


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestLife = Life.TestCase
