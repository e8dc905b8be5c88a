"""Options on the key, in all combinations: transcripts, and what several connections see of each other."""

from __future__ import annotations

import pytest

from redqueue.engine.consumer import SPARE_NAMES
from redqueue.engine.settings import QueueSettings
from tests.protocol.conversation import Client, Server


def put(client: Client, queue: bytes, body: bytes) -> None:
    assert client.say(b"set %b 0 0 %d\r\n%b\r\n" % (queue, len(body), body)) == b"STORED\r\n"


def value(key: bytes, body: bytes) -> bytes:
    return b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(body), body)


class TestOr:
    def test_the_first_queue_with_an_item_and_no_other(self) -> None:
        client = Server().connect()
        put(client, b"low", b"l")
        put(client, b"high", b"h")
        assert client.say(b"get high/or middle/or low\r\n") == value(b"high/or", b"h")
        assert client.say(b"get high/or middle/or low\r\n") == value(b"low", b"l")
        assert client.say(b"delete high\r\nget high/or middle/or low\r\n") == b"DELETED\r\nEND\r\n"

    def test_only_what_is_joined_is_left_alone(self) -> None:
        client = Server().connect()
        for queue in (b"a", b"b", b"c", b"d"):
            put(client, queue, queue)
        assert client.say(b"get a/or b c d/or x\r\n") == (
            b"VALUE a/or 0 1\r\na\r\nVALUE c 0 1\r\nc\r\nVALUE d/or 0 1\r\nd\r\nEND\r\n"
        )
        assert client.say(b"get b\r\n") == value(b"b", b"b")

    def test_waits_for_the_first_of_any_and_leaves_the_other_lines(self) -> None:
        server = Server()
        worker, boss = server.connect(), server.connect()
        assert worker.say(b"get a/or b/or c/t=5000\r\nversion\r\n") == b""
        put(boss, b"b", b"x")
        assert worker.say(b"") == value(b"b/or", b"x") + b"VERSION 1.2.3\r\n"
        put(boss, b"a", b"y")
        put(boss, b"c", b"z")
        assert boss.say(b"get a\r\nget c\r\n") == value(b"a", b"y") + value(b"c", b"z")
        assert not server.engine.broker.queues[b"a"].waiters

    def test_the_time_passes_in_all_lines(self) -> None:
        server = Server()
        worker, boss = server.connect(), server.connect()
        worker.say(b"get a/or b/t=5000\r\n")
        server.advance(4.9)
        assert worker.say(b"") == b""
        server.advance(0.2)
        assert worker.say(b"") == b"END\r\n"
        put(boss, b"a", b"x")
        assert boss.say(b"get a\r\n") == value(b"a", b"x")

    def test_the_longest_wait_named_is_that_of_all(self) -> None:
        server = Server(QueueSettings(wait=100))
        worker = server.connect()
        worker.say(b"get a/or/t=1000 b/or b2/t=3000\r\n")
        server.advance(2.9)
        assert worker.say(b"") == b""
        server.advance(0.2)
        assert worker.say(b"") == b"END\r\n"
        worker.say(b"get a/or b\r\n")
        server.advance(99)
        assert worker.say(b"") == b""
        server.advance(2)
        assert worker.say(b"") == b"END\r\n"

    def test_who_has_gone_swallows_nothing_in_any_line(self) -> None:
        server = Server()
        gone, here, boss = server.connect(), server.connect(), server.connect()
        gone.say(b"get a/or b/t=5000\r\n")
        here.say(b"get b/or a/t=5000\r\n")
        gone.session.close()
        put(boss, b"a", b"x")
        assert here.say(b"") == value(b"a/t=5000", b"x")

    def test_a_queue_of_which_enough_is_held_is_passed_over(self) -> None:
        server = Server()
        worker, boss = server.connect(), server.connect()
        put(boss, b"a", b"1")
        put(boss, b"a", b"2")
        assert worker.say(b"get a/or b\r\n") == value(b"a/or", b"1")
        assert worker.say(b"get a/or b/t=5000\r\n") == b""
        put(boss, b"a", b"3")
        assert worker.say(b"") == b""
        put(boss, b"b", b"x")
        assert worker.say(b"") == value(b"b/t=5000", b"x")
        assert worker.say(b"get a/or b/t=5000\r\n") == b"END\r\n"  # holds enough of both

    def test_close_and_open_work_one_item_at_a_time(self) -> None:
        client = Server().connect()
        put(client, b"low", b"l")
        assert client.say(b"get high/close/open/or low/close/open\r\n") == value(b"low/close/open", b"l")
        put(client, b"high", b"h")
        assert client.say(b"get high/close/open/or low/close/open\r\n") == value(b"high/close/open/or", b"h")
        assert client.say(b"delete low\r\n") == b"NOT_FOUND\r\n"  # was acknowledged, though high had an item

    def test_peek(self) -> None:
        client = Server().connect()
        put(client, b"b", b"x")
        assert client.say(b"get a/peek/or b/peek\r\n") == value(b"b/peek", b"x")
        assert client.say(b"get a/peek/or b\r\n") == value(b"b", b"x")

    def test_the_same_queue_twice(self) -> None:
        server = Server()
        worker, boss = server.connect(), server.connect()
        worker.say(b"get a/or a/t=5000\r\n")
        put(boss, b"a", b"x")
        assert worker.say(b"") == value(b"a/or", b"x")

    def test_the_end_of_input_ends_the_wait(self) -> None:
        server = Server()
        worker = server.connect()
        worker.say(b"get a/or b/t=5000\r\nversion\r\n")
        worker.session.finish()
        assert worker.say(b"") == b"END\r\nVERSION 1.2.3\r\n"

    def test_gets_and_gat(self) -> None:
        server = Server()
        worker, boss = server.connect(), server.connect()
        worker.say(b"gats 2 a/or b/t=5000\r\n")
        put(boss, b"b", b"x")
        assert worker.say(b"").startswith(b"VALUE b/t=5000 0 1 ")
        server.advance(3)
        assert boss.say(b"get b\r\n") == value(b"b", b"x")


