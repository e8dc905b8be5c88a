"""A fuzzer for the protocol layer: random conversations, whole and in pieces, until the time is over.

    python -m tests.fuzz_protocol --minutes 60 --seed 1

A conversation is a few requests of the text verbs, the meta commands or the
binary protocol, made by a grammar, then damaged, over several connections. What
is looked for:

- an exception, or a server that never comes to rest;
- replies that depend on how the bytes were cut;
- a connection that is out of step: another answer than its version to ``version``;
- an item that is lost, or counted wrongly: what the queues say is what can be taken out of them.

A finding is printed with the seed that makes it again, and ends the run with
status 1: ``python -m tests.fuzz_protocol --seed N --count 1``.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
import traceback

from redqueue.engine.settings import QueueSettings
from redqueue.protocol.frames import Frames
from redqueue.protocol.unfinished import Swallow
from tests.protocol.binary_frames import NAMES, request
from tests.protocol.conversation import Client, Server

QUEUES = [b"q", b"r", b"a/b"]
OPTIONS = [
    b"/t=5",
    b"/or",
    b"/peek",
    b"/peek=1",
    b"/open",
    b"/close",
    b"/abort",
    b"/as=x",
    b"/as=y",
    b"/delay=1",
    b"/delay=0.01",
]
NUMBERS = [
    b"0",
    b"1",
    b"2",
    b"-1",
    b"7",
    b"4294967295",
    b"4294967296",
    b"18446744073709551615",
    b"99999999999999999999",
    b"x",
    b"1.5",
]
META_FLAGS = (
    b"v q c k b s t f h l u I x O1 Oxy C T3 T-1 T0 MS MA ME MP MR MX MI MD N0 N5 J7 D2 D0 F5 F4294967296 E1 R1".split()
)
BODIES = [b"", b"a", b"12", b"18446744073709551615", b"\r\n", b"\x00\x80\xff", b"x" * 40, b"x" * 300]
MAX_ITEM = 200


class Author:
    """Writes conversations.

    :param rng: where all that is random comes from
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.tokens: list[int] = [1, 0]

    def key(self) -> bytes:
        """A key, mostly a good one."""
        rng = self._rng
        key = rng.choice(QUEUES)
        while rng.random() < 0.3:
            key += rng.choice(OPTIONS)
        if rng.random() < 0.03:
            key = rng.choice([b"k" * 250, b"k" * 251, b"\x01", b"/open", b"", "ü".encode(), b"%s", b"q/", b"aGk="])
        return key

    def token(self) -> int:
        """A token, mostly one that was seen."""
        return self._rng.choice(self.tokens[-6:]) if self._rng.random() < 0.9 else self._rng.getrandbits(64)

    def classic(self) -> bytes:
        """A request of the text verbs."""
        rng = self._rng
        key, end = self.key(), rng.choice([b"\r\n"] * 9 + [b"\n"])
        noreply = b" noreply" if rng.random() < 0.1 else b""
        kind = rng.randrange(12)
        if kind < 4:
            body = rng.choice(BODIES)
            verb = rng.choice([b"set", b"set", b"set", b"add", b"append", b"prepend", b"replace", b"cas"])
            token = b" %d" % self.token() if verb == b"cas" else b""
            exptime = rng.choice([b"0"] * 5 + [b"1", b"-1", b"2592001", b"x"])
            size = len(body) if rng.random() < 0.97 else rng.choice([0, 1, 5, 500])
            return b"%b %b 5 %b %d%b%b%b%b\r\n" % (verb, key, exptime, size, token, noreply, end, body)
        if kind < 7:
            keys = b" ".join([key, *(self.key() for _ in range(rng.choice([0, 0, 0, 1, 2])))])
            verb = rng.choice([b"get", b"get", b"gets", b"gat 3", b"gats 0", b"gat -1", b"gat x"])
            return b"%b %b%b" % (verb, keys, end)
        if kind < 9:
            return b"delete %b%b%b" % (key, noreply, end)
        verb, *arguments = rng.choice(
            [(b"touch", *NUMBERS), (b"incr", *NUMBERS), (b"decr", *NUMBERS), (b"flush", b""), (b"stats queue", b"")]
        )
        if rng.random() < 0.1:
            return rng.choice([b"flush_all", b"flush_all 1", b"verbosity 1", b"version", b"stats", b"foo", b""]) + end
        return b"%b %b %b%b%b" % (verb, key, rng.choice(arguments), noreply, end)

    def meta(self) -> bytes:
        """A request of the meta commands."""
        rng = self._rng
        verb = rng.choice([b"mg", b"mg", b"ms", b"ms", b"md", b"md", b"ma", b"me", b"mn"])
        flags = [rng.choice(META_FLAGS) for _ in range(rng.choice([0, 1, 1, 2, 3, 5]))]
        if verb == b"mg" and rng.random() < 0.7:
            flags.insert(0, b"v")
        flags = list({flag[:1]: flag for flag in flags}.values()) if rng.random() < 0.9 else flags
        flags = [b"C%d" % self.token() if flag == b"C" else flag for flag in flags]
        if verb == b"mn":
            return b"mn\r\n"
        if verb != b"ms":
            return b" ".join([verb, self.key(), *flags]) + b"\r\n"
        body = rng.choice(BODIES)
        size = len(body) if rng.random() < 0.97 else rng.choice([0, 1, 5, 500])
        return b" ".join([verb, self.key(), b"%d" % size, *flags]) + b"\r\n" + body + b"\r\n"

    def binary(self) -> bytes:
        """A request of the binary protocol."""
        rng = self._rng
        names = NAMES.split()
        name = rng.choice([n for n in names if "quit" not in n and "flush" not in n] if rng.random() < 0.97 else names)
        verb = name.removesuffix("q")
        extras = b""
        if verb in ("set", "add", "replace"):
            extras = struct.pack(">Ii", rng.choice([0, 5, 2**32 - 1]), rng.choice([0, 0, 0, 1, -1]))
        elif verb in ("increment", "decrement"):
            extras = struct.pack(">QQI", rng.choice([0, 1, 2**64 - 1]), 5, rng.choice([0, 0xFFFFFFFF]))
        elif verb in ("touch", "gat", "gatk", "verbosity"):
            extras = struct.pack(">i", rng.choice([0, 3, -1]))
        keyless = verb in ("noop", "version", "quit", "flush", "verbosity", "stat")
        stores = verb in ("set", "add", "replace", "append", "prepend")
        frame = request(
            rng.choice([name] * 30 + [0x20, 0x21, 0x99]),
            b"" if keyless else self.key(),
            rng.choice(BODIES) if stores else b"",
            extras if rng.random() < 0.98 else b"123",
            cas=self.token() if rng.random() < 0.3 else 0,
            opaque=rng.getrandbits(32),
        )
        if rng.random() < 0.01:
            at = rng.randrange(1, 12)
            frame = frame[:at] + bytes([rng.randrange(256)]) + frame[at + 1 :]
        return frame

    def damage(self, data: bytes) -> bytes:
        """``data`` with a few bytes changed, lost or put in."""
        rng = self._rng
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data) + 1)
            choice = rng.randrange(3)
            if choice == 0:
                data = data[:at] + data[at + rng.randrange(1, 4) :]
            elif choice == 1:
                data = (
                    data[:at]
                    + rng.choice([b" ", b"\r\n", b"\n", b"\x00", b"/", b"0", b"\xff", b"x" * 9000])
                    + data[at:]
                )
            else:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        return data


