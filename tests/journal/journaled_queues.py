"""A journal in a directory, opened as the server opens it, and the queues it ought to hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from redqueue.journal import framing
from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.fetch import fetch
from redqueue.journal.log import Log
from redqueue.journal.recovery import Recovered, Recovery
from redqueue.journal.worker import Worker

SEGMENT_SIZE = 64 << 10
DEADLINE_SECONDS = 20.0


class Item(NamedTuple):
    """What a consumer would get, and what decides its order."""

    place: int
    item_id: int
    flags: int
    expires: int
    time: int
    payload: bytes


State = dict[bytes, list[Item]]
"""The items of each queue that has any, in the order of their places."""


def item_of(record: bytes) -> Item:
    """A PUT record as an item."""
    return Item(
        rec.place(record),
        rec.item_id(record),
        rec.flags(record),
        rec.expires(record),
        rec.time(record),
        rec.payload(record),
    )


def recovered_state(recovered: Recovered) -> State:
    """What a recovery has found, in the order in which it hands it out."""
    return {name: [item_of(record) for record in records] for name, records in recovered_records(recovered).items()}


def recovered_records(recovered: Recovered) -> dict[bytes, list[bytes]]:
    """The records of each queue that a recovery has found, read back, in the order of their places."""
    found = {}
    for name, queue in recovered.queues.items():
        ids = [*queue.ids, *map(rec.item_id, queue.heads)]
        wanted = [(item_id, recovered.index.position(item_id)) for item_id in ids]
        records = fetch(recovered.index.segments[0].path.parent, wanted)
        assert queue.bytes == sum(map(rec.payload_size, records))
        assert queue.stored == sum(map(len, records))
        assert queue.mortal == sum(record[1] & rec.HAS_EXPIRY for record in records)
        found[name] = sorted(records, key=rec.place)
    return found


def recover(directory: Path, *, salvage: bool = False) -> Recovered:
    """Replay the journal, which may cut its tail."""
    return Recovery(directory, salvage=salvage).run()


class CallQueue:
    """Stands in for an event loop: what a worker reports waits here until the test runs it."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.notify = self._calls.put

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Run what the worker reports until ``condition`` holds.

        :raises queue.Empty: when nothing is reported any more
        """
        while not condition():
            self._calls.get(timeout=DEADLINE_SECONDS)()


class JournaledQueues:
    """Recovery, log and worker on ``directory``, and a model of what must be in it.

    Changes collect, as in a tick of the server, until :meth:`flush` writes them as one frame.

    :ivar recovered: what the recovery found
    :ivar live: name and record of every live item by id, as of the last frame written
    """

    def __init__(self, directory: Path, *, sync: bool = False, segment_size: int = SEGMENT_SIZE, salvage: bool = False):
        self.directory = directory
        self.recovered = recover(directory, salvage=salvage)
        self._found = recovered_records(self.recovered)
        self._clock = count(1_700_000_000_000_000_000, 1_000_003)
        self._calls = CallQueue()
        self.log = Log(
            directory,
            self.recovered,
            segment_size=segment_size,
            sync=sync,
            wall_ns=lambda: next(self._clock),
            worker=Worker(self._calls.notify),
        )
        self.live: dict[int, tuple[bytes, bytes]] = {}
        self._numbers: dict[bytes, int] = {}
        for name, records in self._found.items():
            self._number(name)
            for record in records:
                self.live[rec.item_id(record)] = (name, record)
        self._last_id = self.recovered.last_id
        self._puts: list[tuple[bytes, bytes]] = []
        self._others: list[tuple[str, bytes, bytes | int]] = []
        self._acks: list[int] = []

    def _number(self, name: bytes) -> int:
        if name not in self._numbers:
            self._numbers[name] = self.log.open_queue(name)
        return self._numbers[name]

    # -- changes, which wait for the next frame -------------------------------

    def put(self, name: bytes, payload: bytes, flags: int = 0, expires: int = 0, place: int | None = None) -> int:
        """Append an item, at ``place`` if given; returns its id."""
        self._last_id += 1
        record = rec.put(self._number(name), self._last_id, next(self._clock), flags, payload, expires, place)
        self._puts.append((name, record))
        self.log.put(record)
        return self._last_id

    def _record(self, item_id: int) -> bytes:
        """The record of an item that is there or is being put or rewritten."""
        rewritten = [argument for kind, _, argument in self._others if kind == "rewrite"]
        candidates = [record for _, record in self._puts] + [self.live[item_id][1]] if item_id in self.live else []
        candidates += [record for _, record in self._puts]
        candidates += [argument for argument in rewritten if isinstance(argument, bytes)]
        return next(record for record in reversed(candidates) if rec.item_id(record) == item_id)

    def acknowledge(self, item_id: int) -> None:
        """The item is done with."""
        self._acks.append(item_id)
        self.log.acknowledge(self._record(item_id))

    def rewrite(self, item_id: int, payload: bytes, flags: int = 0, expires: int = 0) -> None:
        """Give an item another payload, flags and expiry."""
        name, record = self.live[item_id]
        new = rec.replaced(record, self._number(name), payload, flags, expires)
        for kind, _, argument in self._others:
            if kind == "rewrite" and isinstance(argument, bytes) and rec.item_id(argument) == item_id:
                record = argument
        self._others.append(("rewrite", name, new))
        self.log.rewrite(new, record)

    def drop(self, name: bytes) -> None:
        """Drop what is in a queue."""
        self._others.append(("drop", name, self._last_id + 1))
        self.log.append(rec.drop(self._number(name), self._last_id + 1))

    def wipe(self) -> None:
        """Drop what is in all queues."""
        self._others.append(("wipe", b"", self._last_id + 1))
        self.log.append(rec.wipe(self._last_id + 1))

    def forget(self, name: bytes) -> None:
        """The empty queue is not used any more; should it come again, it gets another number."""
        self.log.close_queue(self._numbers.pop(name))

    # -- frames -----------------------------------------------------------------

    def flush(self) -> None:
        """Write what has collected as one frame, and wait until it counts."""
        if self.log.write():
            self._commit()
        else:
            error = self.start()
            if error is not None:
                raise error

    def start(self) -> BaseException | None:
        """Have the worker write the frame; returns the error that came of it."""
        outcomes: list[BaseException | None] = []

        def done(error: BaseException | None) -> None:
            if error is None:
                self._commit()
            outcomes.append(error)

        self.log.start(done)
        self._calls.run_until(lambda: bool(outcomes))
        return outcomes[0]

    def sync(self) -> BaseException | None:
        """Have the worker sync; returns the error that came of it."""
        outcomes: list[BaseException | None] = []
        self.log.start_sync(outcomes.append)
        self._calls.run_until(lambda: bool(outcomes))
        return outcomes[0]

    def wait_for_worker(self) -> None:
        """Return once the worker has done all that it was given, such as the removal of dead segments."""
        outcomes: list[BaseException | None] = []
        self.log._worker.submit(lambda: None, outcomes.append)
        self._calls.run_until(lambda: bool(outcomes))

    def roll_back(self) -> None:
        """The frame could not be written: nothing of it has happened."""
        self._puts, self._others, self._acks = [], [], []

    def _commit(self) -> None:
        puts, others, acks = self._puts, self._others, self._acks
        self.roll_back()
        self.live.update((rec.item_id(record), (name, record)) for name, record in puts)
        buried: list[bytes] = []
        for kind, name, argument in others:
            if kind == "rewrite":
                assert isinstance(argument, bytes)
                self.live[rec.item_id(argument)] = (name, argument)
                continue
            assert isinstance(argument, int)
            for item_id, (of, record) in list(self.live.items()):
                if item_id < argument and (kind == "wipe" or of == name) and item_id not in acks:
                    del self.live[item_id]
                    buried.append(record)
        for item_id in acks:
            del self.live[item_id]
        if buried:
            self.log.bury(map(rec.item_id, buried), len(buried), sum(map(len, buried)))
        while self.log.tend():
            pass
        if not self.log.needs_sync:
            self.log.remove_dead()
        assert self.log.live_items == len(self.live)
        assert self.log.live_bytes == sum(len(record) for _, record in self.live.values())

    # -- ends ----------------------------------------------------------------------

    def close(self) -> None:
        """A clean end."""
        self.log.close()

    def kill(self) -> None:
        """The end of a server by kill -9: what was written is there, and the rest of the allocated space."""
        self.log.abandon()

    def is_open(self) -> bool:
        """Whether it has neither been closed nor killed."""
        return self.log._worker._thread.is_alive()

    # -- what is there ---------------------------------------------------------------

    def state(self) -> State:
        """What the model holds as of the last frame."""
        queues: State = {}
        for name, record in self.live.values():
            queues.setdefault(name, []).append(item_of(record))
        return {name: sorted(items) for name, items in queues.items()}

    def ids(self, name: bytes) -> list[int]:
        """The ids of a queue's items as of the last frame, in the order of their places."""
        return [item.item_id for item in self.state().get(name, [])]

    def path(self) -> Path:
        """The segment that is being appended to."""
        return seg.list_segments(self.directory)[-1][1]

    def end(self) -> int:
        """Where the next frame of that segment goes."""
        return self.log._current.end

    def durable(self) -> int:
        """The position up to which the journal is known to be on the disk."""
        return self.log._durable

    def live_counts(self) -> list[tuple[int, int]]:
        """Number and live items of every segment, as the log counts them."""
        return [(entry.number, entry.live) for entry in self.log.index.segments]


