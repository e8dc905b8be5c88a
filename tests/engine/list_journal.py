"""A journal that is a list, and its replay: what the engine's tests run on."""

from __future__ import annotations

from collections.abc import Iterable

from redqueue.engine.broker import Broker
from redqueue.engine.clock import ManualClock
from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.journal import record as rec


class ListJournal:
    """Keeps the records of committed frames, and fails when told to."""

    def __init__(self) -> None:
        self.open: list[tuple[str, bytes]] = []
        self.written: list[tuple[str, bytes]] = []
        self.names: dict[int, bytes] = {}
        self.buried = 0

    def put(self, record: bytes) -> None:
        assert record[0] == rec.PUT
        self.open.append(("put", record))

    def acknowledge(self, item_id: bytes) -> None:
        self.open.append(("ack", item_id))

    def append(self, record: bytes) -> None:
        self.open.append(("other", record))

    def open_queue(self, name: bytes) -> int:
        number = len(self.names) + 1
        self.names[number] = name
        return number

    def close_queue(self, number: int) -> None:
        assert number in self.names

    def bury(self, records: Iterable[bytes]) -> None:
        self.buried += len(list(records))

    def write(self) -> None:
        """The open frame is kept."""
        self.written += self.open
        self.open = []

    def lose(self) -> None:
        """The open frame could not be written."""
        self.open = []

    def items(self) -> dict[bytes, list[bytes]]:
        """The records of each queue, by place, after a replay of what was written."""
        alive: dict[bytes, bytes] = {}
        for kind, record in self.written:
            if kind == "ack":
                alive.pop(record, None)
            elif record[0] in (rec.PUT, rec.REWRITE):
                alive[record[rec.ID_FIELD]] = record
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
        return self.names[int.from_bytes(record[rec.QUEUE_FIELD], "big")]


class Engine:
    """A broker on a list, with a clock that is turned by hand."""

    def __init__(self, settings: QueueSettings | SettingsBook | None = None, clock: ManualClock | None = None) -> None:
        self.settings = settings or QueueSettings()
        self.clock = clock or ManualClock()
        self.journal = ListJournal()
        self.broker = Broker(self.settings, self.clock, self.journal)

    def commit(self) -> None:
        """The open batch is written and takes effect."""
        batch = self.broker.seal()
        self.journal.write()
        self.broker.commit(batch)

    def fail(self) -> list[object]:
        """The open batch cannot be written."""
        batch = self.broker.seal()
        self.journal.lose()
        return self.broker.rollback(batch)

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
        fresh = Engine(self.settings, self.clock)
        fresh.journal.names = dict(self.journal.names)
        fresh.journal.written = list(self.journal.written)
        fresh.broker.last_id = max((rec.item_id(r) for kind, r in self.journal.written if kind == "put"), default=0)
        fresh.broker.restore_names({number.to_bytes(6, "big"): name for number, name in self.journal.names.items()})
        for name, records in self.journal.items().items():
            fresh.broker.restore(name, records)
        fresh.commit()
        return fresh


def payloads(engine: Engine, queue: bytes) -> list[bytes]:
    """Payloads of the ready items of a queue, next one first, by peeking."""
    found = engine.broker.queues.get(queue)
    result: list[bytes] = []
    while found is not None and (record := found.peek(len(result))) is not None:
        result.append(rec.payload(record))
    return result
