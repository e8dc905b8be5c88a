"""What survives kill -9, and what the server of 2010 got wrong (each of its defects has a test here)."""

from __future__ import annotations

import selectors
import socket
import time
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, Wire, wait_until

DURABLE = pytest.mark.parametrize("reliable", ["yes", "sync"])


def drain(wire: Wire, queue: bytes) -> list[bytes]:
    """Take and acknowledge everything; returns the bodies."""
    bodies = []
    while found := wire.get(queue):
        bodies.append(found[0][2])
        assert wire.ask(b"delete " + queue) == b"DELETED"
    return bodies


def restart(server: ServerProcess) -> None:
    """kill -9, then start again."""
    server.kill()
    server.start()


@DURABLE
def test_unacknowledged_comes_once_more_and_acknowledged_never(tmp_path: Path, reliable: str) -> None:
    with ServerProcess(tmp_path / "log", reliable=reliable) as server:
        with server.connect() as wire:
            for body in (b"acknowledged", b"reserved", b"ready"):
                assert wire.put(b"q", body) == b"STORED"
            assert wire.get(b"q") == [(b"q", 0, b"acknowledged")]
            assert wire.ask(b"delete q") == b"DELETED"
            assert wire.get(b"q") == [(b"q", 0, b"reserved")]
            restart(server)
        with server.connect() as wire:
            assert drain(wire, b"q") == [b"reserved", b"ready"]
        restart(server)
        with server.connect() as wire:
            assert wire.get(b"q") == []
            assert wire.stats()["curr_items"] == "0"


@DURABLE
def test_reserved_items_are_back_at_their_old_place(tmp_path: Path, reliable: str) -> None:
    with ServerProcess(tmp_path / "log", reliable=reliable, prefetch=3) as server:
        with server.connect() as producer, server.connect() as first, server.connect() as second:
            for body in (b"1", b"2", b"3", b"4", b"5"):
                assert producer.put(b"q", body) == b"STORED"
            assert first.get(b"q")[0][2] == b"1"
            assert second.get(b"q")[0][2] == b"2"
            assert first.get(b"q")[0][2] == b"3"
            assert second.ask(b"delete q") == b"DELETED"
            restart(server)
        with server.connect() as wire:
            assert drain(wire, b"q") == [b"1", b"3", b"4", b"5"]


