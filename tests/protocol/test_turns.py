"""One client asks for much at once: others have their answers meanwhile, and its own are all there, in order."""

from __future__ import annotations

import pytest

from tests.protocol.binary_frames import request
from tests.protocol.conversation import Server

MANY = 20_000


def flood(kind: str) -> tuple[bytes, bytes]:
    """What is sent at once, and what must be answered."""
    if kind == "short lines":
        return b"mn\r\n" * MANY, b"MN\r\n" * MANY
    if kind == "items":
        sent = b"".join(b"set q 0 0 5\r\n%05d\r\n" % i for i in range(MANY))
        return sent, b"STORED\r\n" * MANY
    if kind == "set, get and delete":
        cycle = b"set q 0 0 5\r\n%05d\r\nget q\r\ndelete q\r\n"
        answer = b"STORED\r\nVALUE q 0 5\r\n%05d\r\nEND\r\nDELETED\r\n"
        return b"".join(cycle % i for i in range(5000)), b"".join(answer % i for i in range(5000))
    if kind == "refused bodies":
        body = b"set q 0 0 200000\r\n" + b"." * 200_000 + b"\r\n"
        return body * 5 + b"mn\r\n", b"SERVER_ERROR object too large for cache\r\n" * 5 + b"MN\r\n"
    noop = request("noop")
    return noop * MANY, noop.replace(b"\x80", b"\x81", 1) * MANY


KINDS = ["short lines", "items", "set, get and delete", "refused bodies", "binary frames"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1 << 30, 250_000, 5000])
def test_all_of_it_is_answered_in_order(kind: str, size: int) -> None:
    server = Server(max_item_size=1000)
    sent, expected = flood(kind)
    client = server.connect()
    answers = b"".join(client.say(sent[i : i + size]) for i in range(0, len(sent), size))
    assert answers == expected


@pytest.mark.parametrize("kind", ["short lines", "items", "set, get and delete", "binary frames"])
def test_others_have_their_answers_meanwhile(kind: str) -> None:
    server = Server(max_item_size=1000)
    sent, expected = flood(kind)
    greedy, modest = server.connect(), server.connect()
    greedy.send(sent)
    assert greedy.paused, "it is read on before it has had its turn"
    for number in range(3):
        modest.send(b"set r 0 0 1\r\n%d\r\n" % number)
        server.tick()
        assert modest.answers == b"STORED\r\n" * (number + 1)
    assert len(greedy.answers) < len(expected) // 2
    server.run()
    assert greedy.answers == expected
    assert not greedy.paused


def test_a_client_that_ends_its_input_gets_all_the_same() -> None:
    server = Server()
    client = server.connect()
    sent, expected = flood("short lines")
    client.send(sent)
    client.session.finish()
    assert not client.session.closing
    server.run()
    assert client.answers == expected
    assert client.session.closing


def test_a_client_that_goes_leaves_nothing_behind() -> None:
    server = Server()
    client = server.connect()
    client.send(flood("items")[0])
    client.session.close()
    server.run()
    assert not server.service.turns
    assert 0 < server.engine.broker.sum_items() < MANY
