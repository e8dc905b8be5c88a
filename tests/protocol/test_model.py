"""Random conversations in all three protocols, cut at random bytes, against a plain model.

A step is a few operations of one client. Each client speaks its own protocol;
what the model tells it is put into the words of that protocol, and must be what
the server has sent, byte for byte, tokens apart.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.engine.settings import QueueSettings
from tests.protocol import queue_model as model
from tests.protocol.binary_frames import OPCODES, count, request, storage, timed
from tests.protocol.conversation import Client, Server
from tests.protocol.queue_model import Key

QUEUES = [b"a", b"b", b"c/d"]
NAMES = [b"x", b"y"]
BODIES = [b"", b"7", b"41 ", b"abc", b"\r\nEND\r\n", b"x" * 70]
RESERVE_TIMEOUT = 1000
KINDS = """
put put put put add prepend replace get get get get get delete delete delete token token swap touch count give_back
flush
"""
STEP = 0.001


@dataclass
class Talker:
    """A client: its connection, its counterpart in the model, and how it speaks."""

    wire: Client
    told: model.Client
    protocol: str
    waiting_for: list[Callable[[tuple[object, ...]], bytes]] = field(default_factory=list)


def render_key(key: Key) -> bytes:
    """A key with its options."""
    wire = key.queue
    if key.closes:
        wire += b"/close" + (b"/open" if key.opens and not key.wait else b"")
    if key.aborts:
        wire += b"/abort" + (b"/delay=%a" % key.delay if key.delay else b"")
    if key.peek is not None:
        wire += b"/peek=%d" % key.peek
    if key.wait:
        wire += b"/t=%d" % round(key.wait * 1000)
    if key.name is not None:
        wire += b"/as=" + key.name
    return wire + (b"/or" if key.joins else b"")


def with_name(queue: bytes, name: bytes | None) -> bytes:
    return queue if name is None else queue + b"/as=" + name


class Conversation:
    """A server, the model, and random talk between them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        prefetch = rng.choice([1, 1, 2])
        self.server = Server(QueueSettings(prefetch=prefetch, reserve_timeout=RESERVE_TIMEOUT))
        self.clock = self.server.engine.clock
        self.model = model.Model(lambda: self.clock.now, prefetch, RESERVE_TIMEOUT)
        self.talkers = [self.connect() for _ in range(3)]
        self.tokens: dict[int, int] = {}
        self.seconds = 5

    def connect(self) -> Talker:
        return Talker(self.server.connect(), model.Client(), self.rng.choice(["text", "meta", "binary"]))

    # -- one step ------------------------------------------------------------------

    def step(self) -> None:
        rng = self.rng
        choice = rng.random()
        index = rng.randrange(len(self.talkers))
        talker = self.talkers[index]
        if choice < 0.06:
            self.model.close(talker.told)
            talker.wire.session.close()
            self.server.run()
            self.talkers[index] = self.connect()
        elif choice < 0.2:
            self.advance(rng.choice([0.1, 2.0, 30.0, 1200.0]))
        elif talker.told.waiting is None:
            data = b""
            while not data or rng.random() < 0.4:
                data += self.operation(talker)
                if talker.told.waiting is not None:
                    break
            self.send(talker, data)
        self.compare()
        self.advance(STEP)

    def send(self, talker: Talker, data: bytes) -> None:
        pos = 0
        whole = self.rng.random() < 0.5
        while pos < len(data):
            size = self.rng.choice([1, 2, 5, 24, 60])
            talker.wire.send(data[pos : pos + size])
            if whole:
                self.server.run()
            pos += size
        self.server.run()

    def advance(self, seconds: float) -> None:
        """Let time pass, one event after the other, in both worlds."""
        end = self.clock.now + seconds
        while (when := self.model.next_event()) is not None and when <= end:
            self.server.advance(max(0.0, when - self.clock.now) + 1e-7)
            self.model.fire()
            self.compare()
        self.server.advance(max(0.0, end - self.clock.now))

    def compare(self) -> None:
        """Every client has been sent what the model has told it."""
        for talker in self.talkers:
            expected = b""
            for outcome in talker.told.told:
                expected += talker.waiting_for.pop(0)(outcome)
            talker.told.told.clear()
            self.match(expected, talker.wire.say(b""))

    def match(self, expected: bytes, got: bytes) -> None:
        """Compare, and learn which tokens of the server are those of the model."""
        pattern, numbers = b"", []
        for part in re.split(rb"(<token \d+ (?:text|raw)>)", expected):
            found = re.fullmatch(rb"<token (\d+) (text|raw)>", part)
            if found:
                numbers.append((int(found[1]), found[2]))
                pattern += rb"(\d+)" if found[2] == b"text" else rb"(.{8})"
            else:
                pattern += re.escape(part)
        matched = re.fullmatch(pattern, got, re.DOTALL)
        assert matched, f"{got!r}\n is not\n{expected!r}"
        for (number, form), text in zip(numbers, matched.groups(), strict=True):
            token = int(text) if form == b"text" else int.from_bytes(text, "big")
            assert token > 0
            assert self.tokens.setdefault(number, token) == token

    # -- one operation: tell the model, return the bytes -------------------------------

    def operation(self, talker: Talker) -> bytes:
        rng = self.rng
        kind = rng.choice(KINDS.split())
        if kind == "flush" and rng.random() < 0.6:
            kind = "put"
        make: Callable[[Talker, bytes], bytes] = getattr(self, kind)
        return make(talker, rng.choice(QUEUES))

    def unique_seconds(self) -> int:
        """A time that no other deadline of this conversation has: then the order of events is beyond doubt."""
        self.seconds += 1
        return self.seconds

    def tell(self, talker: Talker, outcome: object, say: Callable[[tuple[object, ...]], bytes]) -> None:
        talker.waiting_for.append(say)
        talker.told.told.append(outcome if isinstance(outcome, tuple) else (outcome,))

    def put(self, talker: Talker, queue: bytes, mode: str = "set") -> bytes:
        rng = self.rng
        body, flags = rng.choice(BODIES), rng.randrange(2**32)
        delay = self.unique_seconds() / 4 if rng.random() < 0.15 and mode != "replace" and mode != "add" else 0.0
        ttl = self.unique_seconds() if rng.random() < 0.15 and mode == "set" else 0
        key = queue + (b"/delay=%a" % delay if delay else b"")
        if mode == "add":
            outcome = self.model.add(queue, body, flags)
        elif mode == "replace":
            outcome = self.model.replace(queue, body, flags)
        else:
            if talker.protocol == "binary" and mode == "prepend":
                flags = 0
            outcome = self.model.put(queue, body, flags, ttl or None, delay, mode == "prepend")
        if talker.protocol == "text":
            self.tell(talker, outcome, text_outcome)
            return b"%b %b %d %d %d\r\n%b\r\n" % (mode.encode(), key, flags, ttl, len(body), body)
        if talker.protocol == "meta":
            letter = {"set": b"S", "add": b"e", "prepend": b"P", "replace": b"R"}[mode]
            self.tell(talker, outcome, meta_outcome)
            return b"ms %b %d F%d T%d M%b\r\n%b\r\n" % (key, len(body), flags, ttl, letter, body)
        self.tell(talker, outcome, binary_outcome(mode))
        return request(mode, key, body) if mode == "prepend" else storage(mode, key, body, flags, ttl)

    def add(self, talker: Talker, queue: bytes) -> bytes:
        return self.put(talker, queue, "add")

    def prepend(self, talker: Talker, queue: bytes) -> bytes:
        return self.put(talker, queue, "prepend")

    def replace(self, talker: Talker, queue: bytes) -> bytes:
        return self.put(talker, queue, "replace")

    def get(self, talker: Talker, queue: bytes) -> bytes:
        rng = self.rng
        keys = [self.get_key(queue)]
        if talker.protocol == "text" and rng.random() < 0.5:
            others = [other for other in QUEUES if other != queue]
            rng.shuffle(others)
            keys += [self.get_key(other) for other in others[: rng.choice([1, 2])]]
            for i in range(len(keys) - 1):
                key, following = keys[i : i + 2]
                if following.peek is None:
                    keys[i + 1] = following = replace(following, name=key.name)
                if key.name == following.name and key.opens and not key.aborts and rng.random() < 0.7:
                    keys[i] = replace(key, joins=True)
        timeout = self.unique_seconds() if rng.random() < 0.3 else None
        if talker.protocol == "text":
            with_token = rng.random() < 0.6
            verb = b"gat" if timeout else b"get"
            wire = b"%b%b" % (verb, b"s" if with_token else b"") + (b" %d" % timeout if timeout else b"")
            data = b" ".join([wire, *map(render_key, keys)]) + b"\r\n"
            talker.waiting_for.append(text_values(with_token))
        elif talker.protocol == "meta":
            timed_flag = b" T%d" % timeout if timeout else b""
            if keys[0].opens:
                data = b"mg %b v f h c k O#%b\r\n" % (render_key(keys[0]), timed_flag)
            else:
                data = b"mg %b f h c k O#\r\n" % render_key(keys[0])
                timeout = None
            talker.waiting_for.append(meta_values(render_key(keys[0])))
        else:
            data = timed("gatk", render_key(keys[0]), timeout) if timeout else request("getk", render_key(keys[0]))
            talker.waiting_for.append(binary_values("gatk" if timeout else "getk", render_key(keys[0])))
        self.model.get(talker.told, keys, timeout)
        return data

    def get_key(self, queue: bytes) -> Key:
        rng = self.rng
        name = rng.choice(NAMES) if rng.random() < 0.25 else None
        kind = rng.random()
        if kind < 0.1:
            return Key(queue, peek=rng.choice([0, 1, 2]))
        if kind < 0.2:
            return Key(queue, closes=True, opens=False, name=name)
        if kind < 0.3:
            delay = self.unique_seconds() / 4 if rng.random() < 0.4 else 0.0
            return Key(queue, aborts=True, opens=False, delay=delay, name=name)
        wait = self.unique_seconds() / 4 if rng.random() < 0.35 else 0.0
        return Key(queue, closes=rng.random() < 0.3, wait=wait, name=name)

    def delete(self, talker: Talker, queue: bytes) -> bytes:
        name = self.rng.choice(NAMES) if self.rng.random() < 0.3 else None
        outcome = self.model.delete(talker.told, queue, name, None)
        return self.say_delete(talker, outcome, with_name(queue, name), None)

    def known_token(self) -> tuple[int, int]:
        """A token that was given, mostly one that is still good, by the model's number and the server's."""
        good = [held.number for held in self.model.held if held.number in self.tokens]
        numbers = good if good and self.rng.random() < 0.8 else list(self.tokens)
        number = self.rng.choice(numbers)
        return number, self.tokens[number]

    def token(self, talker: Talker, queue: bytes) -> bytes:
        """Acknowledge by token."""
        if not self.tokens or talker.protocol == "text":
            return self.delete(talker, queue)
        number, token = self.known_token()
        queue = self.queue_of(number, queue)
        return self.say_delete(talker, self.model.delete(talker.told, queue, None, number), queue, token)

    def queue_of(self, number: int, other: bytes) -> bytes:
        held = next((h for h in self.model.held if h.number == number), None)
        return held.item.queue if held is not None and self.rng.random() < 0.9 else other

    def say_delete(self, talker: Talker, outcome: str, key: bytes, token: int | None) -> bytes:
        if talker.protocol == "text":
            self.tell(talker, outcome, text_outcome)
            return b"delete %b\r\n" % key
        if talker.protocol == "meta":
            self.tell(talker, outcome, meta_outcome)
            return b"md %b%b\r\n" % (key, b"" if token is None else b" C%d" % token)
        self.tell(talker, outcome, binary_outcome("delete"))
        return request("delete", key, cas=token or 0)

    def swap(self, talker: Talker, queue: bytes) -> bytes:
        if not self.tokens:
            return self.put(talker, queue)
        number, token = self.known_token()
        body, flags = self.rng.choice(BODIES), self.rng.randrange(2**32)
        delay = self.unique_seconds() / 4 if self.rng.random() < 0.2 else 0.0
        if self.rng.random() < 0.1:
            outcome, token = self.model.swap(None, queue, body, flags, delay), 12345
        else:
            outcome = self.model.swap(number, queue, body, flags, delay)
        key = queue + (b"/delay=%a" % delay if delay else b"")
        if talker.protocol == "text":
            self.tell(talker, outcome, text_outcome)
            return b"cas %b %d 0 %d %d\r\n%b\r\n" % (key, flags, len(body), token, body)
        if talker.protocol == "meta":
            self.tell(talker, outcome, meta_outcome)
            return b"ms %b %d C%d F%d\r\n%b\r\n" % (key, len(body), token, flags, body)
        self.tell(talker, outcome, binary_outcome("set"))
        return storage("set", key, body, flags, 0, cas=token)

    def touch(self, talker: Talker, queue: bytes) -> bytes:
        rng = self.rng
        seconds = self.unique_seconds()
        name = rng.choice(NAMES) if rng.random() < 0.3 else None
        number, token = None, 0
        if self.tokens and rng.random() < 0.5 and talker.protocol != "text":
            name = None
            number, token = self.known_token()
            queue = self.queue_of(number, queue)
        outcome = self.model.touch(talker.told, queue, name, number, seconds)
        key = with_name(queue, name)
        if talker.protocol == "text":
            self.tell(talker, outcome, text_outcome)
            return b"touch %b %d\r\n" % (key, seconds)
        if talker.protocol == "meta":
            self.tell(talker, "miss" if outcome == "not found" else outcome, meta_outcome)
            return b"mg %b T%d%b\r\n" % (key, seconds, b" C%d" % token if token else b"")
        self.tell(talker, outcome, binary_outcome("touch"))
        return timed("touch", key, seconds, cas=token)

    def give_back(self, talker: Talker, queue: bytes) -> bytes:
        if talker.protocol != "meta":
            return self.get(talker, queue)
        name, number, token = None, None, b""
        if self.tokens and self.rng.random() < 0.6:
            number, given = self.known_token()
            queue, token = self.queue_of(number, queue), b" C%d" % given
        delay = self.unique_seconds() if self.rng.random() < 0.5 else 0
        outcome = self.model.give_back(talker.told, queue, name, number, delay)
        self.tell(talker, outcome, meta_outcome)
        return b"md %b I%b%b\r\n" % (queue, b" T%d" % delay if delay else b"", token)

    def count(self, talker: Talker, queue: bytes) -> bytes:
        delta = self.rng.choice([1, 5, -1, -100, 2**64 - 1])
        outcome = self.model.count(queue, delta)
        if talker.protocol == "text":
            self.tell(talker, outcome, text_outcome)
            return b"%b %b %d\r\n" % (b"incr" if delta > 0 else b"decr", queue, abs(delta))
        if talker.protocol == "meta":
            self.tell(talker, outcome, meta_outcome)
            return b"ma %b v M%b D%d\r\n" % (queue, b"I" if delta > 0 else b"D", abs(delta))
        verb = "increment" if delta > 0 else "decrement"
        self.tell(talker, outcome, binary_outcome(verb))
        return count(verb, queue, abs(delta))

    def flush(self, talker: Talker, queue: bytes) -> bytes:
        if talker.protocol == "meta":
            return self.put(talker, queue)
        if talker.protocol == "binary":
            self.tell(talker, self.model.flush(None), binary_outcome("flush"))
            return request("flush")
        self.tell(talker, self.model.flush(queue), text_outcome)
        return b"flush %b\r\n" % queue