def test_prepended_items_keep_their_place(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        with server.connect() as wire:
            wire.put(b"q", b"second")
            wire.put(b"q", b"third")
            assert wire.put(b"q", b"first", verb=b"prepend") == b"STORED"
        restart(server)
        with server.connect() as wire:
            assert drain(wire, b"q") == [b"first", b"second", b"third"]


def test_counter_and_replaced_head_survive(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        with server.connect() as wire:
            wire.put(b"counter", b"41", 5)
            assert wire.ask(b"incr counter 1") == b"42"
            wire.put(b"q", b"draft")
            wire.put(b"q", b"other")
            assert wire.put(b"q", b"final", 9, verb=b"replace") == b"STORED"
        restart(server)
        with server.connect() as wire:
            assert wire.get(b"counter") == [(b"counter", 5, b"42")]
            assert wire.get(b"q") == [(b"q", 9, b"final")]
            assert wire.ask(b"delete q") == b"DELETED"
            assert drain(wire, b"q") == [b"other"]


def test_swap_is_both_or_neither(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        with server.connect() as wire:
            wire.put(b"in", b"job")
            token = wire.get(b"in", verb=b"gets")[0][3]
            wire.send(b"cas out 0 0 4 %d\r\ndone\r\n" % token)
            assert wire.line() == b"STORED"
            restart(server)
        with server.connect() as wire:
            assert drain(wire, b"in") == []
            assert drain(wire, b"out") == [b"done"]


@pytest.mark.parametrize("command", [b"flush q", b"flush_all"])
def test_flushed_items_stay_away(tmp_path: Path, command: bytes) -> None:
    with ServerProcess(tmp_path / "log") as server:
        with server.connect() as wire:
            wire.put(b"q", b"old")
            wire.put(b"q", b"older")
            wire.get(b"q")
            assert wire.ask(command) == b"OK"
            wire.put(b"q", b"new")
            restart(server)
        with server.connect() as wire:
            assert drain(wire, b"q") == [b"new"]


@DURABLE
def test_bodies_of_every_kind_survive(tmp_path: Path, reliable: str) -> None:
    bodies = [b"", b"x", b"\r\n", b"END\r\n", b"\0" * 100, bytes(range(256)) * 300, b"." * (1 << 20)]
    with ServerProcess(tmp_path / "log", reliable=reliable, segment_size="64kb") as server:
        with server.connect() as wire:
            for body in bodies:
                assert wire.put(b"q", body) == b"STORED"
            assert wire.put(b"q", b"." * ((1 << 20) + 1)) == b"SERVER_ERROR object too large for cache"
        restart(server)
        with server.connect() as wire:
            assert drain(wire, b"q") == bodies


def test_queue_names_of_every_kind_survive(tmp_path: Path) -> None:
    names = [b"a", b"a" * 250, b"abc/def", b"x+y", "päckchen".encode(), bytes(range(0x80, 0x100)), b"lost-name-1"]
    with ServerProcess(tmp_path / "log") as server:
        with server.connect() as wire:
            for name in names:
                assert wire.put(name, b"for " + name) == b"STORED"
        restart(server)
        with server.connect() as wire:
            for name in names:
                assert drain(wire, name) == [b"for " + name]


def test_a_restart_with_smaller_segments_or_another_promise(tmp_path: Path) -> None:
    """The same journal under each mode in turn."""
    for i, (reliable, size) in enumerate([("yes", "64mb"), ("sync", "64kb"), ("yes", "1mb"), ("sync", "64mb")]):
        with ServerProcess(tmp_path / "log", reliable=reliable, segment_size=size) as server, server.connect() as wire:
            assert wire.stats()["curr_items"] == str(i)
            assert wire.put(b"q", b"%d" % i + b"." * 50000) == b"STORED"
    with ServerProcess(tmp_path / "log") as server, server.connect() as wire:
        assert [body[:1] for body in drain(wire, b"q")] == [b"0", b"1", b"2", b"3"]


# -- time to live ---------------------------------------------------------------


def test_expired_items_are_never_delivered(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        with server.connect() as wire:
            now = int(time.time())
            assert wire.put(b"q", b"relative", exptime=1) == b"STORED"
            assert wire.put(b"q", b"absolute", exptime=now + 2) == b"STORED"
            assert wire.put(b"q", b"negative", exptime=-1) == b"STORED"
            assert wire.put(b"q", b"past", exptime=now - 10) == b"STORED"
            assert wire.put(b"q", b"lasting", exptime=3600) == b"STORED"
            assert wire.put(b"q", b"for ever") == b"STORED"
            assert wire.get(b"q/peek=9") == []
            restart(server)  # the two with a TTL to come pass it while nobody runs, or soon after
        wait_until(lambda: time.time() > now + 2, what="the absolute time")
        with server.connect() as wire:
            assert drain(wire, b"q") == [b"lasting", b"for ever"]
            assert wire.stats()["curr_items"] == "0"


@DURABLE
def test_item_that_expired_while_the_server_ran_does_not_come_back(tmp_path: Path, reliable: str) -> None:
    with ServerProcess(tmp_path / "log", reliable=reliable) as server:
        with server.connect() as wire:
            wire.put(b"q", b"short", exptime=1)
            assert wire.get(b"q/peek") == [(b"q/peek", 0, b"short")]
            wait_until(lambda: not wire.get(b"q/peek"), what="the end of the TTL")
            assert wire.get(b"q") == []
        restart(server)
        with server.connect() as wire:
            assert wire.get(b"q") == []
            assert wire.stats()["curr_items"] == "0"


def test_item_whose_ttl_passes_while_reserved_can_be_acknowledged_and_comes_no_more(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, server.connect() as holder, server.connect() as other:
        end = time.time() + 1
        for queue in (b"acked", b"dropped"):
            holder.put(queue, b"short", exptime=1)
            assert holder.get(queue) == [(queue, 0, b"short")]
        wait_until(lambda: time.time() > end + 0.1, what="the end of the TTL")
        assert holder.ask(b"delete acked") == b"DELETED"
        holder.close()
        wait_until(lambda: other.stats()["reserved_items"] == "0", what="the return")
        assert other.get(b"dropped acked") == []


# -- promises -------------------------------------------------------------------


def test_reliable_no_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", reliable="no") as server:
        server.says("reliable=no")
        with server.connect() as wire:
            assert wire.put(b"q", b"x") == b"STORED"
            assert wire.get(b"q") == [(b"q", 0, b"x")]
            assert wire.ask(b"delete q") == b"DELETED"
            assert wire.put(b"q", b"y") == b"STORED"
        assert not list(tmp_path.rglob("*.rqj"))
        restart(server)
        with server.connect() as wire:
            assert wire.get(b"q") == []


def test_sync_syncs_before_each_reply(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", reliable="sync") as server, server.connect() as wire:
        for i in range(5):
            before = int(wire.stats()["journal_syncs"])
            assert wire.put(b"q", b"%d" % i) == b"STORED"
            assert int(wire.stats()["journal_syncs"]) > before
        wire.get(b"q")
        before = int(wire.stats()["journal_syncs"])
        assert wire.ask(b"delete q") == b"DELETED"
        assert int(wire.stats()["journal_syncs"]) > before


def test_segments_with_nothing_live_are_deleted(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with ServerProcess(logdir, segment_size="64kb") as server, server.connect() as wire:
        for _ in range(300):
            assert wire.put(b"q", b"." * 1000) == b"STORED"
        assert len(list(logdir.glob("segment-*"))) > 4
        assert len(drain(wire, b"q")) == 300
        wait_until(lambda: len(list(logdir.glob("segment-*"))) == 1, what="the removal of dead segments")


# -- the server of 2010 ---------------------------------------------------------


def test_2010_two_restarts_with_one_unacknowledged_item(tmp_path: Path) -> None:
    """[A, B], A reserved, crash; C put, B and A acknowledged, crash: what is left is C (it was A)."""
    with ServerProcess(tmp_path / "log") as server:
        with server.connect() as wire:
            wire.put(b"q", b"A")
            wire.put(b"q", b"B")
            assert wire.get(b"q")[0][2] == b"A"
            restart(server)
        with server.connect() as one, server.connect() as two:
            assert one.get(b"q")[0][2] == b"A"
            assert two.get(b"q")[0][2] == b"B"
            one.put(b"q", b"C")
            assert two.ask(b"delete q") == b"DELETED"
            assert one.ask(b"delete q") == b"DELETED"
            restart(server)
        with server.connect() as wire:
            assert drain(wire, b"q") == [b"C"]


def test_2010_journal_cut_anywhere_starts_and_delivers_whole_bodies(tmp_path: Path) -> None:
    """A few cuts with real processes; the journal's own tests cut at every byte."""
    logdir = tmp_path / "log"
    with ServerProcess(logdir) as server:
        with server.connect() as wire:
            wire.put(b"q", b"hello")
            wire.put(b"q", b"world")
        server.stop()
    last = max(logdir.glob("segment-*"))
    content = last.read_bytes()
    for cut in (1, 7, 40):
        for old in logdir.glob("segment-*"):
            old.unlink()
        last.write_bytes(content[:-cut])
        with ServerProcess(logdir) as server, server.connect() as wire:
            assert drain(wire, b"q") == [b"hello"]


def test_2010_deleted_is_spelled_right(wire: Wire, queue: bytes) -> None:
    wire.put(queue, b"x")
    wire.get(queue)
    assert wire.ask(b"delete " + queue) == b"DELETED"
    assert wire.ask(b"delete " + queue) == b"NOT_FOUND"


@DURABLE
def test_2010_flags_are_kept(tmp_path: Path, reliable: str) -> None:
    flags = [0, 1, 0xFFFF, 2**32 - 1]
    with ServerProcess(tmp_path / "log", reliable=reliable) as server:
        with server.connect() as wire:
            for number in flags:
                wire.put(b"q", b"x", number)
                wire.put(b"r", b"x", number)
            for number in flags:
                assert wire.get(b"r") == [(b"r", number, b"x")]
                wire.ask(b"delete r")
        restart(server)
        with server.connect() as wire:
            for number in flags:
                assert wire.get(b"q") == [(b"q", number, b"x")]
                wire.ask(b"delete q")


def test_2010_empty_line(wire: Wire) -> None:
    for line in (b"", b" ", b"   "):
        assert wire.ask(line) == b"ERROR"
    wire.send(b"\n")
    assert wire.line() == b"ERROR"
    assert wire.ask(b"version").startswith(b"VERSION")


def test_2010_quit_stats_version(shared_server: ServerProcess) -> None:
    with shared_server.connect() as wire:
        assert wire.ask(b"version").startswith(b"VERSION ")
        assert wire.stats()["pid"] == str(shared_server.process.pid)
        wire.send(b"quit\r\nversion\r\n")
        assert wire.rest() == b""


def test_2010_many_connections_at_once(tmp_path: Path) -> None:
    """900 clients that all knock before the server has looked up once, more than its backlog of 128 was."""
    with ServerProcess(tmp_path / "log") as server, selectors.DefaultSelector() as selector:
        sockets = []
        for _ in range(900):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex((server.host, server.port))
            sockets.append(client)
        for client in sockets:
            selector.register(client, selectors.EVENT_WRITE)
        answered = 0
        deadline = time.monotonic() + 20
        while answered < len(sockets):
            assert time.monotonic() < deadline, f"{answered} of {len(sockets)} were answered"
            for entry, events in selector.select(1):
                client = entry.fileobj
                assert isinstance(client, socket.socket)
                if events & selectors.EVENT_WRITE:
                    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                    client.send(b"version\r\n")
                    selector.modify(client, selectors.EVENT_READ)
                else:
                    assert client.recv(100).startswith(b"VERSION")
                    selector.unregister(client)
                    answered += 1
        for client in sockets:
            client.close()


def test_2010_sync_starts(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", reliable="sync") as server, server.connect() as wire:
        assert wire.stats()["reliable"] == "sync"
        assert wire.put(b"q", b"x") == b"STORED"


def test_2010_expired_item_skipped_at_get_leaves_a_journal_that_replays(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        with server.connect() as wire:
            wire.put(b"q", b"gone", exptime=1)
            wire.put(b"q", b"kept")
            wait_until(lambda: wire.get(b"q/peek")[0][2] == b"kept", what="the end of the TTL")
            assert wire.get(b"q")[0][2] == b"kept"
            wire.put(b"q", b"next")
            restart(server)
        with server.connect() as wire:
            assert drain(wire, b"q") == [b"kept", b"next"]
