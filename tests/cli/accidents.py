"""Journals of a few segments with random contents, and accidents that may befall them, for property tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from tests.cli.tool import FOREVER, NOW, Handmade, WrittenFrame, ack, fanout, put, rewrite

NAMES = {1: b"jobs", 2: b"jobs", 3: b"mail", 4: b"\xff/odd"}
"""Two numbers stand for one name, as after a restart."""
SHARED = (3, 1, 4)
"""The queues of a fan-out."""
BLOCK = 64


class ModelItem(NamedTuple):
    """An item, in the order of its queue."""

    place: int
    item_id: int
    flags: int
    expires: int
    time: int
    payload: bytes


step = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(sorted(NAMES)), st.binary(max_size=40), st.integers(0, 3)),
    st.tuples(st.just("ack"), st.integers(0, 30)),
    st.tuples(st.just("rewrite"), st.integers(0, 30), st.sampled_from(sorted(NAMES)), st.binary(max_size=40)),
    st.tuples(st.just("fanout"), st.binary(max_size=40)),
    st.tuples(st.just("drop"), st.sampled_from(sorted(NAMES))),
    st.tuples(st.just("wipe")),
)
steps_of_segments = st.lists(st.lists(st.lists(step, min_size=1, max_size=4), max_size=6), min_size=1, max_size=3)
"""Steps by frame, by segment."""

accident = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 2), st.floats(0, 1)),
    st.tuples(st.just("zero"), st.integers(0, 2), st.floats(0, 1), st.integers(1, 300)),
    st.tuples(st.just("cut"), st.integers(0, 2), st.floats(0, 1)),
    st.tuples(st.just("swap"), st.integers(0, 2), st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.just("missing"), st.integers(0, 2)),
)


@dataclass
class Written:
    """A journal as it was written.

    :ivar contents: of its segments, before any accident
    """

    handmade: Handmade
    contents: dict[int, bytes]

    def spared(self) -> list[WrittenFrame]:
        """The frames that are still there as they were."""
        now = {n: path.read_bytes() for n, path in seg.list_segments(self.handmade.directory)}
        return [
            frame
            for frame in self.handmade.frames
            if now.get(frame.segment, b"")[frame.offset : frame.end]
            == self.contents[frame.segment][frame.offset : frame.end]
        ]


def write(directory: Path, segments: list[list[list[tuple[object, ...]]]]) -> Written:
    """Write a journal of these steps."""
    shutil.rmtree(directory, ignore_errors=True)
    handmade = Handmade(directory)
    last_id = 0
    for i, frames in enumerate(segments):
        if i:
            handmade.next_segment()
        named: set[int] = set()
        for steps in frames:
            records: list[bytes] = []
            for kind, *arguments in steps:
                new, last_id = _record(str(kind), arguments, last_id, named)
                records += new
            if records:
                handmade.frame(*records)
    return Written(handmade, {number: path.read_bytes() for number, path in seg.list_segments(directory)})


def _record(kind: str, arguments: list[object], last_id: int, named: set[int]) -> tuple[list[bytes], int]:
    """The records of a step, and the highest id after it."""
    numbers = [int(argument) for argument in arguments if isinstance(argument, int)]
    payload = next((argument for argument in arguments if isinstance(argument, bytes)), b"")
    if kind == "wipe":
        return [rec.wipe(last_id + 1)], last_id
    if kind == "fanout":
        names = [rec.name(queue, NAMES[queue]) for queue in SHARED if queue not in named]
        named.update(SHARED)
        return [*names, fanout(SHARED[0], last_id + 1, SHARED, payload)], last_id + len(SHARED)
    if kind in ("ack", "rewrite") and not 0 < numbers[0] <= last_id:
        return [], last_id
    if kind == "ack":
        return [ack(numbers[0])], last_id
    queue = numbers[1] if kind == "rewrite" else numbers[0]
    names = [] if queue in named else [rec.name(queue, NAMES[queue])]
    named.add(queue)
    if kind == "put":
        more: dict[str, int] = [{}, {"flags": 7}, {"expires": FOREVER}, {"place": -last_id - 1}][numbers[1]]
        return [*names, put(queue, last_id + 1, payload, **more)], last_id + 1
    if kind == "drop":
        return [*names, rec.drop(queue, last_id + 1)], last_id
    return [*names, rewrite(queue, numbers[0], payload)], last_id


def befall(written: Written, event: tuple[object, ...]) -> None:
    """Let an accident happen, where there is something to damage."""
    kind, which, *more = event
    path = written.handmade.path(1 + int(str(which)))
    if not path.exists() or not path.stat().st_size:
        return
    if kind == "missing":
        path.unlink()
        return
    before = path.read_bytes()
    after = bytearray(before)
    places = [min(len(before) - 1, int(part * len(before))) for part in more if isinstance(part, float)]
    if kind == "flip":
        after[places[0]] ^= 4
    elif kind == "zero":
        stop = min(len(before), places[0] + int(str(more[1])))
        after[places[0] : stop] = bytes(stop - places[0])
    elif kind == "cut":
        del after[places[0] :]
    else:
        a, b = sorted(place // BLOCK * BLOCK for place in places)
        if a != b and b + BLOCK <= len(before):
            after[a : a + BLOCK], after[b : b + BLOCK] = before[b : b + BLOCK], before[a : a + BLOCK]
    path.write_bytes(after)


def model(frames: list[WrittenFrame]) -> dict[bytes, list[ModelItem]]:
    """What lives after these frames, by the name of the queue."""
    names: dict[int, bytes] = {}
    for frame in frames:
        for record in frame.records:
            if record[0] == rec.NAME:
                names[int.from_bytes(record[2:8], "big")] = record[8:]
    items: dict[int, tuple[int, ModelItem]] = {}
    for frame in frames:
        for record in frame.records:
            kind = record[0]
            queue = int.from_bytes(record[2:8], "big")
            if kind in (rec.PUT, rec.REWRITE):
                items[rec.item_id(record)] = (queue, _model_item(record))
            elif kind == rec.FANOUT:
                payload = record[-int.from_bytes(record[28:32], "big") or len(record) :]
                for item_id, queue in enumerate(SHARED, rec.item_id(record)):
                    items[item_id] = (queue, ModelItem(item_id, item_id, 5, 0, NOW, payload))
            elif kind == rec.ACK:
                items.pop(int.from_bytes(record[1:9], "big"), None)
            elif kind == rec.DROP:
                alike = {queue, *(n for n, name in names.items() if name == names.get(queue))}
                below = int.from_bytes(record[8:16], "big")
                items = {i: entry for i, entry in items.items() if not (i < below and entry[0] in alike)}
            elif kind == rec.WIPE:
                below = int.from_bytes(record[1:9], "big")
                items = {i: entry for i, entry in items.items() if i >= below}
    queues: dict[bytes, list[ModelItem]] = {}
    for queue, item in items.values():
        queues.setdefault(names.get(queue, b"lost-name-%d" % queue), []).append(item)
    return {name: sorted(found) for name, found in queues.items()}


def _model_item(record: bytes) -> ModelItem:
    return ModelItem(
        rec.place(record), rec.item_id(record), rec.flags(record), rec.expires(record), NOW, rec.payload(record)
    )


def list_numbers(directory: Path) -> list[int]:
    """The segments that are there."""
    return [number for number, _ in seg.list_segments(directory)]
