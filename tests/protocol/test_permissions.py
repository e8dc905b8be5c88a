"""What each verb needs is the same in all protocols, and is what the table says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.access.roles import Role, User
from redqueue.protocol.binary import OPERATIONS
from redqueue.protocol.commands import COMMANDS
from redqueue.protocol.permissions import NEEDS, RULE, VERBS
from tests.protocol.binary_frames import count, request, responses, storage, timed
from tests.protocol.conversation import Client
from tests.protocol.gated import GatedServer, user

DENIED = b"CLIENT_ERROR not permitted, it needs "
AUTH_ERROR = 0x20


def test_the_table_has_every_verb() -> None:
    assert {verb.split()[0] for verb in NEEDS} == set(COMMANDS)
    assert set(VERBS) == set(OPERATIONS)
    assert set(VERBS.values()) <= set(NEEDS)


def test_a_verb_that_the_table_forgets_needs_everything() -> None:
    server = GatedServer()
    server.service.requests._commands = {**COMMANDS, b"novel": COMMANDS[b"version"]}
    assert server.connect_as(user("admin=a.#")).say(b"novel\r\n") == DENIED + b"admin=#\r\n"
    assert server.connect_as(user("admin=#")).say(b"novel\r\n").startswith(b"VERSION")


@dataclass(frozen=True)
class Action:
    """Something that can be asked for in several protocols.

    :ivar role: what it needs for the queue it names
    :ivar asks: what is sent, by protocol, for a queue
    """

    role: Role
    classic: Callable[[bytes], bytes]
    meta: Callable[[bytes], bytes] | None
    binary: Callable[[bytes], bytes] | None


ACTIONS = {
    "reserve": Action(
        Role.READER, lambda q: b"get %b\r\n" % q, lambda q: b"mg %b v\r\n" % q, lambda q: request("get", q)
    ),
    "reserve several": Action(Role.READER, lambda q: b"get free %b\r\n" % q, None, None),
    "reserve with token": Action(
        Role.READER, lambda q: b"gets %b\r\n" % q, lambda q: b"mg %b v c\r\n" % q, lambda q: request("getk", q)
    ),
    "reserve for long": Action(
        Role.READER, lambda q: b"gat 9 %b\r\n" % q, lambda q: b"mg %b v T9\r\n" % q, lambda q: timed("gat", q, 9)
    ),
    "peek": Action(
        Role.READER,
        lambda q: b"get %b/peek\r\n" % q,
        lambda q: b"mg %b v u\r\n" % q,
        lambda q: request("get", q + b"/peek"),
    ),
    "acknowledge": Action(
        Role.READER, lambda q: b"delete %b\r\n" % q, lambda q: b"md %b\r\n" % q, lambda q: request("delete", q)
    ),
    "acknowledge by token": Action(
        Role.READER,
        lambda q: b"delete %b/as=me\r\n" % q,
        lambda q: b"md %b C5\r\n" % q,
        lambda q: request("delete", q, cas=5),
    ),
    "acknowledge all": Action(
        Role.READER,
        lambda q: b"get %b/close\r\n" % q,
        lambda q: b"mg %b/close\r\n" % q,
        lambda q: request("get", q + b"/close"),
    ),
    "give back": Action(Role.READER, lambda q: b"get %b/abort\r\n" % q, lambda q: b"md %b I\r\n" % q, None),
    "touch": Action(
        Role.READER, lambda q: b"touch %b 9\r\n" % q, lambda q: b"mg %b T9\r\n" % q, lambda q: timed("touch", q, 9)
    ),
    "figures": Action(
        Role.READER,
        lambda q: b"stats queue %b\r\n" % q,
        lambda q: b"me %b\r\n" % q,
        lambda q: request("stat", b"queue " + q),
    ),
    "put": Action(
        Role.WRITER,
        lambda q: b"set %b 0 0 1\r\na\r\n" % q,
        lambda q: b"ms %b 1\r\na\r\n" % q,
        lambda q: storage("set", q, b"a"),
    ),
    "put with id": Action(
        Role.WRITER,
        lambda q: b"append %b 0 0 1\r\na\r\n" % q,
        lambda q: b"ms %b 1 c\r\na\r\n" % q,
        lambda q: request("append", q, b"a"),
    ),
    "put later": Action(
        Role.WRITER,
        lambda q: b"set %b/delay=1 0 0 1\r\na\r\n" % q,
        lambda q: b"ms %b/delay=1 1\r\na\r\n" % q,
        lambda q: storage("set", q + b"/delay=1", b"a"),
    ),
    "put one": Action(
        Role.WRITER,
        lambda q: b"add %b 0 0 1\r\na\r\n" % q,
        lambda q: b"ms %b 1 ME\r\na\r\n" % q,
        lambda q: storage("add", q, b"a"),
    ),
    "put first": Action(
        Role.WRITER,
        lambda q: b"prepend %b 0 0 1\r\na\r\n" % q,
        lambda q: b"ms %b 1 MP\r\na\r\n" % q,
        lambda q: request("prepend", q, b"a"),
    ),
    "change": Action(
        Role.WRITER,
        lambda q: b"replace %b 0 0 1\r\na\r\n" % q,
        lambda q: b"ms %b 1 MR\r\na\r\n" % q,
        lambda q: storage("replace", q, b"a"),
    ),
    "count up": Action(
        Role.WRITER, lambda q: b"incr %b 1\r\n" % q, lambda q: b"ma %b\r\n" % q, lambda q: count("increment", q, 1)
    ),
    "count down": Action(
        Role.WRITER, lambda q: b"decr %b 1\r\n" % q, lambda q: b"ma %b MD\r\n" % q, lambda q: count("decrement", q, 1)
    ),
    "swap": Action(
        Role.WRITER,
        lambda q: b"cas %b 0 0 1 5\r\na\r\n" % q,
        lambda q: b"ms %b 1 C5\r\na\r\n" % q,
        lambda q: storage("set", q, b"a", cas=5),
    ),
    "flush": Action(Role.ADMIN, lambda q: b"flush %b\r\n" % q, None, None),
    "pause": Action(Role.ADMIN, lambda q: b"pause %b 1\r\n" % q, None, None),
    "resume": Action(Role.ADMIN, lambda q: b"resume %b\r\n" % q, None, None),
    "drop": Action(Role.ADMIN, lambda q: b"drop %b\r\n" % q, None, None),
    "redrive": Action(Role.ADMIN, lambda q: b"redrive %b\r\n" % q, None, None),
}
QUEUES = [b"orders", b"orders.new", b"logs.web.error", b"orders.dead", b"orders+audit", b"logs.*.error+pager", b"#+spy"]
GRANTS = [
    f"{role}={pattern}"
    for role in ("reader", "writer", "admin")
    for pattern in ("#", "*", "orders", "orders.*", "orders.#", "#.dead", "orders+audit", "logs.#", "logs.web.*")
]


def is_denied(client: Client, data: bytes) -> bool:
    """Whether what is asked for was refused; anything else that is answered is no matter."""
    reply = client.say(data)
    if data[0] == 0x80:
        return responses(reply)[0].status == AUTH_ERROR
    denied = reply.startswith(DENIED)
    assert not denied or reply.count(b"\r\n") == 1
    return denied


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(GRANTS), max_size=3), st.sampled_from(QUEUES))
def test_all_protocols_decide_the_same(grants: list[str], queue: bytes) -> None:
    server = GatedServer()
    who = user(*grants, "reader=free")
    text, binary = server.connect_as(who), server.connect_as(who)
    binary.say(request("noop"))
    for name, action in ACTIONS.items():
        expected = not who.may(action.role, queue)
        for _ in range(2):  # the second time from what is remembered
            assert is_denied(text, action.classic(queue)) == expected, name
            if action.meta is not None:
                assert is_denied(text, action.meta(queue)) == expected, name
            if action.binary is not None:
                assert is_denied(binary, action.binary(queue)) == expected, name
    assert text.say(b"version\r\n") == b"VERSION 1.2.3\r\n"  # still in step
    assert responses(binary.say(request("noop")))[0].status == 0


SERVER_WIDE = [
    b"flush_all",
    b"flush_all 10",
    b"readonly off",
    b"verbosity 0",
    b"shutdown",
    b"stats settings",
    b"stats conns",
    b"stats reset",
]


@pytest.mark.parametrize("line", SERVER_WIDE)
def test_what_concerns_the_whole_server_needs_an_admin_of_everything(line: bytes) -> None:
    server = GatedServer()
    for grants in (["reader=#", "writer=#"], ["admin=*"], ["admin=a.#"], []):
        assert server.connect_as(user(*grants)).say(line + b"\r\n") == DENIED + b"admin=#\r\n"
    assert not server.host.was_reset
    assert not server.connect_as(user("admin=#")).say(line + b"\r\n").startswith(b"CLIENT_ERROR")


@pytest.mark.parametrize(
    "frame",
    [
        request("flush"),
        request("flushq"),
        request("verbosity", b"", b"", struct.pack(">I", 1)),
        request("stat", b"settings"),
        request("stat", b"conns"),
        request("stat", b"reset"),
    ],
)
def test_so_it_does_in_binary(frame: bytes) -> None:
    server = GatedServer()
    assert responses(server.connect_as(user("reader=#", "writer=#")).say(frame))[0].status == AUTH_ERROR
    assert not server.host.was_reset
    assert all(each.status == 0 for each in responses(server.connect_as(user("admin=#")).say(frame)))


def test_somebody_without_a_role_may_ask_for_the_version_and_leave() -> None:
    client = GatedServer().connect_as(user())
    assert client.say(b"version\r\nmn\r\nstats\r\n").startswith(b"VERSION 1.2.3\r\nMN\r\nSTAT ")
    assert client.say(b"quit\r\n") == b""
    assert client.session.closing


def test_a_denied_request_changes_nothing_and_says_what_is_missing() -> None:
    server = GatedServer()
    client = server.connect_as(user("reader=orders"))
    assert client.say(b"set orders 0 0 5\r\nget q\r\nget orders\r\n") == DENIED + b"writer=orders\r\nEND\r\n"
    assert client.say(b"get orders secret\r\n") == DENIED + b"reader=secret\r\n"
    assert not server.service.broker.queues
    counters = server.service.counters
    assert (counters.denied_requests, counters.malformed_requests, counters.cmd_set) == (2, 0, 0)


def test_a_denied_body_is_swallowed_in_whatever_pieces_it_comes() -> None:
    server = GatedServer()
    client = server.connect_as(user())
    assert client.say(b"set q 0 0 1000000\r\n") == DENIED + b"writer=q\r\n"
    for _ in range(100):
        assert client.say(b"x" * 10_000) == b""
    assert client.say(b"\r\nversion\r\n") == b"VERSION 1.2.3\r\n"


def test_a_denied_request_with_noreply_is_silent() -> None:
    server = GatedServer()
    client = server.connect_as(user())
    assert client.say(b"set q 0 0 1 noreply\r\na\r\ndelete q noreply\r\nversion\r\n") == b"VERSION 1.2.3\r\n"
    assert server.service.counters.noreply_errors == 2
    assert server.service.counters.denied_requests == 2


def test_names_in_answers_are_escaped() -> None:
    client = GatedServer().connect_as(user("reader=x"))
    assert client.say(b"ms cQ0KRU5E 1 b\r\na\r\n") == DENIED + b"writer=q%0D%0AEND\r\n"
    assert client.say(b"get \xff%\r\n") == DENIED + b"reader=%FF%25\r\n"


def reserve(server: GatedServer, queue: bytes) -> int:
    """Put an item and reserve it, by somebody who may; returns the token."""
    holder = server.connect_as(user("admin=#"))
    holder.say(b"set %b 0 0 1\r\na\r\n" % queue)
    return int(holder.say(b"gets %b\r\n" % queue).split(b"\r\n")[0].split(b" ")[4])


@pytest.mark.parametrize("protocol", ["classic", "meta", "meta with id", "binary"])
def test_a_swap_needs_the_readers_role_for_the_queue_of_its_token(protocol: str) -> None:
    server = GatedServer()
    token = reserve(server, b"in")
    asks = {
        "classic": b"cas out 0 0 1 %d\r\nb\r\n" % token,
        "meta": b"ms out 1 C%d\r\nb\r\n" % token,
        "meta with id": b"ms out 1 c C%d\r\nb\r\n" % token,
        "binary": storage("set", b"out", b"b", cas=token),
    }
    for grants in (["writer=out"], ["writer=#"], ["writer=out", "reader=out"]):
        client = server.connect_as(user(*grants))
        reply = client.say(asks[protocol])
        if protocol == "binary":
            (answer,) = responses(reply)
            assert answer.status == AUTH_ERROR
            assert answer.value == b"not permitted, it needs reader=in"
        else:
            assert reply == DENIED + b"reader=in\r\n"
    queues = server.service.broker.queues
    assert b"out" not in queues
    assert queues[b"in"].reserved == 1
    client = server.connect_as(user("writer=out", "reader=in"))
    reply = client.say(asks[protocol])
    assert reply.startswith((b"STORED", b"HD")) or responses(reply)[0].status == 0
    assert queues[b"out"].items == 1


def test_a_token_of_a_queue_one_may_read_works_by_its_name_only() -> None:
    server = GatedServer()
    token = reserve(server, b"secret")
    client = server.connect_as(user("reader=mine"))
    assert client.say(b"md mine C%d\r\n" % token) == b"NF\r\n"
    assert client.say(b"md secret C%d\r\n" % token) == DENIED + b"reader=secret\r\n"
    assert client.say(b"mg mine C%d T9\r\n" % token) == b"EN\r\n"
    assert server.service.broker.queues[b"secret"].reserved == 1


def test_figures_of_queues_that_are_not_ones_own_are_left_out() -> None:
    server = GatedServer()
    admin = server.connect_as(user("admin=#"))
    for queue in (b"mine", b"theirs", b"written"):
        admin.say(b"set %b 0 0 1\r\na\r\n" % queue)
    who = user("reader=mine", "writer=written")
    for line in (b"stats\r\n", b"stats queues\r\n"):
        reply = server.connect_as(who).say(line)
        assert b"queue_mine_items 1" in reply
        assert b"theirs" not in reply
        assert b"written" not in reply
        assert b"queue_theirs_items 1" in admin.say(line)
    binary = server.connect_as(who).say(request("stat"))
    names = [each.key for each in responses(binary)]
    assert b"queue_mine_items" in names
    assert not [name for name in names if b"theirs" in name]
    assert server.connect_as(who).say(b"stats queue theirs\r\n") == DENIED + b"reader=theirs\r\n"


def test_reading_a_topic_needs_all_that_it_stands_for_and_subscribes_to_nothing_otherwise() -> None:
    server = GatedServer()
    client = server.connect_as(user("reader=logs.*"))
    assert client.say(b"get #+spy\r\n") == DENIED + b"reader=#+spy\r\n"
    assert client.say(b"get logs.#+spy\r\n") == DENIED + b"reader=logs.#+spy\r\n"
    assert len(server.service.broker.subscriptions) == 0
    assert client.say(b"get logs.*+spy\r\n") == b"END\r\n"
    assert len(server.service.broker.subscriptions) == 1


def test_operators_verbs_need_no_loopback_but_the_role() -> None:
    server = GatedServer()
    admin = server.connect_as(user("admin=orders.#"))
    assert not admin.session.is_local
    admin.say(b"set orders 0 0 1\r\na\r\n")
    assert admin.say(b"pause orders\r\nresume orders\r\ndrop orders\r\n") == b"OK\r\n" * 3
    local = server.connect_as(user("reader=orders", "writer=orders"))
    local.session.is_local = True
    assert local.say(b"pause orders\r\n") == DENIED + b"admin=orders\r\n"
    stranger = server.connect_as(None)
    assert stranger.say(b"pause orders\r\n").startswith(b"CLIENT_ERROR operators' verbs are only for")


def test_users_with_the_same_grants_share_what_is_remembered_and_others_do_not() -> None:
    server = GatedServer()
    first = server.connect_as(user("reader=q", name="a"))
    second = server.connect_as(user("reader=q", name="b"))
    third = server.connect_as(user("writer=q", name="c"))
    assert first.session.known is second.session.known
    assert first.session.known is not third.session.known
    assert first.say(b"get q\r\n") == b"END\r\n"
    assert second.say(b"get q\r\n") == b"END\r\n"
    assert third.say(b"get q\r\n") == DENIED + b"reader=q\r\n"
    assert not server.service.requests.known


def test_lines_that_others_have_made_known_are_no_way_in() -> None:
    server = GatedServer()
    trusted = server.connect_as(None)
    for line in (b"set q 0 0 1\r\na\r\n", b"get q\r\n", b"delete q\r\n", b"mg q v c\r\n", b"md q C5\r\n"):
        for _ in range(2):
            trusted.say(line)
        assert server.connect_as(user("reader=other")).say(line).startswith(DENIED)
        assert trusted.session.known_heads or trusted.session.known


def test_many_sets_of_grants_do_not_pile_up() -> None:
    server = GatedServer()
    for number in range(1000):
        server.connect_as(user(f"reader=q{number}"))
    assert len(server.service._granted) <= 256


def test_changed_roles_count_for_lines_that_are_known() -> None:
    server = GatedServer()
    client = server.connect_as(user("reader=q"))
    assert client.say(b"get q\r\n") == b"END\r\n"
    client.session.become(User("alice", []))
    assert client.say(b"get q\r\n") == DENIED + b"reader=q\r\n"


def test_the_needs_of_the_most_dangerous_verbs() -> None:
    assert {verb for verb, need in NEEDS.items() if need == RULE} == {
        b"flush_all",
        b"readonly",
        b"drain",
        b"verbosity",
        b"shutdown",
        b"stats settings",
        b"stats conns",
        b"stats reset",
    }
