"""The whole life of items in a whole server on real files, with small memory and small segments, against a model."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from redqueue.engine.clock import ManualClock
from redqueue.engine.settings import QueueSettings
from redqueue.journal import record as rec
from redqueue.journal.fetch import fetch
from tests.conftest import IN_MEMORY
from tests.journal.journaled_queues import counted_live
from tests.server_in_process import Client, InProcessServer, body_of

SEGMENT = 4096
LARGEST = 3000
QUEUES = st.sampled_from([b"a", b"b/c"])
CLIENTS = st.integers(0, 2)
SIZES = st.sampled_from([0, 0, 10, 200, 1000, LARGEST])
RESERVE_SECONDS = 20


@dataclass(eq=False)
class Item:
    """An item of the model: who holds it, by which token and how long."""

    body: bytes
    place: tuple[int, int]
    expires: float
    holder: Client | None = None
    token: bytes = b""
    ends: float = 0.0


class Life(RuleBasedStateMachine):
    sync = False

    @initialize(memory=st.sampled_from([0, 1, 2000, 20_000]))
    def begin(self, memory: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="redqueue-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.clock = ManualClock()
        self.memory = memory
        self.queues: dict[bytes, list[Item]] = {b"a": [], b"b/c": []}
        self.stale: list[bytes] = []
        self.number = self.front = 0
        self.has_ttl = False
        self.start()

    def start(self) -> None:
        """A server on what is there; nothing is reserved any more."""
        self.server = InProcessServer(
            self.directory,
            sync=self.sync,
            segment_size=SEGMENT,
            memory=self.memory,
            clock=self.clock,
            settings=QueueSettings(reserve_timeout=RESERVE_SECONDS),
        )
        self.server.run()
        self.clients = [self.server.connect() for _ in range(3)]
        for items in self.queues.values():
            for item in items:
                self.give_back(item)

    def teardown(self) -> None:
        if hasattr(self, "server"):
            self.server.kill()
            shutil.rmtree(self.directory)

    def ready(self, queue: bytes) -> list[Item]:
        """What the model would deliver, next one first."""
        alive = [i for i in self.queues[queue] if i.holder is None and i.expires > self.clock.wall / 1e9]
        return sorted(alive, key=lambda item: item.place)

    def held(self, queue: bytes, client: Client) -> Item | None:
        """What a client holds."""
        return next((i for i in self.queues[queue] if i.holder is client), None)

    def give_back(self, item: Item) -> None:
        """A reservation has ended."""
        if item.token:
            self.stale.append(item.token)
        item.holder, item.token = None, b""

    def body(self, size: int) -> bytes:
        """One that no other item has."""
        self.number += 1
        return b"%d " % self.number + b"\r\n" * (size // 2)

    # -- what clients do ----------------------------------------------------------

    @rule(queue=QUEUES, who=CLIENTS, size=SIZES, ttl=st.sampled_from([0, 0, 0, 5, 50]), times=st.integers(1, 4))
    def put(self, queue: bytes, who: int, size: int, ttl: int, times: int) -> None:
        for _ in range(times):
            body = self.body(size)
            assert self.clients[who].put(queue, body, ttl) == b"STORED\r\n"
            expires = self.clock.wall / 1e9 + ttl if ttl else float("inf")
            self.has_ttl |= bool(ttl)
            self.queues[queue].append(Item(body, (1, self.number), expires))

    @rule(queue=QUEUES, who=CLIENTS, size=SIZES)
    def prepend(self, queue: bytes, who: int, size: int) -> None:
        body = self.body(size)
        assert self.clients[who].ask(b"prepend %s 0 0 %d\r\n%s\r\n" % (queue, len(body), body)) == b"STORED\r\n"
        self.front -= 1
        self.queues[queue].append(Item(body, (0, self.front), float("inf")))

    @rule(queue=QUEUES, who=CLIENTS)
    def get(self, queue: bytes, who: int) -> None:
        client = self.clients[who]
        answer = client.ask(b"gets %s\r\n" % queue)
        ready = self.ready(queue)
        if self.held(queue, client) is not None or not ready:
            assert answer == b"END\r\n"
            return
        assert body_of(answer) == ready[0].body
        ready[0].holder = client
        ready[0].token = answer.partition(b"\r\n")[0].split(b" ")[4]
        ready[0].ends = self.clock.now + RESERVE_SECONDS

    @rule(queue=QUEUES, who=CLIENTS)
    def delete(self, queue: bytes, who: int) -> None:
        client = self.clients[who]
        item = self.held(queue, client)
        answer = client.ask(b"delete %s\r\n" % queue)
        if item is None:
            assert answer == b"NOT_FOUND\r\n"
        else:
            assert answer == b"DELETED\r\n"
            self.stale.append(item.token)
            self.queues[queue].remove(item)

    @rule(queue=QUEUES, who=CLIENTS, times=st.integers(1, 8))
    def work(self, queue: bytes, who: int, times: int) -> None:
        for _ in range(times):
            self.get(queue, who)
            self.delete(queue, who)

    @rule(queue=QUEUES, who=CLIENTS)
    def abort(self, queue: bytes, who: int) -> None:
        item = self.held(queue, self.clients[who])
        assert self.clients[who].ask(b"get %s/abort\r\n" % queue) == b"END\r\n"
        if item is not None:
            self.give_back(item)

    @rule(queue=QUEUES, who=CLIENTS, size=SIZES, choice=st.integers(0, 100))
    def swap(self, queue: bytes, who: int, size: int, choice: int) -> None:
        held = [(name, i) for name, items in self.queues.items() for i in items if i.token]
        if not held:
            return
        source, item = held[choice % len(held)]
        body = self.body(size)
        command = b"cas %s 0 0 %d %s\r\n%s\r\n" % (queue, len(body), item.token, body)
        assert self.clients[who].ask(command) == b"STORED\r\n"
        self.stale.append(item.token)
        self.queues[source].remove(item)
        self.queues[queue].append(Item(body, (1, self.number), float("inf")))

    @rule(who=CLIENTS, choice=st.integers(0, 1000))
    def swap_by_a_stale_token(self, who: int, choice: int) -> None:
        if self.stale:
            token = self.stale[choice % len(self.stale)]
            assert self.clients[who].ask(b"cas a 0 0 1 %s\r\nx\r\n" % token) in (b"EXISTS\r\n", b"NOT_FOUND\r\n")

    @rule(queue=QUEUES, who=CLIENTS, size=SIZES)
    def replace(self, queue: bytes, who: int, size: int) -> None:
        ready = self.ready(queue)
        body = self.body(size)
        answer = self.clients[who].ask(b"replace %s 0 0 %d\r\n%s\r\n" % (queue, len(body), body))
        assert answer == (b"STORED\r\n" if ready else b"NOT_STORED\r\n")
        if ready:
            ready[0].body = body
            ready[0].expires = float("inf")

    @rule(queue=QUEUES, who=CLIENTS)
    def flush(self, queue: bytes, who: int) -> None:
        assert self.clients[who].ask(b"flush %s\r\n" % queue) == b"OK\r\n"
        self.stale += [i.token for i in self.queues[queue] if i.token]
        self.queues[queue].clear()

    @rule(who=CLIENTS)
    def flush_all(self, who: int) -> None:
        assert self.clients[who].ask(b"flush_all\r\n") == b"OK\r\n"
        for items in self.queues.values():
            self.stale += [i.token for i in items if i.token]
            items.clear()

    @rule(who=CLIENTS)
    def disconnect(self, who: int) -> None:
        client = self.clients[who]
        client.close()
        self.server.run()
        self.clients[who] = self.server.connect()
        for items in self.queues.values():
            for item in items:
                if item.holder is client:
                    self.give_back(item)

    # -- what else happens ----------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 4, 11, 30]))
    def let_time_pass(self, seconds: int) -> None:
        self.server.pass_time(seconds)
        for items in self.queues.values():
            for item in items:
                if item.holder is not None and item.ends <= self.clock.now:
                    self.give_back(item)

    @rule(most=st.integers(1, 5))
    def evict(self, most: int) -> None:
        for queue in self.server.broker.queues.values():
            queue.evict(most, 1)

    @rule()
    def compact(self) -> None:
        """Everything, whether it is due or not."""
        assert self.server.commit.compactor is not None
        self.server.commit.compactor.begin_anew()
        self.server.commit.schedule()
        self.server.run()

    @rule()
    def tidy_up(self) -> None:
        """The journal is small."""
        self.server.tidy_up()
        log = self.server.log
        frame = 4 * (LARGEST + 200)
        assert log.disk_bytes() <= 2 * log.live_bytes + 2 * SEGMENT + frame
        assert sum(path.stat().st_size for path in self.directory.iterdir()) == log.disk_bytes()

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        if kill:
            self.server.kill()
        else:
            self.server.close()
        self.clock.advance(0.001)  # a start in the very microsecond of the one before would give its tokens again
        self.start()

    # -- always -------------------------------------------------------------------------

    @invariant()
    def every_item_is_in_one_place(self) -> None:
        if not hasattr(self, "server"):
            return
        server, index = self.server, self.server.log.index
        ids: list[int] = []
        for name, items in self.queues.items():
            queue = server.broker.queues.get(name)
            ready = [i if isinstance(i, int) else rec.item_id(i) for i in queue.ready] if queue else []
            reserved = [rec.item_id(r.record) for r in (*queue.reservations, *queue.timed)] if queue else []
            ids += ready + reserved
            records = fetch(self.directory, [(i, index.position(i)) for i in ready])
            wall = self.clock.wall
            alive = [rec.payload(r) for r in records if not rec.expires(r) or rec.expires(r) > wall]
            assert alive == [i.body for i in self.ready(name)]
            assert len(reserved) == sum(i.holder is not None for i in items)
            if queue is not None:
                assert queue.items == len(ready) + len(reserved)
                assert queue.cold_items == sum(isinstance(i, int) for i in queue.ready)
        assert len(set(ids)) == len(ids)
        standing = {e.first_id + i for e in index.segments for i in e.first_live(0, len(e.offsets))}
        standing.update(item_id for item_id, _ in index.moved)
        assert standing == set(ids)
        assert server.log.live_items == len(ids)

    @invariant()
    def segments_are_counted_right(self) -> None:
        if not hasattr(self, "server"):
            return
        index = self.server.log.index
        counts = [(e.number, e.live) for e in index.segments]
        moved = [position >> 32 for _, position in index.moved]
        assert counts == [
            (e.number, len(e.offsets) - e.offsets.count(0) + moved.count(e.number)) for e in index.segments
        ]
        if not self.has_ttl:  # a start forgets what has expired, and says so nowhere
            assert counts == counted_live(self.directory)

    @invariant()
    def bytes_are_counted_right(self) -> None:
        if hasattr(self, "server"):
            broker = self.server.broker
            assert self.server.log.live_bytes == sum(queue.stored for queue in broker.queues.values())
            assert broker.cold_cost == sum(queue.cold_cost for queue in broker.queues.values())
            assert broker.cold_queues == sum(queue.cold_cost > 0 for queue in broker.queues.values())


class SyncedLife(Life):
    """The same with every frame by the worker."""

    sync = True


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize("machine", [Life, SyncedLife])
def test_the_server_is_a_few_lists(machine: type[Life]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=50, deadline=None))


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing does nothing."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setattr("redqueue.journal.segment._datasync", lambda fd: None)
