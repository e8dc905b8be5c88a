"""What a connection owes its client, and what one client can do to another: nothing."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, Wire, wait_until

MEGABYTE = 1 << 20


@pytest.fixture
def other(shared_server: ServerProcess) -> Iterator[Wire]:
    """A second connection to the shared server."""
    with shared_server.connect() as connection:
        yield connection


def wait_for_line(wire: Wire, queue: bytes, length: int) -> None:
    """Wait until ``length`` stand in the line of ``queue``."""
    wait_until(
        lambda: wire.stats(b"queue " + queue).get("waiters", "0") == str(length), what=f"{length} waiters of {queue!r}"
    )


def has_answer(wire: Wire) -> bool:
    """Whether bytes are there to be read, or the end of the stream."""
    return bool(select.select([wire.socket], [], [], 0)[0])


# -- order and waiting ----------------------------------------------------------


@pytest.mark.parametrize("reliable", ["no", "yes", "sync"])
def test_replies_keep_their_order_behind_a_waiting_get(tmp_path: Path, reliable: str) -> None:
    script = b"get q/t=60000\r\nset r 0 0 1\r\nx\r\nget r\r\ndelete r\r\nget r\r\ndelete q\r\nno such thing\r\n"
    with (
        ServerProcess(tmp_path / "log", reliable=reliable) as server,
        server.connect() as wire,
        server.connect() as other,
    ):
        wire.send(script)
        wait_for_line(other, b"q", 1)
        assert not has_answer(wire)
        assert other.get(b"r/peek") == []  # what stands behind the waiting get has not happened
        assert other.put(b"q", b"hello", 3) == b"STORED"
        wire.end_sending()
        assert wire.rest() == (
            b"VALUE q/t=60000 3 5\r\nhello\r\nEND\r\n"
            b"STORED\r\nVALUE r 0 1\r\nx\r\nEND\r\nDELETED\r\nEND\r\nDELETED\r\nERROR\r\n"
        )


def test_requests_behind_a_get_that_waits_in_vain(wire: Wire, queue: bytes) -> None:
    wire.send(b"get %s/t=1\r\nset %s 0 0 1\r\nx\r\nget %s/t=1\r\ndelete %s\r\n" % (queue, queue, queue, queue))
    assert wire.line() == b"END"
    assert wire.line() == b"STORED"
    assert wire.line() == b"VALUE %s/t=1 0 1" % queue
    assert [wire.line() for _ in range(3)] == [b"x", b"END", b"DELETED"]


def test_much_pipelined_behind_a_waiting_get(wire: Wire, other: Wire, queue: bytes) -> None:
    """More than the server keeps of a stalled client: it is read again later, and nothing is lost."""
    count = 40_000
    script = b"get %s/t=60000\r\n" % queue + b"verbosity 0\r\n" * count
    sender = threading.Thread(target=wire.send, args=(script,))
    sender.start()
    wait_for_line(other, queue, 1)
    assert other.put(queue, b"x") == b"STORED"
    assert [wire.line() for _ in range(3)] == [b"VALUE %s/t=60000 0 1" % queue, b"x", b"END"]
    assert wire.read(4 * count) == b"OK\r\n" * count
    sender.join()


def test_waiters_are_served_in_order_of_arrival(shared_server: ServerProcess, wire: Wire, queue: bytes) -> None:
    waiting = [shared_server.connect() for _ in range(8)]
    for number, client in enumerate(waiting, 1):
        client.send(b"get %s/t=60000\r\n" % queue)
        wait_for_line(wire, queue, number)
    wire.send(b"".join(b"set %s 0 0 1\r\n%d\r\n" % (queue, i) for i in range(8)))
    for i, client in enumerate(waiting):
        assert [client.line() for _ in range(3)] == [b"VALUE %s/t=60000 0 1" % queue, b"%d" % i, b"END"]
        client.close()


def test_waiter_that_closes_leaves_the_line(
    shared_server: ServerProcess, wire: Wire, other: Wire, queue: bytes
) -> None:
    gone = shared_server.connect()
    gone.send(b"get %s/t=60000\r\n" % queue)
    wait_for_line(wire, queue, 1)
    other.send(b"get %s/t=60000\r\n" % queue)
    wait_for_line(wire, queue, 2)
    gone.close()
    wait_for_line(wire, queue, 1)
    assert wire.put(queue, b"x") == b"STORED"
    assert [other.line() for _ in range(3)] == [b"VALUE %s/t=60000 0 1" % queue, b"x", b"END"]
    assert wire.stats(b"queue " + queue)["open_transactions"] == "1"


def test_waiters_that_close_at_the_last_moment_swallow_nothing(
    shared_server: ServerProcess, wire: Wire, other: Wire, queue: bytes
) -> None:
    """Whether or not the server has noticed yet, the items reach those who are there."""
    for i in range(30):
        gone = shared_server.connect()
        gone.send(b"get %s/t=60000\r\n" % queue)
        wait_for_line(wire, queue, 1)
        gone.close()
        wire.send(b"set %s 0 0 2\r\n%02d\r\n" % (queue, i))
        assert wire.line() == b"STORED"
        assert other.get(queue + b"/t=20000")[0][2] == b"%02d" % i
        assert other.ask(b"delete " + queue) == b"DELETED"
    assert wire.stats(b"queue " + queue)["items"] == "0"


def test_one_put_wakes_one_waiter(shared_server: ServerProcess, wire: Wire, queue: bytes) -> None:
    waiting = [shared_server.connect() for _ in range(20)]
    for client in waiting:
        client.send(b"get %s/t=60000\r\n" % queue)
    wait_for_line(wire, queue, 20)
    assert wire.put(queue, b"x") == b"STORED"
    wait_for_line(wire, queue, 19)
    assert sum(map(has_answer, waiting)) == 1
    for client in waiting:
        client.close()


# -- ends of connections --------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset", "quit", "end of input"])
def test_connection_that_ends_gives_its_reservations_back(
    shared_server: ServerProcess, wire: Wire, other: Wire, queue: bytes, how: str
) -> None:
    for body in (b"1", b"2", b"3"):
        wire.put(queue, body)
    holder = shared_server.connect()
    assert holder.get(queue)[0][2] == b"1"
    assert other.get(queue)[0][2] == b"2"
    if how == "quit":
        holder.send(b"quit\r\n")
        assert holder.rest() == b""
    elif how == "end of input":
        holder.end_sending()
        assert holder.rest() == b""
    elif how == "reset":
        holder.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    holder.close()
    assert other.ask(b"delete " + queue) == b"DELETED"
    wait_until(lambda: wire.stats(b"queue " + queue)["open_transactions"] == "0", what="the return")
    assert [wire.get(queue)[0][2], wire.ask(b"delete " + queue)] == [b"1", b"DELETED"]
    assert [wire.get(queue)[0][2], wire.ask(b"delete " + queue)] == [b"3", b"DELETED"]


def test_item_of_a_closed_connection_goes_to_who_waits(
    shared_server: ServerProcess, wire: Wire, other: Wire, queue: bytes
) -> None:
    wire.put(queue, b"x")
    holder = shared_server.connect()
    assert holder.get(queue)[0][2] == b"x"
    other.send(b"get %s/t=60000\r\n" % queue)
    wait_for_line(wire, queue, 1)
    holder.close()
    assert [other.line() for _ in range(3)] == [b"VALUE %s/t=60000 0 1" % queue, b"x", b"END"]


@pytest.mark.parametrize("reliable", ["no", "yes", "sync"])
def test_client_that_ends_its_input_gets_all_answers(tmp_path: Path, reliable: str) -> None:
    with ServerProcess(tmp_path / "log", reliable=reliable) as server:
        with server.connect() as wire:
            wire.send(
                b"set q 0 0 1\r\nx\r\nget q\r\ndelete q\r\nget q\r\nset q 0 0 1\r\ny\r\ndelete q\r\nset q 0 0 9\r\nhal"
            )
            wire.end_sending()
            assert wire.rest() == b"STORED\r\nVALUE q 0 1\r\nx\r\nEND\r\nDELETED\r\nEND\r\nSTORED\r\nNOT_FOUND\r\n"
        with server.connect() as wire:
            assert wire.get(b"q") == [(b"q", 0, b"y")]


def test_client_that_ends_its_input_while_it_waits(wire: Wire, other: Wire, queue: bytes) -> None:
    wire.send(b"get %s/t=60000\r\nget %s/t=60000\r\nverbosity 0\r\n" % (queue, queue))
    wait_for_line(other, queue, 1)
    wire.end_sending()
    assert wire.rest() == b"END\r\nEND\r\nOK\r\n"
    assert other.stats(b"queue " + queue).get("waiters", "0") == "0"
    assert other.put(queue, b"x") == b"STORED"
    assert other.get(queue) == [(queue, 0, b"x")]


def test_client_that_ends_its_input_gets_large_answers_whole(wire: Wire, other: Wire, queue: bytes) -> None:
    body = bytes(range(256)) * (MEGABYTE // 256)
    assert other.put(queue, body) == b"STORED"
    wire.send(b"get %s/peek\r\n" % queue * 12)
    wire.end_sending()
    assert wire.rest() == (b"VALUE %s/peek 0 %d\r\n" % (queue, MEGABYTE) + body + b"\r\nEND\r\n") * 12


def test_keepalive_is_on(shared_server: ServerProcess, wire: Wire) -> None:
    """The kernel says which timer runs for the server's end of the connection: 2 is keepalive (proc_net_tcp)."""
    assert wire.ask(b"version").startswith(b"VERSION")
    mine = wire.socket.getsockname()[1]

    def timer() -> tuple[str, int]:
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(f":{shared_server.port:04X}") and fields[2].endswith(f":{mine:04X}"):
                kind, _, left = fields[5].partition(":")
                return kind, int(left, 16)
        raise AssertionError("the kernel does not list the connection")

    wait_until(lambda: timer()[0] == "02", what="a keepalive timer")
    assert 0 < timer()[1] <= 60 * 100


