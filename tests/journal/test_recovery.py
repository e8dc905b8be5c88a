"""Recovery from a journal that ends anywhere, and what it hands to the engine."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from redqueue.journal import segment as seg
from redqueue.journal.recovery import JournalDamaged, Recovery
from redqueue.journal.segment import HEADER_SIZE
from tests.journal.journaled_queues import JournaledQueues, State, copy_journal, counted_live, recover, recovered_state

BIG = 64 << 10
BIG_STRIDE = 997
BODIES = [b"", b"x", b"\r\n", b"a\r\nb", b"END\r\n", b"RQF1" * 9, bytes(40), b"body"]
Open = Callable[..., JournaledQueues]


@dataclass
class Written:
    """A journal of one segment, and what was in it after each frame."""

    path: Path
    content: bytes
    states: list[tuple[int, State]]

    def expected(self, cut: int) -> tuple[int, State]:
        """End and state of the last frame that is whole where the file ends at ``cut``."""
        return [entry for entry in self.states if entry[0] <= cut][-1]

    def cuts(self) -> list[int]:
        """Every offset; in the middle of the long item only some."""
        big = self.content.find(b"B" * 1000)
        return [
            cut
            for cut in range(len(self.content) + 1)
            if not big + 100 < cut < big + BIG - 100 or (cut - big) % BIG_STRIDE == 0
        ]


def write_mixture(queues: JournaledQueues) -> list[tuple[int, State]]:
    """Mixed operations in many frames; returns the end and the state after each."""
    chance = random.Random(1)
    states = [(queues.end(), queues.state())]
    for step in range(48):
        for _ in range(chance.choice([1, 1, 2, 3])):
            queues.put(
                chance.choice([b"mail", b"jobs", b"\xff\x80queue"]),
                BODIES[step % len(BODIES)],
                flags=chance.randrange(2**32),
                expires=chance.choice([0, 0, 2**62]),
                place=chance.choice([None, None, None, -step - 1]),
            )
        if step == 42:
            queues.put(b"jobs", b"B" * BIG)
        alive = sorted(queues.live)
        if alive and step % 3 == 0:
            for item_id in chance.sample(alive, min(len(alive), chance.choice([1, 2]))):
                queues.acknowledge(item_id)
        elif alive and step % 7 == 1:
            queues.rewrite(chance.choice(alive), b"rewritten\r\n" * chance.choice([0, 1]), 5)
        elif step == 17:
            queues.drop(b"mail")
        elif step == 37:
            queues.wipe()
        queues.flush()
        states.append((queues.end(), queues.state()))
    return states


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    queues = JournaledQueues(tmp_path_factory.mktemp("written"), segment_size=1 << 20)
    states = write_mixture(queues)
    path = queues.path()
    queues.close()
    return Written(path, path.read_bytes(), states)


def test_the_mixture_is_one(written: Written) -> None:
    """The cuts below are worth what the journal is that they cut."""
    assert len(written.states) == 49
    assert written.states[-1][0] == len(written.content)
    items = [item for _, state in written.states for found in state.values() for item in found]
    assert {b"", b"x", b"\r\n", b"B" * BIG} <= {item.payload for item in items}
    assert any(item.place < 0 for item in items)
    counts = [sum(map(len, state.values())) for _, state in written.states]
    assert any(after < before for before, after in pairwise(counts))
    assert len(written.cuts()) > 4000


def assert_recovers(
    directory: Path, cut: int, written: Written, caplog: pytest.LogCaptureFixture, file_size: int
) -> None:
    path = directory / written.path.name
    end, state = written.expected(max(cut, HEADER_SIZE))
    caplog.clear()
    assert recovered_state(recover(directory)) == state
    messages = [entry.getMessage() for entry in caplog.records]
    if cut < HEADER_SIZE:
        assert not path.exists()
        assert [m for m in messages if str(path) in m and "has no header" in m] == messages != []
    else:
        assert path.stat().st_size == end
        if written.content[end:cut].strip(b"\0"):
            dropped = file_size - end
            assert messages == [f"torn tail: {path} is cut at offset {end}, dropping {dropped} bytes after it"]
        else:
            assert messages == []
    caplog.clear()
    assert recovered_state(recover(directory)) == state
    assert not caplog.records, "the second time there is nothing to cut"


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize("part", range(2))
def test_cut_at_every_byte(written: Written, tmp_path: Path, caplog: pytest.LogCaptureFixture, part: int) -> None:
    caplog.set_level(logging.WARNING)
    ends = {end + beside for end, _ in written.states for beside in (-1, 0, 1)}
    for i, cut in enumerate(written.cuts()[part::2]):
        path = tmp_path / written.path.name
        path.write_bytes(written.content[:cut])
        assert_recovers(tmp_path, cut, written, caplog, cut)
        if i % 4 and cut not in ends:
            continue
        queues = JournaledQueues(tmp_path, segment_size=1 << 16)
        item_id = queues.put(b"jobs", b"after the cut")
        queues.acknowledge(min(queues.live, default=item_id))
        queues.flush()
        state = queues.state()
        queues.kill()
        again = recover(tmp_path)
        assert recovered_state(again) == state, cut
        assert again.last_id == item_id
        for file in tmp_path.iterdir():
            file.unlink()


@pytest.mark.usefixtures("no_waiting_for_the_disk")
def test_cuts_of_allocated_space(written: Written, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a power failure leaves it: zeros stand behind the cut."""
    caplog.set_level(logging.WARNING)
    for cut in written.cuts()[::3]:
        path = tmp_path / written.path.name
        size = cut + 3000
        path.write_bytes(written.content[:cut] + bytes(3000))
        while written.content[cut : cut + 1] == b"\0":
            cut += 1  # what was cut off here were zeros: nothing is missing
        assert_recovers(tmp_path, cut, written, caplog, size)
        path.unlink(missing_ok=True)


