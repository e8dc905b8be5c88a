"""What one client, or many, may take of a server: places, descriptors, time, bytes on disk, queues."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from redqueue.server.open_files import KEPT
from tests.protocol.binary_frames import request
from tests.server.test_connections import has_answer, wait_for_line
from tests.server_process import ServerProcess, Wire, run_server, wait_until

TOO_MANY = b"SERVER_ERROR too many open connections\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
TOO_SLOW = b"CLIENT_ERROR the command took too long to arrive\r\n"
SOON = "200ms"


def wire_from(server: ServerProcess, address: str) -> Wire:
    """A connection from one of the addresses that all mean this machine."""
    wire = Wire.__new__(Wire)
    wire.socket = socket.create_connection((server.host, server.port), 10, (address, 0))
    wire._buffer, wire.ended = b"", False
    return wire


def cpu_seconds(server: ServerProcess) -> float:
    """CPU time that the server has taken."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_files(server: ServerProcess) -> int:
    """Descriptors that the server has."""
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


# -- places ----------------------------------------------------------------------


def test_who_is_too_many_is_told_so(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", max_connections=2) as server:
        first, second = server.connect(), server.connect()
        assert [wire.ask(b"verbosity 0") for wire in (first, second)] == [b"OK", b"OK"]
        for _ in range(50):
            with server.connect() as third:
                assert third.rest() == TOO_MANY
        stats = first.stats()
        assert (stats["max_connections"], stats["curr_connections"], stats["rejected_connections"]) == ("2", "2", "50")
        wait_until(lambda: "max_connections=2 reached" in server.log, what="the line in the log")
        assert server.log.count("max_connections=2 reached") == 1
        second.close()
        wait_until(lambda: first.stats()["curr_connections"] == "1", what="the end of the second")
        with server.connect() as again:
            assert again.ask(b"verbosity 0") == b"OK"
        first.close()


def test_one_address_gets_so_many_and_others_theirs(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with ServerProcess(tmp_path / "log", max_connections_per_address=2, unix_socket=path) as server:
        mine = [wire_from(server, "127.0.0.2") for _ in range(2)]
        assert [wire.ask(b"verbosity 0") for wire in mine] == [b"OK", b"OK"]
        assert wire_from(server, "127.0.0.2").rest() == TOO_MANY
        with wire_from(server, "127.0.0.3") as other:
            assert other.ask(b"verbosity 0") == b"OK"
            mine[0].close()
            wait_until(lambda: other.stats()["curr_connections"] == "2", what="the end of the first")
        with wire_from(server, "127.0.0.2") as again:
            assert again.ask(b"verbosity 0") == b"OK"
        line = "max_connections_per_address=2 reached by 127.0.0.2"
        wait_until(lambda: line in server.log, what="the line in the log")
        local = [Wire.unix(path) for _ in range(4)]  # which have no address
        assert [wire.ask(b"verbosity 0") for wire in local] == [b"OK"] * 4
        for wire in (mine[1], *local):
            wire.close()


# -- descriptors -----------------------------------------------------------------


def limited(server: ServerProcess, files: int) -> ServerProcess:
    """Have the server started with a limit of open files."""
    server.command = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", *server.command]
    return server


def test_clients_leave_the_journal_descriptors(tmp_path: Path) -> None:
    with limited(ServerProcess(tmp_path / "log", segment_size="64kb"), 128) as server, server.connect() as wire:
        wait_until(lambda: "up to 64 clients at a time, with 128 open files" in server.log, what="the line in the log")
        assert wire.stats()["max_connections"] == "64"
        clients = [server.connect() for _ in range(63)]
        assert all(client.ask(b"verbosity 0") == b"OK" for client in clients)
        for _ in range(100):
            assert server.connect().rest() == TOO_MANY
        for _ in range(100):  # several segments
            assert wire.put(b"q", b"." * 5000) == b"STORED"
        assert int(wire.stats()["journal_segments"]) > 4
        for _ in range(100):
            assert len(wire.get(b"q")) == 1
            assert wire.ask(b"delete q") == b"DELETED"
        assert wire.stats()["health"] == "ok"
        assert (wire.stats()["accepting_conns"], wire.stats()["listen_disabled_num"]) == ("1", "0")
        for client in clients:
            client.close()


def test_more_connections_than_files_allow(tmp_path: Path) -> None:
    server = limited(ServerProcess(tmp_path / "log", max_connections=1000), 128)
    with server, server.connect() as wire:
        assert wire.stats()["max_connections"] == "64"
        server.says("max_connections=1000 is more than 128 open files allow: at most 64")
        server.says(f"to {1000 + KEPT}")


def test_no_descriptor_left(tmp_path: Path) -> None:
    """Something else has taken them all: new clients wait, all others are served, and nothing spins or is forgotten."""
    with ServerProcess(tmp_path / "log") as server, server.connect() as wire:
        assert wire.put(b"q", b"x") == b"STORED"
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (open_files(server) + 2, hard))
        clients = [server.connect() for _ in range(20)]  # in the kernel's line
        for client in clients:
            client.send(b"version\r\n")
        wait_until(lambda: wire.stats()["accepting_conns"] == "0", what="the end of all descriptors")
        before = cpu_seconds(server)
        for _ in range(10):  # two seconds of trying again
            waited = time.monotonic() + 0.2
            while time.monotonic() < waited:
                time.sleep(0.02)
            assert wire.get(b"q/peek") == [(b"q/peek", 0, b"x")]
        assert cpu_seconds(server) - before < 1.0, "it spins"
        assert 0 < sum(map(has_answer, clients)) <= 2
        assert wire.stats()["listen_disabled_num"] == "1"
        line = "no new clients can be taken in: Too many open files"
        wait_until(lambda: line in server.log, what="the line in the log")
        assert server.log.count(line) == 1
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        for client in clients:
            assert client.line().startswith(b"VERSION")
            client.close()
        assert wire.stats()["accepting_conns"] == "1"
        assert "Traceback" not in server.log
        assert server.stop() == 0


# -- time ------------------------------------------------------------------------


def test_an_idle_client_is_disconnected(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", idle_timeout=SOON) as server:
        with server.connect() as silent, server.connect() as polite:
            assert polite.ask(b"verbosity 0") == b"OK"
            assert (silent.rest(), polite.rest()) == (b"", b"")
        with server.connect() as wire:
            assert wire.stats()["idle_kicks"] == "2"
            until = time.monotonic() + 1
            while time.monotonic() < until:  # far longer than the timeout, and never idle
                wire.send(b"set q 0 0 1 noreply\r\nx\r\n")
                time.sleep(0.02)
            assert wire.ask(b"verbosity 0") == b"OK"
            assert wire.stats()["idle_kicks"] == "2"


def test_waiting_and_holding_is_not_idle(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "log", idle_timeout=SOON) as server,
        server.connect() as waiter,
        server.connect() as holder,
    ):
        assert holder.put(b"held", b"x") == b"STORED"
        assert len(holder.get(b"held")) == 1
        waiter.send(b"get q/t=60000\r\n")
        for _ in range(5):  # as many rounds of others that come and are disconnected
            with server.connect() as other:
                assert other.rest() == b""
        assert not has_answer(waiter)
        assert not has_answer(holder)
        assert holder.put(b"q", b"y") == b"STORED"
        assert waiter.line() == b"VALUE q/t=60000 0 1"
        assert holder.ask(b"delete held") == b"DELETED"
        assert holder.rest() == b""


def test_an_idle_client_stays_where_nothing_says_otherwise(shared_server: ServerProcess, wire: Wire) -> None:
    assert wire.stats(b"settings")["idle_timeout"] == "0"


HALF = [
    pytest.param(b"set q 0 0", TOO_SLOW, id="a line"),
    pytest.param(b"set q 0 0 10\r\nhal", TOO_SLOW, id="a body"),
    pytest.param(b"version\r\nset q 0 0 10\r\n", b"VERSION ...\r\n" + TOO_SLOW, id="a body of which nothing has come"),
    pytest.param(b"set q 0 0 10 noreply\r\nhal", b"", id="a body without a reply"),
    pytest.param(b"set q 0 0 9000\r\nhal", TOO_LARGE + TOO_SLOW, id="a refused body"),
    pytest.param(b"\x80", b"", id="a binary head"),
    pytest.param(request(0x01, b"q", b"x" * 100, b"\0" * 8)[:50], b"", id="a binary body"),
]


@pytest.mark.parametrize(("start", "answer"), HALF)
def test_a_command_that_does_not_end(tmp_path: Path, start: bytes, answer: bytes) -> None:
    options = {"command_timeout": SOON, "max_item_size": 1000}
    with ServerProcess(tmp_path / "log", **options) as server, server.connect() as other:
        with server.connect() as wire:
            wire.send(start)
            rest = wire.rest()
            assert rest == answer.replace(b"...", rest[8:].partition(b"\r\n")[0])
        stats = other.stats()
        assert (stats["command_timeouts"], stats["curr_items"]) == ("1", "0")
        wait_until(lambda: "closed: a command took too long to arrive" in server.log, what="the line in the log")


def trickle(wire: Wire, byte: bytes) -> bytes:
    """Send one byte after the other until the server says something; returns all of it."""
    deadline = time.monotonic() + 20
    while not has_answer(wire):
        assert time.monotonic() < deadline, "a client may trickle for ever"
        wire.send(byte)
        time.sleep(0.01)
    return wire.rest()


def test_a_client_that_trickles_is_cut_off(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", command_timeout=SOON) as server:
        with server.connect() as line, server.connect() as body:
            assert trickle(line, b"a") == TOO_SLOW
            body.send(b"set q 0 0 1000\r\n")
            assert trickle(body, b"a") == TOO_SLOW
        with server.connect() as wire:
            assert wire.stats()["command_timeouts"] == "2"


def test_commands_in_pieces_that_do_end(tmp_path: Path) -> None:
    """A client whose requests never end where its packets do is as good as any."""
    with ServerProcess(tmp_path / "log", command_timeout=SOON) as server, server.connect() as wire:
        until = time.monotonic() + 1.5
        script = b"set q 0 0 5\r\nhello\r\nversion\r\n"
        wire.send(script[:7])
        while time.monotonic() < until:
            wire.send(script[7:] + script[:7])
            assert wire.line() == b"STORED"
            assert wire.line().startswith(b"VERSION")
            time.sleep(0.02)
        wire.send(script[7:])
        assert wire.line() == b"STORED"
        assert wire.line().startswith(b"VERSION")
        assert wire.stats()["command_timeouts"] == "0"


def test_half_a_command_behind_a_waiting_get_has_time(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "log", command_timeout=SOON) as server,
        server.connect() as other,
        server.connect() as wire,
    ):
        wire.send(b"get q/t=60000\r\nvers")
        wait_for_line(other, b"q", 1)
        for _ in range(3):  # others are cut off meanwhile
            with server.connect() as slow:
                slow.send(b"get")
                assert slow.rest() == TOO_SLOW
        assert not has_answer(wire)
        assert other.put(b"q", b"x") == b"STORED"
        assert wire.line() == b"VALUE q/t=60000 0 1"
        wire.send(b"ion\r\n")
        assert [wire.line(), wire.line()] == [b"x", b"END"]
        assert wire.line().startswith(b"VERSION")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has TCP_USER_TIMEOUT")
def test_a_client_that_takes_nothing_is_disconnected_in_the_end(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", send_timeout="500ms") as server, server.connect() as other:
        assert other.put(b"big", b"." * (1 << 20)) == b"STORED"
        with server.connect() as deaf:
            deaf.send(b"get big\r\n" + b"get big/peek\r\n" * 40)
            wait_until(lambda: other.stats()["total_connections"] == "2", what="the deaf client")
            wait_until(lambda: other.stats()["curr_connections"] == "1", what="the end of the deaf client")
        assert len(other.get(b"big")) == 1  # what it held is for others again
        assert "Traceback" not in server.log


# -- bytes on disk -----------------------------------------------------------------


def disk_bytes(path: Path) -> int:
    """Bytes that the segments take."""
    found = 0
    for file in path.glob("segment-*"):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            found += file.stat().st_size
    return found


@pytest.mark.parametrize("reliable", ["yes", "sync"])
def test_the_journal_takes_no_more_disk_than_it_may(tmp_path: Path, reliable: str) -> None:
    log, most = tmp_path / "log", 1 << 20
    options = {"reliable": reliable, "segment_size": "64kb", "max_disk": most, "sync_interval": "50ms"}
    with ServerProcess(log, **options) as server, server.connect() as wire:
        stored = 0
        while (answer := wire.put(b"q", b"%d " % stored + b"." * 5000)) == b"STORED":
            stored += 1
            assert stored * 5000 < most
            assert disk_bytes(log) <= most
        assert answer == b"NOT_STORED"
        assert stored * 5000 > most // 2
        stats = wire.stats()
        assert f"max_disk={most}" in stats["health"]
        assert stats["limit_journal_bytes"] == str(most)
        assert wire.ask(b"mn") == b"MN"  # nobody is disconnected
        server.kill()
        server.start()  # as full as it was
        with server.connect() as again:
            assert again.put(b"q", b"more") == b"NOT_STORED"
            taken = 0
            while again.put(b"other", b"fine") == b"NOT_STORED":
                assert again.get(b"q")[0][2].startswith(b"%d " % taken)
                assert again.ask(b"delete q") == b"DELETED"
                taken += 1
                assert disk_bytes(log) <= most
            assert taken < stored
            assert again.stats()["health"] == "ok"
            for number in range(taken, stored):
                assert again.get(b"q")[0][2].startswith(b"%d " % number)
                assert again.ask(b"delete q") == b"DELETED"
        wait_until(lambda: "new items are accepted" in server.log, what="the line in the log")


def test_one_old_item_does_not_keep_the_disk_full(tmp_path: Path) -> None:
    """What lives in the oldest segment is moved on, within what the journal may take."""
    log, most = tmp_path / "log", 512 << 10
    with (
        ServerProcess(log, segment_size="64kb", max_disk=most, sync_interval="50ms") as server,
        server.connect() as wire,
    ):
        assert wire.put(b"old", b"x" * 1000) == b"STORED"
        put = held = 0
        while put < 1000:
            is_stored = wire.put(b"q", b"." * 2000) == b"STORED"
            put += is_stored
            held += is_stored
            if held == 50 or not is_stored:
                assert len(wire.get(b"q")) == 1
                assert wire.ask(b"delete q") == b"DELETED"
                held -= 1
            assert disk_bytes(log) <= most
        assert wire.get(b"old") == [(b"old", 0, b"x" * 1000)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--max_disk=100mb"], "max_disk wants at least 4 times segment_size"),
        (["--max_disk=1gb", "--reliable=no"], "max_disk wants a journal"),
        (["--idle_timeout=soon"], "--idle_timeout wants a duration"),
    ],
)
def test_limits_that_make_no_sense(tmp_path: Path, options: list[str], reason: str) -> None:
    done = run_server(f"--logdir={tmp_path}/log", *options)
    assert done.returncode == 2
    assert reason in done.stderr


# -- queues ------------------------------------------------------------------------


def puts() -> list[Callable[[Wire, bytes], bytes]]:
    """Ways to put the first item of a queue."""
    return [
        lambda wire, queue: wire.put(queue, b"x"),
        lambda wire, queue: wire.put(queue, b"x", verb=b"add"),
        lambda wire, queue: wire.put(queue, b"x", verb=b"prepend"),
        lambda wire, queue: wire.put(queue + b"/delay=9", b"x"),
        lambda wire, queue: {b"NS": b"NOT_STORED", b"HD": b"STORED"}[wire.ask(b"ms %s 1\r\nx" % queue)],
    ]


def test_no_more_queues_than_there_may_be(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", max_queues=3) as server, server.connect() as wire:
        for queue in (b"a", b"b", b"c"):
            assert wire.put(queue, b"x") == b"STORED"
        for put in puts():
            assert put(wire, b"d") == b"NOT_STORED"
        assert wire.stats()["queues"] == "3"
        assert wire.put(b"a", b"y") == b"STORED"
        assert wire.get(b"d") == []
        assert wire.ask(b"drop b") == b"OK"
        assert puts()[0](wire, b"d") == b"STORED"
        assert puts()[0](wire, b"e") == b"NOT_STORED"
        server.kill()
        server.start()
        with server.connect() as again:
            assert again.stats()["curr_items"] == "4"
            assert again.put(b"e", b"x") == b"NOT_STORED"


def test_no_more_children_than_there_may_be(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", max_queues=2) as server, server.connect() as wire:
        assert wire.get(b"a+1") == []
        assert wire.get(b"a+2") == []
        assert wire.ask(b"get a+3") == b"SERVER_ERROR out of memory storing object"
        assert wire.get(b"a+1") == []
        assert wire.ask(b"drop a+1") == b"OK"
        assert wire.get(b"a+3") == []
