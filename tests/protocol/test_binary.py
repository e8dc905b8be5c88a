"""The binary protocol: every operation, quiet or not, every refusal, and any split of the bytes."""

from __future__ import annotations

import struct

import pytest

from redqueue.engine.settings import QueueSettings
from tests.protocol.binary_frames import (
    EXISTS,
    INVALID,
    NOT_A_NUMBER,
    NOT_FOUND,
    NOT_STORED,
    OK,
    OPCODES,
    OUT_OF_MEMORY,
    TOO_LARGE,
    UNKNOWN,
    Response,
    count,
    request,
    responses,
    storage,
    timed,
)
from tests.protocol.conversation import Client, Server

NOOP = request("noop")


def ask(client: Client, *requests: bytes) -> list[Response]:
    return responses(client.say(b"".join(requests)))


def one(client: Client, sent: bytes) -> Response:
    (response,) = ask(client, sent)
    return response


def statuses(client: Client, *requests: bytes) -> list[int]:
    return [response.status for response in ask(client, *requests)]


@pytest.fixture
def server() -> Server:
    return Server(QueueSettings(reserve_timeout=100), max_item_size=1000)


@pytest.fixture
def client(server: Server) -> Client:
    return server.connect()


class TestVerbs:
    def test_set_get_delete(self, client: Client) -> None:
        assert one(client, storage("set", b"q", b"abc", 7, opaque=5)) == Response(1, OK, opaque=5)
        got = one(client, request("get", b"q", opaque=6))
        assert got == Response(0, OK, b"abc", got.cas, b"", struct.pack(">I", 7), 6)
        assert got.cas > 0
        assert one(client, request("get", b"q")) == Response(0, NOT_FOUND, b"Not found")
        assert one(client, request("delete", b"q")) == Response(4, OK)
        assert one(client, request("delete", b"q")) == Response(4, NOT_FOUND, b"Not found")

    def test_getk_shows_the_key_as_sent(self, client: Client) -> None:
        client.say(storage("set", b"q", b"abc"))
        assert one(client, request("getk", b"q/peek")) == Response(12, OK, b"abc", 0, b"q/peek", b"\0\0\0\0")
        assert one(client, request("getk", b"none")) == Response(12, NOT_FOUND, b"", 0, b"none")

    def test_add_replace_append_prepend(self, client: Client) -> None:
        assert statuses(
            client, storage("replace", b"q", b"x"), storage("add", b"q", b"b"), storage("add", b"q", b"x")
        ) == [NOT_FOUND, OK, EXISTS]
        assert statuses(client, request("append", b"q", b"c"), request("prepend", b"q", b"a")) == [OK, OK]
        assert statuses(client, storage("replace", b"q", b"A", 9)) == [OK]
        for body in (b"A", b"b", b"c"):
            assert one(client, request("get", b"q")).value == body
            assert one(client, request("delete", b"q")).status == OK

    def test_counters(self, client: Client) -> None:
        assert one(client, count("increment", b"n", 1)).status == NOT_FOUND
        assert one(client, count("increment", b"n", 1, 40, 0)) == Response(5, OK, struct.pack(">Q", 40))
        assert one(client, count("increment", b"n", 2)).value == struct.pack(">Q", 42)
        assert one(client, count("decrement", b"n", 100)).value == struct.pack(">Q", 0)
        assert one(client, count("decrement", b"n", 1, 0, 0)).value == struct.pack(">Q", 0)
        assert one(client, request("get", b"n")).value == b"0"
        client.say(storage("set", b"s", b"x"))
        assert one(client, count("increment", b"s", 1)).status == NOT_A_NUMBER

    def test_touch_and_gat(self, server: Server, client: Client) -> None:
        assert one(client, timed("touch", b"q", 9)).status == NOT_FOUND
        client.say(storage("set", b"q", b"abc", 7))
        got = one(client, timed("gat", b"q", 5))
        assert (got.status, got.value, got.extras) == (OK, b"abc", struct.pack(">I", 7))
        assert one(client, timed("touch", b"q", 50)) == Response(0x1C, OK)
        other = server.connect()
        server.advance(49)
        assert one(other, timed("touch", b"q", 50, cas=got.cas)).status == OK
        server.advance(49)
        assert one(other, request("get", b"q")).status == NOT_FOUND
        server.advance(2)
        assert one(other, timed("gatk", b"q", 5)).key == b"q"

    def test_flush_version_verbosity_noop(self, server: Server, client: Client) -> None:
        client.say(storage("set", b"q", b"x") + request("get", b"q"))
        assert one(client, request("flush")) == Response(8, OK)
        assert one(client, request("delete", b"q")).status == NOT_FOUND
        assert one(client, request("flush", extras=struct.pack(">I", 10))).status == OK
        client.say(storage("set", b"q", b"x"))
        server.advance(11)
        assert one(client, request("get", b"q")).status == NOT_FOUND
        assert one(client, request("version")) == Response(11, OK, b"1.2.3")
        assert one(client, request("verbosity", extras=struct.pack(">I", 2))) == Response(0x1B, OK)
        assert server.host.verbosity == [2]
        assert one(client, request("noop", opaque=0xFFFFFFFF)) == Response(10, OK, opaque=0xFFFFFFFF)

    def test_stat(self, server: Server, client: Client) -> None:
        client.say(storage("set", b"jobs", b"x"))
        found = {r.key: r.value for r in ask(client, request("stat", b"queue jobs"))}
        assert (found[b"items"], found[b""]) == (b"1", b"")
        assert {r.key: r.value for r in ask(client, request("stat"))}[b"version"] == b"1.2.3"
        assert [(r.key, r.value) for r in ask(client, request("stat", b"settings"))] == [
            (b"prefetch", b"1"),
            (b"", b""),
        ]
        assert ask(client, request("stat", b"queue none"), request("stat", b"reset")) == [Response(16, OK)] * 2
        assert server.host.was_reset
        assert one(client, request("stat", b"nonsense")).status == INVALID

    @pytest.mark.parametrize(("name", "answers"), [("quit", [Response(7, OK)]), ("quitq", [])])
    def test_quit(self, server: Server, client: Client, name: str, answers: list[Response]) -> None:
        assert ask(client, request(name), storage("set", b"q", b"x")) == answers
        assert client.session.closing
        assert server.connect().say(b"get q\r\n") == b"END\r\n"

    def test_exptimes(self, server: Server, client: Client) -> None:
        assert statuses(client, storage("set", b"q", b"x", 0, -1), request("get", b"q")) == [OK, NOT_FOUND]
        client.say(storage("set", b"q", b"x", 0, 10))
        server.advance(11)
        assert one(client, request("get", b"q")).status == NOT_FOUND

    def test_options_of_the_key(self, server: Server, client: Client) -> None:
        assert statuses(client, storage("set", b"q/delay=5", b"x"), request("get", b"q")) == [OK, NOT_FOUND]
        server.advance(6)
        assert one(client, request("get", b"q/as=me")).value == b"x"
        other = server.connect()
        assert statuses(other, request("delete", b"q"), request("delete", b"q/as=me")) == [NOT_FOUND, OK]
        client.say(storage("set", b"q", b"a") + storage("set", b"q", b"b") + request("get", b"q"))
        assert one(client, request("get", b"q/close/open")).value == b"b"
        assert one(client, request("get", b"q/abort")).status == NOT_FOUND
        assert one(client, request("get", b"q/or")) == Response(0, INVALID, b"option /or does not go with this command")
        assert one(client, storage("set", b"q/t=5", b"x")).status == INVALID
        assert one(client, storage("replace", b"q/delay=5", b"x")).status == INVALID


