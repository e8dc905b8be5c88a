"""The whole life of items, against a small model: any order of operations, failures and restarts."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from redqueue.engine.consumer import Consumer
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

QUEUES = st.sampled_from([b"a", b"b/c"])
CONSUMERS = st.integers(0, 3)


@dataclass
class Item:
    payload: bytes
    place: tuple[int, int]
    expires: float
    holder: int | None = None
    ends: float = 0.0


@dataclass
class Model:
    """What must be true, as simply as it can be said: one list of items a queue."""

    queues: dict[bytes, list[Item]] = field(default_factory=lambda: {b"a": [], b"b/c": []})
    now: float = 0.0

    def ready(self, queue: bytes) -> list[Item]:
        alive = [i for i in self.queues[queue] if i.holder is None and i.expires > self.now]
        return sorted(alive, key=lambda item: item.place)

    def held(self, queue: bytes, holder: int) -> list[Item]:
        return [i for i in self.queues[queue] if i.holder == holder]


class Life(RuleBasedStateMachine):
    @initialize(prefetch=st.integers(1, 2), memory=st.sampled_from([0, 0, 300, 1]))
    def start(self, prefetch: int, memory: int) -> None:
        self.prefetch = prefetch
        self.engine = Engine(QueueSettings(reserve_timeout=20, prefetch=prefetch), memory=memory)
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

    @rule(queue=QUEUES, ttl=st.sampled_from([0, 0, 5, 50]), fails=st.booleans())
    def put(self, queue: bytes, ttl: int, fails: bool) -> None:
        payload = self.new()
        self.engine.put(queue, payload, ttl)
        if fails:
            assert self.engine.fail() == [payload]
        else:
            self.engine.commit()
            expires = self.model.now + ttl if ttl else float("inf")
            self.model.queues[queue].append(Item(payload, (1, self.number), expires))

    @rule(queue=QUEUES, fails=st.booleans())
    def put_first(self, queue: bytes, fails: bool) -> None:
        payload = self.new()
        self.engine.broker.open(queue).put_first(payload, 0, 0, payload)
        if fails:
            self.engine.fail()
        else:
            self.engine.commit()
            self.front -= 1
            self.model.queues[queue].append(Item(payload, (0, self.front), float("inf")))

    @rule(queue=QUEUES, who=CONSUMERS, timeout=st.sampled_from([None, None, 3.0]))
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

    @rule(queue=QUEUES, who=CONSUMERS, fails=st.booleans())
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

    @rule(queue=QUEUES, who=CONSUMERS)
    def touch(self, queue: bytes, who: int) -> None:
        reservation = self.consumers[who].oldest(queue)
        if reservation is not None:
            reservation.queue.touch(reservation, 12)
            self.holding(queue, who)[0].ends = self.model.now + 12

    @rule(who=CONSUMERS)
    def disconnect(self, who: int) -> None:
        self.consumers[who].close()
        self.consumers[who] = Consumer()
        for queue in self.model.queues:
            for item in self.holding(queue, who):
                item.holder = None
            self.holding(queue, who).clear()

    @rule(queue=QUEUES, fails=st.booleans(), immortal=st.booleans())
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
            queue.evict(2, queue.ledger.window())

    @rule()
    def answer_reads(self) -> None:
        self.engine.journal.answer_reads()

    @rule(queue=QUEUES, fails=st.booleans())
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
        for held in self.order.values():
            for item in [i for i in held if i.ends <= self.model.now]:
                item.holder = None
                held.remove(item)

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
            containers = len(queue.ready) + queue.reserved
            assert queue.items == containers
            assert len(alive) <= queue.items <= len(items) or queue.items == len(alive)
            records = [self.engine.read(item) if isinstance(item, int) else item for item in queue.ready]
            assert queue.cold_items == sum(isinstance(item, int) for item in queue.ready)
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


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestLife = Life.TestCase
