"""Any bytes at all: no exception, no lost step, and what is understood agrees with a small model."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.fuzz_protocol import converse
from tests.protocol.binary_frames import request, responses
from tests.protocol.conversation import Server

VERBS = b"set get gets gat delete touch incr cas add replace prepend flush flush_all stats verbosity version".split()
VERBS += b"pause resume drop redrive readonly drain mg ms md ma mn me".split()
FLAGS = b"v q c k b s t f h l u I O1 C5 C T3 T-1 MS ME MR MI N0 J7 D2 cXE=".split()
OPTIONS = b"q/or q/as=me q/abort/delay=0.5 q/delay=1".split()
ARGUMENTS = b"q q/t=1 q/peek q/close/open q+c #+c on 0 1 -1 3 abc noreply 99999999999 18446744073709551616 1e9".split()
WORDS = st.sampled_from([*VERBS, *ARGUMENTS, *OPTIONS, *FLAGS, b"\x00", b"\xff", b"", b"\t", b"k" * 251])
LINES = st.builds(
    lambda words, end: b" ".join(words) + end, st.lists(WORDS, max_size=7), st.sampled_from([b"\r\n", b"\n"])
)
JUNK = st.one_of(LINES, LINES, st.binary(max_size=20), st.just(b"abc\r\n"))


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({c % (len(data) + 1) for c in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@settings(max_examples=400, deadline=None)
@given(st.lists(JUNK, max_size=12), st.lists(st.integers(0, 10_000), max_size=5))
def test_anything_leaves_a_session_that_is_in_step_or_closed(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    assume(not data.startswith(b"\x80"))  # speaks the binary protocol
    whole, split = Server().connect(), Server().connect()
    whole.session.is_local = split.session.is_local = True
    replies = whole.say(data)
    for part in cut(data, cuts):
        split.send(part)
    assert split.say(b"") == replies
    assert whole.session.closing == split.session.closing
    if not whole.session.closing:
        # the end of whatever body or line is open, and of every wait
        reply = whole.say(b"x" * 4096 + b"\r\n\r\n" + b"version\r\n")
        for _ in range(100):
            whole.server.advance(0.01)
        reply += whole.say(b"")
        if (b"\x16" in data or b"HTTP/" in data) and whole.session.closing:
            assert "TLS" in whole.session.complaint or "HTTP" in whole.session.complaint
        else:
            assert reply.endswith(b"VERSION 1.2.3\r\n")


FRAMES = st.builds(
    request,
    st.integers(0, 0x26),
    st.sampled_from([b"", b"q", b"r/t=1", b"q/peek", b"q/as=me", b"q/delay=1", b"k" * 251, b"a b"]),
    st.sampled_from([b"", b"1", b"abc", b"x" * 300]),
    st.sampled_from([b"", bytes(4), bytes(8), b"\xff" * 8, bytes(20), b"123"]),
    cas=st.sampled_from([0, 0, 1]),
    opaque=st.integers(0, 2**32 - 1),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAMES | st.binary(min_size=1, max_size=30), max_size=12), st.lists(st.integers(0, 10_000), max_size=5))
def test_any_frames_are_answered_the_same_however_they_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    data = request("noop") + b"".join(frames)
    whole, split = Server(max_item_size=200).connect(), Server(max_item_size=200).connect()
    replies = whole.say(data)
    for part in cut(data, cuts):
        split.send(part)
    assert split.say(b"") == replies
    assert whole.session.closing == split.session.closing
    for _ in range(100):
        whole.server.advance(0.01)
    assert responses(replies + whole.say(b""))[0].opcode == 0x0A


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from([b"a", b"b"]), st.binary(max_size=12), st.booleans()),
        st.tuples(st.just("get"), st.sampled_from([b"a", b"b", b"c"])),
        st.tuples(st.just("peek"), st.sampled_from([b"a", b"b"])),
        st.tuples(st.just("delete"), st.sampled_from([b"a", b"b"]), st.booleans()),
        st.tuples(st.just("add"), st.sampled_from([b"a", b"b"]), st.binary(max_size=3)),
        st.tuples(st.just("flush"), st.sampled_from([b"a", b"b"])),
        st.tuples(st.just("incr"), st.sampled_from([b"a", b"b"])),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(OPERATIONS, st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
def test_a_pipeline_against_a_model(operations: list[tuple], cuts: list[int], tick_between: bool) -> None:
    ready: dict[bytes, deque[tuple[int, bytes]]] = {b"a": deque(), b"b": deque(), b"c": deque()}
    held: dict[bytes, tuple[int, bytes]] = {}
    sent, expected = [], []

    def value(queue: bytes, wire: bytes, item: tuple[int, bytes]) -> bytes:
        return b"VALUE %b %d %d\r\n%b\r\nEND\r\n" % (wire, item[0], len(item[1]), item[1])

    for number, (verb, queue, *rest) in enumerate(operations):
        if verb == "set":
            sent.append(b"set %b %d 0 %d%b\r\n%b\r\n" % (queue, number, len(rest[0]), b" noreply" * rest[1], rest[0]))
            ready[queue].append((number, rest[0]))
            expected.append(b"" if rest[1] else b"STORED\r\n")
        elif verb == "get":
            sent.append(b"get %b\r\n" % queue)
            if queue in held or not ready[queue]:
                expected.append(b"END\r\n")
            else:
                held[queue] = ready[queue].popleft()
                expected.append(value(queue, queue, held[queue]))
        elif verb == "peek":
            sent.append(b"get %b/peek\r\n" % queue)
            expected.append(value(queue, queue + b"/peek", ready[queue][0]) if ready[queue] else b"END\r\n")
        elif verb == "delete":
            sent.append(b"delete %b%b\r\n" % (queue, b" noreply" * rest[0]))
            found = held.pop(queue, None) is not None
            expected.append(b"" if rest[0] else b"DELETED\r\n" if found else b"NOT_FOUND\r\n")
        elif verb == "add":
            sent.append(b"add %b %d 0 %d\r\n%b\r\n" % (queue, number, len(rest[0]), rest[0]))
            empty = not ready[queue] and queue not in held
            if empty:
                ready[queue].append((number, rest[0]))
            expected.append(b"STORED\r\n" if empty else b"NOT_STORED\r\n")
        elif verb == "flush":
            sent.append(b"flush %b\r\n" % queue)
            ready[queue].clear()
            held.pop(queue, None)
            expected.append(b"OK\r\n")
        else:
            sent.append(b"incr %b 1\r\n" % queue)
            if not ready[queue]:
                expected.append(b"NOT_FOUND\r\n")
                continue
            flags, text = ready[queue][0]
            stripped = text.rstrip(b" ")
            if stripped.isdigit():
                changed = b"%d" % (int(stripped) + 1)
                ready[queue][0] = (flags, changed)
                expected.append(changed + b"\r\n")
            else:
                expected.append(b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")
    client = Server().connect()
    replies = b""
    for part in cut(b"".join(sent), cuts):
        if tick_between:
            replies += client.say(part)
        else:
            client.send(part)
    assert replies + client.say(b"") == b"".join(expected)


@pytest.mark.parametrize("seed", [1005546, *range(150)])
def test_conversations_of_the_fuzzer(seed: int) -> None:
    """The first ones, and those that have found something."""
    converse(seed)


def test_a_queue_that_is_forgotten_while_a_flush_waits_for_the_journal() -> None:
    """Found by the fuzzer: it was forgotten twice, and that ended the server."""
    server = Server()
    client = server.connect()
    client.say(b"set q 0 0 1\r\na\r\nget q\r\ndelete q\r\n")
    server.advance(11)
    client.send(b"flush_all\r\n")
    server.engine.advance(11)  # the time of an unused queue is over before the commit
    server.engine.commit()
    server.advance(11)
    server.advance(11)
    assert not server.engine.broker.queues
