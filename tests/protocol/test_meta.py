"""The meta commands: transcripts, tokens over any connection, quiet mode."""

from __future__ import annotations

from base64 import b64encode
from itertools import pairwise

import pytest

from redqueue.engine.settings import QueueSettings
from tests.protocol.conversation import Client, Server

BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
OUT_OF_MEMORY = b"SERVER_ERROR out of memory storing object\r\n"

TRANSCRIPTS: dict[str, list[tuple[bytes, bytes]]] = {
    "ms, mg, md": [
        (b"ms q 3\r\nabc\r\n", b"HD\r\n"),
        (b"mg q v\r\n", b"VA 3\r\nabc\r\n"),
        (b"mg q v\r\n", b"EN\r\n"),
        (b"md q\r\n", b"HD\r\n"),
        (b"md q\r\n", b"NF\r\n"),
    ],
    "the figures of an item": [
        (b"ms q 3 F7 T100\r\nabc\r\n", b"HD\r\n"),
        (b"mg q f s t h l c k\r\n", b"HD f7 s3 t100 h0 l0 c0 kq\r\n"),
        (b"mg q v u f\r\n", b"VA 3 f7\r\nabc\r\n"),
        (b"mg q v s f t h l\r\n", b"VA 3 s3 f7 t100 h0 l0\r\nabc\r\n"),
        (b"mg q f\r\n", b"EN\r\n"),
    ],
    "the id of an item and its deliveries": [
        (b"ms q 3 c\r\nabc\r\n", b"HD c1\r\n"),
        (b"mg q i d h\r\n", b"HD i1 d0 h0\r\n"),
        (b"mg q v i d h\r\n", b"VA 3 i1 d1 h0\r\nabc\r\n"),
        (b"md q I\r\nmg q d h i\r\n", b"HD\r\nHD d1 h1 i1\r\n"),
        (b"mg q/peek=0 v i d\r\n", b"VA 3 i1 d1\r\nabc\r\n"),
        (b"mg q v d h\r\n", b"VA 3 d2 h1\r\nabc\r\n"),
    ],
    "without v nothing is reserved": [
        (b"mg q\r\n", b"EN\r\n"),
        (b"ms q 1\r\na\r\nmg q\r\nmg q t\r\nmd q\r\n", b"HD\r\nHD\r\nHD t-1\r\nNF\r\n"),
        (b"get q\r\n", b"VALUE q 0 1\r\na\r\nEND\r\n"),
    ],
    "flags come back in the order of the request": [
        (b"ms q 1 F3 k Oxyz s\r\na\r\n", b"HD kq Oxyz s1\r\n"),
        (b"mg q Oabc s v k f\r\n", b"VA 1 Oabc s1 kq f3\r\na\r\n"),
        (b"mg q k O1 v\r\nmd q O2 k\r\nmd q k O3\r\n", b"EN kq O1\r\nHD O2 kq\r\nNF kq O3\r\n"),
    ],
    "a percent sign is one": [
        (b"ms %d%s 1\r\na\r\nmg %d%s k v O%n%b\r\n", b"HD\r\nVA 1 k%d%s O%n%b\r\na\r\n"),
        (b"md %d%s k\r\nms %d%s 2\r\nxy\r\nmg %d%s k v\r\n", b"HD k%d%s\r\nHD\r\nVA 2 k%d%s\r\nxy\r\n"),
    ],
    "modes of ms": [
        (b"ms q 1 MS\r\na\r\nms q 1 MA\r\nb\r\nms q 1 MP\r\nc\r\nms q 1 Ms\r\nd\r\n", b"HD\r\n" * 4),
        (b"ms q 1 ME\r\nx\r\nms e 1 ME\r\nx\r\nms n 1 MR\r\nx\r\n", b"NS\r\nHD\r\nNS\r\n"),
        (b"ms q 1 MR F9\r\nC\r\nmg q v f\r\n", b"HD\r\nVA 1 f9\r\nC\r\n"),
        (b"ms q 1 MX\r\nx\r\n", b"CLIENT_ERROR invalid mode for ms M token\r\n"),
        (b"ms q 1 MSE\r\nx\r\n", b"CLIENT_ERROR incorrect length for M token\r\n"),
    ],
    "the id of a new item": [
        (b"ms q 1 c\r\na\r\nms q 1 c k\r\nb\r\nms q 1 ME c\r\nx\r\n", b"HD c1\r\nHD kq c2\r\nNS\r\n"),
        (b"ms q 1 c q\r\na\r\nms q 1 c T-1\r\nx\r\nms q 1 c\r\nb\r\n", b"HD c0\r\nHD c4\r\n"),
    ],
    "counters": [
        (b"ma n\r\nma n q\r\n", b"NF\r\n"),
        (b"ma n N0 J13 v\r\nma n v\r\nma n\r\nma n v D10\r\n", b"VA 2\r\n13\r\nVA 2\r\n14\r\nHD\r\nVA 2\r\n25\r\n"),
        (
            b"ma n MD v\r\nma n M- D99 v k O1\r\nma n M+ q\r\nma n Mi q v\r\n",
            b"VA 2\r\n24\r\nVA 1 kn O1\r\n0\r\nVA 1\r\n2\r\n",
        ),
        (b"ma m N0\r\nmg m v\r\n", b"HD\r\nVA 1\r\n0\r\n"),
        (b"ma n Dx\r\n", b"CLIENT_ERROR invalid numeric delta value\r\n"),
        (b"ma n N0 Jx\r\n", b"CLIENT_ERROR invalid numeric initial value\r\n"),
        (b"ma n M*\r\n", b"CLIENT_ERROR invalid mode for ma M token\r\n"),
        (b"ms s 1\r\nx\r\nma s\r\n", b"HD\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
        (b"ma n T-1\r\nma n\r\n", b"HD\r\nNF\r\n"),
    ],
    "quiet mode": [
        (b"ms q 1 q\r\na\r\nms q 1 q\r\nb\r\nmn\r\n", b"MN\r\n"),
        (b"mg q v q\r\nmg q v q\r\nmn\r\n", b"VA 1\r\na\r\nMN\r\n"),
        (b"md q q\r\nmd q q\r\nmd x q\r\nmn\r\n", b"MN\r\n"),
        (b"ms q 1 q ME k\r\nx\r\nmn\r\n", b"NS kq\r\nMN\r\n"),
        (b"mg q z q\r\nms q x q\r\n", b"CLIENT_ERROR invalid flag\r\n" + BAD_FORMAT),
    ],
    "base64 keys": [
        (b"ms %b 1 b k\r\na\r\n" % b64encode("schlüssel".encode()), b"HD k%b b\r\n" % b64encode("schlüssel".encode())),
        ("get schlüssel\r\n".encode(), "VALUE schlüssel 0 1\r\na\r\nEND\r\n".encode()),
        (
            b"ms AAEgCg== 2 b\r\nxy\r\nmg AAEgCg== b v k\r\nmd AAEgCg== k b\r\n",
            b"HD\r\nVA 2 kAAEgCg== b\r\nxy\r\nHD kAAEgCg== b\r\n",
        ),
        (b"mg q b v\r\n", b"CLIENT_ERROR error decoding key\r\n"),
        (b"mg %b b v\r\n" % b64encode(b"k" * 251), b"CLIENT_ERROR key too long: 251 bytes, at most 250\r\n"),
        (b"ms %b 1 b\r\nx\r\nmg q v\r\n" % b64encode(b"q/delay=5"), b"HD\r\nEN\r\n"),
        (b"me %b b\r\n" % b64encode(b"none"), b"EN\r\n"),
    ],
    "options of the key": [
        (b"ms q/delay=5 1\r\na\r\nmg q v\r\n", b"HD\r\nEN\r\n"),
        (b"ms q 1\r\nb\r\nmg q/as=me v k\r\nmd q\r\nmd q/as=me\r\n", b"HD\r\nVA 1 kq/as=me\r\nb\r\nNF\r\nHD\r\n"),
        (
            b"ms p 1\r\na\r\nms p 1\r\nb\r\nmg p/peek=1 v\r\nmg p/peek=2 v\r\nmg p/peek s\r\n",
            b"HD\r\nHD\r\nVA 1\r\nb\r\nEN\r\nHD s1\r\n",
        ),
        (
            b"mg p v\r\nmg p/close/open v\r\nmg p/abort\r\nmg p/t=10 v\r\n",
            b"VA 1\r\na\r\nVA 1\r\nb\r\nEN\r\nVA 1\r\nb\r\n",
        ),
        (b"mg q/or v\r\n", b"CLIENT_ERROR option /or does not go with this command\r\n"),
        (b"mg q/t=5\r\n", b"CLIENT_ERROR options /open and /t= go with flag v\r\n"),
        (b"mg q/close/open\r\n", b"CLIENT_ERROR options /open and /t= go with flag v\r\n"),
        (b"mg q/t=5 u v\r\n", b"CLIENT_ERROR flag u goes with no option of the key but /peek\r\n"),
        (b"md q/t=5\r\n", b"CLIENT_ERROR option /t does not go with this command\r\n"),
        (b"ms q/as=me 1\r\nx\r\n", b"CLIENT_ERROR option /as does not go with this command\r\n"),
        (b"ms q/delay=1 1 MR\r\nx\r\n", b"CLIENT_ERROR option /delay goes with no mode R\r\n"),
        (b"ma q/as=me\r\n", b"CLIENT_ERROR option /as does not go with this command\r\n"),
        (b"md q/as=me C1\r\n", b"CLIENT_ERROR option /as= goes with no flag C\r\n"),
        (b"mg q/as=me C1\r\n", b"CLIENT_ERROR flag C goes with no u, /peek or /as=\r\n"),
    ],
    "what is wrong with a line": [
        (b"mg\r\nms\r\nmd\r\nma\r\nme\r\nms q\r\nms q x\r\nms q -1\r\n", BAD_FORMAT * 8),
        (b"mg q v v\r\n", b"CLIENT_ERROR duplicate flag\r\n"),
        (b"mg q T1 T2\r\n", b"CLIENT_ERROR duplicate flag\r\n"),
        (b"mg q x\r\n", b"CLIENT_ERROR invalid flag\r\n"),
        (b"mg q N30 v\r\n", b"CLIENT_ERROR flag N means nothing on a queue\r\n"),
        (b"md q x I\r\n", b"CLIENT_ERROR flag x goes with no flag I\r\n"),
        (b"ms q 1 I\r\nx\r\n", b"CLIENT_ERROR flag I means nothing on a queue\r\n"),
        (b"mg q v%b\r\n" % (b" z" * 21), b"CLIENT_ERROR options flags are too long\r\n"),
        (b"mg q O%b v\r\n" % (b"x" * 32), b"CLIENT_ERROR opaque token too long\r\n"),
        (b"mg q O%b\r\n" % (b"x" * 31), b"EN O%b\r\n" % (b"x" * 31)),
        (
            b"mg q Tx\r\nms q 1 Tx\r\nx\r\nms q 1 F4294967296\r\nx\r\n",
            b"CLIENT_ERROR bad token in command line format\r\n" * 3,
        ),
        (
            b"md q Cx\r\nmd q C\r\nmg q C-1\r\nms q 1 Cx\r\nx\r\n",
            b"CLIENT_ERROR bad token in command line format\r\n" * 4,
        ),
        (b"md q C99999999999999999999\r\n", b"CLIENT_ERROR bad token in command line format\r\n"),
        (b"mg q v C5\r\n", b"CLIENT_ERROR flag C goes with no v, /close or /abort in this command\r\n"),
        (b"ms q 1 C5 MA\r\nx\r\n", b"CLIENT_ERROR flag C goes with no mode but S\r\n"),
        (b"md q T5\r\n", b"CLIENT_ERROR flag T goes with flag I in this command\r\n"),
        (b"ms q 3\r\nabcd\r\nmn\r\n", b"CLIENT_ERROR bad data chunk\r\nMN\r\n"),
        (b"ms q 2000000\r\n" + b"x" * 2000000 + b"\r\nmn\r\n", b"SERVER_ERROR object too large for cache\r\nMN\r\n"),
        (b"mg %b v\r\n" % (b"k" * 251), b"CLIENT_ERROR key too long: 251 bytes, at most 250\r\n"),
    ],
    "me": [
        (b"me q\r\n", b"EN\r\n"),
        (b"ms q 3\r\nabc\r\nms q/delay=9 2\r\nde\r\nmg q v\r\n", b"HD\r\nHD\r\nVA 3\r\nabc\r\n"),
        (b"me q\r\n", b"ME q items=2 reserved=1 delayed=1 bytes=5 age=0 consumers=1\r\n"),
    ],
    "an expired item": [
        (b"ms q 1 T-1\r\nx\r\nmg q v\r\nms q 1 MP T-1\r\nx\r\nmg q v\r\n", b"HD\r\nEN\r\nHD\r\nEN\r\n")
    ],
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(name: str) -> None:
    client = Server().connect()
    for sent, expected in TRANSCRIPTS[name]:
        assert client.say(sent) == expected


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript_in_one_go_and_cut(name: str) -> None:
    whole = b"".join(sent for sent, _ in TRANSCRIPTS[name])
    expected = b"".join(reply for _, reply in TRANSCRIPTS[name])
    assert Server().connect().say(whole) == expected
    for cut in range(1, len(whole), 1 + len(whole) // 60):
        client = Server().connect()
        assert client.say(whole[:cut]) + client.say(whole[cut:]) == expected


def reserve(client: Client, line: bytes = b"mg q v c") -> tuple[bytes, bytes]:
    """Reserve by ``mg``; returns body and token."""
    head, body, _ = client.say(line + b"\r\n").split(b"\r\n")
    (token,) = [word[1:] for word in head.split(b" ") if word.startswith(b"c")]
    return body, token


@pytest.fixture
def server() -> Server:
    return Server(QueueSettings(reserve_timeout=100))


@pytest.fixture
def one(server: Server) -> Client:
    client = server.connect()
    client.say(b"ms q 1\r\na\r\nms q 1\r\nb\r\n")
    return client


class TestTokens:
    def test_acknowledge_over_any_connection(self, server: Server, one: Client) -> None:
        body, token = reserve(one)
        assert body == b"a"
        assert server.connect().say(b"md q C%b k\r\n" % token) == b"HD kq\r\n"
        assert one.say(b"md q C%b\r\nmd q\r\n" % token) == b"NF\r\n" * 2
        assert reserve(one)[0] == b"b"

    def test_they_differ_for_each_delivery_and_stale_ones_are_refused(self, server: Server, one: Client) -> None:
        tokens = set()
        for _ in range(50):
            body, token = reserve(one)
            assert body == b"a"
            tokens.add(token)
            assert one.say(b"md q I C%b\r\n" % token) == b"HD\r\n"
            assert (
                one.say(b"md q I C%b\r\nmd q C%b\r\nmg q T9 C%b\r\n" % (token, token, token)) == b"NF\r\nNF\r\nEN\r\n"
            )
        assert len(tokens) == 50
        numbers = sorted(map(int, tokens))
        assert min(b - a for a, b in pairwise(numbers)) > 1_000_000_000

    def test_of_another_queue(self, server: Server, one: Client) -> None:
        _, token = reserve(one)
        assert one.say(b"md p C%b\r\nmg p T1 C%b\r\nmd p I C%b\r\n" % (token, token, token)) == b"NF\r\nEN\r\nNF\r\n"
        assert one.say(b"md q C0\r\nmd q C%b\r\n" % token) == b"NF\r\nHD\r\n"

    def test_no_other_line_is_taken_for_one_with_a_token(self, server: Server, one: Client) -> None:
        _, token = reserve(one)
        bad = b"CLIENT_ERROR bad token in command line format\r\n"
        assert one.say(b"md q C1\r\nmd q C1x\r\nmd q C\r\nmd q C-1\r\nmd q C1 2\r\n") == (
            b"NF\r\n" + bad * 3 + b"CLIENT_ERROR invalid flag\r\n"
        )
        assert one.say(b"md C1 C2\r\nmd C1\r\nmd q C%b q\r\nmd q C%b\r\n" % (token, token)) == b"NF\r\n" * 3

    def test_lines_with_tokens_and_opaques_are_not_kept(self, server: Server, one: Client) -> None:
        requests = server.service.requests
        one.say(b"md q C1\r\nmg q T5 C1\r\n")
        known = len(requests.known)
        for number in range(100):
            one.say(b"md q C%d\r\nmg q T5 C%d\r\nmg q O%d\r\nms q 1 C%d\r\nx\r\nmd q C%d k\r\n" % ((number,) * 5))
        assert len(requests.known) == known

    def test_give_back_with_a_delay(self, server: Server, one: Client) -> None:
        _, token = reserve(one)
        assert server.connect().say(b"md q I T5 C%b\r\n" % token) == b"HD\r\n"
        assert reserve(one)[0] == b"b"
        one.say(b"md q\r\n")
        assert one.say(b"mg q v\r\n") == b"EN\r\n"
        server.advance(5.1)
        assert one.say(b"mg q v h\r\n") == b"VA 1 h1\r\na\r\n"

    def test_give_back_what_the_connection_or_a_name_holds(self, one: Client) -> None:
        assert one.say(b"mg q v\r\nmd q I\r\nmd q I\r\n") == b"VA 1\r\na\r\nHD\r\nNF\r\n"
        assert one.say(b"mg q/as=me v\r\nmd q I\r\nmd q/as=me I\r\n") == b"VA 1\r\na\r\nNF\r\nHD\r\n"

    def test_touch(self, server: Server, one: Client) -> None:
        _, token = reserve(one, b"mg q v c T5")
        other = server.connect()
        assert other.say(b"mg q T50 C%b t s\r\n" % token) == b"HD t-1 s1\r\n"
        server.advance(49)
        assert other.say(b"mg q C%b c\r\n" % token) == b"HD c%b\r\n" % token
        assert one.say(b"mg q T50\r\n") == b"HD\r\n"  # the oldest that the connection holds
        server.advance(49)
        assert other.say(b"mg q C%b\r\n" % token) == b"HD\r\n"
        server.advance(2)
        assert other.say(b"mg q C%b\r\nmg q T50 C%b\r\nmd q C%b\r\n" % (token, token, token)) == b"EN\r\nEN\r\nNF\r\n"
        assert one.say(b"mg q T50\r\n") == b"EN\r\n"

    def test_swap(self, server: Server, one: Client) -> None:
        _, token = reserve(one)
        other = server.connect()
        assert other.say(b"ms next 2 C%b F4\r\nxy\r\n" % token) == b"HD\r\n"
        assert other.say(b"ms next 2 C%b\r\nxy\r\nms next 2 C1\r\nxy\r\n" % token) == b"EX\r\nNF\r\n"
        assert other.say(b"mg next v f\r\nmg next v\r\n") == b"VA 2 f4\r\nxy\r\nEN\r\n"
        assert one.say(b"md q\r\n") == b"NF\r\n"

    def test_swap_with_a_delay_and_the_id(self, server: Server, one: Client) -> None:
        _, token = reserve(one)
        assert one.say(b"ms q/delay=60 2 C%b c\r\nxy\r\n" % token) == b"HD c3\r\n"
        assert reserve(one)[0] == b"b"
        one.say(b"md q\r\n")
        server.advance(61)
        assert reserve(one)[0] == b"xy"

    def test_gets_gives_the_same_tokens(self, server: Server, one: Client) -> None:
        token = one.say(b"gets q\r\n").split(b"\r\n")[0].split(b" ")[4]
        assert server.connect().say(b"md q C%b\r\n" % token) == b"HD\r\n"

    def test_a_token_of_a_closed_connection_is_stale(self, server: Server, one: Client) -> None:
        _, token = reserve(one)
        one.session.close()
        assert server.connect().say(b"md q C%b\r\n" % token) == b"NF\r\n"

    def test_a_token_of_a_named_consumer_outlives_the_connection(self, server: Server, one: Client) -> None:
        _, token = reserve(one, b"mg q/as=me v c")
        one.session.close()
        assert server.connect().say(b"md q C%b\r\n" % token) == b"HD\r\n"


class TestWaiting:
    def test_a_waiting_mg_keeps_its_opaque(self, server: Server) -> None:
        one, two = server.connect(), server.connect()
        assert one.say(b"mg w/t=5000 v O1 k\r\nmn\r\n") == b""
        assert two.say(b"mg w/t=5000 v O2 k\r\n") == b""
        server.connect().say(b"ms w 1\r\na\r\nms w 1\r\nb\r\n")
        assert one.say(b"") == b"VA 1 O1 kw/t=5000\r\na\r\nMN\r\n"
        assert two.say(b"") == b"VA 1 O2 kw/t=5000\r\nb\r\n"

    def test_in_vain(self, server: Server) -> None:
        one = server.connect()
        one.say(b"mg w/t=1000 v k q\r\nmg w/t=1000 v k\r\n")
        server.advance(1.1)
        server.advance(1.1)
        assert one.say(b"") == b"EN kw/t=1000\r\n"

    def test_the_setting(self) -> None:
        server = Server(QueueSettings(wait=3))
        one = server.connect()
        assert one.say(b"mg w v\r\n") == b""
        server.connect().say(b"ms w 1\r\na\r\n")
        assert one.say(b"") == b"VA 1\r\na\r\n"

    def test_behind_its_own_put(self, server: Server) -> None:
        assert server.connect().say(b"ms w 1\r\na\r\nmg w/t=1000 v\r\n") == b"HD\r\nVA 1\r\na\r\n"
        assert server.connect().say(b"ms x 1 q\r\na\r\nmg x v\r\n") == b"VA 1\r\na\r\n"
        assert server.connect().say(b"ms y 1 q\r\na\r\nmg y s\r\n") == b"HD s1\r\n"


class TestFailingJournal:
    def test_quiet_or_not_it_is_told(self, server: Server, one: Client) -> None:
        reserve(one)
        server.fails = True
        assert one.say(b"ms q 1 q\r\nx\r\nmn\r\n") == OUT_OF_MEMORY + b"MN\r\n"
        assert one.say(b"md q q\r\nmn\r\n") == OUT_OF_MEMORY + b"MN\r\n"
        assert one.say(b"ms q 1 c k\r\nx\r\nms q 1 MP q\r\nx\r\nms q 1 MR\r\nx\r\n") == OUT_OF_MEMORY * 3
        assert one.say(b"ma n N0 J5 q v\r\n") == OUT_OF_MEMORY
        server.fails = False
        assert one.say(b"md q\r\nmg q v\r\nmd q\r\nmg q v\r\n") == b"HD\r\nVA 1\r\nb\r\nHD\r\nEN\r\n"

    def test_a_failed_server(self, server: Server, one: Client) -> None:
        _, token = reserve(one)
        server.engine.broker.fail("no disk")
        assert (
            one.say(b"ms q 1 q\r\nx\r\nmd q C%b q\r\nmd q C%b\r\nmn\r\n" % (token, token))
            == OUT_OF_MEMORY * 3 + b"MN\r\n"
        )

    def test_a_swap_is_both_or_neither(self, server: Server, one: Client) -> None:
        _, token = reserve(one)
        server.fails = True
        assert one.say(b"ms next 1 q C%b\r\nx\r\n" % token) == OUT_OF_MEMORY * 1
        server.fails = False
        assert one.say(b"mg next v\r\nmd q C%b\r\n" % token) == b"EN\r\nHD\r\n"


def test_a_full_queue_is_told_in_quiet_mode_too() -> None:
    client = Server(QueueSettings(max_items=1)).connect()
    assert (
        client.say(b"ms q 1 q\r\na\r\nms q 1 q k\r\nb\r\nms q 1 c\r\nb\r\nms q 1 MP\r\nb\r\n")
        == b"NS kq\r\nNS\r\nNS\r\n"
    )


def test_a_base64_key_can_not_put_lines_into_the_figures() -> None:
    client = Server().connect()
    key = b64encode(b"q\r\nEND\r\n% y")
    assert client.say(b"ms %b 1 b\r\na\r\n" % key) == b"HD\r\n"
    lines = client.say(b"stats queues\r\n").split(b"\r\n")
    assert lines[-2:] == [b"END", b""]
    assert all(line.startswith(b"STAT queue_q%0D%0AEND%0D%0A%25%20y_") for line in lines[:-2])


@pytest.mark.parametrize(
    "line", [b"ms %b 1 b\r\na\r\n", b"mg %b v b\r\n", b"md %b b\r\n", b"ma %b b\r\n", b"me %b b\r\n"]
)
def test_a_base64_key_can_not_name_what_the_server_keeps_for_itself(line: bytes) -> None:
    server = Server()
    answer = server.connect().say(line % b64encode(b"\x00subscriptions"))
    assert answer.startswith(b"CLIENT_ERROR key begins as a name that the server keeps")
    assert answer.count(b"\r\n") == 1
    assert not server.service.broker.queues
