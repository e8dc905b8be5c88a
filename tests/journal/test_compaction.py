"""Compaction: what lives is carried on, what is dead goes, and the journal stays small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from redqueue.journal import fetch as fetch_module
from redqueue.journal import segment as seg
from redqueue.journal.compaction import Compactor
from tests.journal.journaled_queues import SEGMENT_SIZE, JournaledQueues, recover, recovered_state

Open = Callable[..., JournaledQueues]


class Compacting:
    """Queues with a compactor, driven as the server drives it: a frame, then what is to be tidied up."""

    def __init__(self, queues: JournaledQueues) -> None:
        self.queues = queues
        self.copied = 0
        self.compactor = Compactor(queues.log, self._on_copies)

    def _on_copies(self) -> None:
        self.copied += 1

    def tick(self) -> None:
        """One frame, and a piece of compaction if one is due."""
        queues, log = self.queues, self.queues.log
        if log.pending:
            queues.flush()
        again = self.compactor.step()
        before = self.copied
        if self.compactor._is_reading:
            queues._calls.run_until(lambda: self.copied > before or bool(self.compactor.failure))
        if log.has_dead():
            if log.needs_sync:
                assert queues.sync() is None
            else:
                log.remove_dead()
        if again:
            self.tick()

    def settle(self) -> None:
        """Tick until nothing is left to do."""
        for _ in range(10_000):
            log = self.queues.log
            if not self.compactor.is_due() and not log.copies and not log.has_dead():
                self.queues.wait_for_worker()
                return
            self.tick()
        raise AssertionError("compaction does not end")


@pytest.fixture
def compacting(open_queues: Open) -> Compacting:
    return Compacting(open_queues())


def disk(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.glob("segment-*"))


def assert_small(compacting: Compacting) -> None:
    queues = compacting.queues
    queues.wait_for_worker()
    blocks = 4096 * queues.log.segment_count()
    assert disk(queues.directory) <= 2 * queues.log.live_bytes + 2 * SEGMENT_SIZE + blocks
    assert queues.log.disk_bytes() <= 2 * queues.log.live_bytes + 2 * SEGMENT_SIZE


def test_one_item_parked_for_ever(compacting: Compacting) -> None:
    queues = compacting.queues
    parked = queues.put(b"parked", b"for ever")
    for _ in range(200):
        item_id = queues.put(b"busy", bytes(5000))
        compacting.tick()
        queues.acknowledge(item_id)
        compacting.tick()
        assert_small(compacting)
    assert seg.list_segments(queues.directory)[0][0] > 5
    assert compacting.compactor.compacted_segments > 5
    assert queues.ids(b"parked") == [parked]
    queues.kill()
    assert recovered_state(recover(queues.directory)) == queues.state()


def test_half_of_the_items_stay(compacting: Compacting) -> None:
    queues = compacting.queues
    for i in range(400):
        item_id = queues.put(b"%d" % (i % 7), b"%d" % i * 300)
        compacting.tick()
        if i % 2:
            queues.acknowledge(item_id)
        compacting.tick()
    compacting.settle()
    assert_small(compacting)
    state = queues.state()
    assert sum(map(len, state.values())) == 200
    queues.kill()
    assert recovered_state(recover(queues.directory)) == state


def test_a_counter_incremented_for_ever(compacting: Compacting) -> None:
    queues = compacting.queues
    other = queues.put(b"other", bytes(100))
    counter = queues.put(b"counter", b"0")
    queues.flush()
    for i in range(3000):
        queues.rewrite(counter, b"%d" % i)
        compacting.tick()
    compacting.settle()
    assert_small(compacting)
    assert seg.list_segments(queues.directory)[0][0] > 2
    queues.kill()
    state = recovered_state(recover(queues.directory))
    assert [item.payload for item in state[b"counter"]] == [b"2999"]
    assert [item.item_id for item in state[b"other"]] == [other]


def test_what_is_acknowledged_while_it_is_being_copied_stays_dead(compacting: Compacting) -> None:
    queues, log = compacting.queues, compacting.queues.log
    ids = [queues.put(b"jobs", bytes(500)) for _ in range(10)]
    queues.flush()
    dead = [queues.put(b"jobs", bytes(20_000)) for _ in range(2)]
    queues.flush()
    for item_id in dead:
        queues.acknowledge(item_id)
    queues.flush()
    while not log.copies:  # the items of the first segment have been read, and are not copied yet
        filler = queues.put(b"filler", bytes(20_000))
        queues.flush()
        queues.acknowledge(filler)
        queues.flush()
        compacting.compactor.step()
        if compacting.compactor._is_reading:
            queues._calls.run_until(lambda: bool(log.copies))
    copied = [copy.item_id for copy in log.copies]
    queues.acknowledge(copied[0])
    queues.flush()
    assert log.index.position(copied[0]) == 0
    assert log.index.position(copied[1]) >> 32 == log.index.segments[-1].number
    queues.put(b"jobs", b"more")
    queues.rewrite(copied[1], b"changed")
    queues.flush()
    assert set(copied) <= set(ids)
    compacting.settle()
    state = queues.state()
    queues.kill()
    assert recovered_state(recover(queues.directory)) == state


def test_items_of_a_flushed_queue_are_not_copied(compacting: Compacting) -> None:
    queues, log = compacting.queues, compacting.queues.log
    for _ in range(20):
        queues.put(b"flushed", bytes(2000))
        queues.put(b"kept", bytes(2000))
        queues.flush()
    queues.drop(b"flushed")
    queues.flush()
    compacting.settle()
    for _ in range(60):
        queues.acknowledge(queues.put(b"busy", bytes(2000)))
        compacting.tick()
    compacting.settle()
    state = queues.state()
    assert set(state) == {b"kept"}
    assert log.live_items == 20
    queues.kill()
    assert recovered_state(recover(queues.directory)) == state


def test_compaction_that_cannot_read_stops_and_says_why(
    compacting: Compacting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    queues = compacting.queues
    queues.put(b"parked", bytes(100))
    with monkeypatch.context() as patched:
        patched.setattr(fetch_module.os, "pread", fail)
        for _ in range(20):
            queues.acknowledge(queues.put(b"busy", bytes(8000)))
            compacting.tick()
        assert "cannot read an item back" in compacting.compactor.failure
        assert caplog.text.count("cannot read an item back") == 1
    compacting.compactor.resume()
    compacting.settle()
    assert_small(compacting)
    assert not compacting.compactor.failure


def test_after_a_restart_it_goes_on(open_queues: Open) -> None:
    queues = open_queues()
    parked = [queues.put(b"parked", bytes(3000)) for _ in range(5)]
    queues.flush()
    for round_ in range(6):
        for _ in range(10):
            queues.acknowledge(queues.put(b"busy", bytes(5000)))
            queues.flush()
        queues.kill()
        queues = open_queues()
        compacting = Compacting(queues)
        queues.put(b"parked", b"%d" % round_)
        compacting.settle()
        assert_small(compacting)
    assert queues.ids(b"parked")[:5] == parked
    assert len(queues.ids(b"parked")) == 11