# -- foreign protocols and endless lines ----------------------------------------


def complaints(server: ServerProcess) -> list[str]:
    """The log's lines about connections that were closed."""
    return [line for line in server.log.splitlines() if " closed: " in line]


def test_tls_on_the_plain_port(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        context = ssl.create_default_context()
        for number in range(1, 21):  # whole, and of each other one only the beginning, which has no line end
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            with contextlib.suppress(ssl.SSLWantReadError):
                context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
            with server.connect() as wire:
                wire.send(outgoing.read(-1 if number % 2 else number))
                assert wire.rest() == b""
        wait_until(lambda: complaints(server), what="the line in the log")
        assert "it speaks TLS" in complaints(server)[0]
        assert "peer=127.0.0.1:" in complaints(server)[0]
        with server.connect() as wire:
            wait_until(lambda: wire.stats()["curr_connections"] == "1", what="the end of the others")
        assert server.stop() == 0
        assert len(complaints(server)) == 2
        assert "19 more within 10 s (19 from 127.0.0.1) repeated=19" in complaints(server)[1]
        assert "Traceback" not in server.log


def test_http_on_the_plain_port(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        for method in ("GET", "POST", "HEAD"):
            client = http.client.HTTPConnection(server.host, server.port, timeout=10)
            client.request(method, "/", body=b"set q 0 0 1\r\nx\r\n" if method == "POST" else None)
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                client.getresponse()
            client.close()
        wait_until(lambda: complaints(server), what="the line in the log")
        assert "it speaks HTTP" in complaints(server)[0]
        assert "Traceback" not in server.log
        with server.connect() as wire:
            assert wire.get(b"q") == []  # a request's body is no command, whatever a web page makes of it


def test_line_too_long(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        for size in (8200, 1_000_000):
            with server.connect() as wire:
                wire.send(b"verbosity 0\r\n")
                wire.send(b"get " + b"a" * size)
                # All that was sent is taken, or the connection would be reset, and the answer lost with some systems.
                assert wire.rest() == b"OK\r\nCLIENT_ERROR line too long\r\n"
        wait_until(lambda: complaints(server), what="the line in the log")
        with server.connect() as wire:
            wait_until(lambda: wire.stats()["curr_connections"] == "1", what="the end of the others")


def test_line_without_end(tmp_path: Path) -> None:
    """The client goes on, and is told and cut off all the same."""
    with ServerProcess(tmp_path / "log") as server, server.connect() as wire:
        before = server.resident_bytes()
        deadline = time.monotonic() + 20
        with contextlib.suppress(ConnectionError):
            while True:
                wire.send(b"a" * MEGABYTE)
                assert time.monotonic() < deadline, "the client is not cut off"
        assert wire.line() == b"CLIENT_ERROR line too long"
        assert server.resident_bytes() - before < 16 * MEGABYTE
        assert len(complaints(server)) == 1


def test_line_too_long_that_has_an_end(wire: Wire) -> None:
    wire.send(b"get " + b"a" * 9000 + b"\r\nversion\r\n")
    assert wire.rest() == b"CLIENT_ERROR line too long\r\n"


def test_longest_line(wire: Wire) -> None:
    line = b"get" + b" missing" * 1000
    wire.send(line + b" " * (8192 - len(line)) + b"\r\n")
    assert wire.line() == b"END"


# -- clients that do not read ---------------------------------------------------


@pytest.mark.parametrize("size", [MEGABYTE, 1000])
def test_client_that_never_reads_is_paused(tmp_path: Path, size: int) -> None:
    with ServerProcess(tmp_path / "log") as server, server.connect() as deaf, server.connect() as other:
        assert other.put(b"big", b"." * size) == b"STORED"
        assert len(other.get(b"big/peek")) == 1
        before = server.resident_bytes()
        deaf.socket.setblocking(False)
        script = memoryview(b"get big/peek\r\n" * 5000)
        sent = full = 0
        while full < 20:  # that is: 20 times in a row the server has served another, but not read from this one
            try:
                sent += deaf.socket.send(script[sent % 14 :])
                full = 0
            except BlockingIOError:
                full += 1
                for _ in range(20):
                    assert other.put(b"q", b"job") == b"STORED"
                    assert other.get(b"q") == [(b"q", 0, b"job")]
                    assert other.ask(b"delete q") == b"DELETED"
            assert sent < 64 * MEGABYTE, "the server goes on reading from a client that does not read"
        assert sent > 14 * 2000
        assert server.resident_bytes() - before < 24 * MEGABYTE

        deaf.socket.settimeout(10)  # it reads after all: the replies are complete and in order
        for _ in range(50):
            assert deaf.read(len(b"VALUE big/peek 0 %d\r\n" % size) + size + 7).endswith(b"..\r\nEND\r\n")


def test_small_items_taken_and_never_read(tmp_path: Path) -> None:
    """Each reply is small, and there is a get and a delete for each of them in every packet."""
    with ServerProcess(tmp_path / "log", reliable="no") as server, server.connect() as deaf, server.connect() as other:
        body = b"." * 4000
        for _ in range(40):
            other.send((b"set q 0 0 4000\r\n" + body + b"\r\n") * 1000)
            for _ in range(1000):
                assert other.line() == b"STORED"
        before = server.resident_bytes()
        deaf.socket.setblocking(False)
        script = memoryview(b"get q\r\ndelete q\r\n" * 15000)
        sent = full = most = 0
        while full < 20:
            try:
                sent += deaf.socket.send(script[sent % 17 :])
                full = 0
            except BlockingIOError:
                full += 1
                assert other.ask(b"version").startswith(b"VERSION")
            most = max(most, server.resident_bytes() - before)
            assert sent < 64 * MEGABYTE, "the server goes on reading from a client that does not read"
        left = int(other.stats()["curr_items"])
        held = 4000 * (40_000 - left)  # replies made, in the kernel's buffers or in the server
        assert held < 16 * MEGABYTE, f"{held >> 20} MB of replies were made for a client that does not read"
        assert most < 16 * MEGABYTE


def test_deaf_client_that_leaves_costs_nothing(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, server.connect() as other:
        assert other.put(b"big", b"." * MEGABYTE) == b"STORED"
        deaf = server.connect()
        deaf.send(b"get big\r\n" + b"get big/peek\r\n" * 100)
        wait_until(lambda: has_answer(deaf), what="the first reply")
        deaf.close()
        assert len(other.get(b"big/t=20000")) == 1
        wait_until(lambda: other.stats()["curr_connections"] == "1", what="the end of the connection")
        assert "Traceback" not in server.log