# -- outcomes in the words of the protocols ------------------------------------------------

NO_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"


def text_outcome(outcome: tuple[object, ...]) -> bytes:
    kind = outcome[0]
    if kind == "number":
        return b"%d\r\n" % outcome[1]
    if kind == "no number":
        return NO_NUMBER
    return str(kind).upper().replace(" ", "_").encode() + b"\r\n"


def meta_outcome(outcome: tuple[object, ...]) -> bytes:
    kind = outcome[0]
    if kind == "number":
        text = b"%d" % outcome[1]
        return b"VA %d\r\n%b\r\n" % (len(text), text)
    if kind == "no number":
        return NO_NUMBER
    code = {"not stored": b"NS", "not found": b"NF", "exists": b"EX", "miss": b"EN"}.get(str(kind), b"HD")
    return code + b"\r\n"


def response(
    name: str, status: int, body: bytes, key: bytes = b"", extras: bytes = b"", cas: bytes = bytes(8)
) -> bytes:
    size = len(body) + len(key) + len(extras)
    head = struct.pack(">BBHBBHII", 0x81, OPCODES[name], len(key), len(extras), 0, status, size, 0)
    return head + cas + extras + key + body


def binary_outcome(name: str) -> Callable[[tuple[object, ...]], bytes]:
    errors = {
        "not found": (1, b"Not found"),
        "exists": (2, b"Data exists for key."),
        "not stored": (2, b"Data exists for key.") if name == "add" else (1, b"Not found"),
        "no number": (6, b"Non-numeric server-side value for incr or decr"),
    }

    def say(outcome: tuple[object, ...]) -> bytes:
        if outcome[0] == "number":
            return response(name, 0, struct.pack(">Q", outcome[1]))
        return response(name, *errors.get(str(outcome[0]), (0, b"")))

    return say