class TestNamedConsumers:
    def test_get_and_delete_over_different_connections(self) -> None:
        server = Server()
        one, two = server.connect(), server.connect()
        put(one, b"q", b"a")
        put(one, b"q", b"b")
        assert one.say(b"get q/as=me\r\n") == value(b"q/as=me", b"a")
        assert two.say(b"get q/as=me\r\n") == b"END\r\n"  # holds one already
        assert one.say(b"delete q\r\n") == b"NOT_FOUND\r\n"
        assert two.say(b"delete q/as=you\r\n") == b"NOT_FOUND\r\n"
        assert two.say(b"delete q/as=me\r\n") == b"DELETED\r\n"
        assert two.say(b"delete q/as=me\r\n") == b"NOT_FOUND\r\n"

    def test_the_reservation_outlives_the_connection(self) -> None:
        server = Server(QueueSettings(reserve_timeout=100))
        one, two = server.connect(), server.connect()
        put(one, b"q", b"a")
        one.say(b"get q/as=me\r\n")
        one.session.close()
        assert two.say(b"get q\r\n") == b"END\r\n"
        assert two.say(b"touch q/as=me 50\r\n") == b"TOUCHED\r\n"
        server.advance(49)
        assert two.say(b"get q\r\n") == b"END\r\n"
        server.advance(2)
        assert two.say(b"get q\r\n") == value(b"q", b"a")
        assert two.say(b"delete q/as=me\r\n") == b"NOT_FOUND\r\n"

    def test_abort_and_close_and_deadline(self) -> None:
        server = Server()
        client = server.connect()
        put(client, b"q", b"a")
        assert client.say(b"gat 5 q/as=me\r\n") == value(b"q/as=me", b"a")
        assert client.say(b"get q/abort\r\nget q\r\n") == b"END\r\nEND\r\n"  # of the connection, which has nothing
        assert client.say(b"get q/abort/as=me\r\nget q/as=me\r\n") == b"END\r\n" + value(b"q/as=me", b"a")
        assert client.say(b"get q/close/as=me\r\nget q\r\n") == b"END\r\nEND\r\n"

    def test_waiting(self) -> None:
        server = Server()
        one, two, boss = server.connect(), server.connect(), server.connect()
        one.say(b"get q/as=me/t=5000\r\n")
        two.say(b"get q/t=5000/as=me\r\n")
        put(boss, b"q", b"a")
        assert one.say(b"") == value(b"q/as=me/t=5000", b"a")
        put(boss, b"q", b"b")
        assert two.say(b"") == b"END\r\n"  # the name holds one by now, and may hold no more
        assert boss.say(b"get q\r\n") == value(b"q", b"b")
        assert two.say(b"delete q/as=me\r\n") == b"DELETED\r\n"

    def test_a_name_that_may_hold_no_more_waits_on_in_the_other_lines(self) -> None:
        server = Server()
        one, two, boss = server.connect(), server.connect(), server.connect()
        one.say(b"get a/as=me/or b/as=me/t=5000\r\n")
        put(boss, b"a", b"1")
        assert one.say(b"") == value(b"a/as=me/or", b"1")
        one.say(b"get b/as=me/t=5000\r\n")
        two.say(b"get b/as=me/or c/as=me/t=5000\r\n")
        put(boss, b"b", b"2")
        put(boss, b"b", b"3")
        assert one.say(b"") == value(b"b/as=me/t=5000", b"2")
        assert two.say(b"") == b""
        put(boss, b"c", b"4")
        assert two.say(b"") == value(b"c/as=me/t=5000", b"4")

    def test_what_a_put_gives_to_a_name_can_be_acknowledged_behind_it(self) -> None:
        """Found by the model: the put that ends the name's wait over another connection comes first."""
        server = Server()
        one, two = server.connect(), server.connect()
        one.say(b"get q/as=me/t=5000\r\n")
        assert two.say(b"set q 0 0 1\r\na\r\ntouch q/as=me 5\r\ndelete q/as=me\r\n") == (
            b"STORED\r\nTOUCHED\r\nDELETED\r\n"
        )
        one.say(b"get q/as=me/t=5000\r\n")
        assert two.say(b"ms q 1\r\nb\r\nmd q/as=me I T1\r\nget q\r\n") == b"HD\r\nHD\r\nEND\r\n"

    def test_a_waiting_connection_that_dies_swallows_nothing(self) -> None:
        server = Server()
        one, boss = server.connect(), server.connect()
        one.say(b"get q/as=me/t=5000\r\n")
        one.session.close()
        put(boss, b"q", b"a")
        assert boss.say(b"get q\r\n") == value(b"q", b"a")

    def test_a_name_with_nothing_costs_nothing(self) -> None:
        server = Server()
        client = server.connect()
        named = server.engine.broker.named
        put(client, b"q", b"a")
        client.say(b"get none/as=x\r\ndelete q/as=y\r\ntouch q/as=z 1\r\nget q/close/as=w\r\n")
        assert named.in_use() == []
        client.say(b"get q/as=me\r\n")
        assert named.in_use() == [b"me"]
        client.say(b"delete q/as=me\r\n")
        assert named.in_use() == []
        client.say(b"get q/as=me/t=5\r\n")
        assert named.in_use() == [b"me"]
        server.advance(1)
        client.say(b"")
        assert named.in_use() == []

    def test_names_that_have_nothing_are_let_go_of(self) -> None:
        server = Server()
        client = server.connect()
        named = server.engine.broker.named
        put(client, b"q", b"a")
        client.say(b"get q/as=me\r\n")
        for number in range(3 * SPARE_NAMES):
            client.say(b"get none/as=%d\r\n" % number)
            assert len(named) <= SPARE_NAMES + 2
        assert client.say(b"delete q/as=me\r\n") == b"DELETED\r\n"

    def test_a_lost_acknowledgement_leaves_the_reservation(self) -> None:
        server = Server()
        client = server.connect()
        put(client, b"q", b"a")
        client.say(b"get q/as=me\r\n")
        server.fails = True
        assert client.say(b"delete q/as=me\r\n") == b"SERVER_ERROR out of memory storing object\r\n"
        server.fails = False
        assert client.say(b"delete q/as=me\r\n") == b"DELETED\r\n"


