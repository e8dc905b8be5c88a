"""A key on the wire: the name of a queue and its options (CONTRACT section 4)."""

from __future__ import annotations

import re
from typing import Final

from redqueue.engine.subscriptions import QUEUE as SUBSCRIPTIONS
from redqueue.protocol import replies

MAX_KEY: Final = 250
"""Bytes (memcached's KEY_MAX_LENGTH)."""
MAX_WAIT_MS: Final = 2**31 - 1
MAX_DELAY: Final = 2**31 - 1
"""Seconds."""
MAX_PREFETCH: Final = 2**30

_FORBIDDEN: Final = re.compile(rb"[\x00-\x20\x7f]")
_DELAY: Final = re.compile(rb"\d{1,10}(\.\d{1,9})?")
_WITH_VALUE: Final = {b"t", b"peek", b"as", b"delay", b"prefetch"}
_ALONE: Final = {b"open", b"close", b"abort", b"peek", b"or"}

Option = tuple[bytes, bytes | None]
"""Its word, and the text after its ``=`` or None."""


class BadKey(ValueError):
    """A key that no request may carry.

    :ivar reply: what to answer
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reply = replies.client_error(reason)


class Key:
    """A key, parsed.

    :ivar wire: as sent, options included: the VALUE line repeats it
    :ivar queue: the name of the queue
    :ivar opens: whether an item is to be reserved
    :ivar closes: whether what the consumer holds is acknowledged first
    :ivar aborts: whether what the consumer holds is given back
    :ivar peek: index of the ready item to show without reserving it, or None
    :ivar wait: seconds to wait for an item; None for the queue's setting
    :ivar joins: whether the keys after it are left alone where this queue has an item
    :ivar consumer: the name of the consumer to act as; None for the connection
    :ivar delay: seconds before the item is ready
    :ivar prefetch: how many items of a queue the consumer may hold from here on; 0 for the queue's setting
    """

    __slots__ = ("aborts", "closes", "consumer", "delay", "joins", "opens", "peek", "prefetch", "queue", "wait", "wire")

    def __init__(self, wire: bytes) -> None:
        self.wire = wire
        self.queue = wire
        self.opens = True
        self.closes = False
        self.aborts = False
        self.peek: int | None = None
        self.wait: float | None = None
        self.joins = False
        self.consumer: bytes | None = None
        self.delay = 0.0
        self.prefetch = 0

    @property
    def is_plain(self) -> bool:
        """Whether the key is the queue's name and nothing else."""
        return self.queue is self.wire


def check(wire: bytes) -> None:
    """Raise :class:`BadKey` where memcached's rules for keys are broken."""
    _check_length(wire)
    if _FORBIDDEN.search(wire):
        raise BadKey("key has a control character")


def _check_length(wire: bytes) -> None:
    if len(wire) > MAX_KEY:
        raise BadKey(f"key too long: {len(wire)} bytes, at most {MAX_KEY}")


def split(wire: bytes) -> tuple[bytes, list[Option]]:
    """The queue's name and the options, leftmost first.

    Options are taken from the right end; a ``/`` that starts none is part of the name.
    """
    name, options = wire, list[Option]()
    while True:
        head, slash, tail = name.rpartition(b"/")
        word, equals, value = tail.partition(b"=")
        if not slash or word not in (_WITH_VALUE if equals else _ALONE):
            break
        options.insert(0, (word, value if equals else None))
        name = head
    if not name:
        raise BadKey("key has no queue name")
    return name, options


def parse_name(wire: bytes) -> bytes:
    """The queue a verb names that takes no options.

    :raises BadKey: for a bad key, or an option
    """
    return parse(wire, ()).queue


def parse_put(wire: bytes) -> Key:
    """The key of a verb that puts an item: ``/delay=`` may stand behind the name."""
    return parse(wire, (b"delay",))


def parse_holder(wire: bytes) -> Key:
    """The key of a verb for what a consumer holds: ``/as=`` may stand behind the name."""
    return parse(wire, (b"as",))


def parse(wire: bytes, allowed: tuple[bytes, ...], *, raw: bool = False) -> Key:
    """A key of which only some options make sense.

    :param allowed: words of those options
    :param raw: whether the name may be any bytes, as it may in a base64 key
    :raises BadKey: for a bad key, a bad option value, an option given twice or one that is not allowed
    """
    if raw:
        _check_length(wire)
        if wire.startswith(SUBSCRIPTIONS):
            raise BadKey("key begins as a name that the server keeps for itself")
    else:
        check(wire)
    key = Key(wire)
    if b"/" not in wire:
        if not wire:
            raise BadKey("key has no queue name")
        return key
    name, options = split(wire)
    if not options:
        return key
    key.queue = name
    seen = set[bytes]()
    for word, value in options:
        if word not in allowed:
            raise BadKey(f"option /{word.decode()} does not go with this command")
        if word in seen:
            raise BadKey(f"option /{word.decode()} is given twice")
        seen.add(word)
        _set_option(key, word, value)
    return key


def parse_get(wire: bytes, allowed: tuple[bytes, ...] = (*sorted(_WITH_VALUE | _ALONE),), *, raw: bool = False) -> Key:
    """The key of a get.

    :raises BadKey: also for options that contradict each other
    """
    key = parse(wire, allowed, raw=raw)
    if key.is_plain:
        return key
    words = {word for word, _ in split(wire)[1]}
    if key.peek is not None and words - {b"peek", b"or"}:
        raise BadKey("option /peek goes with no other but /or")
    if key.aborts and words - {b"abort", b"delay", b"as"}:
        raise BadKey("option /abort goes with no other but /delay= and /as=")
    if b"delay" in words and not key.aborts:
        raise BadKey("option /delay= goes with /abort in a get")
    key.opens = bool(words & {b"open", b"t"}) or not words & {b"close", b"abort", b"peek"}
    if key.joins and not key.opens and key.peek is None:
        raise BadKey("option /or goes with /close only where /open does too")
    if key.prefetch and not key.opens:
        raise BadKey("option /prefetch= goes with a get that reserves")
    return key


def _set_option(key: Key, word: bytes, value: bytes | None) -> None:
    if word == b"t":
        key.wait = _number(word, value, MAX_WAIT_MS) / 1000
    elif word == b"peek":
        key.peek = 0 if value is None else _number(word, value, 2**31)
    elif word == b"as":
        if not value:
            raise BadKey("option /as= takes the name of a consumer")
        key.consumer = value
    elif word == b"delay":
        if value is None or not _DELAY.fullmatch(value) or float(value) > MAX_DELAY:
            raise BadKey(f"option /delay= takes seconds from 0 to {MAX_DELAY}, with a fraction or without")
        key.delay = float(value)
    elif word == b"prefetch":
        key.prefetch = _number(word, value, MAX_PREFETCH, least=1)
    elif word == b"or":
        key.joins = True
    elif word == b"close":
        key.closes = True
    elif word == b"abort":
        key.aborts = True


def _number(word: bytes, value: bytes | None, most: int, least: int = 0) -> int:
    if value is None or not value.isdigit() or len(value) > 12 or not least <= int(value) <= most:
        raise BadKey(f"option /{word.decode()}= takes a whole number from {least} to {most}")
    return int(value)
