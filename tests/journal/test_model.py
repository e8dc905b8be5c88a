"""Any order of changes, frames, segments, ends and power failures, against a dictionary."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from redqueue.journal import segment as seg
from redqueue.journal.segment import HEADER_SIZE
from tests.journal.journaled_queues import JournaledQueues, State, counted_live, recover, recovered_state

NAMES = st.sampled_from([b"jobs", b"mail", b"\xff"])
BODIES = st.builds(
    lambda size, seed: (b"%d\r\nRQF1" % seed * size)[:size],
    st.sampled_from([0, 1, 2, 9, 300, 3_000, 20_000, 70_000]),
    st.integers(0, 9),
)
FLAGS = st.sampled_from([0, 1, 2**32 - 1])
EXPIRES = st.sampled_from([0, 0, 2**62])


class JournalMachine(RuleBasedStateMachine):
    """Whatever happens, the journal holds what the model holds."""

    sync = False

    @initialize()
    def open(self) -> None:
        """The first start."""
        self.directory = Path(tempfile.mkdtemp(prefix="journal-"))
        self.queues: JournaledQueues | None = None
        self.start({})

    def start(self, expected: State) -> None:
        """A start that must find ``expected``, and nothing in it may have an id that comes again."""
        last_id = self.queues.recovered.last_id if self.queues is not None else 0
        found = recover(self.directory)
        assert recovered_state(found) == expected
        assert [(old.number, old.live) for old in found.index.segments] == counted_live(self.directory)
        assert found.last_id >= last_id
        self.queues = JournaledQueues(self.directory, sync=self.sync)
        assert self.queues.state() == expected
        self.front = min([0, *(item.place for items in expected.values() for item in items)])
        self.states = [(self.position(), expected)]
        self.leave_out: set[int] = set()
        self.has_dropped = False

    def position(self) -> int:
        """Where the next frame goes."""
        assert self.queues is not None
        return seg.position(seg.list_segments(self.directory)[-1][0], self.queues.end())

    def teardown(self) -> None:
        """The end of the run."""
        if self.queues is not None:
            if self.queues.is_open():
                self.queues.kill()
            shutil.rmtree(self.directory)

    # -- changes ----------------------------------------------------------------

    @rule(name=NAMES, body=BODIES, flags=FLAGS, expires=EXPIRES)
    def put(self, name: bytes, body: bytes, flags: int, expires: int) -> None:
        """Append an item."""
        self.queues.put(name, body, flags, expires)

    @rule(name=NAMES, body=BODIES)
    def prepend(self, name: bytes, body: bytes) -> None:
        """Put an item before all others."""
        self.front -= 1
        self.queues.put(name, body, place=self.front)

    def choose(self, choice: int) -> int | None:
        """One of the live items that are not acknowledged in the open frame."""
        free = sorted(self.queues.live.keys() - self.leave_out)
        return free[choice % len(free)] if free else None

    @rule(choices=st.lists(st.integers(0, 1000), min_size=1, max_size=6))
    def acknowledge(self, choices: list[int]) -> None:
        """Some items are done with."""
        for choice in choices:
            item_id = self.choose(choice)
            if item_id is not None:
                self.leave_out.add(item_id)
                self.queues.acknowledge(item_id)

    @precondition(lambda self: not self.has_dropped)
    @rule(choice=st.integers(0, 1000), body=BODIES, flags=FLAGS, expires=EXPIRES)
    def rewrite(self, choice: int, body: bytes, flags: int, expires: int) -> None:
        """An item gets another payload."""
        item_id = self.choose(choice)
        if item_id is not None:
            self.queues.rewrite(item_id, body, flags, expires)

    @rule(name=NAMES)
    def drop(self, name: bytes) -> None:
        """All items of a queue go."""
        self.has_dropped = True
        self.queues.drop(name)

    @rule()
    def wipe(self) -> None:
        """All items go."""
        self.has_dropped = True
        self.queues.wipe()

    @precondition(lambda self: not self.queues.log.pending)
    @rule(name=NAMES)
    def forget(self, name: bytes) -> None:
        """An empty queue is not used any more."""
        if name in self.queues._numbers and not self.queues.ids(name):
            self.queues.forget(name)

    # -- frames -----------------------------------------------------------------

    @precondition(lambda self: self.queues.log.pending)
    @rule(by_worker=st.booleans())
    def flush(self, by_worker: bool) -> None:
        """A frame is written."""
        before, number = self.queues.state(), self.queues.path()
        if by_worker:
            assert self.queues.start() is None
        else:
            self.queues.flush()
        if self.queues.path() != number:
            start = seg.position(seg.list_segments(self.directory)[-1][0], HEADER_SIZE)
            self.states.append((start, before))
        self.states.append((self.position(), self.queues.state()))
        self.leave_out.clear()
        self.has_dropped = False

    @precondition(lambda self: self.queues.log.pending)
    @rule(offset=st.sampled_from([0, HEADER_SIZE]))
    def fail(self, offset: int) -> None:
        """A frame cannot be written, or a new segment for it cannot be made."""
        before, number = self.queues.state(), self.queues.path()
        real = seg.pwrite

        def broken(fd: int, data: bytes, at: int) -> int:
            if at < offset:
                return real(fd, data, at)
            raise OSError(errno.ENOSPC, "no space")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(seg, "pwrite", broken)
            error = self.queues.start()
        assert isinstance(error, OSError)
        self.queues.roll_back()
        if self.queues.path() != number:
            self.states.append((self.position(), before))
        self.leave_out.clear()
        self.has_dropped = False

    @rule()
    def synchronize(self) -> None:
        """What was written is on the disk."""
        assert self.queues.sync() is None

    # -- ends -------------------------------------------------------------------

    @precondition(lambda self: not self.queues.log.pending)
    @rule()
    def end_cleanly(self) -> None:
        """SIGTERM, and another start."""
        state = self.queues.state()
        self.queues.close()
        self.start(state)

    @rule()
    def kill(self) -> None:
        """kill -9: what was written stays, what was not is gone."""
        state = self.queues.state()
        self.queues.kill()
        self.start(state)

    @rule(where=st.floats(0, 1), what=st.sampled_from(["cut", "zeros", "hole"]))
    def lose_power(self, where: float, what: str) -> None:
        """What was not synced is gone from some place on, or damaged there."""
        durable, path = self.queues.durable(), self.queues.path()
        number, offset = durable >> 32, durable & 0xFFFFFFFF
        assert path == seg.path_of(self.directory, number)
        end = self.queues.end()
        cut = offset + int(where * (end - offset))
        self.queues.kill()
        content = path.read_bytes()
        if what == "hole":
            if cut == end:
                cut = max(offset, end - 1)
            if cut < end:
                path.write_bytes(content[:cut] + bytes([content[cut] ^ 1]) + content[cut + 1 :])
        else:
            path.write_bytes(content[:cut] + (bytes(len(content) - cut) if what == "zeros" else b""))
            while what == "zeros" and content[cut : cut + 1] == b"\0" and cut < end:
                cut += 1
        position = seg.position(number, cut)
        _, state = [entry for entry in self.states if entry[0] <= position][-1]
        # An id that nobody was told to survive may come again.
        self.queues.recovered.last_id = 0
        self.start(state)

    # -- always ------------------------------------------------------------------

    @invariant()
    def counts_are_right(self) -> None:
        """Every segment has as many live items as a count of all records gives."""
        if self.queues is None:
            return
        self.queues.wait_for_worker()
        counted = counted_live(self.directory)
        if self.queues.live_counts()[-1][0] != counted[-1][0]:
            assert counted.pop()[1] == 0, "a new segment whose first frame has failed is not counted yet"
        assert self.queues.live_counts() == counted


class SyncingJournalMachine(JournalMachine):
    """The same with a sync for each frame: no end of any kind loses what was flushed."""

    sync = True


@pytest.mark.usefixtures("no_waiting_for_the_disk")
@pytest.mark.parametrize("machine", [JournalMachine, SyncingJournalMachine])
def test_the_journal_is_a_dictionary(machine: type[JournalMachine]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
