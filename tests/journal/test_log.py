"""The log: frames, rotation, what lives in which segment, and writes that fail."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.segment import HEADER_SIZE
from tests.journal.journaled_queues import (
    JournaledQueues,
    counted_live,
    frames_of,
    names_in,
    records_of,
    recover,
    recovered_state,
)

Open = Callable[..., JournaledQueues]
BODY = bytes(20_000)
"""Three of these and what is kept for acknowledgements are more than a segment of 64 KiB."""


def segments_of(directory: Path) -> list[int]:
    return [number for number, _ in seg.list_segments(directory)]


def fill(queues: JournaledQueues, name: bytes = b"jobs", segments: int = 1) -> list[int]:
    """Put items until ``segments`` more have been begun; returns the ids."""
    ids = []
    goal = segments_of(queues.directory)[-1] + segments
    while segments_of(queues.directory)[-1] < goal:
        ids.append(queues.put(name, BODY))
        queues.flush()
    return ids


def settle(queues: JournaledQueues) -> None:
    """Sync, and wait for the removals that this allows."""
    assert queues.sync() is None
    queues.wait_for_worker()


def assert_counts(queues: JournaledQueues) -> None:
    settle(queues)
    assert queues.live_counts() == counted_live(queues.directory)
    assert queues.log.segment_count() == len(queues.live_counts())


# -- frames -------------------------------------------------------------------------


def test_what_collects_is_one_frame(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    assert not queues.log.pending
    kept, gone = queues.put(b"jobs", b"kept"), queues.put(b"jobs", b"gone")
    assert queues.log.pending
    queues.flush()
    assert not queues.log.pending
    queues.put(b"mail", b"new")
    queues.acknowledge(gone)
    queues.rewrite(kept, b"rewritten")
    queues.flush()
    queues.kill()
    first, second = frames_of(seg.path_of(tmp_path, 1))
    assert [r[0] for r in records_of(first.payload)] == [rec.NAME, rec.PUT, rec.PUT]
    assert [r[0] for r in records_of(second.payload)] == [rec.NAME, rec.PUT, rec.REWRITE, rec.ACK]
    assert (first.records, second.records) == (3, 4)
    assert second.offset == first.end


def test_acknowledgements_in_a_row_are_records_of_their_own(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    ids = [queues.put(b"jobs", b"x") for _ in range(4)]
    queues.flush()
    for item_id in ids[:3]:
        queues.acknowledge(item_id)
    queues.flush()
    queues.kill()
    frame = frames_of(seg.path_of(tmp_path, 1))[-1]
    assert list(records_of(frame.payload)) == [rec.ack(item_id.to_bytes(8, "big")) for item_id in ids[:3]]
    assert [item.item_id for item in recovered_state(recover(tmp_path))[b"jobs"]] == ids[3:]


def test_write_leaves_to_start_what_does_not_fit(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    for _ in range(2):
        queues.put(b"jobs", BODY)
        assert queues.log.write()
    assert queues.log.frames == 2
    assert queues.sync() is None
    queues.put(b"jobs", BODY)
    assert not queues.log.write()
    assert queues.log.pending, "nothing has happened"
    assert segments_of(tmp_path) == [1]
    assert queues.start() is None
    assert not queues.log.pending
    assert not queues.log.busy
    assert queues.log.needs_sync
    assert segments_of(tmp_path) == [1, 2]
    assert queues.log.frames == 3
    queues.kill()
    assert len(recovered_state(recover(tmp_path))[b"jobs"]) == 3


def test_with_sync_each_frame_is_synced_by_the_worker(
    open_queues: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = open_queues(sync=True)
    synced: list[int] = []
    monkeypatch.setattr(seg, "_datasync", lambda fd: synced.append(queues.end()))
    for _ in range(3):
        queues.put(b"jobs", b"x")
        assert not queues.log.write()
        assert queues.log.pending
        assert queues.start() is None
        assert synced[-1] == queues.end(), "the sync came after the write"
        assert queues.durable() == seg.position(1, queues.end())
        assert not queues.log.needs_sync
    assert len(synced) == queues.log.syncs == 3
    durables = [frame.durable for frame in frames_of(seg.path_of(tmp_path, 1))]
    offsets = [frame.offset for frame in frames_of(seg.path_of(tmp_path, 1))]
    assert durables == [seg.position(1, offset) for offset in offsets]


def test_the_log_is_busy_until_done_is_called(open_queues: Open) -> None:
    queues = open_queues(sync=True)
    for begin in (queues.log.start, queues.log.start_sync):
        queues.put(b"jobs", b"x")
        seen: list[tuple[bool, BaseException | None]] = []
        begin(lambda error, seen=seen: seen.append((queues.log.busy, error)))  # type: ignore[misc]
        assert queues.log.busy
        queues._calls.run_until(lambda seen=seen: bool(seen))  # type: ignore[misc]
        assert seen == [(False, None)]


def test_what_comes_while_the_log_is_busy_goes_into_the_next_frame(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues(sync=True)
    queues.put(b"jobs", b"first")
    done: list[BaseException | None] = []
    queues.log.start(done.append)
    queues.put(b"mail", b"second")
    queues.put(b"jobs", b"third")
    assert queues.log.pending
    queues._calls.run_until(lambda: bool(done))
    assert queues.start() is None
    queues.kill()
    first, second = frames_of(seg.path_of(tmp_path, 1))
    assert [r[0] for r in records_of(first.payload)] == [rec.NAME, rec.PUT]
    assert [r[0] for r in records_of(second.payload)] == [rec.NAME, rec.PUT, rec.PUT]
    assert {name: len(items) for name, items in recovered_state(recover(tmp_path)).items()} == {b"jobs": 2, b"mail": 1}


def test_start_sync_makes_what_was_written_durable(open_queues: Open) -> None:
    queues = open_queues()
    assert not queues.log.needs_sync
    queues.put(b"jobs", b"x")
    queues.flush()
    assert queues.log.needs_sync
    assert queues.durable() == seg.position(1, HEADER_SIZE)
    assert queues.sync() is None
    assert not queues.log.needs_sync
    assert queues.durable() == seg.position(1, queues.end())


# -- rotation ------------------------------------------------------------------------


def test_names_are_declared_once_in_each_segment(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    fill(queues, b"jobs")
    queues.put(b"mail", b"x")
    queues.put(b"mail", b"y")
    queues.flush()
    fill(queues, b"jobs")
    queues.flush()
    queues.put(b"mail", b"x")
    queues.flush()
    queues.kill()
    declared = [names_in(path) for _, path in seg.list_segments(tmp_path)]
    assert declared == [[b"jobs"], [b"jobs", b"mail"], [b"jobs", b"mail"]]


def test_a_queue_that_is_not_spoken_of_is_not_declared(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    queues.put(b"once", b"x")
    queues.put(b"gone", b"x")
    gone = queues.put(b"gone", b"x")
    queues.flush()
    for item_id in (gone, gone - 1):
        queues.acknowledge(item_id)
    queues.flush()
    queues.forget(b"gone")
    fill(queues, b"jobs")
    queues.put(b"gone", b"again")
    queues.flush()
    queues.kill()
    numbers = [
        int.from_bytes(record[2:8], "big")
        for _, path in seg.list_segments(tmp_path)
        for frame in frames_of(path)
        for record in records_of(frame.payload)
        if record[0] == rec.NAME and record[8:] == b"gone"
    ]
    assert names_in(seg.path_of(tmp_path, 2)) == [b"jobs", b"gone"]
    assert len(set(numbers)) == 2, "a queue that is opened again has another number"
    assert len(recovered_state(recover(tmp_path))[b"gone"]) == 1


@pytest.mark.parametrize("change", ["rewrite", "drop"])
def test_a_queue_is_declared_for_every_record_that_has_its_number(
    open_queues: Open, tmp_path: Path, change: str
) -> None:
    """The segment that declared it may be gone when this one is read."""
    queues = open_queues()
    item_id = queues.put(b"mail", b"x")
    queues.flush()
    fill(queues, b"jobs")
    if change == "rewrite":
        queues.rewrite(item_id, b"y")
    else:
        queues.drop(b"mail")
    queues.flush()
    assert b"mail" in names_in(seg.path_of(tmp_path, 2))


@pytest.mark.parametrize("clean", [True, False])
def test_recovery_after_rotation(open_queues: Open, tmp_path: Path, clean: bool) -> None:
    queues = open_queues()
    ids = fill(queues, segments=3)
    queues.acknowledge(ids[4])
    queues.rewrite(ids[1], b"rewritten\r\n")
    queues.flush()
    state = queues.state()
    counts = queues.live_counts()
    if clean:
        queues.close()
    else:
        queues.kill()
    queues = open_queues()
    assert recovered_state(queues.recovered) == state
    assert queues.live_counts()[:-1] == counts == counted_live(tmp_path)[:-1]
    assert queues.recovered.next_segment == 5
    sizes = [path.stat().st_size for _, path in seg.list_segments(tmp_path)]
    assert queues.log.disk_bytes() == sum(sizes)


def test_full_segments_are_synced_and_cut_before_the_next_is_made(
    open_queues: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = open_queues()
    synced: list[int] = []
    real = seg._datasync
    monkeypatch.setattr(seg, "_datasync", lambda fd: (synced.append(segments_of(tmp_path)[-1]), real(fd)))
    fill(queues)
    assert synced == [1], "when segment 1 was synced there was no other"
    path = seg.path_of(tmp_path, 1)
    assert path.stat().st_size == frames_of(path)[-1].end
    assert queues.durable() == seg.position(2, HEADER_SIZE)


def test_an_item_longer_than_a_segment(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    small = queues.put(b"jobs", b"small")
    queues.flush()
    long_body = os.urandom(200_000)
    long = queues.put(b"jobs", long_body)
    queues.flush()
    after = queues.put(b"jobs", b"after")
    queues.flush()
    assert segments_of(tmp_path) == [1, 2, 3]
    assert queues.log.disk_bytes() == sum(path.stat().st_size for _, path in seg.list_segments(tmp_path))
    queues.kill()
    items = recovered_state(recover(tmp_path))[b"jobs"]
    assert [(item.item_id, item.payload) for item in items] == [(small, b"small"), (long, long_body), (after, b"after")]


# -- what lives where -------------------------------------------------------------------


def test_a_segment_with_nothing_live_is_deleted(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    first = fill(queues)
    assert queues.live_counts() == counted_live(tmp_path) == [(1, len(first) - 1), (2, 1)]
    for item_id in first[:-2]:
        queues.acknowledge(item_id)
    queues.flush()
    settle(queues)
    assert segments_of(tmp_path) == [1, 2]
    queues.acknowledge(first[-2])
    queues.flush()
    settle(queues)
    assert segments_of(tmp_path) == [2]
    assert queues.live_counts() == counted_live(tmp_path) == [(2, 1)]
    assert queues.log.segment_count() == 1


def test_a_dead_segment_stays_behind_a_live_older_one(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    fill(queues, segments=3)
    older, *others = queues.ids(b"jobs")
    for item_id in others:
        queues.acknowledge(item_id)
    queues.put(b"jobs", b"new")
    queues.flush()
    settle(queues)
    assert queues.live_counts() == counted_live(tmp_path) == [(1, 1), (2, 0), (3, 0), (4, 1)]
    queues.acknowledge(older)
    queues.flush()
    settle(queues)
    assert queues.live_counts() == counted_live(tmp_path) == [(4, 1)]


def test_the_segment_being_written_is_not_deleted(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    item_id = queues.put(b"jobs", b"x")
    queues.flush()
    queues.acknowledge(item_id)
    queues.flush()
    settle(queues)
    assert segments_of(tmp_path) == [1]
    assert queues.live_counts() == [(1, 0)]


def test_counts_after_every_kind_of_change(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    mail = [queues.put(b"mail", b"x") for _ in range(5)]
    queues.flush()
    jobs = fill(queues, segments=2)
    assert_counts(queues)
    queues.rewrite(mail[0], b"from segment 1 to 3")
    queues.rewrite(jobs[-1], b"within segment 3")
    queues.flush()
    assert_counts(queues)
    queues.rewrite(mail[0], b"again")
    queues.acknowledge(jobs[0])
    queues.flush()
    assert_counts(queues)
    queues.drop(b"mail")
    queues.put(b"mail", b"after the drop, below it in the frame")
    queues.flush()
    assert_counts(queues)
    queues.rewrite(jobs[1], b"then acknowledged in the same frame")
    queues.acknowledge(jobs[1])
    queues.flush()
    assert_counts(queues)
    queues.wipe()
    queues.flush()
    assert_counts(queues)
    assert segments_of(tmp_path) == [3]
    queues.put(b"mail", b"x")
    queues.flush()
    assert_counts(queues)


@pytest.mark.parametrize("seed", range(3))
def test_counts_across_restarts(open_queues: Open, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(5):
        queues = open_queues()
        assert_counts(queues)
        for _ in range(12):
            for _ in range(chance.randrange(4)):
                queues.put(chance.choice([b"jobs", b"mail"]), bytes(chance.randrange(12_000)))
            alive = sorted(queues.live)
            chosen = chance.sample(alive, min(len(alive), 3))
            for item_id in chosen[:2]:
                queues.acknowledge(item_id)
            for item_id in chosen[2:]:
                queues.rewrite(item_id, b"rewritten")
            if chance.random() < 0.1:
                queues.drop(b"mail")
            if queues.log.pending:
                queues.flush()
        assert_counts(queues)
        state = queues.state()
        queues.kill()
    assert recovered_state(recover(tmp_path)) == state


def test_a_restart_deletes_what_is_dead(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    fill(queues, segments=2)
    for item_id in queues.ids(b"jobs"):
        queues.acknowledge(item_id)
    queues.flush()
    queues.kill()
    assert segments_of(tmp_path) == [1, 2, 3], "not synced, so not deleted"
    queues = open_queues()
    settle(queues)
    assert segments_of(tmp_path) == [4]


@pytest.mark.parametrize("change", ["rewrite", "rewrite, then drop the others", "move"])
def test_a_segment_outlives_the_sync_of_what_moved_its_items_on(open_queues: Open, tmp_path: Path, change: str) -> None:
    """A power failure that takes the unsynced frame must find the item where it was before."""
    queues = open_queues()
    item_id = queues.put(b"jobs", b"precious")
    queues.flush()
    others = fill(queues, b"other")
    if change != "rewrite, then drop the others":
        for other in others[:-1]:
            queues.acknowledge(other)
        queues.flush()
    assert queues.sync() is None
    before, state = queues.end(), queues.state()
    if change.startswith("rewrite"):
        queues.rewrite(item_id, b"counted on")
        if change != "rewrite":
            queues.drop(b"other")
    else:
        queues.acknowledge(item_id)
        queues.put(b"next stage", b"precious")
    queues.flush()
    assert queues.live_counts()[0] == (1, 0)
    path = queues.path()
    queues.kill()
    assert segments_of(tmp_path) == [1, 2]
    os.truncate(path, before)
    assert recovered_state(recover(tmp_path)) == state


def test_rotation_is_sync_enough_to_delete_what_died_before(open_queues: Open, tmp_path: Path) -> None:
    """Without a sync interval there is no other."""
    queues = open_queues()
    for item_id in fill(queues)[:-1]:
        queues.acknowledge(item_id)
    queues.flush()
    assert segments_of(tmp_path) == [1, 2]
    fill(queues)
    queues.close()
    assert segments_of(tmp_path) == [2, 3]


def test_with_sync_a_dead_segment_goes_at_once(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues(sync=True)
    for item_id in fill(queues)[:-1]:
        queues.acknowledge(item_id)
    queues.flush()
    assert queues.log.segment_count() == 1
    queues.close()
    assert segments_of(tmp_path) == [2]


def test_a_segment_that_cannot_be_deleted_costs_only_space(
    open_queues: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queues = open_queues()
    ids = fill(queues)
    path = seg.path_of(tmp_path, 1)
    path.unlink()
    path.mkdir()
    for item_id in ids[:-1]:
        queues.acknowledge(item_id)
    queues.flush()
    settle(queues)
    assert f"segment {path} has nothing live and cannot be removed" in caplog.text
    queues.put(b"jobs", b"x")
    queues.flush()
    assert queues.live_counts() == [(2, 2)]


# -- ids and numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
def test_ids_are_never_given_twice(open_queues: Open, tmp_path: Path, clean: bool) -> None:
    """Everything is acknowledged, every segment that held a PUT is gone, and still the next id is new."""
    seen: set[int] = set()
    numbers: set[int] = set()
    for _ in range(4):
        queues = open_queues()
        assert queues.recovered.last_id == max(seen, default=0)
        numbers.add(queues.recovered.next_segment)
        new = fill(queues, segments=2) if len(seen) < 20 else [queues.put(b"jobs", b"x")]
        if queues.log.pending:
            queues.flush()
        assert not seen & set(new)
        seen.update(new)
        for item_id in list(queues.live):
            queues.acknowledge(item_id)
        queues.flush()
        settle(queues)
        if clean:
            queues.close()
        else:
            queues.kill()
        queues = open_queues()
        settle(queues)
        assert len(segments_of(tmp_path)) == 1, "nothing lives, so only the new segment is left"
        header = seg.decode_header(seg.list_segments(tmp_path)[0][1].read_bytes())
        assert header is not None
        assert header.first_id == max(seen) + 1
        numbers.add(header.number)
        queues.close()
    assert len(numbers) == 8, "no segment number was used twice"


def test_the_2010_regression(open_queues: Open, tmp_path: Path) -> None:
    """[A, B], restart, put C, acknowledge B, then A, restart: exactly [C], whatever the order of delivery was."""
    queues = open_queues()
    a, b = queues.put(b"jobs", b"A"), queues.put(b"jobs", b"B")
    queues.flush()
    queues.kill()
    queues = open_queues()
    assert [item.payload for item in queues.state()[b"jobs"]] == [b"A", b"B"]
    queues.put(b"jobs", b"C")
    queues.flush()
    queues.acknowledge(b)
    queues.flush()
    queues.acknowledge(a)
    queues.flush()
    queues.kill()
    queues = open_queues()
    assert [item.payload for item in queues.state()[b"jobs"]] == [b"C"]
    queues.kill()
    assert [item.payload for item in recovered_state(recover(tmp_path))[b"jobs"]] == [b"C"]


# -- writes that fail -------------------------------------------------------------------------


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, "no space")


def half_then_no_space(fd: int, data: bytes, offset: int) -> int:
    if len(data) < 40:
        raise OSError(errno.ENOSPC, "no space")
    return os.pwrite(fd, bytes(data)[: len(data) // 2], offset)


@pytest.mark.parametrize("broken", [no_space, half_then_no_space])
@pytest.mark.parametrize("by", ["write", "start", "start with sync"])
def test_nothing_of_a_failed_frame_counts(
    open_queues: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, broken: Callable[..., int]
) -> None:
    queues = open_queues(sync=by == "start with sync")
    kept = [queues.put(b"jobs", b"kept") for _ in range(3)]
    queues.flush()
    state, counts, end = queues.state(), queues.live_counts(), queues.end()
    queues.put(b"unheard of", b"lost " * 30)
    queues.acknowledge(kept[0])
    queues.rewrite(kept[1], b"lost " * 30)
    with monkeypatch.context() as patched:
        patched.setattr(seg, "pwrite", broken)
        if by == "write":
            with pytest.raises(OSError, match="no space"):
                queues.log.write()
        else:
            error = queues.start()
            assert isinstance(error, OSError)
            assert error.errno == errno.ENOSPC
    queues.roll_back()
    assert not queues.log.pending
    assert not queues.log.busy
    assert (queues.state(), queues.live_counts(), queues.end()) == (state, counts, end)
    queues.put(b"unheard of", b"fine")
    queues.acknowledge(kept[2])
    queues.flush()
    assert_counts(queues)
    state = queues.state()
    assert [len(items) for items in state.values()] == [2, 1]
    queues.kill()
    assert recovered_state(recover(tmp_path)) == state


def test_a_failed_frame_at_the_end_is_cut(open_queues: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = open_queues()
    queues.put(b"jobs", b"kept")
    queues.flush()
    state = queues.state()
    with monkeypatch.context() as patched:
        patched.setattr(seg, "pwrite", half_then_no_space)
        queues.put(b"jobs", b"lost " * 30)
        with pytest.raises(OSError, match="no space"):
            queues.log.write()
    queues.kill()
    assert recovered_state(recover(tmp_path)) == state


def test_a_segment_that_cannot_be_begun_is_tried_again(
    open_queues: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full the old segment takes what fits, acknowledgements above all."""
    queues = open_queues()
    ids = [queues.put(b"jobs", body) for body in (BODY, BODY, BODY[:6000])]
    queues.flush()
    queues.put(b"jobs", BODY)
    with monkeypatch.context() as patched:
        patched.setattr(seg, "_allocate", no_space)
        for _ in range(2):
            error = queues.start()
            assert isinstance(error, OSError)
            assert error.errno == errno.ENOSPC
            queues.roll_back()
            queues.put(b"jobs", BODY)
        queues.log._puts.clear()
        queues.roll_back()
        queues.acknowledge(ids[0])
        assert queues.log.write()
        queues._commit()
        assert segments_of(tmp_path) == [1]
    ids.append(queues.put(b"jobs", BODY))
    queues.flush()
    assert segments_of(tmp_path) == [1, 2]
    assert_counts(queues)
    state = queues.state()
    queues.kill()
    assert recovered_state(recover(tmp_path)) == state
    assert [item.item_id for item in state[b"jobs"]] == ids[1:]


