"""The operators' verbs, and children, settings and figures as a client sees them."""

from __future__ import annotations

import pytest

from redqueue.engine.settings import QueueSettings, SettingsBook
from tests.protocol.conversation import Client, Server


def operator(server: Server) -> Client:
    client = server.connect()
    client.session.is_local = True
    return client


def put(client: Client, queue: bytes, body: bytes) -> bytes:
    return client.say(b"set %b 0 0 %d\r\n%b\r\n" % (queue, len(body), body))


def figures(client: Client, argument: bytes) -> dict[str, str]:
    lines = client.say(b"stats " + argument + b"\r\n").decode().split("\r\n")
    assert lines[-2:] == ["END", ""]
    return {name: value for _, name, value in (line.split(" ", 2) for line in lines[:-2])}


def letters(server: Server, client: Client, *items: bytes) -> None:
    """Put items and lose each of them once."""
    for item in items:
        assert put(client, b"q", item) == b"STORED\r\n"
        worker = server.connect()
        assert item in worker.say(b"get q\r\n")
        worker.session.close()
        server.run()


@pytest.mark.parametrize("line", [b"pause q", b"resume q", b"drop q", b"redrive q", b"readonly on", b"drain on"])
def test_only_from_the_same_machine(line: bytes) -> None:
    server = Server()
    stranger = server.connect()
    put(stranger, b"q", b"a")
    assert stranger.say(line + b"\r\n") == (
        b"CLIENT_ERROR operators' verbs are only for clients on the server's own machine\r\n"
    )
    assert stranger.say(line + b" noreply\r\n") == b""
    assert server.service.counters.noreply_errors == 1
    assert stranger.say(b"get q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"
    assert put(stranger, b"q", b"b") == b"STORED\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"pause",
        b"pause q -1",
        b"pause q 0",
        b"pause q x",
        b"pause q 1 2",
        b"pause q 99999999999",
        b"resume",
        b"resume q 1",
        b"drop",
        b"drop q q",
        b"redrive",
        b"redrive q 0",
        b"redrive q id=",
        b"redrive q id=0",
        b"redrive q id=-1",
        b"redrive q id=18446744073709551616",
        b"redrive q id=1 1",
        b"redrive q all",
        b"readonly",
        b"readonly yes",
        b"readonly on off",
        b"drain",
        b"drain 1",
    ],
)
def test_a_malformed_line(line: bytes) -> None:
    assert operator(Server()).say(line + b"\r\n") == b"CLIENT_ERROR bad command line format\r\n"


def test_an_option_on_the_key() -> None:
    reply = operator(Server()).say(b"drop q/t=5\r\n")
    assert reply == b"CLIENT_ERROR option /t does not go with this command\r\n"


@pytest.mark.parametrize("line", [b"pause q", b"pause q 5", b"resume q", b"drop q", b"redrive q", b"redrive q 5"])
def test_of_a_queue_that_is_not_there(line: bytes) -> None:
    server = Server()
    assert operator(server).say(line + b"\r\n") == b"NOT_FOUND\r\n"
    assert server.engine.broker.queues == {}