class TestTokens:
    def test_a_delete_with_a_cas_over_another_connection(self, server: Server, client: Client) -> None:
        client.say(storage("set", b"q", b"x"))
        token = one(client, request("get", b"q")).cas
        other = server.connect()
        assert statuses(other, request("delete", b"q"), request("delete", b"p", cas=token)) == [NOT_FOUND] * 2
        assert statuses(other, request("delete", b"q", cas=token), request("delete", b"q", cas=token)) == [
            OK,
            NOT_FOUND,
        ]
        assert one(client, request("delete", b"q")).status == NOT_FOUND

    @pytest.mark.parametrize("name", ["set", "replace"])
    def test_a_set_with_a_cas_is_the_swap(self, server: Server, client: Client, name: str) -> None:
        client.say(storage("set", b"q", b"x"))
        token = one(client, request("get", b"q")).cas
        swap = storage(name, b"next", b"y", 3, cas=token)
        assert statuses(client, swap, swap, storage(name, b"next", b"y", cas=5)) == [OK, EXISTS, NOT_FOUND]
        assert one(client, request("get", b"next")).value == b"y"
        assert one(client, request("delete", b"q")).status == NOT_FOUND

    def test_the_same_tokens_as_in_text(self, server: Server, client: Client) -> None:
        client.say(storage("set", b"q", b"x"))
        token = one(client, request("get", b"q")).cas
        assert server.connect().say(b"md q C%d\r\n" % token) == b"HD\r\n"

    @pytest.mark.parametrize("sent", [storage("add", b"q", b"x", cas=5), request("append", b"q", b"x", cas=5)])
    def test_where_a_cas_means_nothing(self, client: Client, sent: bytes) -> None:
        assert ask(client, sent, NOOP)[0].value == b"a CAS does not go with this command"