def text_values(with_token: bool) -> Callable[[tuple[object, ...]], bytes]:
    def say(outcome: tuple[object, ...]) -> bytes:
        reply = b""
        for key, item, number in outcome[1]:  # type: ignore[attr-defined]
            token = b"" if not with_token else b" 0" if number is None else b" <token %d text>" % number
            reply += b"VALUE %b %d %d%b\r\n%b\r\n" % (render_key(key), item.flags, len(item.body), token, item.body)
        return reply + b"END\r\n"

    return say


def meta_values(wire: bytes) -> Callable[[tuple[object, ...]], bytes]:
    def say(outcome: tuple[object, ...]) -> bytes:
        for _, item, number in outcome[1]:  # type: ignore[attr-defined]
            token = b"0" if number is None else b"<token %d text>" % number
            before = item.deliveries > (number is not None)
            shown = b" f%d h%d c%b k%b O#" % (item.flags, before, token, wire)
            return b"VA %d%b\r\n%b\r\n" % (len(item.body), shown, item.body)
        return b"EN k%b O#\r\n" % wire

    return say


def binary_values(name: str, wire: bytes) -> Callable[[tuple[object, ...]], bytes]:
    def say(outcome: tuple[object, ...]) -> bytes:
        for _, item, number in outcome[1]:  # type: ignore[attr-defined]
            cas = bytes(8) if number is None else b"<token %d raw>" % number
            return response(name, 0, item.body, wire, struct.pack(">I", item.flags), cas)
        return response(name, 1, b"", wire)

    return say


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_conversations(seed: int) -> None:
    conversation = Conversation(random.Random(seed))
    for _ in range(40):
        conversation.step()


@pytest.mark.parametrize("seed", range(100))
def test_conversations_that_are_the_same_each_time(seed: int) -> None:
    conversation = Conversation(random.Random(seed))
    for _ in range(80):
        conversation.step()
