"""A disk that is soon full, in process: what tests/server/test_full_disk.py does with a real one, in any order."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faulty_disk import Disk, copy_as_it_is
from tests.server.test_failing_disk import DENIED, Ledger
from tests.server_in_process import InProcessServer, body_of

CAPACITY = 300_000


def take(ledger: Ledger, server: InProcessServer, queue: bytes) -> bool:
    """Take and acknowledge an item, which a full disk may not prevent; returns whether there was one."""
    client = server.connect()
    body = body_of(client.ask(b"get %s\r\n" % queue))
    if body is not None:
        ledger.see(body)
        assert ledger.acknowledge(client, queue, body), "an acknowledgement was refused for want of space"
    client.close()
    return body is not None


@pytest.mark.parametrize("sync", [False, True], ids=["yes", "sync"])
@pytest.mark.parametrize("segment_size", [16 << 10, 64 << 10, 1 << 20])
@pytest.mark.parametrize("seed", range(3))
def test_acknowledgements_go_on_and_make_room(scratch: Path, seed: int, segment_size: int, sync: bool) -> None:
    directory = scratch / "log"
    directory.mkdir()
    order = random.Random(seed)
    ledger = Ledger()
    disk = Disk(directory, seed, CAPACITY)
    with disk.installed():

        def start() -> InProcessServer:
            return InProcessServer(directory, sync=sync, segment_size=segment_size, memory=order.choice((0, 5_000)))

        server = start()
        number = refused = 0
        for _ in range(6):
            queue = b"a"
            for _ in range(order.randrange(100, 400)):
                number += 1
                body = b"%d " % number + b"." * order.choice((10, 100, 2_000, 30_000, 100_000))
                queue = order.choice((b"a", b"b"))
                answer = server.connect().put(queue, body)
                refused += not ledger.answer_put(answer, body)
                if order.random() < 0.1:
                    take(ledger, server, queue)
                if order.random() < 0.05:
                    server.pass_time()
            if order.random() < 0.5:  # kill -9, and a start on a disk that may be full
                server.kill()
                copy_as_it_is(directory, scratch / "copy")
                ledger.judge(scratch / "copy")
                shutil.rmtree(scratch / "copy")
                server = start()
            for _ in range(order.randrange(200)):
                take(ledger, server, order.choice((b"a", b"b")))
        assert refused > 100
        for queue in (b"a", b"b"):
            while take(ledger, server, queue):
                pass
        assert not ledger.stored - ledger.unsure
        for _ in range(3):
            server.pass_time()
        assert server.health() == "ok"
        assert server.connect().put(b"a", b"fine") == b"STORED\r\n"
        assert len(server.log.index.segments) <= 2
        server.close()
    assert {path.name[:8] for path in directory.iterdir()} == {"segment-"}


def test_a_frame_that_does_not_fit_gives_its_space_back(scratch: Path) -> None:
    disk = Disk(scratch, capacity=100_000)
    with disk.installed():
        server = InProcessServer(scratch, segment_size=4096)
        client = server.connect()
        assert client.put(b"q", bytes(200_000)) == DENIED
        assert sum(inode.size for inode in disk.names.values()) == 4096
        server.pass_time()
        assert client.put(b"q", b"small") == b"STORED\r\n"
        server.kill()