class Finding(Exception):
    """Something is wrong with the server."""


def learn(author: Author, server: Server) -> None:
    """Let the author use the tokens that are valid now, as a client would that has read them."""
    author.tokens += sorted(set(server.engine.broker.tokens) - set(author.tokens))


def check_books(server: Server) -> None:
    """What the queues count is what they hold."""
    for queue in server.engine.broker.queues.values():
        hidden = queue.reserved + len(queue.delayed or ())
        if queue.items != len(queue.ready) + hidden:
            raise Finding(f"{queue.name!r} counts {queue.items} items and holds {len(queue.ready)} + {hidden}")
        if any(waiter.consumer is None or waiter.consumer.closed for waiter in queue.waiters):
            raise Finding(f"somebody who has gone waits for {queue.name!r}")
        if any(r.consumer is None or r.consumer.closed for r in (*queue.reservations, *queue.timed)):
            raise Finding(f"somebody who has gone holds an item of {queue.name!r}")
        if queue.waiters and queue.is_settled() and queue.head() is not None:
            raise Finding(f"{queue.name!r} has an item and waiters")


def converse(seed: int) -> None:
    """One conversation over several connections, checked as it goes.

    :raises Finding: where something is wrong
    """
    rng = random.Random(seed)
    author = Author(rng)
    settings = QueueSettings(
        prefetch=rng.choice([1, 1, 2]),
        max_items=rng.choice([0, 0, 3]),
        wait=rng.choice([0, 0, 0, 0.01]),
        reserve_timeout=5,
    )
    whole, split = Server(settings, MAX_ITEM), Server(settings, MAX_ITEM)
    kinds = [rng.choice(["classic", "meta", "text", "binary"]) for _ in range(3)]
    clients = [(whole.connect(), split.connect()) for _ in kinds]
    for _ in range(rng.randrange(2, 14)):
        number = rng.randrange(len(kinds))
        kind = kinds[number]
        requests = []
        for _ in range(rng.randrange(1, 5)):
            write = {"classic": author.classic, "meta": author.meta, "binary": author.binary}
            requests.append(write[kind if kind != "text" else rng.choice(["classic", "meta"])]())
        data = b"".join(requests)
        if rng.random() < 0.06:
            data = author.damage(data)
        fails = rng.random() < 0.05
        whole.fails = split.fails = fails
        left, right = clients[number]
        expected = left.say(data)
        pos = 0
        while pos < len(data):
            size = rng.choice([1, 2, 3, 7, 24, 100, 1000])
            right.send(data[pos : pos + size])
            pos += size
            if fails and rng.random() < 0.5:
                continue
        compare(expected, right.say(b""), data)
        whole.fails = split.fails = False
        if rng.random() < 0.2:
            seconds = rng.choice([0.005, 0.02, 1.5, 6])
            whole.advance(seconds)
            split.advance(seconds)
        if rng.random() < 0.08:
            for client in clients[number]:
                client.session.close()
            for server in (whole, split):
                server.run()
            clients[number] = (whole.connect(), split.connect())
        for (left, right), what in zip(clients, kinds, strict=True):
            compare(left.say(b""), right.say(b""), what.encode())
            if left.session.closing != right.session.closing:
                raise Finding("one of two connections is closing")
        learn(author, whole)
        check_books(whole)
        check_books(split)
    finish(whole, [left for left, _ in clients], kinds)