def test_a_frame_that_fails_in_a_new_segment(
    open_queues: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = open_queues()
    for _ in range(3):
        queues.put(b"jobs", BODY)
        queues.flush()
    queues.put(b"jobs", BODY)
    real = os.pwrite

    def broken(fd: int, data: bytes, offset: int) -> int:
        return real(fd, data, offset) if offset < HEADER_SIZE else no_space()

    with monkeypatch.context() as patched:
        patched.setattr(seg, "pwrite", broken)
        assert isinstance(queues.start(), OSError)
    queues.roll_back()
    assert segments_of(tmp_path) == [1, 2]
    for _ in range(4):
        queues.put(b"jobs", BODY)
        queues.flush()
    assert_counts(queues)
    state = queues.state()
    queues.kill()
    again = recover(tmp_path)
    assert recovered_state(again) == state
    assert [(old.number, old.live) for old in again.index.segments] == counted_live(tmp_path)


def test_a_failed_sync_reaches_done(open_queues: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = open_queues()
    queues.put(b"jobs", b"x")
    queues.flush()
    durable = queues.durable()

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(seg, "_datasync", fail)
        error = queues.sync()
    assert isinstance(error, OSError)
    assert error.errno == errno.EIO
    assert queues.durable() == durable
    assert queues.log.needs_sync
    assert not queues.log.busy
    assert queues.log.syncs == 0


def test_close_reports_a_failed_sync_and_closes(open_queues: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    open_files = os.listdir("/proc/self/fd")
    queues = open_queues()
    queues.put(b"jobs", b"x")
    queues.flush()

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "broken disk")

    with monkeypatch.context() as patched:
        patched.setattr(seg, "_datasync", fail)
        with pytest.raises(OSError, match="broken disk"):
            queues.close()
    assert os.listdir("/proc/self/fd") == open_files


def test_close_cuts_the_segment_and_closes_it(open_queues: Open, tmp_path: Path) -> None:
    open_files = os.listdir("/proc/self/fd")
    queues = open_queues()
    queues.put(b"jobs", b"x")
    queues.flush()
    end = queues.end()
    queues.close()
    assert seg.path_of(tmp_path, 1).stat().st_size == end
    assert os.listdir("/proc/self/fd") == open_files


def test_rotation_leaves_no_open_files(open_queues: Open) -> None:
    queues = open_queues()
    open_files = len(os.listdir("/proc/self/fd"))
    fill(queues, segments=3)
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_an_item_that_is_acknowledged_and_wiped_in_one_frame_dies_once(open_queues: Open) -> None:
    queues = open_queues()
    item = queues.put(b"jobs", b"x")
    kept = queues.put(b"jobs", b"y")
    queues.flush()
    queues.acknowledge(item)
    queues.wipe()
    queues.put(b"jobs", b"z")
    queues.flush()
    assert kept not in queues.ids(b"jobs")
    assert_counts(queues)