class TestPrefetch:
    def test_one_consumer_holds_as_many_as_it_said(self) -> None:
        server = Server()
        client, other = server.connect(), server.connect()
        for body in (b"a", b"b", b"c"):
            put(client, b"q", body)
        assert client.say(b"get q/prefetch=2\r\nget q\r\nget q\r\nget q/t=1\r\n") == (
            value(b"q/prefetch=2", b"a") + value(b"q", b"b") + b"END\r\nEND\r\n"
        )
        assert other.say(b"get q\r\nget q\r\n") == value(b"q", b"c") + b"END\r\n"

    def test_it_holds_for_every_queue_and_for_a_wait(self) -> None:
        server = Server()
        worker, boss = server.connect(), server.connect()
        assert worker.say(b"get a/or/prefetch=2 b\r\n") == b"END\r\n"
        for body in (b"x", b"y"):
            assert worker.say(b"get a/or b/t=5000\r\n") == b""
            put(boss, b"b", body)
            assert worker.say(b"") == value(b"b/t=5000", body)
        assert worker.say(b"get a/or b/t=5000\r\n") == b""
        put(boss, b"b", b"z")
        assert worker.say(b"") == b""
        put(boss, b"a", b"z")
        assert worker.say(b"") == value(b"a/or", b"z")

    def test_a_name(self) -> None:
        client = Server().connect()
        for body in (b"a", b"b"):
            put(client, b"q", body)
        assert client.say(b"get q/as=me/prefetch=2\r\nget q/as=me\r\nget q\r\n") == (
            value(b"q/as=me/prefetch=2", b"a") + value(b"q/as=me", b"b") + b"END\r\n"
        )

    def test_meta_commands(self) -> None:
        client = Server().connect()
        for body in (b"a", b"b", b"c"):
            put(client, b"q", body)
        assert client.say(b"mg q/prefetch=2 v\r\nmg q v\r\nmg q v\r\n") == b"VA 1\r\na\r\nVA 1\r\nb\r\nEN\r\n"


