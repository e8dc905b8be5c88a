"""A journal that is a list, and its replay: what the engine's tests run on."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Sequence

from redqueue.engine import subscriptions
from redqueue.engine.broker import Broker
from redqueue.engine.clock import ManualClock
from redqueue.engine.journal import Fetched
from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.journal import record as rec


class ListJournal:
    """Keeps the records of committed frames, and fails when told to.

    :ivar reads: what is asked to be read back waits here until :meth:`answer_reads`
    """

    def __init__(self) -> None:
        self.open: list[tuple[str, bytes]] = []
        self.written: list[tuple[str, bytes]] = []
        self.names: dict[int, bytes] = {}
        self.buried = 0
        self._counted = 0
        self._sums = (0, 0)
        self.reads: deque[tuple[list[int], Fetched]] = deque()

    def put(self, record: bytes) -> None:
        assert record[0] == rec.PUT
        self.open.append(("put", record))

    def acknowledge(self, record: bytes) -> None:
        assert len(record) == rec.stored_size(record, 0), "the whole record"
        self.open.append(("ack", record[8:16]))

    def acknowledge_with_put(self, record: bytes) -> None:
        self.open.append(("ack with put", record[8:16]))

    def append(self, record: bytes) -> None:
        self.open.append(("other", record))

    def rewrite(self, new: bytes, old: bytes) -> None:
        assert new[8:16] == old[8:16]
        self.open.append(("other", new))

    def put_together(self, records: Sequence[bytes]) -> None:
        together = rec.fan_out(records)
        for record in records:
            assert rec.fan_out_member(together, rec.item_id(record)) == record
            self.put(record)

    @property
    def live_items(self) -> int:
        return self._live()[0]

    @property
    def live_bytes(self) -> int:
        return self._live()[1]

    def _live(self) -> tuple[int, int]:
        if self._counted != len(self.written):
            self._counted = len(self.written)
            records = [record for records in self.items().values() for record in records]
            self._sums = len(records), sum(map(len, records))
        return self._sums

    def open_queue(self, name: bytes) -> int:
        number = len(self.names) + 1
        self.names[number] = name
        return number

    def pin_queue(self, name: bytes) -> int:
        return self.open_queue(name)

    def close_queue(self, number: int) -> None:
        assert number in self.names

    def bury(self, ids: Iterator[int], items: int, stored: int) -> None:
        ids = [*ids]
        assert len(set(ids)) == len(ids) == items
        self.buried += items

    def read(self, ids: Sequence[int], done: Fetched) -> None:
        self.reads.append(([*ids], done))

    def answer_reads(self, error: BaseException | None = None) -> None:
        """What was asked for is here, or cannot be read, for ``error``; also what is asked for in answer to that."""
        while self.reads:
            ids, done = self.reads.popleft()
            try:
                if error is not None:
                    raise error
                records = [self.record(item_id) for item_id in ids]
            except Exception as failure:
                done(None, failure)
            else:
                done(records, None)

    def record(self, item_id: int) -> bytes:
        """The record of a living item."""
        found = [r for records in self.items().values() for r in records if rec.item_id(r) == item_id]
        if not found:
            raise LookupError(f"no item {item_id}")
        return found[0]

    def write(self) -> None:
        """The open frame is kept."""
        self.written += self.open
        self.open = []

    def lose(self, but_acks: bool = False) -> None:
        """The open frame could not be written, or only its acknowledgements."""
        self.open = [entry for entry in self.open if but_acks and entry[0] == "ack"]
        self.write()

    def items(self) -> dict[bytes, list[bytes]]:
        """The records of each queue, by place, after a replay of what was written."""
        alive: dict[bytes, bytes] = {}
        for kind, record in self.written:
            if kind.startswith("ack"):
                alive.pop(record, None)
            elif record[0] in (rec.PUT, rec.REWRITE):
                alive[record[8:16]] = record
            elif record[0] == rec.DROP:
                queue, below = self.name_of(record), record[8:16]
                alive = {i: r for i, r in alive.items() if self.name_of(r) != queue or i >= below}
            else:
                assert record[0] == rec.WIPE
                alive = {i: r for i, r in alive.items() if i >= record[1:9]}
        queues: dict[bytes, list[bytes]] = {}
        for record in sorted(alive.values(), key=rec.place):
            queues.setdefault(self.name_of(record), []).append(record)
        return queues

    def name_of(self, record: bytes) -> bytes:
        """The queue that a record speaks of."""
        return self.names[int.from_bytes(record[2:8], "big")]


class Engine:
    """A broker on a list, with a clock that is turned by hand."""

    def __init__(
        self, settings: QueueSettings | SettingsBook | None = None, clock: ManualClock | None = None, memory: int = 0
    ) -> None:
        self.memory = memory
        self.settings = settings or QueueSettings()
        self.clock = clock or ManualClock()
        self.journal = ListJournal()
        self.broker = Broker(self.settings, self.clock, self.journal, memory)

    def commit(self) -> None:
        """The open batch is written and takes effect."""
        batch = self.broker.seal()
        self.journal.write()
        self.broker.commit(batch)

    def fail(self, but_acks: bool = False) -> list[object]:
        """The open batch cannot be written, or only its acknowledgements."""
        batch = self.broker.seal()
        self.journal.lose(but_acks)
        return self.broker.rollback(batch, but_acks)

    def read(self, item_id: int) -> bytes:
        """The record of an item, from the journal."""
        return self.journal.record(item_id)

    def record_of(self, item: bytes | int) -> bytes:
        """The record of an item that may not be in memory."""
        return self.read(item) if isinstance(item, int) else item

    def warm(self, queue: bytes) -> None:
        """The head of a queue is read back, if it is not in memory."""
        found = self.broker.queues.get(queue)
        while found is not None and found.head() is None and len(found.ready) and found.is_settled():
            self.journal.answer_reads()

    def advance(self, seconds: float) -> None:
        """Time passes, and what is due happens."""
        self.clock.advance(seconds)
        while self.broker.deadlines.fire(self.clock.now):
            pass

    def put(self, queue: bytes, payload: bytes, ttl: float = 0, delay: float = 0) -> bool:
        """Put an item, with a TTL and a delay in seconds."""
        expires = self.clock.wall + int(ttl * 1e9) if ttl else 0
        return self.broker.open(queue).put(payload, 0, expires, payload, delay)

    def restart(self) -> Engine:
        """What a server finds that replays this one's journal; an uncommitted batch is lost."""
        fresh = Engine(self.settings, self.clock, self.memory)
        fresh.journal.names = dict(self.journal.names)
        fresh.journal.written = list(self.journal.written)
        fresh.broker.last_id = max((rec.item_id(r) for kind, r in self.journal.written if kind == "put"), default=0)
        fresh.broker.restore_names({number.to_bytes(6, "big"): name for number, name in self.journal.names.items()})
        queues = self.journal.items()
        fresh.broker.restore_subscriptions(queues.pop(subscriptions.QUEUE, []))
        for name, records in queues.items():
            alive = [r for r in records if not (r[1] & rec.HAS_EXPIRY and rec.expires(r) <= self.clock.wall)]
            for dead in set(records) - set(alive):
                fresh.journal.written.append(("ack", dead[8:16]))
            if alive:
                restore(fresh.broker, name, alive)
        fresh.commit()
        fresh.journal.answer_reads()
        return fresh


def restore(broker: Broker, name: bytes, records: list[bytes]) -> None:
    """Give a queue the living items of a journal, as the recovery does."""
    records = sorted(records, key=rec.item_id)
    broker.restore(
        name,
        array("Q", (rec.item_id(r) for r in records if not r[1] & ~rec.HAS_EXPIRY)),
        [r[: rec.payload_offset(r)] for r in records if r[1] & ~rec.HAS_EXPIRY],
        sum(map(rec.payload_size, records)),
        sum(rec.payload_offset(r) - rec.PUT_SIZE for r in records),
        sum(r[1] & rec.HAS_EXPIRY for r in records),
    )


def payloads(engine: Engine, queue: bytes) -> list[bytes]:
    """Payloads of the ready items of a queue, next one first; those that are not in memory from the journal."""
    found = engine.broker.queues.get(queue)
    if found is None:
        return []
    records = [engine.read(item) if isinstance(item, int) else item for item in found.ready]
    wall = engine.clock.wall
    alive = [record for record in records if not rec.expires(record) or rec.expires(record) > wall]
    if all(isinstance(item, bytes) for item in found.ready):
        assert [found.peek(i) for i in range(len(alive) + 1)] == [*alive, None]
    return [rec.payload(record) for record in alive]
