"""A crash at every step that the journal takes on its disk: kill -9, and power failures that lose unsynced changes."""

from __future__ import annotations

import errno
import random
import shutil
from pathlib import Path

from tests.faulty_disk import POWER_FAILURES, Disk, Fault, copy_as_it_is
from tests.journal.frame_history import FrameHistory, Workload, start_on, state_of
from tests.server_in_process import InProcessServer

FAULTS = (("write", errno.EIO), ("sync", errno.EIO), ("allocate", errno.ENOSPC), ("write", errno.ENOSPC))
"""What a disk may do now and then: (kind of operation, error number)."""


class CrashEverywhere:
    """After each operation on the disk: what crashes would leave is started on, and judged.

    :param share: which part of the operations, at random
    """

    def __init__(self, directory: Path, scratch: Path, disk: Disk, sync: bool, order: random.Random, share: float):
        self.directory = directory
        self.scratch = scratch
        self.disk = disk
        self.sync = sync
        self.order = order
        self.share = share
        self.history: FrameHistory | None = None
        self.crashes = 0
        self.failure: AssertionError | None = None

    def __call__(self, kind: str) -> None:
        """An operation is done."""
        if self.history is None or self.failure is not None or self.order.random() > self.share:
            return
        try:
            self.crash(self.history)
        except AssertionError as failure:  # kept, since the server takes an exception here for a failure of the disk
            self.failure = failure
            raise

    def crash(self, history: FrameHistory) -> None:
        """Kill -9 here, and power failures of two kinds."""
        copy_as_it_is(self.directory, self.scratch)
        self.judge(history.after_kill())
        for what in self.order.sample(POWER_FAILURES, 2):
            self.disk.lose_power(self.scratch, what)
            self.judge(history.after_power_failure(self.sync))

    def judge(self, allowed: list[dict[int, tuple[bytes, bytes]]]) -> None:
        """Start on what is in the scratch directory."""
        start_on(self.scratch, allowed)
        shutil.rmtree(self.scratch)
        self.crashes += 1


def live_and_crash(
    scratch: Path,
    seed: int,
    *,
    sync: bool,
    memory: int = 2000,
    actions: int = 200,
    share: float = 0.2,
    faults: tuple[tuple[str, int], ...] = (),
) -> InProcessServer:
    """A random life, with crashes at a share of its steps.

    :param faults: (kind, error number) of what may happen now and then
    """
    directory = scratch / "log"
    directory.mkdir()
    order = random.Random(seed)
    disk = Disk(directory, seed)
    with disk.installed():
        crash = CrashEverywhere(directory, scratch / "crashed", disk, sync, random.Random(seed), share)
        server = InProcessServer(directory, sync=sync, memory=memory, order=order)
        crash.history = FrameHistory(server.log, state_of(server.recovered))
        parked = server.connect()
        parked.ask(b"set parked 0 0 500\r\n%s\r\n" % bytes(500))
        disk.after = crash
        work = Workload(server, order)
        for _ in range(actions // 20):
            if faults and order.random() < 0.5:
                kind, number = order.choice(faults)
                disk.fault = Fault((kind,), order.randint(1, 5), number, forever=order.random() < 0.3)
            work.run(20)
            if disk.fault is not None and order.random() < 0.7:
                disk.fault = None
        disk.fault = None
        for _ in range(5):
            server.pass_time(31)
        assert server.health() == "ok"
        server.close()
    if crash.failure is not None:
        raise crash.failure
    assert crash.crashes > 10
    assert not disk.violations
    assert state_of(InProcessServer(directory).recovered) == crash.history.states[-1]
    return server