class TestQuiet:
    def test_only_what_is_not_likely_is_answered(self, client: Client) -> None:
        assert ask(client, storage("setq", b"q", b"1"), request("getq", b"none"), NOOP) == [Response(10, OK)]
        assert ask(client, storage("addq", b"q", b"x"), storage("replaceq", b"r", b"x"), NOOP) == [
            Response(0x12, EXISTS, b"Data exists for key."),
            Response(0x13, NOT_FOUND, b"Not found"),
            Response(10, OK),
        ]
        assert ask(client, count("incrementq", b"q", 1), count("decrementq", b"q", 1), NOOP) == [Response(10, OK)]
        assert ask(client, request("appendq", b"q", b"2"), request("prependq", b"q", b"0"), NOOP) == [Response(10, OK)]
        got = ask(client, request("getkq", b"q"), request("getkq", b"none"), timed("gatq", b"q", 5), NOOP)
        assert [(r.opcode, r.value, r.key) for r in got] == [(13, b"0", b"q"), (10, b"", b"")]
        assert ask(client, request("deleteq", b"q"), request("deleteq", b"q"), NOOP) == [
            Response(0x14, NOT_FOUND, b"Not found"),
            Response(10, OK),
        ]
        assert [r.value for r in ask(client, timed("gatq", b"q", 5), timed("gatkq", b"q", 5), NOOP)] == [b"1", b""]
        assert ask(client, request("flushq"), NOOP, request("get", b"q")) == [
            Response(10, OK),
            Response(0, NOT_FOUND, b"Not found"),
        ]


class TestWaiting:
    def test_an_item_ends_it_and_order_is_kept(self, server: Server, client: Client) -> None:
        assert (
            ask(client, request("get", b"q/t=5000", opaque=1), NOOP, request("delete", b"q"), request("get", b"q"))
            == []
        )
        server.connect().say(b"set q 9 0 1\r\na\r\n")
        got = responses(client.say(b""))
        assert [(r.opcode, r.status) for r in got] == [(0, OK), (10, OK), (4, OK), (0, NOT_FOUND)]
        assert (got[0].value, got[0].opaque) == (b"a", 1)

    def test_in_vain(self, server: Server, client: Client) -> None:
        ask(client, request("getq", b"q/t=1000"), request("get", b"q/t=1000"), NOOP)
        server.advance(1.1)
        server.advance(1.1)
        assert [r.opcode for r in responses(client.say(b""))] == [0, 10]

    def test_its_own_item_in_the_same_packet(self, client: Client) -> None:
        assert [r.value for r in ask(client, storage("setq", b"q", b"a"), request("get", b"q/t=5000"))] == [b"a"]

    def test_what_comes_behind_a_wait_is_bounded(self, client: Client) -> None:
        client.say(request("get", b"q/t=5000"))
        for _ in range(100):
            client.send(NOOP * 100)
        assert client.paused