def records_of(payload: bytes) -> Iterator[bytes]:
    """The records of a frame, read without the recovery's help."""
    sizes = {rec.ACK: lambda: 9, rec.WIPE: lambda: 9, rec.DROP: lambda: 16, rec.NAME: lambda: 8 + payload[at + 1]}
    at = 0
    while at < len(payload):
        if payload[at] in (rec.PUT, rec.REWRITE):
            size = 32 + 8 * bin(payload[at + 1]).count("1") + int.from_bytes(payload[at + 28 : at + 32], "big")
        else:
            size = sizes[payload[at]]()
        yield payload[at : at + size]
        at += size


def frames_of(path: Path) -> list[framing.Frame]:
    """The frames of a segment file, up to its torn tail."""
    content = path.read_bytes()
    header = seg.decode_header(content)
    assert header is not None
    return list(framing.frames(memoryview(content), header.number, seg.HEADER_SIZE))


def names_in(path: Path) -> list[bytes]:
    """The queue names that a segment declares, in order."""
    return [record[8:] for frame in frames_of(path) for record in records_of(frame.payload) if record[0] == rec.NAME]


def counted_live(directory: Path) -> list[tuple[int, int]]:
    """Number and live items of every segment, by reading all of them again."""
    where: dict[bytes, int] = {}
    names: dict[bytes, bytes] = {}
    queue_of: dict[bytes, bytes] = {}
    segments = seg.list_segments(directory)
    for number, path in segments:
        for frame in frames_of(path):
            for record in records_of(frame.payload):
                kind = record[0]
                if kind in (rec.PUT, rec.REWRITE):
                    where[record[8:16]] = number
                    queue_of[record[8:16]] = names[record[2:8]]
                elif kind == rec.NAME:
                    names[record[2:8]] = record[8:]
                elif kind == rec.ACK:
                    where.pop(record[1:9], None)
                else:
                    below = record[1:9] if kind == rec.WIPE else record[8:16]
                    for item_id in [i for i in where if i < below]:
                        if kind == rec.WIPE or queue_of[item_id] == names[record[2:8]]:
                            del where[item_id]
    return [(number, sum(1 for there in where.values() if there == number)) for number, _ in segments]


def copy_journal(source: Path, target: Path) -> Path:
    """A copy of the segments, to be damaged."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for _, path in seg.list_segments(source):
        shutil.copyfile(path, target / path.name)
    return target
