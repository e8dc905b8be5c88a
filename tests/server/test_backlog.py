"""A backlog that does not fit into memory, as clients see it: as any other queue."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, Wire, wait_until

ITEMS = 3000


def body(number: int) -> bytes:
    return b"%d:" % number + b"x" * 200


def fill(wire: Wire, queue: bytes = b"jobs", first: int = 0, count: int = ITEMS) -> None:
    """Put numbered items, many at a time."""
    for start in range(first, first + count, 500):
        numbers = range(start, min(start + 500, first + count))
        wire.send(b"".join(b"set %b 7 0 %d\r\n%b\r\n" % (queue, len(body(n)), body(n)) for n in numbers))
        assert all(wire.line() == b"STORED" for _ in numbers)


def drain(wire: Wire, queue: bytes, numbers: range) -> None:
    """Take and acknowledge these items, which must come in this order."""
    for number in numbers:
        assert wire.get(queue) == [(queue, 7, body(number))]
        assert wire.ask(b"delete " + queue) == b"DELETED"


@pytest.fixture(params=["yes", "sync"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> ServerProcess:
    return ServerProcess(tmp_path, memory="64kb", segment_size="64kb", reliable=request.param)


def test_it_is_fifo_and_complete(server: ServerProcess) -> None:
    with server, server.connect() as wire:
        fill(wire)
        figures = wire.stats()
        assert int(figures["memory_bytes"]) <= 64 << 10
        assert int(figures["queue_jobs_items"]) == ITEMS
        assert int(figures["queue_jobs_bytes"]) == sum(len(body(n)) for n in range(ITEMS))
        assert int(figures["queue_jobs_mem_items"]) < 300
        assert 0 < int(figures["queue_jobs_mem_bytes"]) < 64 << 10
        drain(wire, b"jobs", range(ITEMS // 2))
        fill(wire, first=ITEMS, count=10)
        drain(wire, b"jobs", range(ITEMS // 2, ITEMS + 10))
        assert wire.get(b"jobs") == []
        assert wire.stats()["memory_bytes"] == "0"
        assert "ERROR" not in server.log


def test_a_restart_in_the_middle(server: ServerProcess) -> None:
    with server, server.connect() as wire:
        fill(wire)
        drain(wire, b"jobs", range(1000))
        server.kill()
        server.start()
        with server.connect() as again:
            assert int(again.stats()["memory_bytes"]) <= 64 << 10
            drain(again, b"jobs", range(1000, ITEMS))
            assert again.get(b"jobs") == []


def test_many_queues(server: ServerProcess) -> None:
    with server, server.connect() as wire:
        for number in range(30):
            fill(wire, b"queue-%d" % number, count=100)
        for number in range(0, 30, 2):
            drain(wire, b"queue-%d" % number, range(100))
        keys = b" ".join(b"queue-%d" % number for number in range(30))
        found = wire.get(keys)
        assert found == [(b"queue-%d" % number, 7, body(0)) for number in range(1, 30, 2)]


def test_peeks(server: ServerProcess) -> None:
    with server, server.connect() as wire:
        fill(wire)
        for index in (0, 1, 200, 1999, ITEMS - 1):
            key = b"jobs/peek=%d" % index
            assert wire.get(key) == [(key, 7, body(index))]
        assert wire.get(b"jobs/peek=%d" % ITEMS) == []
        found = wire.get(b"none/peek jobs/peek=2000 jobs/peek=2001 jobs")
        assert [item[2] for item in found] == [body(2000), body(2001), body(0)]


@pytest.mark.parametrize(
    ("command", "answer", "head"),
    [
        (b"incr jobs 1", b"6", b"6"),
        (b"decr jobs 2", b"3", b"3"),
        (b"replace jobs 0 0 3\r\nnew", b"STORED", b"new"),
        (b"add jobs 0 0 3\r\nnew", b"NOT_STORED", b"5"),
    ],
)
def test_verbs_of_the_head_when_it_is_not_in_memory(tmp_path: Path, command: bytes, answer: bytes, head: bytes) -> None:
    server = ServerProcess(tmp_path, memory="1kb")
    with server:
        with server.connect() as wire:
            assert wire.put(b"jobs", b"5") == b"STORED"
            assert wire.put(b"jobs", bytes(5000)) == b"STORED"
        server.kill()
        server.start()
        with server.connect() as wire:
            wire.send(command + b"\r\nget jobs\r\nstats\r\n")
            assert wire.line() == answer
            assert wire.line() == b"VALUE jobs 0 %d" % len(head)
            assert wire.line() == head


def test_requests_behind_one_that_reads_are_answered_behind_it(server: ServerProcess) -> None:
    with server, server.connect() as wire:
        fill(wire)
        wire.send(b"get jobs/peek=1500\r\nset other 0 0 1\r\nx\r\n")
        wire.send(b"get jobs\r\ndelete jobs\r\nget jobs/t=1000\r\nversion\r\n")
        assert wire.line() == b"VALUE jobs/peek=1500 7 %d" % len(body(1500))
        assert [wire.line() for _ in range(3)] == [body(1500), b"END", b"STORED"]
        assert [wire.line() for _ in range(4)][1:] == [body(0), b"END", b"DELETED"]
        assert [wire.line() for _ in range(3)][1:] == [body(1), b"END"]
        assert wire.line().startswith(b"VERSION")


def test_a_flush_of_it(server: ServerProcess) -> None:
    with server, server.connect() as wire:
        fill(wire)
        fill(wire, b"kept", count=100)
        wire.send(b"flush jobs\r\nset jobs 7 0 %d\r\n%b\r\nget jobs\r\n" % (len(body(1)), body(1)))
        assert [wire.line() for _ in range(2)] == [b"OK", b"STORED"]
        assert [wire.line() for _ in range(3)][1:] == [body(1), b"END"]
        wait_until(lambda: int(wire.stats()["journal_segments"]) < 6, what="the removal of what was flushed")
        server.kill()
        server.start()
        with server.connect() as again:
            assert again.get(b"jobs") == [(b"jobs", 7, body(1))]
            drain(again, b"kept", range(100))


def test_flush_all_of_it(server: ServerProcess) -> None:
    with server, server.connect() as wire:
        fill(wire)
        fill(wire, b"more", count=500)
        assert wire.ask(b"flush_all") == b"OK"
        assert wire.stats()["curr_items"] == "0"
        fill(wire, count=20)
        server.kill()
        server.start()
        with server.connect() as again:
            drain(again, b"jobs", range(20))
            assert again.stats()["curr_items"] == "0"


def test_items_that_expire_there(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, memory="4kb") as server, server.connect() as wire:
        wire.send(b"".join(b"set jobs 0 1 200\r\n%b\r\n" % bytes(200) for _ in range(300)))
        assert all(wire.line() == b"STORED" for _ in range(300))
        fill(wire, count=5)
        wait_until(lambda: wire.stats()["queue_jobs_expired_items"] == "300", what="the expiry of all of them")
        drain(wire, b"jobs", range(5))


def test_an_item_whose_segment_is_gone_is_an_error_and_not_a_loss(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, memory="4kb", segment_size="64kb") as server, server.connect() as wire:
        fill(wire, count=1000)
        oldest = min(tmp_path.glob("segment-*"))
        os.rename(oldest, tmp_path / "away")
        answers = []
        for _ in range(40):
            wire.send(b"get jobs\r\n")
            answers.append(wire.line())
            if answers[-1].startswith(b"SERVER_ERROR"):
                break
            assert [len(wire.line()) > 200, wire.line()] == [True, b"END"]
            assert wire.ask(b"delete jobs") == b"DELETED"
        assert answers[-1] == b"SERVER_ERROR out of memory storing object"
        server.says("cannot be read back")
        os.rename(tmp_path / "away", oldest)
        assert wire.get(b"jobs") != []