class TestRefusals:
    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (request(0x3D, b"q", b"x"), UNKNOWN),
            (request("sasl_list"), UNKNOWN),
            (request("sasl_auth", b"PLAIN", b"\0user\0secret"), UNKNOWN),
            (request("sasl_step", b"PLAIN"), UNKNOWN),
            (request("get"), INVALID),
            (request("get", b"q", b"value"), INVALID),
            (request("get", b"q", b"", b"extra"), INVALID),
            (request("set", b"q", b"x"), INVALID),
            (request("set", b"", b"x", b"12345678"), INVALID),
            (request("append", b"q", b"x", b"1234"), INVALID),
            (request("delete", b"q", b"x"), INVALID),
            (request("noop", b"q"), INVALID),
            (request("version", b"", b"x"), INVALID),
            (request("quit", b"q"), INVALID),
            (request("flush", b"", b"", b"123"), INVALID),
            (request("increment", b"q"), INVALID),
            (request("touch", b"q"), INVALID),
            (request("gat", b"q"), INVALID),
            (request("verbosity"), INVALID),
            (request("get", b"k" * 251), INVALID),
            (request("get", b"a b"), INVALID),
            (request("get", b"a\0"), INVALID),
            (request("get", b"q/as="), INVALID),
            (storage("set", b"q", b"x" * 1001), TOO_LARGE),
            (storage("setq", b"q", b"x" * 100_000), TOO_LARGE),
            (request("append", b"q", b"x" * 1001), TOO_LARGE),
            (request("get", b"k" * 60_000), INVALID),
        ],
    )
    @pytest.mark.parametrize("step", [1, 7, 24, 100_000])
    def test_it_is_told_and_the_connection_stays_in_step(
        self, server: Server, sent: bytes, status: int, step: int
    ) -> None:
        client = server.connect()
        data = sent + NOOP
        for at in range(0, len(data), step):
            client.send(data[at : at + step])
        assert [r.status for r in responses(client.say(b""))] == [status, OK]
        assert server.service.counters.malformed_requests == 1
        assert not client.session.closing

    def test_the_reason_of_a_bad_key(self, client: Client) -> None:
        assert one(client, request("get", b"k" * 251)).value == b"key too long: 251 bytes, at most 250"
        assert one(client, request("get", b"a\0")).value == b"key has a control character"

    def test_lengths_that_contradict_each_other(self, client: Client) -> None:
        head = struct.pack(">BBHBBHIIQ", 0x80, 0, 10, 4, 0, 0, 5, 0, 0)
        assert statuses(client, head + b"12345", NOOP) == [INVALID, OK]

    def test_a_body_that_is_too_large_is_not_kept(self, client: Client) -> None:
        head = struct.pack(">BBHBBHIIQ", 0x80, 1, 1, 8, 0, 0, 0xFFFFFFFF, 0, 0)
        assert one(client, head).status == TOO_LARGE
        for _ in range(50):
            client.send(b"x" * 1_000_000)
        assert client.session.backlog_size == 0
        assert client.say(b"") == b""

    def test_what_is_no_frame_ends_the_conversation(self, client: Client) -> None:
        assert statuses(client, NOOP, b"get q\r\n" + NOOP) == [OK]
        assert client.session.closing
        assert "0x80" in client.session.complaint

    def test_text_stays_text(self, server: Server) -> None:
        client = server.connect()
        assert client.say(b"version\r\n") == b"VERSION 1.2.3\r\n"
        assert client.say(NOOP + b"\r\nversion\r\n") == b"ERROR\r\nERROR\r\nVERSION 1.2.3\r\n"

    def test_a_full_queue(self) -> None:
        client = Server(QueueSettings(max_items=1)).connect()
        assert statuses(
            client, storage("setq", b"q", b"a"), storage("setq", b"q", b"b"), request("append", b"q", b"c")
        ) == [NOT_STORED, NOT_STORED]


