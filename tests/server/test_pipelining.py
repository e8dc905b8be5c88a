"""Any pipelining and any split of the bytes gives the same replies, byte for byte."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from redqueue import __version__
from tests.server_process import ServerProcess, Wire

VERSION = b"VERSION " + __version__.encode() + b"\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"

CONVERSATION: list[tuple[bytes, bytes]] = [
    (b"version\r\n", VERSION),
    (b"\r\n", b"ERROR\r\n"),
    (b"set @a 7 0 5\r\nhello\r\n", b"STORED\r\n"),
    (b"set @a 4294967295 0 0\r\n\r\n", b"STORED\r\n"),
    (b"set  @a  0  0  12 \r\nEND\r\nget q\r\n\r\n", b"STORED\r\n"),
    (b"get @a\r\n", b"VALUE @a 7 5\r\nhello\r\nEND\r\n"),
    (b"get @a\r\n", b"END\r\n"),
    (b"delete @a\r\n", b"DELETED\r\n"),
    (b"delete @a\r\n", b"NOT_FOUND\r\n"),
    (b"get @a/peek=1\r\n", b"VALUE @a/peek=1 0 12\r\nEND\r\nget q\r\n\r\nEND\r\n"),
    (b"get @a/t=10 @b/t=1 @c\r\n", b"VALUE @a/t=10 4294967295 0\r\n\r\nEND\r\n"),
    (b"get @a/close/open\r\n", b"VALUE @a/close/open 0 12\r\nEND\r\nget q\r\n\r\nEND\r\n"),
    (b"get @a/abort\r\n", b"END\r\n"),
    (b"gat 60 @a\n", b"VALUE @a 0 12\r\nEND\r\nget q\r\n\r\nEND\r\n"),
    (b"touch @a 100\r\n", b"TOUCHED\r\n"),
    (b"delete @a 0 noreply\r\n", b""),
    (b"touch @a 100\r\n", b"NOT_FOUND\r\n"),
    (b"nonsense\r\n", b"ERROR\r\n"),
    (b"set @a 1 2\r\n", BAD_FORMAT),
    (b"set @a 4294967296 0 8\r\nversion\n\r\n", BAD_FORMAT),
    (b"set @a 0 0 3\r\nabcdef\r\n", b"CLIENT_ERROR bad data chunk\r\n"),
    (b"set @a 0 0 70\r\n" + b"get q\r\n" * 10 + b"\r\n", TOO_LARGE),
    (b"set @a 0 0 70 noreply\r\n" + b"quit\r\n" * 11 + b"1234\r\n", b""),
    (b"set " + b"k" * 251 + b" 0 0 6\r\nquit\r\n\r\n", b"CLIENT_ERROR key too long: 251 bytes, at most 250\r\n"),
    (b"add @n 0 0 2\r\n41\r\n", b"STORED\r\n"),
    (b"add @n 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
    (b"incr @n 1\r\n", b"42\r\n"),
    (b"decr @n 50\r\n", b"0\r\n"),
    (b"incr @n x\r\n", b"CLIENT_ERROR invalid numeric delta argument\r\n"),
    (b"replace @n 3 0 3\r\nnew\r\n", b"STORED\r\n"),
    (b"incr @n 1\r\n", b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
    (b"prepend @n 0 0 5 noreply\r\nfirst\r\n", b""),
    (b"append @n 0 0 4\r\nlast\r\n", b"STORED\r\n"),
    (b"get @n\r\n", b"VALUE @n 0 5\r\nfirst\r\nEND\r\n"),
    (b"get @n/close\r\n", b"END\r\n"),
    (b"get @n @n @a\r\n", b"VALUE @n 3 3\r\nnew\r\nEND\r\n"),
    (b"delete @n noreply\r\n", b""),
    (b"get @n\r\n", b"VALUE @n 0 4\r\nlast\r\nEND\r\n"),
    (b"flush @n\r\n", b"OK\r\n"),
    (b"delete @n\r\n", b"NOT_FOUND\r\n"),
    (b"replace @n 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
    (b"incr @n 1\r\n", b"NOT_FOUND\r\n"),
    (b"set @n 0 -1 1\r\nx\r\n", b"STORED\r\n"),
    (b"get @n/t=1\r\n", b"END\r\n"),
    (b"cas @n 0 0 1 999\r\nx\r\n", b"NOT_FOUND\r\n"),
    (b"get @n/or\r\n", b"END\r\n"),
    (b"verbosity 0\r\n", b"OK\r\n"),
    (b"shutdown\r\n", b"ERROR: shutdown not enabled\r\n"),
    (b"quit\r\n", b""),
]
"""Requests and their replies; @ stands for a prefix that makes the queues new. Ends with the connection."""

_prefixes = (b"%06d." % number for number in itertools.count())


@pytest.fixture(scope="module", params=["no", "yes", "sync"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of each kind, for all tests here. 64 bytes are its largest item."""
    with ServerProcess(tmp_path_factory.mktemp("log"), reliable=request.param, max_item_size=64) as process:
        yield process
        assert "Traceback" not in process.log