class TestDelay:
    @pytest.mark.parametrize("verb", [b"set", b"add", b"append", b"prepend"])
    def test_not_ready_before(self, verb: bytes) -> None:
        server = Server()
        client = server.connect()
        assert client.say(verb + b" q/delay=2.5 7 0 1\r\na\r\nget q\r\n") == b"STORED\r\nEND\r\n"
        server.advance(2.4)
        assert client.say(b"get q\r\nget q/peek\r\n") == b"END\r\n" * 2
        server.advance(0.2)
        assert client.say(b"get q\r\n") == b"VALUE q 7 1\r\na\r\nEND\r\n"

    def test_a_delayed_item_counts(self) -> None:
        client = Server(QueueSettings(max_items=1)).connect()
        assert client.say(b"set q/delay=5 0 0 1\r\na\r\n") == b"STORED\r\n"
        assert client.say(b"add q 0 0 1\r\nb\r\nset q 0 0 1\r\nb\r\n") == b"NOT_STORED\r\n" * 2

    def test_flush_drops_it(self) -> None:
        server = Server()
        client = server.connect()
        client.say(b"set q/delay=5 0 0 1\r\na\r\nflush q\r\n")
        server.advance(6)
        assert client.say(b"get q\r\n") == b"END\r\n"

    def test_it_ends_a_wait(self) -> None:
        server = Server()
        client = server.connect()
        assert client.say(b"set q/delay=1 0 0 1\r\na\r\nget q/t=5000\r\n") == b"STORED\r\n"
        server.advance(1.1)
        assert client.say(b"") == value(b"q/t=5000", b"a")

    def test_abort_and_try_again_later(self) -> None:
        server = Server()
        client = server.connect()
        put(client, b"q", b"a")
        client.say(b"get q/as=me\r\n")
        assert client.say(b"get q/abort/delay=0.5/as=me\r\nget q\r\n") == b"END\r\n" * 2
        server.advance(0.6)
        assert client.say(b"get q\r\n") == value(b"q", b"a")
        assert client.say(b"get q/abort/delay=0\r\nget q\r\n") == b"END\r\n" + value(b"q", b"a")

    def test_a_swap(self) -> None:
        server = Server()
        client = server.connect()
        put(client, b"q", b"a")
        token = client.say(b"gets q\r\n").split(b"\r\n")[0].split(b" ")[4]
        assert client.say(b"cas q/delay=60 0 0 1 %b\r\nb\r\nget q\r\n" % token) == b"STORED\r\nEND\r\n"
        server.advance(61)
        assert client.say(b"get q\r\n") == value(b"q", b"b")

    def test_a_failing_journal(self) -> None:
        server = Server()
        client = server.connect()
        server.fails = True
        assert client.say(b"set q/delay=1 0 0 1\r\na\r\n") == b"SERVER_ERROR out of memory storing object\r\n"
        server.fails = False
        server.advance(2)
        assert client.say(b"get q\r\nadd q 0 0 1\r\nx\r\n") == b"END\r\nSTORED\r\n"


