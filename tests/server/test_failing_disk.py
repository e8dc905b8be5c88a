"""The N-th write, sync or allocation fails, for every N, once and for ever: what the clients are told stays true."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from redqueue.engine.clock import ManualClock
from redqueue.journal import segment as seg
from redqueue.journal.recovery import Recovery
from tests.faulty_disk import Disk, Fault, copy_as_it_is
from tests.journal.frame_history import state_of
from tests.server_in_process import Client, InProcessServer, body_of

DENIED = b"SERVER_ERROR out of memory storing object\r\n"
QUEUES = (b"a", b"b", b"parked")


@dataclass
class Ledger:
    """What the clients were told.

    :ivar stored: bodies whose STORED was read, and that are there
    :ivar unsure: bodies with a refused put, or a refused acknowledgement
    :ivar gone: bodies whose DELETED was read
    """

    stored: set[bytes] = field(default_factory=set)
    unsure: set[bytes] = field(default_factory=set)
    gone: set[bytes] = field(default_factory=set)
    denied: int = 0

    def put(self, client: Client, queue: bytes, body: bytes) -> None:
        """``set``."""
        self.answer_put(client.put(queue, body), body)

    def answer_put(self, answer: bytes, body: bytes) -> bool:
        """A put was answered."""
        if answer == b"STORED\r\n":
            self.stored.add(body)
            return True
        assert answer == DENIED
        self.denied += 1
        self.unsure.add(body)
        return False

    def see(self, body: bytes) -> None:
        """An item came, in the life of the server that answered."""
        assert body not in self.gone, "it was acknowledged"
        assert body in self.stored, "it was never confirmed"

    def take(self, client: Client, queue: bytes) -> bool:
        """``get`` and ``delete``."""
        answer = client.ask(b"get %s\r\n" % queue)
        if answer == DENIED:
            return False
        body = body_of(answer)
        if body is None:
            return False
        self.see(body)
        return self.acknowledge(client, queue, body)

    def acknowledge(self, client: Client, queue: bytes, body: bytes) -> bool:
        """``delete``."""
        answer = client.ask(b"delete %s\r\n" % queue)
        if answer == b"DELETED\r\n":
            self.stored.discard(body)
            self.unsure.discard(body)
            self.gone.add(body)
            return True
        assert answer == DENIED
        self.denied += 1
        self.unsure.add(body)
        return False

    def swap(self, client: Client, body: bytes) -> None:
        """``gets a`` and ``cas b``."""
        answer = client.ask(b"gets a\r\n")
        if not answer.startswith(b"VALUE"):
            return
        line, _, rest = answer.partition(b"\r\n")
        words = line.split(b" ")
        before = rest[: int(words[3])]
        self.see(before)
        answer = client.ask(b"cas b 0 0 %d %s\r\n%s\r\n" % (len(body), words[4], body))
        if self.answer_put(answer, body):
            self.stored.discard(before)
            self.gone.add(before)
        else:
            self.unsure.add(before)
            client.ask(b"get a/abort\r\n")

    def judge(self, directory: Path) -> None:
        """A new server on ``directory``: everything confirmed comes once, nothing acknowledged, nothing unheard of."""
        found = [body for _, body in state_of(Recovery(directory).run()).values()]
        assert len(set(found)) == len(found), "an item came twice"
        assert not self.gone.intersection(found), "an acknowledged item came back"
        assert self.stored - self.unsure <= set(found), "a confirmed item is lost"
        assert set(found) <= self.stored | self.unsure, "an item came that nobody put"

    def judge_and_drain(self, directory: Path) -> None:
        """The same, and no file is left over, and it can all be had."""
        self.judge(directory)
        server = InProcessServer(directory)
        names = {path.name for path in directory.iterdir()}
        assert names == {path.name for _, path in seg.list_segments(directory)}, "no file is left over"
        client = server.connect()
        found = set()
        for queue in QUEUES:
            while (body := client.get(queue)) is not None:
                found.add(body)
                assert client.ask(b"delete %s\r\n" % queue) == b"DELETED\r\n"
        assert self.stored - self.unsure <= found
        assert client.put(b"a", b"fine") == b"STORED\r\n"
        server.close()


def live(ledger: Ledger, server: InProcessServer) -> None:
    """A life with rotations, compaction, items read back and everything that clients do."""
    producer, consumer = server.connect(), server.connect()
    for i in range(14):
        ledger.put(producer, QUEUES[i % 2], b"%d " % i + b"." * (i * 197 % 900))
        if i % 3:
            ledger.take(consumer, QUEUES[i % 2])
        if i % 6 == 5:
            ledger.swap(consumer, b"swapped %d" % i)
        if i % 5 == 4:
            server.pass_time()


def run(
    directory: Path, crashed: Path, kinds: tuple[str, ...], first: int, number: int, forever: bool, sync: bool
) -> tuple[Fault, Ledger]:
    """One life with one fault, and all the ends that it may come to. Returns the fault and the ledger."""
    directory.mkdir()
    ledger = Ledger()
    disk = Disk(directory, first)
    with disk.installed():
        server = InProcessServer(directory, sync=sync, segment_size=1024, memory=1500)
        ledger.put(server.connect(), b"parked", b"parked")
        disk.fault = Fault(kinds, first, number, forever)
        live(ledger, server)
        fault, client = disk.fault, server.connect()
        if forever and fault.hits:
            for _ in range(6):  # neither once more, nor when it is tried again
                server.pass_time(31)
                ledger.put(client, b"a", b"while it fails")
            if server.health() == "ok":
                assert "sync" not in kinds, "there is no way to go on without"
            else:
                assert ("disk is full" if number == errno.ENOSPC else "could not be written") in server.health()
        copy_as_it_is(directory, crashed)  # kill -9 while it fails
        ledger.judge(crashed)
        shutil.rmtree(crashed)
        if sync:
            disk.lose_power(crashed, "any subset")
            ledger.judge(crashed)
            shutil.rmtree(crashed)
        disk.fault = None
        server.pass_time(31)
        server.pass_time(31)
        assert server.health() == "ok", "it goes on by itself"
        ledger.put(client, b"b", b"after all")
        assert b"after all" in ledger.stored
        server.pass_time()
        for what in ("nothing unsynced", "everything"):
            disk.lose_power(crashed, what)
            ledger.judge(crashed)
            shutil.rmtree(crashed)
        server.close()
    assert not disk.violations
    if first % 10 == 0:
        ledger.judge_and_drain(directory)
    shutil.rmtree(directory)
    return fault, ledger


FAULTS = {
    "write EIO": (("write",), errno.EIO),
    "sync EIO": (("sync",), errno.EIO),
    "allocate ENOSPC": (("allocate",), errno.ENOSPC),
    "write or allocate ENOSPC": (("write", "allocate"), errno.ENOSPC),
}


@pytest.mark.parametrize("sync", [False, True], ids=["yes", "sync"])
@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_nth_operation_fails(scratch: Path, fault: str, forever: bool, sync: bool) -> None:
    kinds, number = FAULTS[fault]
    n = denied = 0
    while True:
        n += 3 if forever else 1  # one that lasts meets what comes behind it, too
        hit, ledger = run(scratch / "log", scratch / "crashed", kinds, n, number, forever, sync)
        denied += ledger.denied
        if not hit.hits:
            break
    assert n > 3
    assert denied > 0 or not forever


@pytest.mark.parametrize("kinds", [("write",), ("sync",), ("allocate",)])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_start_that_fails_changes_nothing(scratch: Path, kinds: tuple[str, ...], number: int) -> None:
    directory = scratch / "log"
    directory.mkdir()
    ledger = Ledger()
    server = InProcessServer(directory)
    client = server.connect()
    for i in range(14):
        ledger.put(client, b"a", b"%d" % i * 300)
    server.kill()
    for n in range(1, 20):
        shutil.rmtree(scratch / "start", ignore_errors=True)
        copy_as_it_is(directory, scratch / "start")
        disk = Disk(scratch / "start")
        disk.fault = Fault(kinds, n, number)
        with disk.installed():
            try:
                InProcessServer(scratch / "start", clock=ManualClock()).kill()
            except OSError:
                assert disk.fault.hits
        hit = disk.fault.hits
        ledger.judge_and_drain(scratch / "start")
        if not hit:
            break
    assert not hit
