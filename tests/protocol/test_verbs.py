"""Every verb, option and error, as transcripts: what is sent and what must be answered."""

from __future__ import annotations

import pytest

from redqueue.engine.settings import QueueSettings
from tests.protocol.conversation import Server

TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
BAD_CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
NOT_A_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"

TRANSCRIPTS: dict[str, list[tuple[bytes, bytes]]] = {
    "set, get, delete": [
        (b"set q 5 0 3\r\nabc\r\n", b"STORED\r\n"),
        (b"get q\r\n", b"VALUE q 5 3\r\nabc\r\nEND\r\n"),
        (b"get q\r\n", b"END\r\n"),
        (b"delete q\r\n", b"DELETED\r\n"),
        (b"delete q\r\n", b"NOT_FOUND\r\n"),
    ],
    "all of it in one packet": [
        (
            b"set q 0 0 1\r\na\r\nset q 0 0 1\r\nb\r\nget q\r\ndelete q\r\nget q\r\ndelete q\r\nget q\r\n",
            b"STORED\r\nSTORED\r\nVALUE q 0 1\r\na\r\nEND\r\nDELETED\r\nVALUE q 0 1\r\nb\r\nEND\r\nDELETED\r\nEND\r\n",
        )
    ],
    "empty payload, CRLF in it, bytes of all kinds": [
        (b"set q 0 0 0\r\n\r\nset q 0 0 4\r\n\r\n\r\n\r\nset q 0 0 3\r\n\x00\xff\n\r\n", b"STORED\r\n" * 3),
        (b"get q\r\ndelete q\r\n", b"VALUE q 0 0\r\n\r\nEND\r\nDELETED\r\n"),
        (b"get q\r\ndelete q\r\n", b"VALUE q 0 4\r\n\r\n\r\n\r\nEND\r\nDELETED\r\n"),
        (b"get q\r\n", b"VALUE q 0 3\r\n\x00\xff\n\r\nEND\r\n"),
    ],
    "flags up to 32 bits": [
        (b"set q 4294967295 0 1\r\nx\r\n", b"STORED\r\n"),
        (b"get q\r\n", b"VALUE q 4294967295 1\r\nx\r\nEND\r\n"),
        (b"set q 4294967296 0 1\r\nx\r\nversion\r\n", BAD_FORMAT + b"VERSION 1.2.3\r\n"),
        (b"set q -1 0 1\r\nx\r\nversion\r\n", BAD_FORMAT + b"VERSION 1.2.3\r\n"),
    ],
    "several queues": [
        (b"set a 0 0 1\r\n1\r\nset c 1 0 1\r\n3\r\n", b"STORED\r\n" * 2),
        (b"get a b c\r\n", b"VALUE a 0 1\r\n1\r\nVALUE c 1 1\r\n3\r\nEND\r\n"),
        (b"delete a\r\ndelete b\r\ndelete c\r\n", b"DELETED\r\nNOT_FOUND\r\nDELETED\r\n"),
    ],
    "spaces and line ends": [
        (b"set   q  0 0   1 \r\nx\r\n", b"STORED\r\n"),
        (b"get  q \r\n", b"VALUE q 0 1\r\nx\r\nEND\r\n"),
        (b"delete q\n", b"DELETED\r\n"),
        (b" version\r\n", b"VERSION 1.2.3\r\n"),
    ],
    "noreply": [
        (b"set q 0 0 1 noreply\r\na\r\nget q\r\n", b"VALUE q 0 1\r\na\r\nEND\r\n"),
        (b"delete q noreply\r\nget q\r\n", b"END\r\n"),
        (
            b"delete q noreply\r\ntouch q 1 noreply\r\nincr q 1 noreply\r\nflush_all noreply\r\nversion\r\n",
            b"VERSION 1.2.3\r\n",
        ),
        (b"set q x 0 1 noreply\r\na\r\nversion\r\n", b"VERSION 1.2.3\r\n"),
        (b"set q 0 0 3 noreply\r\nabcd\r\nversion\r\n", b"VERSION 1.2.3\r\n"),
        (b"set q 0 0 2000000 noreply\r\n" + b"x" * 2000000 + b"\r\nversion\r\n", b"VERSION 1.2.3\r\n"),
        (b"foo noreply\r\nversion\r\n", b"VERSION 1.2.3\r\n"),
        (b"cas q 0 0 1 5 noreply\r\nx\r\nadd q 0 0 1 noreply\r\ny\r\nget q\r\n", b"VALUE q 0 1\r\ny\r\nEND\r\n"),
    ],
    "delete as old clients send it": [
        (b"set q 0 0 1\r\na\r\nget q\r\ndelete q 0\r\n", b"STORED\r\nVALUE q 0 1\r\na\r\nEND\r\nDELETED\r\n"),
        (b"set q 0 0 1\r\na\r\nget q\r\ndelete q 0 noreply\r\n", b"STORED\r\nVALUE q 0 1\r\na\r\nEND\r\n"),
        (b"delete q 5\r\n", BAD_FORMAT),
    ],
    "add is a singleton": [
        (b"add q 0 0 1\r\na\r\n", b"STORED\r\n"),
        (b"add q 0 0 1\r\nb\r\n", b"NOT_STORED\r\n"),
        (b"get q\r\nadd q 0 0 1\r\nb\r\n", b"VALUE q 0 1\r\na\r\nEND\r\nNOT_STORED\r\n"),
        (b"delete q\r\nadd q 0 0 1\r\nb\r\nadd q 0 0 1\r\nc\r\n", b"DELETED\r\nSTORED\r\nNOT_STORED\r\n"),
    ],
    "the add that asks whether a key exists leaves nothing": [
        (b"add k 0 2678400 0\r\n\r\n", b"STORED\r\n"),
        (b"get k\r\nadd k 0 0 1\r\nx\r\n", b"END\r\nSTORED\r\n"),
    ],
    "append and prepend": [
        (b"append q 0 0 1\r\nb\r\nappend q 0 0 1\r\nc\r\nprepend q 3 0 1\r\na\r\n", b"STORED\r\n" * 3),
        (
            b"get q\r\ndelete q\r\nget q\r\ndelete q\r\n",
            b"VALUE q 3 1\r\na\r\nEND\r\nDELETED\r\nVALUE q 0 1\r\nb\r\nEND\r\nDELETED\r\n",
        ),
    ],
    "replace changes the head in place": [
        (b"replace q 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
        (b"set q 0 0 1\r\na\r\nset q 0 0 1\r\nb\r\nreplace q 7 0 3\r\nxyz\r\n", b"STORED\r\n" * 3),
        (b"get q\r\nreplace q 0 0 1\r\nB\r\n", b"VALUE q 7 3\r\nxyz\r\nEND\r\nSTORED\r\n"),
        (b"delete q\r\nget q\r\n", b"DELETED\r\nVALUE q 0 1\r\nB\r\nEND\r\n"),
    ],
    "incr and decr": [
        (b"incr n 1\r\n", b"NOT_FOUND\r\n"),
        (b"set n 0 0 1\r\n9\r\nincr n 1\r\nincr n 5\r\ndecr n 3\r\n", b"STORED\r\n10\r\n15\r\n12\r\n"),
        (b"decr n 100\r\n", b"0\r\n"),
        (b"incr n 18446744073709551615\r\nincr n 1\r\n", b"18446744073709551615\r\n0\r\n"),
        (b"incr n 18446744073709551616\r\n", b"CLIENT_ERROR invalid numeric delta argument\r\n"),
        (b"incr n x\r\n", b"CLIENT_ERROR invalid numeric delta argument\r\n"),
        (b"get n\r\n", b"VALUE n 0 1\r\n0\r\nEND\r\n"),
        (b"incr n 1\r\n", b"NOT_FOUND\r\n"),
        (b"set s 0 0 2\r\n1x\r\nincr s 1\r\n", b"STORED\r\n" + NOT_A_NUMBER),
        (b"set e 0 0 0\r\n\r\ndecr e 1\r\n", b"STORED\r\n" + NOT_A_NUMBER),
    ],
    "touch": [
        (b"touch q 10\r\n", b"NOT_FOUND\r\n"),
        (
            b"set q 0 0 1\r\na\r\ntouch q 10\r\nget q\r\ntouch q 10\r\n",
            b"STORED\r\nNOT_FOUND\r\nVALUE q 0 1\r\na\r\nEND\r\nTOUCHED\r\n",
        ),
        (b"touch q 0\r\ntouch q x\r\ntouch q\r\n", b"TOUCHED\r\n" + BAD_FORMAT * 2),
    ],
    "peek reserves nothing": [
        (b"get q/peek\r\n", b"END\r\n"),
        (b"set q 1 0 1\r\na\r\nset q 2 0 1\r\nb\r\n", b"STORED\r\n" * 2),
        (
            b"get q/peek\r\nget q/peek=0\r\nget q/peek=1\r\nget q/peek=2\r\n",
            b"VALUE q/peek 1 1\r\na\r\nEND\r\nVALUE q/peek=0 1 1\r\na\r\nEND\r\n"
            b"VALUE q/peek=1 2 1\r\nb\r\nEND\r\nEND\r\n",
        ),
        (b"delete q\r\n", b"NOT_FOUND\r\n"),
        (b"get q/peek=x\r\n", b"CLIENT_ERROR option /peek= takes a whole number from 0 to 2147483648\r\n"),
        (b"get q/peek/open\r\n", b"CLIENT_ERROR option /peek goes with no other but /or\r\n"),
    ],
    "open, close and abort as in Kestrel": [
        (b"set q 0 0 1\r\na\r\nset q 0 0 1\r\nb\r\nset q 0 0 1\r\nc\r\n", b"STORED\r\n" * 3),
        (b"get q/open\r\nget q/open\r\n", b"VALUE q/open 0 1\r\na\r\nEND\r\nEND\r\n"),
        (b"get q/abort\r\nget q/open\r\n", b"END\r\nVALUE q/open 0 1\r\na\r\nEND\r\n"),
        (b"get q/close/open\r\n", b"VALUE q/close/open 0 1\r\nb\r\nEND\r\n"),
        (b"get q/close\r\ndelete q\r\n", b"END\r\nNOT_FOUND\r\n"),
        (
            b"get q/close/t=10/open\r\nget q/close\r\nget q/close/open\r\n",
            b"VALUE q/close/t=10/open 0 1\r\nc\r\nEND\r\nEND\r\nEND\r\n",
        ),
        (b"get q/abort/open\r\n", b"CLIENT_ERROR option /abort goes with no other but /delay= and /as=\r\n"),
    ],
    "a slash that starts no option is part of the name": [
        (b"set abc/def 0 0 1\r\na\r\nget abc/def\r\n", b"STORED\r\nVALUE abc/def 0 1\r\na\r\nEND\r\n"),
        (b"get abc\r\nget def\r\n", b"END\r\nEND\r\n"),
        (b"set a/open/b 0 0 1\r\nx\r\nget a/open/b/peek\r\n", b"STORED\r\nVALUE a/open/b/peek 0 1\r\nx\r\nEND\r\n"),
    ],
    "options where they do not belong": [
        (b"set q/open 0 0 1\r\nx\r\nget q\r\n", b"CLIENT_ERROR option /open does not go with this command\r\nEND\r\n"),
        (b"delete q/t=5\r\n", b"CLIENT_ERROR option /t does not go with this command\r\n"),
        (b"get q/t=x\r\n", b"CLIENT_ERROR option /t= takes a whole number from 0 to 2147483647\r\n"),
        (b"get /open\r\n", b"CLIENT_ERROR key has no queue name\r\n"),
    ],
    "malformed lines": [
        (b"\r\n", b"ERROR\r\n"),
        (b"   \r\n", b"ERROR\r\n"),
        (b"foo\r\nGET q\r\nSET q 0 0 1\r\n", b"ERROR\r\n" * 3),
        (b"get\r\nset\r\nset q\r\nset q 0 0\r\ndelete\r\ntouch\r\nincr q\r\n", BAD_FORMAT * 7),
        (b"set q 0 0 x\r\n", BAD_FORMAT),
        (b"set q 0 0 -1\r\n", BAD_FORMAT),
        (b"set q 0 0 99999999999\r\n", BAD_FORMAT),
        (b"set q 0 0 1 nonsense\r\nx\r\nversion\r\n", BAD_FORMAT + b"VERSION 1.2.3\r\n"),
        (b"set q 0 x 1\r\nx\r\nversion\r\n", BAD_FORMAT + b"VERSION 1.2.3\r\n"),
        (b"cas q 0 0 1\r\nx\r\nversion\r\n", BAD_FORMAT + b"VERSION 1.2.3\r\n"),
        (b"cas q 0 0 1 x\r\nx\r\nversion\r\n", BAD_FORMAT + b"VERSION 1.2.3\r\n"),
        (b"quit now\r\nverbosity\r\nflush_all x\r\nstats nonsense\r\nversion 1\r\n", BAD_FORMAT * 5),
    ],
    "bad keys": [
        (b"get " + b"k" * 250 + b"\r\n", b"END\r\n"),
        (b"get " + b"k" * 251 + b"\r\n", b"CLIENT_ERROR key too long: 251 bytes, at most 250\r\n"),
        (
            b"set " + b"k" * 251 + b" 0 0 5\r\nget q\r\nversion\r\n",
            b"CLIENT_ERROR key too long: 251 bytes, at most 250\r\nVERSION 1.2.3\r\n",
        ),
        (b"set a\x01b 0 0 1\r\nx\r\nversion\r\n", b"CLIENT_ERROR key has a control character\r\nVERSION 1.2.3\r\n"),
        (b"get a\tb\r\n", b"CLIENT_ERROR key has a control character\r\n"),
        (b"set \xc3\xa4 0 0 1\r\nx\r\nget \xc3\xa4\r\n", b"STORED\r\nVALUE \xc3\xa4 0 1\r\nx\r\nEND\r\n"),
    ],
    "bad bodies": [
        (b"set q 0 0 3\r\nabcdef\r\nversion\r\n", BAD_CHUNK + b"VERSION 1.2.3\r\n"),
        (b"set q 0 0 3\r\nabc\nversion\r\n", BAD_CHUNK + b"VERSION 1.2.3\r\n"),
        (b"set q 0 0 8\r\nabc\r\nget q\r\nversion\r\n", BAD_CHUNK + b"VERSION 1.2.3\r\n"),
        (b"get q\r\n", b"END\r\n"),
    ],
    "bodies too large": [
        (b"set q 0 0 1048577\r\n" + b"x" * 1048577 + b"\r\nversion\r\n", TOO_LARGE + b"VERSION 1.2.3\r\n"),
        (b"set q 0 0 1048576\r\n" + b"x" * 1048576 + b"\r\n", b"STORED\r\n"),
    ],
    "negative and past exptimes": [
        (b"set q 0 -1 1\r\nx\r\nset q 0 1000000000 1\r\nx\r\nget q\r\n", b"STORED\r\nSTORED\r\nEND\r\n"),
        (
            b"set q 0 0 1\r\na\r\nreplace q 0 -1 1\r\nx\r\nget q\r\nprepend q 0 -1 1\r\nx\r\nget q\r\n",
            b"STORED\r\nSTORED\r\nEND\r\nSTORED\r\nEND\r\n",
        ),
    ],
    "flush": [
        (
            b"set a 0 0 1\r\nx\r\nset b 0 0 1\r\ny\r\nflush a\r\nget a b\r\n",
            b"STORED\r\nSTORED\r\nOK\r\nVALUE b 0 1\r\ny\r\nEND\r\n",
        ),
        (b"flush_all\r\ndelete b\r\nget b\r\n", b"OK\r\nNOT_FOUND\r\nEND\r\n"),
        (b"flush_all 0\r\nflush none\r\nflush_all -1\r\n", b"OK\r\n" * 3),
    ],
    "odds and ends": [
        (b"version\r\nverbosity 1\r\nverbosity 1 noreply\r\n", b"VERSION 1.2.3\r\nOK\r\n"),
        (b"shutdown\r\n", b"ERROR: shutdown not enabled\r\n"),
        (b"stats reset\r\n", b"RESET\r\n"),
        (b"stats settings\r\nstats conns\r\n", b"STAT prefetch 1\r\nEND\r\nSTAT 1:addr test\r\nEND\r\n"),
        (b"stats queue none\r\nstats queues\r\n", b"END\r\nEND\r\n"),
        (b"stats items\r\n", b"STAT items:1:number 0\r\nSTAT items:1:mem_requested 0\r\nEND\r\n"),
    ],
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(name: str) -> None:
    client = Server().connect()
    for sent, expected in TRANSCRIPTS[name]:
        assert client.say(sent) == expected


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript_in_one_go(name: str) -> None:
    client = Server().connect()
    assert client.say(b"".join(sent for sent, _ in TRANSCRIPTS[name])) == b"".join(
        expected for _, expected in TRANSCRIPTS[name]
    )


@pytest.mark.parametrize("name", [n for n in TRANSCRIPTS if n not in ("noreply", "bodies too large")])
def test_transcript_byte_by_byte_and_cut_in_two(name: str) -> None:
    whole = b"".join(sent for sent, _ in TRANSCRIPTS[name])
    expected = b"".join(reply for _, reply in TRANSCRIPTS[name])
    client = Server().connect()
    assert b"".join(client.say(bytes([byte])) for byte in whole) == expected
    for cut in range(1, len(whole), 1 + len(whole) // 80):
        client = Server().connect()
        assert client.say(whole[:cut]) + client.say(whole[cut:]) == expected
        client = Server().connect()
        client.send(whole[:cut])  # both before any tick
        assert client.say(whole[cut:]) == expected


def test_a_large_body_in_pieces() -> None:
    client = Server().connect()
    body = bytes(range(256)) * 4096
    data = b"set q 0 0 %d\r\n%b\r\nget q\r\n" % (len(body), body)
    for at in range(0, len(data), 10_007):
        client.send(data[at : at + 10_007])
    assert client.say(b"") == b"STORED\r\nVALUE q 0 %d\r\n%b\r\nEND\r\n" % (len(body), body)


def test_an_oversized_body_is_not_buffered() -> None:
    client = Server(max_item_size=1000).connect()
    assert client.say(b"set q 0 0 100000000\r\n") == TOO_LARGE
    megabyte = b"x" * 1_000_000
    for _ in range(100):
        client.send(megabyte)
    assert client.session.backlog_size == 0
    assert client.say(b"\r\nversion\r\n") == b"VERSION 1.2.3\r\n"


@pytest.mark.parametrize("pieces", [1, 3, 8193])
def test_a_line_that_does_not_end(pieces: int) -> None:
    client = Server().connect()
    data = b"get " + b"x " * 5000
    step = -(-len(data) // pieces)
    for at in range(0, len(data), step):
        client.send(data[at : at + step])
    assert client.say(b"\r\nversion\r\n") == b"CLIENT_ERROR line too long\r\n"
    assert client.session.closing
    assert "8192" in client.session.complaint


def test_a_line_as_long_as_may_be() -> None:
    client = Server().connect()
    line = (b"get" + b" abcdefghij" * 800)[:8192].rstrip()
    assert client.say(line + b"\r\n") == b"END\r\n"


def test_quit_closes_and_nothing_behind_it_is_done() -> None:
    client = Server().connect()
    assert client.say(b"version\r\nquit\r\nset q 0 0 1\r\nx\r\n") == b"VERSION 1.2.3\r\n"
    assert client.session.closing
    assert client.session.complaint == ""


def test_shutdown_where_it_is_enabled() -> None:
    server = Server()
    server.host.shutdown_allowed = True
    client = server.connect()
    assert client.say(b"shutdown\r\n") == b""
    assert server.host.was_shut_down
    assert client.session.closing


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"POST /x HTTP/1.0\r\n\r\nset q 0 0 1\r\nx\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"\x16\x03\x01\x02\x00\x01\n\x00\x01\xfc\x03\x03", "TLS"),
        (b"\x16" + b"x" * 9000, "TLS"),
    ],
)
def test_other_protocols_are_told_by_the_log(data: bytes, words: str) -> None:
    server = Server()
    client = server.connect()
    assert client.say(data) == b""
    assert client.session.closing
    assert words in client.session.complaint
    assert server.connect().say(b"get q\r\n") == b"END\r\n"


class TestTokens:
    def value(self, reply: bytes) -> tuple[bytes, int]:
        head, body, _ = reply.split(b"\r\n", 2)
        return body, int(head.split(b" ")[4])

    def test_gets_and_cas(self) -> None:
        client = Server().connect()
        client.say(b"set q 0 0 1\r\na\r\n")
        body, token = self.value(client.say(b"gets q\r\n"))
        assert body == b"a"
        assert token > 0
        assert client.say(b"cas next 3 0 1 %d\r\nb\r\n" % token) == b"STORED\r\n"
        assert client.say(b"get next\r\ndelete q\r\n") == b"VALUE next 3 1\r\nb\r\nEND\r\nNOT_FOUND\r\n"
        assert client.say(b"cas next 0 0 1 %d\r\nb\r\n" % token) == b"EXISTS\r\n"
        assert client.say(b"cas next 0 0 1 12345\r\nb\r\n") == b"NOT_FOUND\r\n"

    def test_by_another_connection(self) -> None:
        server = Server()
        one, other = server.connect(), server.connect()
        one.say(b"set q 0 0 1\r\na\r\n")
        _, token = self.value(one.say(b"gets q\r\n"))
        assert other.say(b"cas q 0 0 1 %d\r\nb\r\n" % token) == b"STORED\r\n"
        assert one.say(b"delete q\r\n") == b"NOT_FOUND\r\n"
        assert other.say(b"get q\r\n") == b"VALUE q 0 1\r\nb\r\nEND\r\n"

    def test_an_expired_replacement_is_an_acknowledgement(self) -> None:
        client = Server().connect()
        client.say(b"set q 0 0 1\r\na\r\n")
        _, token = self.value(client.say(b"gets q\r\n"))
        assert client.say(b"cas q 0 -1 1 %d\r\nb\r\nget q\r\n" % token) == b"STORED\r\nEND\r\n"

    def test_gats(self) -> None:
        server = Server(QueueSettings(reserve_timeout=100))
        client = server.connect()
        client.say(b"set q 0 0 1\r\na\r\n")
        body, token = self.value(client.say(b"gats 5 q\r\n"))
        assert (body, token > 0) == (b"a", True)
        server.advance(6)
        assert client.say(b"cas q 0 0 1 %d\r\nb\r\n" % token) == b"EXISTS\r\n"
        assert client.say(b"gat 0 q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"
        server.advance(99)
        assert client.say(b"delete q\r\n") == b"DELETED\r\n"


class TestReservationTimes:
    def test_gat_touch_and_the_default(self) -> None:
        server = Server(QueueSettings(reserve_timeout=100))
        client, other = server.connect(), server.connect()
        client.say(b"set q 0 0 1\r\na\r\n")
        assert client.say(b"gat 5 q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"
        assert client.say(b"touch q 50\r\n") == b"TOUCHED\r\n"
        server.advance(49)
        assert other.say(b"get q\r\n") == b"END\r\n"
        assert client.say(b"touch q 0\r\n") == b"TOUCHED\r\n"
        server.advance(99)
        assert other.say(b"get q\r\n") == b"END\r\n"
        server.advance(2)
        assert other.say(b"get q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"
        assert client.say(b"delete q\r\n") == b"NOT_FOUND\r\n"

    def test_a_unix_time(self) -> None:
        server = Server()
        client = server.connect()
        client.say(b"set q 0 0 1\r\na\r\n")
        moment = server.engine.clock.wall // 1_000_000_000 + 7
        assert client.say(b"gat %d q\r\n" % moment).startswith(b"VALUE")
        server.advance(6)
        assert client.say(b"touch q %d\r\n" % (moment + 10)) == b"TOUCHED\r\n"
        server.advance(10)
        assert client.say(b"delete q\r\n") == b"DELETED\r\n"

    def test_a_negative_one_is_over_at_once(self) -> None:
        server = Server()
        client = server.connect()
        client.say(b"set q 0 0 1\r\na\r\nget q\r\n")
        assert client.say(b"touch q -1\r\n") == b"TOUCHED\r\n"
        server.advance(0)
        assert client.say(b"delete q\r\n") == b"NOT_FOUND\r\n"


class TestTtl:
    @pytest.mark.parametrize(("exptime", "before", "after"), [(10, 9, 2), (2592000, 2591999, 2)])
    def test_relative(self, exptime: int, before: int, after: int) -> None:
        server = Server()
        client = server.connect()
        client.say(b"set q 0 %d 1\r\na\r\n" % exptime)
        server.advance(before)
        assert client.say(b"get q/peek\r\n").startswith(b"VALUE")
        server.advance(after)
        assert client.say(b"get q\r\n") == b"END\r\n"

    def test_absolute(self) -> None:
        server = Server()
        client = server.connect()
        client.say(b"set q 0 %d 1\r\na\r\n" % (server.engine.clock.wall // 10**9 + 20))
        server.advance(19)
        assert client.say(b"get q/peek\r\n").startswith(b"VALUE")
        server.advance(2)
        assert client.say(b"get q\r\n") == b"END\r\n"


class TestWaiting:
    def test_an_item_ends_the_wait_and_order_is_kept(self) -> None:
        server = Server()
        waiter, putter = server.connect(), server.connect()
        assert waiter.say(b"get q/t=5000\r\nversion\r\ndelete q\r\nget q\r\n") == b""
        assert putter.say(b"set q 9 0 1\r\na\r\n") == b"STORED\r\n"
        assert waiter.say(b"") == b"VALUE q/t=5000 9 1\r\na\r\nEND\r\nVERSION 1.2.3\r\nDELETED\r\nEND\r\n"

    def test_the_time_passes(self) -> None:
        server = Server()
        client = server.connect()
        assert client.say(b"get q/t=5000\r\nversion\r\n") == b""
        server.advance(4.9)
        assert client.say(b"") == b""
        server.advance(0.2)
        assert client.say(b"") == b"END\r\nVERSION 1.2.3\r\n"

    def test_its_own_item_in_the_same_packet(self) -> None:
        client = Server().connect()
        assert client.say(b"set q 0 0 1\r\na\r\nget q/t=5000\r\n") == b"STORED\r\nVALUE q/t=5000 0 1\r\na\r\nEND\r\n"

    def test_who_holds_enough_gets_a_miss_at_once(self) -> None:
        client = Server().connect()
        assert client.say(b"set q 0 0 1\r\na\r\nget q\r\nget q/t=5000\r\n").endswith(b"a\r\nEND\r\nEND\r\n")

    def test_several_keys_wait_one_after_the_other(self) -> None:
        server = Server()
        client, putter = server.connect(), server.connect()
        putter.say(b"set b 0 0 1\r\nB\r\n")
        assert client.say(b"get a/t=1000 b c/t=1000\r\n") == b""
        server.advance(1.1)
        putter.say(b"set c 0 0 1\r\nC\r\n")
        assert client.say(b"") == b"VALUE b 0 1\r\nB\r\nVALUE c/t=1000 0 1\r\nC\r\nEND\r\n"

    def test_the_default_wait_of_a_plain_get(self) -> None:
        server = Server(QueueSettings(wait=3))
        client, putter = server.connect(), server.connect()
        assert client.say(b"get q\r\n") == b""
        putter.say(b"set q 0 0 1\r\na\r\n")
        assert client.say(b"") == b"VALUE q 0 1\r\na\r\nEND\r\n"
        assert client.say(b"delete q\r\nget q/t=0\r\nget q\r\n") == b"DELETED\r\nEND\r\n"
        server.advance(3)
        assert client.say(b"") == b"END\r\n"

    def test_the_end_of_input_leaves_the_line(self) -> None:
        server = Server()
        client, other = server.connect(), server.connect()
        client.say(b"get q/t=5000 r/t=5000\r\nversion\r\n")
        client.session.finish()
        assert client.say(b"") == b"END\r\nVERSION 1.2.3\r\n"
        assert client.session.closing
        other.say(b"set q 0 0 1\r\na\r\n")
        assert other.say(b"get q\r\n").startswith(b"VALUE")

    def test_what_comes_behind_a_wait_is_bounded(self) -> None:
        client = Server().connect()
        client.say(b"get q/t=5000\r\n")
        for _ in range(100):
            client.send(b"version\r\n" * 100)
        assert client.paused


class TestFailingJournal:
    def test_every_change_is_denied_and_reads_are_not(self) -> None:
        server = Server()
        client = server.connect()
        client.say(b"set q 0 0 1\r\n1\r\nset q 0 0 1\r\n2\r\n")
        server.fails = True
        denied = b"SERVER_ERROR out of memory storing object\r\n"
        assert client.say(b"set q 0 0 1\r\nx\r\nversion\r\n") == denied + b"VERSION 1.2.3\r\n"
        assert client.say(b"incr q 1\r\nreplace q 0 0 1\r\nx\r\nprepend q 0 0 1\r\nx\r\n") == denied * 3
        assert client.say(b"get q\r\ndelete q\r\n") == b"VALUE q 0 1\r\n1\r\nEND\r\n" + denied
        assert client.say(b"flush q\r\nflush_all\r\n") == denied * 2
        assert client.say(b"set q 0 0 1 noreply\r\nx\r\n") == b""
        server.fails = False
        assert (
            client.say(b"delete q\r\nget q\r\ndelete q\r\nget q\r\n")
            == b"DELETED\r\nVALUE q 0 1\r\n2\r\nEND\r\nDELETED\r\nEND\r\n"
        )

    def test_a_failed_server_denies_at_once(self) -> None:
        server = Server()
        client = server.connect()
        server.engine.broker.fail("no disk")
        denied = b"SERVER_ERROR out of memory storing object\r\n"
        for data in (b"set q 0 0 1\r\nx\r\n", b"add q 0 0 1\r\nx\r\n", b"prepend q 0 0 1\r\nx\r\n", b"flush_all\r\n"):
            assert client.say(data) == denied
            assert client.say(data[:3] + b"x" + data[3:] + b"version\r\n").endswith(b"VERSION 1.2.3\r\n")
        assert client.say(b"set q 0 0 1 noreply\r\nx\r\nget q\r\n") == b"END\r\n"
        assert server.service.counters.storage_errors == 5


class TestFullQueue:
    def test_not_stored(self) -> None:
        server = Server(QueueSettings(max_items=1))
        client = server.connect()
        assert client.say(b"set q 0 0 1\r\na\r\nset q 0 0 1\r\nb\r\nprepend q 0 0 1\r\nb\r\n") == (
            b"STORED\r\nNOT_STORED\r\nNOT_STORED\r\n"
        )
        assert client.say(b"set q 0 0 1 noreply\r\nb\r\nget q\r\ndelete q\r\nset q 0 0 1\r\nb\r\n").endswith(
            b"DELETED\r\nSTORED\r\n"
        )
        assert server.service.counters.noreply_errors == 1

    def test_draining(self) -> None:
        server = Server()
        client = server.connect()
        client.say(b"set q 0 0 1\r\na\r\n")
        server.engine.broker.drain(True)
        for verb in (b"set", b"add", b"append", b"prepend", b"replace"):
            assert client.say(verb + b" q 0 0 1\r\nb\r\n") == b"NOT_STORED\r\n"
        assert client.say(b"get q\r\ndelete q\r\n").endswith(b"DELETED\r\n")


def test_output_is_bounded() -> None:
    server = Server()
    client = server.connect()
    client.say(b"set q 0 0 500000\r\n" + b"x" * 500000 + b"\r\n")
    client.send(b"get q/peek\r\n" * 50)
    assert sum(map(len, client.session.out)) < 3 << 20
    assert len(client.say(b"")) > 50 * 500000


def test_stats_names_what_clients_look_for() -> None:
    client = Server().connect()
    client.say(b"set q 0 0 3\r\nabc\r\nget q\r\nget none\r\n")
    stats = dict(line[5:].split(b" ", 1) for line in client.say(b"stats\r\n").splitlines() if line != b"END")
    expected = {b"cmd_get": b"2", b"cmd_set": b"1", b"get_hits": b"1", b"get_misses": b"1", b"curr_items": b"1"}
    expected |= {b"total_items": b"1", b"bytes": b"3", b"queue_q_items": b"1", b"queue_q_bytes": b"3"}
    expected |= {b"queue_q_total_items": b"1", b"queue_q_open_transactions": b"1", b"queue_q_waiters": b"0"}
    assert {name: stats[name] for name in expected} == expected
    assert client.say(b"stats queue q\r\n").startswith(b"STAT items 1\r\nSTAT bytes 3\r\n")


def test_stats_of_the_server_alone() -> None:
    client = Server().connect()
    client.say(b"set q 0 0 3\r\nabc\r\n")
    reply = client.say(b"stats server\r\n")
    assert b"STAT curr_items 1\r\n" in reply
    assert b"queue_q" not in reply


def test_stats_in_brief_comes_in_pieces() -> None:
    client = Server().connect()
    for name in (b"a", b"b", "c\u00e9".encode(), b"50%"):
        client.say(b"set %b 0 0 3\r\nabc\r\n" % name)
    client.say(b"ms YSBiDQo= 1 b\r\nx\r\nget b\r\n")
    figures = b"delayed=0 bytes=3 age=0 waiters=0 paused=0 put=1"
    rest = b"returned=0 expired=0 discarded=0 dead=0"
    assert client.say(b"stats brief 0 2\r\n") == (
        b"STAT a items=1 reserved=0 %b delivered=0 %b\r\nSTAT b items=1 reserved=1 %b delivered=1 %b\r\nEND\r\n"
        % (figures, rest, figures, rest)
    )
    names = [line.split(b" ")[1] for line in client.say(b"stats brief 2 99\r\n").splitlines()[:-1]]
    assert names == [b"c%C3%A9", b"50%25", b"a%20b%0D%0A"]
    assert client.say(b"stats brief 5 9\r\n") == b"END\r\n"
    assert b"queue_a%20b%0D%0A_items 1\r\n" in client.say(b"stats queues\r\n")
    assert client.say(b"stats brief 0\r\nstats brief x 1\r\nstats brief 0 -1\r\n") == BAD_FORMAT * 3


def test_stats_in_brief_tells_of_a_thousand_queues_at_most() -> None:
    client = Server().connect()
    client.say(b"".join(b"set q%d 0 0 1\r\nx\r\n" % i for i in range(1100)))
    assert client.say(b"stats brief 0 2000\r\n").count(b"STAT ") == 1000
