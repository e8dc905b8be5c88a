"""What the load says to each server, and which replies it takes.

A conversation is a generator for one connection: it yields the bytes to send
and is sent the bytes that came, or yields None where it wants the rest of a
reply. Replies are compared whole, bodies included; most cost one comparison.
A conversation ends after the item at hand once ``stop`` is no longer empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

BODY = b"0123456789abcdef" * 4
"""The payload of every item: 64 bytes."""

Conversation = Generator[bytes | None, bytes, None]
Matched = TypeVar("Matched")

CRLF = b"\r\n"
STORED = b"STORED\r\n"
DELETED = b"DELETED\r\n"
SHOWN_BYTES = 120


class ReplyError(Exception):
    """A reply that is not the one due; the message shows its beginning."""

    def __init__(self, reply: bytes) -> None:
        super().__init__(f"wrong reply: {reply[:SHOWN_BYTES]!r}")


@dataclass(frozen=True)
class Dialect:
    """How one kind of server is spoken to.

    :ivar hello: a request that changes nothing and has a reply of one line
    :ivar sized: asks how many items the server holds, and the pattern that finds the number in the reply
    :ivar cycle: ``cycle(number, stop)``: put, take and acknowledge, over and over, on connection ``number``
    :ivar puts: ``puts(number, stop, depth, batches)``: put ``depth`` items at once, ``batches`` times (None: until
        ``stop``)
    """

    hello: bytes
    sized: tuple[bytes, re.Pattern[bytes]]
    cycle: Callable[[int, Sequence[object]], Conversation]
    puts: Callable[[int, Sequence[object], int, int | None], Conversation]


def due(reply: bytes, matches: Callable[[bytes], Matched], word: bytes, lines: int) -> Generator[None, bytes, Matched]:
    """Await the rest of ``reply`` and return what ``matches`` makes of it.

    :param matches: true for the reply that is due
    :param word: how that begins
    :param lines: how many lines it has; another beginning is an error's, which has one
    :raises ReplyError: when it is another
    """
    while reply.count(CRLF) < lines:
        if CRLF in reply and not reply.startswith(word):
            break
        reply += yield None
    matched = matches(reply)
    if not matched:
        raise ReplyError(reply)
    return matched


def _numbers(batches: int | None) -> Iterable[int]:
    return count() if batches is None else range(batches)


# -- memcached and RedQueue -------------------------------------------------------


def _memcache_cycle(key: bytes, stop: Sequence[object]) -> Conversation:
    put = b"set %b 0 0 %d\r\n%b\r\n" % (key, len(BODY), BODY)
    take = b"get %b\r\n" % key
    value = b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(BODY), BODY)
    acknowledge = b"delete %b\r\n" % key
    while not stop:
        reply = yield put
        if reply != STORED:
            yield from due(reply, STORED.__eq__, b"STORED", 1)
        reply = yield take
        if reply != value:
            yield from due(reply, value.__eq__, b"VALUE", 3)
        reply = yield acknowledge
        if reply != DELETED:
            yield from due(reply, DELETED.__eq__, b"DELETED", 1)


def _memcache_puts(
    requests: Callable[[int], bytes], stop: Sequence[object], depth: int, batches: int | None
) -> Conversation:
    stored = STORED * depth
    for number in _numbers(batches):
        if stop:
            return
        reply = yield requests(number)
        if reply != stored:
            yield from due(reply, stored.__eq__, b"STORED", depth)


def _redqueue_cycle(number: int, stop: Sequence[object]) -> Conversation:
    return _memcache_cycle(b"q", stop)


def _redqueue_puts(number: int, stop: Sequence[object], depth: int, batches: int | None) -> Conversation:
    put = b"set q 0 0 %d\r\n%b\r\n" % (len(BODY), BODY) * depth
    return _memcache_puts(lambda batch: put, stop, depth, batches)


def _memcached_cycle(number: int, stop: Sequence[object]) -> Conversation:
    return _memcache_cycle(b"k%d" % number, stop)


def _memcached_puts(number: int, stop: Sequence[object], depth: int, batches: int | None) -> Conversation:
    # A key of its own for every item, since a second set of a key would replace the first.
    put = b"".join(b"set k%d:########:%d 0 0 %d\r\n%b\r\n" % (number, i, len(BODY), BODY) for i in range(depth))
    return _memcache_puts(lambda batch: put.replace(b"########", b"%08d" % batch), stop, depth, batches)


# -- beanstalkd ---------------------------------------------------------------------

_BEANSTALK_PUT = b"put 0 0 300 %d\r\n%b\r\n" % (len(BODY), BODY)
_BEANSTALK_RESERVED = re.compile(rb"RESERVED (\d+) %d\r\n%b\r\n" % (len(BODY), BODY)).fullmatch


def _beanstalk_cycle(number: int, stop: Sequence[object]) -> Conversation:
    inserted = re.compile(rb"INSERTED \d+\r\n").fullmatch
    while not stop:
        reply = yield _BEANSTALK_PUT
        if not inserted(reply):
            yield from due(reply, inserted, b"INSERTED", 1)
        reply = yield b"reserve-with-timeout 0\r\n"
        reserved = _BEANSTALK_RESERVED(reply) or (yield from due(reply, _BEANSTALK_RESERVED, b"RESERVED", 2))
        assert reserved
        reply = yield b"delete %b\r\n" % reserved[1]
        if reply != DELETED:
            yield from due(reply, DELETED.__eq__, b"DELETED", 1)


def _beanstalk_puts(number: int, stop: Sequence[object], depth: int, batches: int | None) -> Conversation:
    return _counted_puts(_BEANSTALK_PUT, rb"INSERTED \d+\r\n", stop, depth, batches)


def _counted_puts(put: bytes, answer: bytes, stop: Sequence[object], depth: int, batches: int | None) -> Conversation:
    matches = re.compile(rb"(?:%b){%d}" % (answer, depth)).fullmatch
    for _ in _numbers(batches):
        if stop:
            return
        reply = yield put * depth
        if not matches(reply):
            yield from due(reply, matches, answer[:1], depth)


# -- redis --------------------------------------------------------------------------


def _redis_command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


_REDIS_PUT = _redis_command(b"LPUSH", b"q", BODY)


def _redis_cycle(number: int, stop: Sequence[object]) -> Conversation:
    processing = b"q:p%d" % number
    take = _redis_command(b"RPOPLPUSH", b"q", processing)
    acknowledge = _redis_command(b"LREM", processing, b"1", BODY)
    value = b"$%d\r\n%b\r\n" % (len(BODY), BODY)
    pushed = re.compile(rb":\d+\r\n").fullmatch
    removed = b":1\r\n"
    while not stop:
        reply = yield _REDIS_PUT
        if not pushed(reply):
            yield from due(reply, pushed, b":", 1)
        reply = yield take
        if reply != value:
            yield from due(reply, value.__eq__, b"$%d" % len(BODY), 2)
        reply = yield acknowledge
        if reply != removed:
            yield from due(reply, removed.__eq__, b":", 1)


def _redis_puts(number: int, stop: Sequence[object], depth: int, batches: int | None) -> Conversation:
    return _counted_puts(_REDIS_PUT, rb":\d+\r\n", stop, depth, batches)


_MEMCACHE_SIZE = (b"stats\r\n", re.compile(rb"STAT curr_items (\d+)\r\n"))

DIALECTS = {
    "RedQueue": Dialect(b"version\r\n", _MEMCACHE_SIZE, _redqueue_cycle, _redqueue_puts),
    "memcached": Dialect(b"version\r\n", _MEMCACHE_SIZE, _memcached_cycle, _memcached_puts),
    "beanstalkd": Dialect(
        b"list-tube-used\r\n",
        (b"stats-tube default\r\n", re.compile(rb"current-jobs-ready: (\d+)\n")),
        _beanstalk_cycle,
        _beanstalk_puts,
    ),
    "redis": Dialect(
        _redis_command(b"PING"), (_redis_command(b"LLEN", b"q"), re.compile(rb":(\d+)\r\n")), _redis_cycle, _redis_puts
    ),
}
"""By the name of the server."""