CLASSIC_ERRORS = [
    (b"set q/as=me 0 0 1\r\nx\r\n", "option /as does not go with this command"),
    (b"set q/or 0 0 1\r\nx\r\n", "option /or does not go with this command"),
    (b"replace q/delay=1 0 0 1\r\nx\r\n", "option /delay does not go with this command"),
    (b"set q/delay 0 0 1\r\nx\r\n", None),
    (b"set q/delay=x 0 0 1\r\nx\r\n", "option /delay= takes seconds from 0 to 2147483647, with a fraction or without"),
    (b"set q/delay=-1 0 0 1\r\nx\r\n", "option /delay= takes seconds from 0 to 2147483647, with a fraction or without"),
    (
        b"set q/delay=1e3 0 0 1\r\nx\r\n",
        "option /delay= takes seconds from 0 to 2147483647, with a fraction or without",
    ),
    (b"set q/delay=1/delay=2 0 0 1\r\nx\r\n", "option /delay is given twice"),
    (b"delete q/or\r\n", "option /or does not go with this command"),
    (b"delete q/as=\r\n", "option /as= takes the name of a consumer"),
    (b"touch q/delay=1 1\r\n", "option /delay does not go with this command"),
    (b"incr q/as=me 1\r\n", "option /as does not go with this command"),
    (b"flush q/as=me\r\n", "option /as does not go with this command"),
    (b"get q/as=\r\n", "option /as= takes the name of a consumer"),
    (b"get q/t=1/t=2\r\n", "option /t is given twice"),
    (b"get q/delay=1\r\n", "option /delay= goes with /abort in a get"),
    (b"get q/prefetch=0\r\n", "option /prefetch= takes a whole number from 1 to 1073741824"),
    (b"get q/close/prefetch=2\r\n", "option /prefetch= goes with a get that reserves"),
    (b"set q/prefetch=2 0 0 1\r\nx\r\n", "option /prefetch does not go with this command"),
    (b"get q/peek/prefetch=2\r\n", "option /peek goes with no other but /or"),
    (b"get q/abort/t=1\r\n", "option /abort goes with no other but /delay= and /as="),
    (b"get q/abort/or\r\n", "option /abort goes with no other but /delay= and /as="),
    (b"get q/peek/as=me\r\n", "option /peek goes with no other but /or"),
    (b"get q/close/or\r\n", "option /or goes with /close only where /open does too"),
    (b"get a/or/as=me b\r\n", "keys joined by /or name one consumer"),
]


@pytest.mark.parametrize(("sent", "reason"), CLASSIC_ERRORS)
def test_what_makes_no_sense_is_told(sent: bytes, reason: str | None) -> None:
    client = Server().connect()
    expected = b"STORED\r\n" if reason is None else b"CLIENT_ERROR %b\r\n" % reason.encode()
    assert client.say(sent + b"version\r\n") == expected + b"VERSION 1.2.3\r\n"


def test_a_name_may_hold_any_slash_and_any_word() -> None:
    client = Server().connect()
    for name in (
        b"a/b",
        b"a/",
        b"/a",
        b"a//b",
        b"or",
        b"a/or/b",
        b"a/delay",
        b"a/t",
        b"a/as",
        b"a/t=5/b",
        b"http://x/y?z",
    ):
        put(client, name, b"x")
        assert client.say(b"get %b/t=5/as=me\r\n" % name) == value(name + b"/t=5/as=me", b"x")
        assert client.say(b"delete %b/as=me\r\n" % name) == b"DELETED\r\n"


def test_a_thousand_waiting_gets_and_one_set() -> None:
    server = Server()
    waiters = [server.connect() for _ in range(1000)]
    for waiter in waiters:
        assert waiter.say(b"get q/t=60000\r\n") == b""
    boss = server.connect()
    order = []
    for number in range(3):
        put(boss, b"q", b"%d" % number)
        answered = [waiter for waiter in waiters if waiter.answers]
        assert [waiter.say(b"") for waiter in answered] == [value(b"q/t=60000", b"%d" % number)]
        order += answered
    assert order == waiters[:3]
    waiters[3].session.close()
    put(boss, b"q", b"next")
    assert waiters[4].say(b"") == value(b"q/t=60000", b"next")