def conversation() -> tuple[bytes, bytes]:
    """All requests as one, and all replies."""
    prefix = next(_prefixes)
    requests, replies = (b"".join(part) for part in zip(*CONVERSATION, strict=True))
    return requests.replace(b"@", prefix), replies.replace(b"@", prefix)


def converse(server: ServerProcess, pieces: list[bytes], witness: Wire) -> bytes:
    """Send the pieces so that the server receives each by itself; returns the replies."""
    with server.connect() as wire:
        for piece in pieces[:-1]:
            wire.send(piece)
            # By the time the server answers another client it has seen what came before.
            witness.ask(b"version")
        wire.send(pieces[-1])
        return wire.rest()


def test_one_by_one(server: ServerProcess) -> None:
    prefix = next(_prefixes)
    with server.connect() as wire:
        for request, reply in CONVERSATION:
            wire.send(request.replace(b"@", prefix))
            expected = reply.replace(b"@", prefix)
            assert (wire.read(len(expected)) if expected else b"") == expected, request
        assert wire.rest() == b""


def test_all_at_once(server: ServerProcess) -> None:
    requests, replies = conversation()
    with server.connect() as wire:
        wire.send(requests)
        assert wire.rest() == replies


def test_byte_by_byte(server: ServerProcess) -> None:
    requests, replies = conversation()
    with server.connect() as witness:
        assert converse(server, [requests[i : i + 1] for i in range(len(requests))], witness) == replies


def test_cut_in_two_at_every_byte(server: ServerProcess) -> None:
    cuts = range(1, len(conversation()[0]))
    with server.connect() as witness:
        for start in range(0, len(cuts), 25):
            clients = []
            for cut in cuts[start : start + 25]:
                requests, replies = conversation()
                clients.append((cut, server.connect(), requests[cut:], replies))
                clients[-1][1].send(requests[:cut])
            witness.ask(b"version")
            for _, wire, rest, _ in clients:
                wire.send(rest)
            for cut, wire, _, replies in clients:
                assert wire.rest() == replies, f"cut at {cut}"
                wire.close()


@pytest.mark.parametrize("size", [2, 3, 7, 16, 61, 200])
def test_in_pieces(server: ServerProcess, size: int) -> None:
    requests, replies = conversation()
    with server.connect() as witness:
        pieces = [requests[i : i + size] for i in range(0, len(requests), size)]
        assert converse(server, pieces, witness) == replies


def test_many_conversations_at_once(server: ServerProcess) -> None:
    random_ = random.Random(1)
    scripts = [conversation() for _ in range(20)]
    clients = [(server.connect(), requests, replies) for requests, replies in scripts]
    left = {wire: requests for wire, requests, _ in clients}
    while left:
        wire = random_.choice(list(left))
        size = random_.randint(1, 100)
        wire.send(left[wire][:size])
        left[wire] = left[wire][size:]
        if not left[wire]:
            del left[wire]
    for wire, _, replies in clients:
        assert wire.rest() == replies
        wire.close()
