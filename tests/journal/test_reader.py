"""The reading from outside says what the server's recovery says, changes nothing, and needs little memory."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.journal import framing
from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.parse import Fanout, Item, SenselessRecord, records
from redqueue.journal.reader import (
    DAMAGE,
    HEADER,
    MISSING,
    NAME_LOST,
    SENSELESS,
    TORN,
    UNFINISHED,
    UNREADABLE,
    WINDOW,
    WRONG_LENGTH,
    JournalFiles,
    NoJournal,
)
from redqueue.journal.recovery import JournalDamaged, Recovery
from redqueue.journal.replay import Replay
from tests.cli.accidents import accident, befall, steps_of_segments, write
from tests.cli.tool import Handmade, ack, contents, fanout, flip, overwrite, put, rewrite
from tests.journal.journaled_queues import recovered_records
from tests.server_process import ServerProcess, wait_until

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def replay(directory: Path, **options: bool) -> Replay:
    with JournalFiles(directory) as files:
        found = Replay(files, **options)
        found.run()
    return found


def findings(directory: Path) -> list[tuple[str, int, int, int]]:
    return [(f.kind, f.segment, f.offset, f.end) for f in replay(directory).findings]


def items(directory: Path, **options: bool) -> dict[bytes, list[tuple[int, int, bytes]]]:
    """Id, place and payload of what lives, by queue."""
    queues: dict[bytes, list[tuple[int, int, bytes]]] = {}
    with JournalFiles(directory) as files:
        found = Replay(files, **options)
        found.run()
        for live in found.contents.live():
            item = found.item(live)
            assert item.queue == live.queue
            entry = (item.item_id, item.place, bytes(item.payload))
            queues.setdefault(found.contents.name_of(live.queue), []).append(entry)
    return queues


# -- the same as the recovery ---------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(steps_of_segments, st.lists(accident, max_size=2))
def test_it_says_what_the_recovery_says(segments: list[list[list[tuple[object, ...]]]], accidents: list) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as base:
        directory = Path(base) / "journal"
        written = write(directory, segments)
        for event in accidents:
            befall(written, event)
        if not seg.list_segments(directory):
            return
        before = contents(directory)
        found = replay(directory)
        mine = items(directory)
        assert contents(directory) == before
        try:
            recovered = Recovery(directory).run()
        except JournalDamaged:
            assert found.is_damaged
            return
        assert not found.is_damaged, found.findings
        theirs = {
            name: sorted((rec.item_id(r), rec.place(r), rec.payload(r)) for r in queue)
            for name, queue in recovered_records(recovered).items()
        }
        assert mine == theirs
        assert found.contents.last_id == recovered.last_id
        assert {name: len(queue) for name, queue in theirs.items()} == _counted(found)


def _counted(found: Replay) -> dict[bytes, int]:
    counts: dict[bytes, int] = {}
    for live in found.contents.live():
        name = found.contents.name_of(live.queue)
        counts[name] = counts.get(name, 0) + 1
    return counts


# -- each kind of finding ---------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Handmade:
    """Three segments of two frames, with ids 1 to 6."""
    handmade = Handmade(tmp_path / "journal")
    for i in range(3):
        if i:
            handmade.next_segment()
        handmade.frame(rec.name(1, b"jobs"), put(1, 2 * i + 1, b"odd"))
        handmade.frame(put(1, 2 * i + 2, b"even"))
    return handmade


def test_a_good_journal_has_no_findings(three: Handmade) -> None:
    assert findings(three.directory) == []
    assert [item_id for item_id, _, _ in items(three.directory)[b"jobs"]] == [1, 2, 3, 4, 5, 6]


def test_zeros_behind_the_last_frame_are_space_that_is_free(three: Handmade) -> None:
    three.raw(bytes(5000))
    assert findings(three.directory) == []


def test_the_file_of_reserved_space_is_ignored(three: Handmade) -> None:
    for name in ("reserve", "spare"):
        (three.directory / name).write_bytes(bytes(100))
    assert findings(three.directory) == []


def test_a_cut_off_frame_is_a_torn_tail(three: Handmade) -> None:
    frame = three.frames[-1]
    os.truncate(three.path(), frame.end - 1)
    assert findings(three.directory) == [(TORN, 3, frame.offset, frame.end - 1)]
    assert not replay(three.directory).is_damaged


def test_a_flipped_bit_in_an_earlier_segment_is_damage(three: Handmade) -> None:
    frame = three.frames[2]
    flip(three.path(2), frame.offset + 40)
    assert findings(three.directory) == [(DAMAGE, 2, frame.offset, frame.end)]
    assert [i for i, _, _ in items(three.directory)[b"jobs"]] == [1, 2, 4, 5, 6]


def test_good_frames_in_a_torn_tail_are_read_if_asked_for(three: Handmade) -> None:
    flip(three.path(), three.frames[-2].offset + 40)
    assert [i for i, _, _ in items(three.directory)[b"jobs"]] == [1, 2, 3, 4]
    assert [i for i, _, _ in items(three.directory, past_torn=True)[b"jobs"]] == [1, 2, 3, 4, 6]
    torn, last = three.frames[-2:]
    assert findings(three.directory) == [(TORN, 3, torn.offset, last.end)]
    assert [(f.offset, f.end) for f in replay(three.directory, past_torn=True).findings] == [(torn.offset, torn.end)]


def test_what_durable_says_makes_it_damage(three: Handmade) -> None:
    torn = three.frames[-1]
    three.frame(put(1, 7), durable=seg.position(3, torn.end))
    flip(three.path(), torn.offset + 40)
    assert findings(three.directory) == [(DAMAGE, 3, torn.offset, torn.end)]


def test_a_damaged_header(three: Handmade) -> None:
    flip(three.path(2), 20)
    assert findings(three.directory) == [(HEADER, 2, 0, 48), (DAMAGE, 2, 0, 48)]
    assert [i for i, _, _ in items(three.directory)[b"jobs"]] == [1, 2, 3, 4, 5, 6]


def test_a_missing_segment(three: Handmade) -> None:
    three.path(2).unlink()
    assert [f[:2] for f in findings(three.directory)] == [(MISSING, 2)]


def test_a_shortened_segment(three: Handmade) -> None:
    frame = three.frames[3]
    os.truncate(three.path(2), frame.offset)
    assert findings(three.directory) == [(WRONG_LENGTH, 2, frame.offset, frame.end)]


def test_what_is_behind_the_previous_end_does_not_count(three: Handmade) -> None:
    end = three.frames[-1].end
    three.frame(put(1, 7, b"was never confirmed"))
    three.raw(b"and half a frame")
    three.next_segment(previous_end=end, previous_failed=True)
    three.frame(rec.name(1, b"jobs"), put(1, 7, b"confirmed"))
    assert findings(three.directory) == []
    assert items(three.directory)[b"jobs"][-1] == (7, 7, b"confirmed")


def test_a_segment_that_has_grown_without_a_failure(three: Handmade) -> None:
    end = three.frames[-1].end
    grown = three.frame(put(1, 7, b"whence"))
    three.next_segment(previous_end=end)
    assert findings(three.directory) == [(WRONG_LENGTH, 3, end, grown.end)]


@pytest.mark.parametrize("content", [b"", bytes(5000)])
def test_a_segment_that_was_being_made(three: Handmade, content: bytes) -> None:
    three.path(4).write_bytes(content)
    assert findings(three.directory) == [(UNFINISHED, 4, 0, len(content))]


def test_an_empty_segment_before_the_last_is_damage(three: Handmade) -> None:
    three.path(2).write_bytes(b"")
    assert findings(three.directory) == [(WRONG_LENGTH, 2, 0, three.frames[3].end)]


def test_a_frame_that_makes_no_sense(three: Handmade) -> None:
    frame = three.frame(put(1, 7, b"good"), b"\x63what is this")
    at = frame.offset + framing.FRAME_SIZE + len(frame.records[0])
    assert findings(three.directory) == [(SENSELESS, 3, at, frame.end)]
    assert items(three.directory)[b"jobs"][-1] == (7, 7, b"good")


def test_a_lost_name(three: Handmade) -> None:
    three.frame(put(9, 7, b"whose"))
    assert [f[0] for f in findings(three.directory)] == [NAME_LOST]
    assert items(three.directory)[b"lost-name-9"] == [(7, 7, b"whose")]


def test_a_page_that_the_disk_cannot_read(three: Handmade, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = three.frame(put(1, 7, random.Random(1).randbytes(10_000)))
    three.frame(put(1, 8, b"behind"))
    bad = frame.offset // 4096 * 4096 + 4096
    real = os.pread

    def failing(fd: int, length: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == three.path().stat().st_ino and offset < bad + 4096 and bad < offset + length:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, length, offset)

    monkeypatch.setattr(os, "pread", failing)
    assert findings(three.directory) == [
        (TORN, 3, frame.offset, frame.end + 32 + 32 + 6),
        (UNREADABLE, 3, bad, bad + 4096),
    ]
    assert [i for i, _, _ in items(three.directory, past_torn=True)[b"jobs"]][-2:] == [6, 8]


def test_no_journal(tmp_path: Path) -> None:
    with pytest.raises(NoJournal, match="no directory"):
        JournalFiles(tmp_path / "missing")
    with pytest.raises(NoJournal, match="is no journal"):
        JournalFiles(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "lock").touch()
    assert findings(tmp_path) == []


def test_big_frames_and_windows(tmp_path: Path) -> None:
    """Frames longer than what is read at a time, and magics across its end."""
    handmade = Handmade(tmp_path / "journal")
    chance = random.Random(4)
    sizes = [chance.randrange(1, 3 << 20) for _ in range(4)] + [seg.HEADER_SIZE, (1 << 20) - 7]
    handmade.frame(rec.name(1, b"big"))
    for item_id, size in enumerate(sizes, 1):
        handmade.frame(put(1, item_id, chance.randbytes(size)))
    assert findings(handmade.directory) == []
    flip(handmade.path(), handmade.frames[2].offset + 50)
    found = items(handmade.directory, past_torn=True)[b"big"]
    assert [(i, len(payload)) for i, _, payload in found] == [(i, n) for i, n in enumerate(sizes, 1) if i != 2]


@pytest.mark.parametrize("short", range(5))
def test_a_good_frame_across_the_end_of_what_is_read_at_a_time(tmp_path: Path, short: int) -> None:
    handmade = Handmade(tmp_path / "journal")
    handmade.frame(rec.name(1, b"big"))
    lost = handmade.frame(put(1, 1, bytes(WINDOW - framing.FRAME_SIZE - rec.PUT_SIZE - short)))
    assert lost.end - lost.offset == WINDOW - short
    handmade.frame(put(1, 2, b"found"))
    flip(handmade.path(), lost.offset + 40)
    assert items(handmade.directory, past_torn=True) == {b"big": [(2, 2, b"found")]}


# -- records --------------------------------------------------------------------------------


def test_a_copy_in_a_younger_segment_supersedes(tmp_path: Path) -> None:
    """As compaction leaves it: the segment where the item arrived may be gone, or not yet."""
    handmade = Handmade(tmp_path / "journal", number=7, first_id=100)
    handmade.frame(rec.name(1, b"jobs"), put(1, 100, b"a"), put(1, 101, b"b"))
    handmade.next_segment()
    handmade.frame(rec.name(1, b"jobs"), rewrite(1, 100, b"a"), rewrite(1, 17, b"old"), rewrite(1, 18, b"older"))
    handmade.frame(put(1, 102, b"c"), ack(18), ack(5))
    expected = [(17, 17, b"old"), (100, 100, b"a"), (101, 101, b"b"), (102, 102, b"c")]
    assert items(handmade.directory) == {b"jobs": expected}
    found = replay(handmade.directory)
    assert [live.position >> 32 for live in found.contents.live()] == [8, 8, 7, 8]
    assert not found.contents.acked_unseen
    handmade.path(7).unlink()
    assert items(handmade.directory) == {b"jobs": [entry for entry in expected if entry[0] != 101]}


def test_the_id_of_a_rewrite_does_not_count_as_the_highest(tmp_path: Path) -> None:
    handmade = Handmade(tmp_path / "journal")
    handmade.frame(rec.name(1, b"jobs"), put(1, 1), rewrite(1, 50))
    assert replay(handmade.directory).contents.last_id == 1
    assert Recovery(handmade.directory).run().last_id == 1


def test_many_late_items_are_worked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redqueue.journal.contents._MANY", 10)
    handmade = Handmade(tmp_path / "journal", first_id=1000)
    chance = random.Random(5)
    alive: dict[int, bytes] = {}
    handmade.frame(rec.name(1, b"jobs"))
    for item_id in range(1000, 1300):
        frame = [put(1, item_id, b"new %d" % item_id)]
        alive[item_id] = b"new %d" % item_id
        for late in chance.sample(range(1, 1000), 3):
            frame.append(rewrite(1, late, b"late %d" % late))
            alive[late] = b"late %d" % late
        for gone in chance.sample(sorted(alive), 2):
            frame.append(ack(gone))
            del alive[gone]
        handmade.frame(*frame)
    assert items(handmade.directory) == {b"jobs": [(i, i, payload) for i, payload in sorted(alive.items())]}


def test_a_moved_item_is_not_flushed_with_the_queue_it_came_to(tmp_path: Path) -> None:
    handmade = Handmade(tmp_path / "journal")
    handmade.frame(rec.name(1, b"jobs"), put(1, 1, b"moves"), rec.name(2, b"jobs.dead"), put(2, 2, b"flushed"))
    handmade.frame(rec.drop(2, 3))
    handmade.frame(rewrite(2, 1, b"moves"))
    assert items(handmade.directory) == {b"jobs.dead": [(1, 1, b"moves")]}


def test_a_flush_counts_for_all_numbers_of_the_name_and_a_greater_one_takes_its_place(tmp_path: Path) -> None:
    handmade = Handmade(tmp_path / "journal")
    handmade.frame(rec.name(1, b"jobs"), rec.name(2, b"jobs"), *(put(1 + i % 2, i) for i in range(1, 7)))
    handmade.frame(rec.drop(2, 2))
    handmade.frame(rec.drop(1, 5))
    handmade.frame(rec.drop(2, 1))
    assert [item_id for item_id, _, _ in items(handmade.directory)[b"jobs"]] == [5, 6]


def test_attributes_of_an_item() -> None:
    fields = [1 << 40, -5, 1 << 41, 3, 77]
    raw = b"".join(f.to_bytes(8, "big", signed=f < 0) for f in fields)
    record = bytearray(put(5, 9, b"payload", flags=6))
    record[1] = 31
    record[32:32] = raw
    (item,) = records(bytes(record))
    assert isinstance(item, Item)
    assert item[:12] == (0, len(record), rec.PUT, 5, 9, item.time, 6, 1 << 40, -5, 1 << 41, 3, 77)
    assert item.payload == b"payload"
    record[1] = 1 | 8 | 16
    del record[40:56]
    (item,) = records(bytes(record))
    assert isinstance(item, Item)
    assert (item.expires, item.place, item.ready_at, item.deliveries, item.origin) == (1 << 40, 9, 0, 3, 77)


def test_a_fanout_is_an_item_in_each_queue(tmp_path: Path) -> None:
    handmade = Handmade(tmp_path / "journal")
    handmade.frame(*(rec.name(i, b"q%d" % i) for i in (1, 2, 3)), fanout(1, 1, (1, 2, 3), b"for all"))
    handmade.frame(ack(2), fanout(1, 4, (2, 3), b"expires", (1 << 62,)), put(1, 6, b"plain"))
    assert findings(handmade.directory) == []
    assert items(handmade.directory) == {
        b"q1": [(1, 1, b"for all"), (6, 6, b"plain")],
        b"q2": [(4, 4, b"expires")],
        b"q3": [(3, 3, b"for all"), (5, 5, b"expires")],
    }
    found = replay(handmade.directory)
    assert found.contents.last_id == 6
    (parsed,) = (r for r in records(handmade.frames[0].records[-1]) if isinstance(r, Fanout))
    assert sum(item.length for item in parsed.items()) == parsed.length == len(handmade.frames[0].records[-1])


@pytest.mark.parametrize(
    "record", [put(1, 1, b"abc"), rec.name(1, b"abc"), ack(1), rec.drop(1, 1), rec.wipe(1), fanout(1, 1, (1, 2), b"x")]
)
def test_a_record_cut_short_makes_no_sense(record: bytes) -> None:
    whole = ack(7) + record
    assert len(list(records(whole))) == 2
    for end in range(len(ack(7)) + 1, len(whole)):
        seen = []
        with pytest.raises(SenselessRecord) as caught:
            seen += list(records(whole[:end]))
        assert caught.value.at == 9


# -- beside a server -----------------------------------------------------------------------------


def test_segments_that_vanish_while_they_are_read(three: Handmade) -> None:
    with JournalFiles(three.directory) as files:
        found = Replay(files)
        steps = found.steps()
        next(steps)
        shutil.rmtree(three.directory)
        for _ in steps:
            pass
        assert [found.item(live).item_id for live in found.contents.live()] == [1, 2, 3, 4, 5, 6]
    assert not found.findings


def test_a_segment_that_vanishes_before_it_is_opened(three: Handmade, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def late(path: Path, flags: int) -> int:
        three.path(1).unlink(missing_ok=True)
        return real(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", late)
        files = JournalFiles(three.directory)
    with files:
        assert [segment.number for segment in files.segments] == [2, 3]


def test_a_tail_that_grows_is_no_damage(three: Handmade) -> None:
    """Whatever of a frame is there when it is looked at, the rest comes later."""
    whole = three.path().read_bytes()
    start = three.frames[-2].offset
    for cut in range(start, len(whole)):
        three.path().write_bytes(whole[:cut] + bytes(len(whole) - cut))
        with JournalFiles(three.directory) as files:
            last = files.segments[-1]
            find = last.find_frame

            def write_the_rest(offset: int, limit: int) -> framing.Frame | None:
                overwrite(three.path(), 0, whole)
                return find(offset, limit)  # noqa: B023

            last.find_frame = write_the_rest  # type: ignore[method-assign]
            found = Replay(files)
            found.run()
        assert not found.findings, cut


def test_a_server_under_load(tmp_path: Path) -> None:
    """Small segments come and go while they are read, again and again: never damage, and nothing is changed."""
    with ServerProcess(tmp_path, segment_size="64kb") as server:
        stopped = threading.Event()
        rounds = [0]

        def work() -> None:
            with server.connect() as wire:
                while not stopped.is_set():
                    for i in range(50):
                        wire.put(b"busy", b"%d" % i * 500)
                    for _ in range(50):
                        wire.get(b"busy")
                        wire.ask(b"delete busy")
                    rounds[0] += 1

        thread = threading.Thread(target=work)
        thread.start()
        try:
            numbers = set()
            while rounds[0] < 60:
                found = replay(tmp_path)
                assert not found.is_damaged, found.findings
                assert set(_counted(found)) <= {b"busy"}
                assert sum(_counted(found).values()) <= 51
                numbers.update(number for number, _ in seg.list_segments(tmp_path))
        finally:
            stopped.set()
            thread.join()
        assert len(numbers) > 3
        wait_until(lambda: replay(tmp_path).contents.last_id >= rounds[0] * 50)


def test_memory_does_not_grow_with_payloads(tmp_path: Path) -> None:
    handmade = Handmade(tmp_path / "journal")
    handmade.frame(rec.name(1, b"jobs"))
    chunk, count = bytes(2000), 20_000
    parts = [handmade.path().read_bytes()]
    offset = len(parts[0])
    for first in range(1, count, 100):
        payload = b"".join(put(1, i, chunk) for i in range(first, first + 100))
        parts.append(framing.encode_frame(1, offset, 1, 0, 100, payload))
        offset += len(parts[-1])
    handmade.path().write_bytes(b"".join(parts))
    del parts
    tracemalloc.start()
    try:
        found = replay(handmade.directory)
        assert sum(1 for _ in found.contents.live()) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * count + (8 << 20), f"{peak} bytes for {count} items in {offset} bytes"