class TestPause:
    def test_gets_miss_or_wait_and_all_else_goes_on(self) -> None:
        server = Server()
        client, waiting = operator(server), server.connect()
        put(client, b"q", b"a")
        assert client.say(b"pause q\r\n") == b"OK\r\n"
        assert client.say(b"get q\r\n") == b"END\r\n"
        assert client.say(b"get q/peek\r\n") == b"VALUE q/peek 0 1\r\na\r\nEND\r\n"
        assert waiting.say(b"get q/t=60000\r\n") == b""
        assert put(client, b"q", b"b") == b"STORED\r\n"
        assert figures(client, b"queue q")["paused"] == "1"
        assert client.say(b"resume q\r\n") == b"OK\r\n"
        server.run()
        assert waiting.answers == b"VALUE q/t=60000 0 1\r\na\r\nEND\r\n"
        assert client.say(b"get q\r\n") == b"VALUE q 0 1\r\nb\r\nEND\r\n"

    def test_for_so_many_seconds(self) -> None:
        server = Server()
        client = operator(server)
        put(client, b"q", b"a")
        assert client.say(b"pause q 10\r\n") == b"OK\r\n"
        server.advance(9)
        assert client.say(b"get q\r\n") == b"END\r\n"
        server.advance(1)
        assert client.say(b"get q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"


class TestDrop:
    def test_in_a_pipeline(self) -> None:
        server = Server()
        client = operator(server)
        assert client.say(b"set q 0 0 1\r\na\r\ndrop q\r\nget q\r\nset q 0 0 1\r\nb\r\nget q\r\n") == (
            b"STORED\r\nOK\r\nEND\r\nSTORED\r\nVALUE q 0 1\r\nb\r\nEND\r\n"
        )

    def test_a_failed_one(self) -> None:
        server = Server()
        client = operator(server)
        put(client, b"q", b"a")
        server.fails = True
        assert client.say(b"drop q\r\n") == b"SERVER_ERROR out of memory storing object\r\n"
        server.fails = False
        assert client.say(b"get q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"


class TestRedrive:
    def test_in_a_pipeline(self) -> None:
        server = Server(QueueSettings(max_deliveries=1, prefetch=5))
        client = operator(server)
        letters(server, client, b"a", b"b", b"c")
        assert client.say(b"redrive q.dead 1\r\nget q\r\nredrive q.dead\r\nget q\r\nget q\r\nredrive q.dead\r\n") == (
            b"OK\r\nVALUE q 0 1\r\na\r\nEND\r\n"
            b"OK\r\nVALUE q 0 1\r\nb\r\nEND\r\nVALUE q 0 1\r\nc\r\nEND\r\nNOT_FOUND\r\n"
        )

    def test_a_failed_one(self) -> None:
        server = Server(QueueSettings(max_deliveries=1))
        client = operator(server)
        letters(server, client, b"a")
        server.fails = True
        assert client.say(b"redrive q.dead\r\n") == b"SERVER_ERROR out of memory storing object\r\n"
        server.fails = False
        assert client.say(b"redrive q.dead\r\n") == b"OK\r\n"

    def test_one_of_them(self) -> None:
        server = Server(QueueSettings(max_deliveries=1, prefetch=5))
        client = operator(server)
        letters(server, client, b"a", b"b", b"c")
        put(client, b"q.dead", b"no letter")
        assert client.say(b"redrive q.dead id=2\r\nget q\r\nredrive q.dead id=2\r\nredrive q.dead id=4\r\n") == (
            b"OK\r\nVALUE q 0 1\r\nb\r\nEND\r\nNOT_FOUND\r\nNOT_FOUND\r\n"
        )
        server.fails = True
        assert client.say(b"redrive q.dead id=3\r\n") == b"SERVER_ERROR out of memory storing object\r\n"
        server.fails = False
        assert client.say(b"redrive q.dead id=3 noreply\r\nget q\r\n") == b"VALUE q 0 1\r\nc\r\nEND\r\n"
        assert client.say(b"get q.dead\r\nget q.dead\r\n") == (
            b"VALUE q.dead 0 1\r\na\r\nEND\r\nVALUE q.dead 0 9\r\nno letter\r\nEND\r\n"
        )

    def test_while_the_queue_is_being_changed(self) -> None:
        server = Server(QueueSettings(max_deliveries=1))
        client, other = operator(server), server.connect()
        letters(server, client, b"a")
        other.send(b"replace q.dead 0 0 1\r\nb\r\n")
        assert client.say(b"redrive q.dead\r\nget q\r\n") == b"OK\r\nVALUE q 0 1\r\nb\r\nEND\r\n"
        client.session.close()
        server.run()
        other.send(b"flush q.dead\r\n")
        assert operator(server).say(b"redrive q.dead\r\nget q\r\n") == b"NOT_FOUND\r\nEND\r\n"


class TestSetAside:
    def test_it_is_a_dead_letter_that_can_go_back(self) -> None:
        client = operator(Server())
        put(client, b"q", b"a")
        assert client.say(b"get q\r\nmd q x\r\nmd q x\r\nget q q.dead/peek\r\nredrive q.dead\r\nget q\r\n") == (
            b"VALUE q 0 1\r\na\r\nEND\r\nHD\r\nNF\r\nVALUE q.dead/peek 0 1\r\na\r\nEND\r\n"
            b"OK\r\nVALUE q 0 1\r\na\r\nEND\r\n"
        )

    def test_a_dead_letter_stays_one(self) -> None:
        client = operator(Server())
        put(client, b"q", b"a")
        assert client.say(b"get q\r\nmd q x\r\nget q.dead\r\nmd q.dead x\r\nget q.dead\r\n") == (
            b"VALUE q 0 1\r\na\r\nEND\r\nHD\r\nVALUE q.dead 0 1\r\na\r\nEND\r\nNS\r\nVALUE q.dead 0 1\r\na\r\nEND\r\n"
        )

    def test_behind_a_change_that_is_not_committed(self) -> None:
        server = Server(QueueSettings(prefetch=2))
        client, other = server.connect(), server.connect()
        put(client, b"q", b"a")
        put(client, b"q", b"b")
        client.say(b"get q\r\n")
        other.send(b"replace q 0 0 1\r\nc\r\n")
        assert (
            client.say(b"md q x\r\nget q.dead q\r\n") == b"HD\r\nVALUE q.dead 0 1\r\na\r\nVALUE q 0 1\r\nc\r\nEND\r\n"
        )

    def test_a_failed_one_is_ready_again(self) -> None:
        server = Server()
        client = server.connect()
        put(client, b"q", b"a")
        client.say(b"get q\r\n")
        server.fails = True
        assert client.say(b"md q x\r\n") == b"SERVER_ERROR out of memory storing object\r\n"
        server.fails = False
        assert client.say(b"get q.dead q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"


def test_read_only() -> None:
    server = Server(QueueSettings(prefetch=2))
    client = operator(server)
    put(client, b"q", b"a")
    assert client.say(b"readonly on\r\n") == b"OK\r\n"
    for verb in (b"set", b"add", b"append", b"prepend", b"replace"):
        assert client.say(verb + b" q 0 0 1\r\nb\r\n") == b"NOT_STORED\r\n"
    assert client.say(b"set new+child 0 0 1\r\nb\r\n") == b"NOT_STORED\r\n"
    token = client.say(b"gets q\r\n").split()[4]
    assert client.say(b"cas q 0 0 1 %b\r\nb\r\n" % token) == b"NOT_STORED\r\n"
    assert client.say(b"delete q\r\n") == b"DELETED\r\n"
    assert client.say(b"readonly off\r\n") == b"OK\r\n"
    assert put(client, b"q", b"b") == b"STORED\r\n"


class TestDrain:
    def test_it_takes_nothing_and_gives_everything(self) -> None:
        client = operator(Server(QueueSettings(prefetch=2)))
        put(client, b"q", b"a")
        assert client.say(b"drain on\r\n") == b"OK\r\n"
        for verb in (b"set", b"add", b"append", b"prepend", b"replace"):
            assert client.say(verb + b" q 0 0 1\r\nb\r\n") == b"NOT_STORED\r\n"
        token = client.say(b"gets q\r\n").split()[4]
        assert client.say(b"cas q 0 0 1 %b\r\nb\r\n" % token) == b"NOT_STORED\r\n"
        assert client.say(b"delete q\r\n") == b"DELETED\r\n"
        assert client.say(b"drain off\r\n") == b"OK\r\n"
        assert put(client, b"q", b"b") == b"STORED\r\n"

    @pytest.mark.parametrize(("first", "second"), [(b"readonly", b"drain"), (b"drain", b"readonly")])
    def test_readonly_is_another_reason_and_neither_ends_the_other(self, first: bytes, second: bytes) -> None:
        client = operator(Server())
        client.say(first + b" on\r\n" + second + b" on\r\n")
        client.say(second + b" off\r\n")
        assert put(client, b"q", b"a") == b"NOT_STORED\r\n"
        client.say(second + b" on\r\n" + first + b" off\r\n")
        assert put(client, b"q", b"a") == b"NOT_STORED\r\n"
        client.say(second + b" off\r\n")
        assert put(client, b"q", b"a") == b"STORED\r\n"

    def test_what_the_server_moves_itself_goes_on(self) -> None:
        server = Server(QueueSettings(max_deliveries=2, retry_delay=10))
        client = operator(server)
        assert put(client, b"late/delay=5", b"later") == b"STORED\r\n"
        assert put(client, b"q", b"item") == b"STORED\r\n"
        client.say(b"drain on\r\n")
        server.advance(6)
        assert client.say(b"get late\r\n") == b"VALUE late 0 5\r\nlater\r\nEND\r\n"
        for _ in range(2):
            worker = server.connect()
            assert b"item" in worker.say(b"get q\r\n")
            worker.session.close()
            server.advance(11)
        assert client.say(b"get q q.dead/peek\r\n") == b"VALUE q.dead/peek 0 4\r\nitem\r\nEND\r\n"
        assert client.say(b"redrive q.dead\r\n") == b"OK\r\n"
        assert client.say(b"get q/abort/delay=3\r\nget q\r\ndelete q\r\n").endswith(b"item\r\nEND\r\nDELETED\r\n")


class TestChildren:
    @pytest.mark.parametrize(
        "reading",
        [
            b"get q+c",
            b"get other q+c",
            b"gets q+c",
            b"gat 5 q+c",
            b"gats 5 q+c",
            b"get q+c/peek",
            b"get q+c/t=1",
            b"get q+c/open",
            b"get q+c/close",
            b"get q+c/abort",
        ],
    )
    def test_any_get_makes_one(self, reading: bytes) -> None:
        server = Server()
        client = server.connect()
        client.say(reading + b"\r\n")
        server.advance(1)
        client.say(b"")
        put(client, b"q", b"a")
        assert client.say(b"get q+c\r\n") == b"VALUE q+c 0 1\r\na\r\nEND\r\n"
        assert client.say(b"get q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"

    @pytest.mark.parametrize(
        "verb", [b"set q+c 0 0 1\r\nx", b"delete q+c", b"touch q+c 5", b"incr q+c 1", b"flush q+c"]
    )
    def test_nothing_else_does(self, verb: bytes) -> None:
        server = Server()
        client = server.connect()
        client.say(verb + b"\r\n")
        assert not server.engine.broker.subscriptions

    @pytest.mark.parametrize("verb", [b"set", b"append", b"prepend", b"add"])
    def test_all_that_append_reach_them(self, verb: bytes) -> None:
        server = Server()
        client = server.connect()
        client.say(b"get q+c\r\n")
        assert client.say(verb + b" q 7 0 1\r\na\r\n") == b"STORED\r\n"
        assert client.say(b"get q+c\r\n") == b"VALUE q+c 7 1\r\na\r\nEND\r\n"

    def test_a_pipeline(self) -> None:
        client = Server().connect()
        assert client.say(b"get q+c\r\nset q 0 0 1\r\na\r\nget q+c\r\nget q\r\n") == (
            b"END\r\nSTORED\r\nVALUE q+c 0 1\r\na\r\nEND\r\nVALUE q 0 1\r\na\r\nEND\r\n"
        )

    def test_one_whose_child_is_full_answers_once_for_all(self) -> None:
        server = Server(SettingsBook(QueueSettings(), {b"q+c": {"max_items": 1}}))
        client = server.connect()
        client.say(b"get q+c\r\n")
        assert put(client, b"q", b"a") == b"STORED\r\n"
        assert put(client, b"q", b"b") == b"NOT_STORED\r\n"
        assert figures(client, b"queue q")["items"] == "1"
        assert figures(client, b"queue q")["children"] == "1"

    def test_a_failed_put_is_answered_once(self) -> None:
        server = Server()
        client = server.connect()
        client.say(b"get q+c q+d\r\n")
        server.fails = True
        assert put(client, b"q", b"a") == b"SERVER_ERROR out of memory storing object\r\n"
        server.fails = False
        assert client.say(b"get q q+c q+d\r\n") == b"END\r\n"

    def test_one_cannot_be_made_while_the_journal_has_failed(self) -> None:
        server = Server()
        client = server.connect()
        server.engine.broker.fail("no disk")
        for reading in (b"get q+c\r\n", b"get other q+c/t=5\r\n"):
            assert client.say(reading) == b"SERVER_ERROR out of memory storing object\r\n"


class TestSettings:
    BOOK = SettingsBook(QueueSettings(), {b"slow.*": {"wait": 5.0, "prefetch": 2}, b"short": {"ttl": 2.0}})

    def test_the_wait_of_a_queue_that_is_not_there_yet(self) -> None:
        server = Server(self.BOOK)
        client, boss = server.connect(), server.connect()
        assert client.say(b"get slow.a\r\n") == b""
        put(boss, b"slow.a", b"x")
        assert client.answers == b"VALUE slow.a 0 1\r\nx\r\nEND\r\n"
        assert boss.say(b"get fast\r\n") == b"END\r\n"

    def test_the_wait_of_one_that_is(self) -> None:
        server = Server(self.BOOK)
        client = server.connect()
        put(client, b"slow.a", b"x")
        assert client.say(b"get slow.a\r\n") == b"VALUE slow.a 0 1\r\nx\r\nEND\r\n"
        assert client.say(b"get slow.a\r\n") == b""
        server.advance(5)
        assert client.answers == b"END\r\n"

    def test_the_ttl_of_what_is_replaced(self) -> None:
        server = Server(self.BOOK)
        client = server.connect()
        put(client, b"short", b"a")
        server.advance(1)
        assert client.say(b"replace short 0 0 1\r\nb\r\n") == b"STORED\r\n"
        server.advance(1.5)
        assert client.say(b"get short/peek\r\n") == b"VALUE short/peek 0 1\r\nb\r\nEND\r\n"
        server.advance(1)
        assert client.say(b"get short/peek\r\n") == b"END\r\n"

    def test_what_is_shown(self) -> None:
        server = Server(self.BOOK)
        client = server.connect()
        put(client, b"slow.a", b"x")
        shown = figures(client, b"queue slow.a")
        assert (shown["setting_wait"], shown["setting_prefetch"], shown["setting_requeue"]) == ("5", "2", "head")
        assert shown["setting_dead_letter"] == "slow.a.dead"
        settings = figures(client, b"settings")
        assert {key: value for key, value in settings.items() if key.startswith("queue.")} == {
            "queue.slow.*.wait": "5",
            "queue.slow.*.prefetch": "2",
            "queue.short.ttl": "2",
        }
        assert not any(key.startswith("queue_slow.a_setting") for key in figures(client, b"queues"))


def test_the_figures_of_a_dead_letter() -> None:
    server = Server(QueueSettings(max_deliveries=1))
    client = operator(server)
    letters(server, client, b"a")
    shown = figures(client, b"queue q.dead")
    assert shown["head_origin"] == "q"
    assert shown["head_deliveries"] == "1"
    assert shown["head_time"] == str(server.engine.clock.wall // 10**9)
    assert figures(client, b"queue q")["dead_letters"] == "1"
