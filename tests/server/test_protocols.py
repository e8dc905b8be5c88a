"""What takes real sockets: binary connections, named consumers, lines of many queues, and dead waiters."""

from __future__ import annotations

import socket
import struct

from tests.protocol.binary_frames import OK, TOO_LARGE, Response, request, responses, storage
from tests.server_process import ServerProcess, Wire, wait_until


def receive(wire: Wire, most: int = 1) -> list[Response]:
    """The next ``most`` responses."""
    data = b""
    for _ in range(most):
        head = wire.read(24)
        data += head + wire.read(struct.unpack_from(">I", head, 8)[0])
    return responses(data)


def waiters(wire: Wire, queue: bytes) -> str | None:
    return wire.stats(b"queue " + queue).get("waiters")


def test_a_binary_connection_and_a_text_one(shared_server: ServerProcess) -> None:
    with shared_server.connect() as binary, shared_server.connect() as text:
        assert text.put(b"bin", b"abc", 7) == b"STORED"
        binary.send(request("getk", b"bin", opaque=3))
        (got,) = receive(binary)
        assert (got.status, got.key, got.value, got.extras, got.opaque) == (OK, b"bin", b"abc", b"\0\0\0\7", 3)
        assert text.get(b"bin") == []
        assert text.ask(b"md bin C%d" % got.cas) == b"HD"
        big = storage("set", b"bin", b"x" * (2 << 20))
        binary.send(big + request("noop"))
        assert [r.status for r in receive(binary, 2)] == [TOO_LARGE, OK]
        binary.send(request("quit"))
        assert responses(binary.rest()) == [Response(7, OK)]


def test_a_binary_connection_that_closes_gives_back(shared_server: ServerProcess) -> None:
    with shared_server.connect() as text:
        assert text.put(b"lost", b"abc") == b"STORED"
        with shared_server.connect() as binary:
            binary.send(request("get", b"lost"))
            assert receive(binary)[0].value == b"abc"
        assert text.get(b"lost/t=10000") == [(b"lost/t=10000", 0, b"abc")]
        assert text.ask(b"delete lost") == b"DELETED"


def test_a_long_pipeline_of_frames(shared_server: ServerProcess) -> None:
    with shared_server.connect() as wire:
        count = 5000
        wire.send(b"".join(storage("setq", b"pipe", b"%d" % n) for n in range(count)) + request("noop"))
        assert receive(wire)[0].opcode == 10
        wire.send(b"".join(request("get", b"pipe") + request("deleteq", b"pipe") for _ in range(count)))
        assert [int(r.value) for r in receive(wire, count)] == list(range(count))


def test_waiting_gets_are_answered_one_for_one_in_order_of_arrival(shared_server: ServerProcess) -> None:
    with shared_server.connect() as boss:
        clients = []
        for number in range(1, 201):
            clients.append(shared_server.connect())
            clients[-1].send(b"get fair/t=60000\r\n")
            wait_until(lambda n=number: waiters(boss, b"fair") == str(n), what="the line")
        clients.pop(1).close()
        wait_until(lambda: waiters(boss, b"fair") == "199", what="the end of the second")
        for number in range(3):
            assert boss.put(b"fair", b"%d" % number) == b"STORED"
            assert [clients[number].line() for _ in range(3)] == [b"VALUE fair/t=60000 0 1", b"%d" % number, b"END"]
            assert waiters(boss, b"fair") == str(198 - number)
        for client in clients:
            client.close()


def test_a_waiter_in_many_lines_that_was_reset_swallows_nothing(shared_server: ServerProcess) -> None:
    with shared_server.connect() as boss, shared_server.connect() as here:
        gone = shared_server.connect()
        gone.send(b"get m1/or m2/or m3/t=60000\r\n")
        wait_until(lambda: waiters(boss, b"m3") == "1", what="the waiter")
        here.send(b"get m3/or m1/t=60000\r\n")
        wait_until(lambda: waiters(boss, b"m1") == "2", what="the second waiter")
        gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        wait_until(lambda: waiters(boss, b"m1") == "1", what="the end of the first")
        assert boss.put(b"m1", b"x") == b"STORED"
        assert here.line() == b"VALUE m1/t=60000 0 1"
        assert (here.line(), here.line()) == (b"x", b"END")


def test_a_named_consumer_over_connections_that_come_and_go(shared_server: ServerProcess) -> None:
    with shared_server.connect() as boss:
        for number in range(20):
            assert boss.put(b"named", b"%d" % number) == b"STORED"
        for number in range(20):
            with shared_server.connect() as one:
                assert one.get(b"named/as=w")[0][2] == b"%d" % number
            with shared_server.connect() as two:
                assert two.get(b"named/as=w") == []
                assert two.ask(b"delete named/as=w") == b"DELETED"