# -- the file that was being made -------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", bytes(4096), bytes(HEADER_SIZE), seg.encode_header(2, 1, 2, 0)[:-1] + bytes(99)]
)
def test_a_segment_that_was_never_begun_is_removed(
    open_queues: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    queues = open_queues()
    queues.put(b"jobs", b"one")
    queues.flush()
    state = queues.state()
    queues.kill()
    recover(tmp_path)  # the server that then made the next segment did this first
    unused = seg.path_of(tmp_path, 2)
    unused.write_bytes(content)
    queues = open_queues()
    assert queues.recovered.next_segment == 2
    assert recovered_state(queues.recovered) == state
    assert f"torn tail: {unused} has no header" in caplog.text
    item_id = queues.put(b"jobs", b"two")
    assert item_id == 2
    queues.flush()
    state = queues.state()
    queues.kill()
    assert recovered_state(recover(tmp_path)) == state


@pytest.mark.parametrize("content", [b"", bytes(4096)])
def test_the_first_segment_of_all_was_never_begun(open_queues: Open, tmp_path: Path, content: bytes) -> None:
    seg.path_of(tmp_path, 1).write_bytes(content)
    queues = open_queues()
    assert queues.recovered.queues == {}
    queues.put(b"jobs", b"one")
    queues.flush()
    queues.kill()
    assert list(recovered_state(recover(tmp_path))) == [b"jobs"]


@pytest.mark.parametrize("content", [b"", bytes(4096)])
def test_an_empty_segment_before_others_is_damage(open_queues: Open, tmp_path: Path, content: bytes) -> None:
    for body in (b"one", b"two"):
        queues = open_queues()
        queues.put(b"jobs", body)
        queues.flush()
        queues.close()
    seg.path_of(tmp_path, 1).write_bytes(content)
    with pytest.raises(JournalDamaged, match=str(seg.path_of(tmp_path, 1))):
        recover(tmp_path)


def test_an_empty_directory_is_an_empty_journal(tmp_path: Path) -> None:
    recovered = recover(tmp_path)
    assert (recovered.queues, recovered.last_id, recovered.next_segment) == ({}, 0, 1)


# -- what recovery hands on ----------------------------------------------------------


def test_items_come_in_the_order_of_their_places(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    first = queues.put(b"jobs", b"appended")
    second = queues.put(b"jobs", b"appended")
    queues.flush()
    front = queues.put(b"jobs", b"prepended", place=-1)
    third = queues.put(b"jobs", b"appended")
    more = queues.put(b"jobs", b"prepended before", place=-2, expires=2**62)
    queues.flush()
    queues.rewrite(front, b"rewritten")
    queues.rewrite(second, b"rewritten")
    queues.flush()
    queues.kill()
    items = recovered_state(recover(tmp_path))[b"jobs"]
    assert [item.item_id for item in items] == [more, front, first, second, third]
    assert [item.place for item in items] == [-2, -1, first, second, third]
    assert [item.payload for item in items[1:4]] == [b"rewritten", b"appended", b"rewritten"]


def test_places_rule_across_restarts(open_queues: Open, tmp_path: Path) -> None:
    """Each run of the server gives a queue another number; its items are one queue all the same."""
    queues = open_queues()
    first, second = (queues.put(b"jobs", b"run 1") for _ in range(2))
    queues.flush()
    queues.kill()
    queues = open_queues()
    front = queues.put(b"jobs", b"run 2", place=-1)
    third = queues.put(b"jobs", b"run 2")
    queues.rewrite(first, b"rewritten in run 2")
    queues.flush()
    queues.kill()
    assert [item.item_id for item in recovered_state(recover(tmp_path))[b"jobs"]] == [front, first, second, third]


def test_a_rewrite_after_a_restart_keeps_the_order(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    ids = [queues.put(b"jobs", b"run 1") for _ in range(3)]
    queues.flush()
    queues.kill()
    queues = open_queues()
    queues.rewrite(ids[0], b"run 2")
    ids.append(queues.put(b"jobs", b"run 2"))
    queues.flush()
    queues.kill()
    assert [item.item_id for item in recovered_state(recover(tmp_path))[b"jobs"]] == ids


def test_a_drop_reaches_items_of_earlier_runs(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    queues.put(b"jobs", b"one")
    kept = queues.put(b"other", b"two")
    queues.flush()
    queues.kill()
    queues = open_queues()
    queues.drop(b"jobs")
    queues.flush()
    assert queues.ids(b"jobs") == []
    queues.kill()
    state = recovered_state(recover(tmp_path))
    assert [item.item_id for item in state.pop(b"other")] == [kept]
    assert state == {}


def test_a_drop_spares_what_came_after_it(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    queues.put(b"jobs", b"one")
    queues.drop(b"jobs")
    after = queues.put(b"jobs", b"two")
    queues.flush()
    queues.kill()
    assert [item.item_id for item in recovered_state(recover(tmp_path))[b"jobs"]] == [after]


def test_numbers_of_queues_are_not_given_twice(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    queues.put(b"jobs", b"one")
    queues.put(b"mail", b"one")
    queues.flush()
    queues.kill()
    recovered = recover(tmp_path)
    assert recovered.last_queue == 2
    assert open_queues().log.open_queue(b"new") > 2


def test_the_last_segment_is_on_the_disk_before_the_next_is_made(
    open_queues: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full segment has no tail to cut, and what a killed server wrote there may never have been synced."""
    queues = open_queues(segment_size=4096)
    queues.put(b"jobs", b"x" * 3000)
    queues.flush()
    os.truncate(queues.path(), queues.end())
    queues.kill()
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1])
    recover(tmp_path)
    assert str(seg.path_of(tmp_path, 1)) in synced


def test_progress_is_told_after_every_frame(open_queues: Open, tmp_path: Path) -> None:
    for _ in range(2):
        queues = open_queues()
        for _ in range(3):
            queues.put(b"jobs", bytes(100))
            queues.flush()
        queues.close()
    total = sum(path.stat().st_size for _, path in seg.list_segments(tmp_path))
    seen: list[tuple[int, int]] = []
    Recovery(tmp_path, progress=lambda done, of: seen.append((done, of))).run()
    assert {of for _, of in seen} == {total}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (total, total)
    assert len(seen) >= 6


def test_records_are_counted_and_live_items_found(open_queues: Open, tmp_path: Path) -> None:
    queues = open_queues()
    ids = [queues.put(b"jobs", bytes(10)) for _ in range(5)]
    queues.flush()
    queues.acknowledge(ids[0])
    queues.rewrite(ids[1], b"new")
    queues.flush()
    queues.kill()
    recovered = recover(tmp_path)
    assert recovered.records == 1 + 5 + 2, "a name, the puts, an acknowledgement and a rewrite"
    assert [(old.number, old.live) for old in recovered.index.segments] == counted_live(tmp_path) == [(1, 4)]
    assert [item_id for item_id, _ in recovered.index.moved] == [ids[1]]


def test_a_copy_recovers_like_the_original(written: Written, tmp_path: Path) -> None:
    copied = copy_journal(written.path.parent, tmp_path / "copy")
    assert recovered_state(recover(copied)) == written.states[-1][1]