class TestFailingJournal:
    def test_quiet_or_not_it_is_told(self, server: Server, client: Client) -> None:
        client.say(storage("set", b"q", b"1"))
        server.fails = True
        for sent in (
            storage("set", b"q", b"x", opaque=9),
            storage("setq", b"q", b"x", opaque=9),
            request("append", b"q", b"x", opaque=9),
            request("prependq", b"q", b"x", opaque=9),
            storage("replaceq", b"q", b"x", opaque=9),
            count("incrementq", b"q", 1, opaque=9),
            count("increment", b"n", 1, 5, 0, opaque=9),
            request("flushq", opaque=9),
        ):
            response, _ = ask(client, sent, NOOP)
            assert response == Response(sent[1], OUT_OF_MEMORY, b"Out of memory", opaque=9)
        token = one(client, request("get", b"q")).cas
        for sent in (
            request("deleteq", b"q"),
            request("delete", b"q", cas=token),
            storage("set", b"q", b"x", cas=token),
        ):
            assert statuses(client, sent, NOOP) == [OUT_OF_MEMORY, OK]
        server.fails = False
        assert statuses(client, request("delete", b"q", cas=token), request("get", b"q")) == [OK, NOT_FOUND]

    def test_a_failed_server(self, server: Server, client: Client) -> None:
        server.engine.broker.fail("no disk")
        assert statuses(client, storage("setq", b"q", b"x"), request("flush"), NOOP) == [OUT_OF_MEMORY] * 2 + [OK]
        assert server.service.counters.storage_errors == 2


def conversation() -> tuple[bytes, list[int]]:
    parts = [
        (storage("set", b"a", b"1", 5), [OK]),
        (storage("setq", b"a", b"x" * 900), []),
        (request("getk", b"a"), [OK]),
        (request("delete", b"a"), [OK]),
        (request("getq", b"none"), []),
        (storage("set", b"a", b"y" * 1001), [TOO_LARGE]),
        (request(0x77, b"k", b"v"), [UNKNOWN]),
        (request("get", b"a"), [OK]),
        (request("get", b"a"), [NOT_FOUND]),
        (count("increment", b"n", 1, 5, 0), [OK]),
        (count("increment", b"n", 1), [OK]),
        (request("delete", b"a"), [OK]),
        (request("prepend", b"a", b"p"), [OK]),
        (storage("replace", b"a", b"q"), [OK]),
        (request("get", b"a"), [OK]),
        (request("noop"), [OK]),
    ]
    return b"".join(sent for sent, _ in parts), [status for _, found in parts for status in found]


def test_any_split_of_the_bytes() -> None:
    data, expected = conversation()
    for step in (1, 2, 3, 5, 23, 24, 25, 31, 100, 1000, len(data)):
        client = Server(max_item_size=1000).connect()
        answers = b""
        for at in range(0, len(data), step):
            answers += client.say(data[at : at + step])
        assert [r.status for r in responses(answers)] == expected
        client = Server(max_item_size=1000).connect()
        for at in range(0, len(data), step):
            client.send(data[at : at + step])  # all before any tick
        assert [r.status for r in responses(client.say(b""))] == expected


def test_output_is_bounded() -> None:
    client = Server().connect()
    client.say(storage("set", b"q", b"x" * 500_000))
    client.send(request("get", b"q/peek") * 50)
    assert sum(map(len, client.session.out)) < 3 << 20
    assert len(responses(client.say(b""))) == 50


def test_all_opcodes_have_a_meaning() -> None:
    from redqueue.protocol.binary import OPERATIONS

    assert set(OPERATIONS) == {number for name, number in OPCODES.items() if not name.startswith("sasl")}