def compare(expected: bytes, got: bytes, data: bytes) -> None:
    """Whether two servers have answered the same."""
    if expected != got:
        raise Finding(f"cut in pieces, {data!r} is answered\n{got!r}, not\n{expected!r}")


def finish(server: Server, clients: list[Client], kinds: list[str]) -> None:
    """End what is open, and see that each connection is in step and nothing leaks."""
    for _ in range(30):
        server.advance(1)
    for client, kind in zip(clients, kinds, strict=True):
        if client.session.closing:
            continue
        if kind == "binary" or isinstance(client.session._unfinished, Frames):  # a damaged first byte makes it one
            client.say(b"")
        else:
            reply = client.say(b"x" * 1024 + b"\r\n\r\nversion\r\n")
            for _ in range(20):
                server.advance(1)
            for _ in range(4):  # the first ones may have been a body
                reply += client.say(b"\r\nversion\r\n")
            swallows = isinstance(client.session._unfinished, Swallow)  # as long a body as a damaged line names
            if not (reply.endswith(b"VERSION 1.2.3\r\n") or client.session.closing or swallows):
                raise Finding(f"out of step: {reply!r}")
        client.session.close()
    server.run()
    broker = server.engine.broker
    server.advance(2**33)  # a touch may name a date as far as that
    if broker.named.in_use():
        raise Finding(f"named consumers are left: {broker.named.in_use()}")
    if broker.tokens:
        raise Finding(f"tokens are left: {broker.tokens}")
    for queue in broker.queues.values():
        if queue.waiters or queue.reserved or queue.delayed:
            raise Finding(f"{queue.name!r} is still waited for or held")
        if queue.items != len(queue.ready):
            raise Finding(f"{queue.name!r} counts {queue.items} items and holds {len(queue.ready)}")


def main() -> int:
    """Run until the time is over; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long")
    parser.add_argument("--seed", type=int, default=1, help="of the first conversation; the next has the next")
    parser.add_argument("--count", type=int, default=0, help="so many conversations instead of a time")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.minutes * 60
    seed = arguments.seed
    told = time.monotonic()
    while seed - arguments.seed < arguments.count if arguments.count else time.monotonic() < end:
        try:
            converse(seed)
        except Exception:
            traceback.print_exc()
            print(f"found with --seed {seed} --count 1", flush=True)
            return 1
        seed += 1
        if time.monotonic() - told > 60:
            told = time.monotonic()
            print(f"{seed - arguments.seed} conversations, no finding", flush=True)
    print(f"{seed - arguments.seed} conversations, no finding", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
