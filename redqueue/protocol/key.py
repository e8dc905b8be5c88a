"""A key on the wire: the name of a queue and its options (CONTRACT section 4)."""

from __future__ import annotations

import re

from redqueue.protocol import replies

MAX_KEY = 250
"""Bytes (memcached's KEY_MAX_LENGTH)."""
MAX_WAIT_MS = 2**31 - 1

_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f]")
_LATER = {b"or": "/or", b"as": "/as=", b"delay": "/delay="}


class BadKey(ValueError):
    """A key that no request may carry.

    :ivar reply: what to answer
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reply = replies.client_error(reason)


class Key:
    """A key of a get, parsed.

    :ivar wire: as sent, options included: the VALUE line repeats it
    :ivar queue: the name of the queue
    :ivar opens: whether an item is to be reserved
    :ivar closes: whether what the consumer holds is acknowledged first
    :ivar aborts: whether what the consumer holds is given back
    :ivar peek: index of the ready item to show without reserving it, or None
    :ivar wait: seconds to wait for an item; None for the queue's setting
    """

    __slots__ = ("aborts", "closes", "opens", "peek", "queue", "wait", "wire")

    def __init__(self, wire: bytes) -> None:
        self.wire = wire
        self.queue = wire
        self.opens = True
        self.closes = False
        self.aborts = False
        self.peek: int | None = None
        self.wait: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the key is the queue's name and nothing else."""
        return self.queue is self.wire


def check(wire: bytes) -> None:
    """Raise :class:`BadKey` where memcached's rules for keys are broken."""
    if len(wire) > MAX_KEY:
        raise BadKey(f"key too long: {len(wire)} bytes, at most {MAX_KEY}")
    if _FORBIDDEN.search(wire):
        raise BadKey("key has a control character")


def split(wire: bytes) -> tuple[bytes, list[tuple[bytes, bytes | None]]]:
    """The queue's name and the options, leftmost first, each with the text after its ``=`` or None.

    Options are taken from the right end; a ``/`` that starts none is part of the name.
    """
    check(wire)
    name, options = wire, list[tuple[bytes, bytes | None]]()
    while True:
        head, slash, tail = name.rpartition(b"/")
        word, equals, value = tail.partition(b"=")
        if not slash or not _is_option(word, bool(equals)):
            break
        options.insert(0, (word, value if equals else None))
        name = head
    if not name:
        raise BadKey("key has no queue name")
    return name, options


def _is_option(word: bytes, has_value: bool) -> bool:
    if has_value:
        return word in (b"t", b"peek", b"as", b"delay")
    return word in (b"open", b"close", b"abort", b"peek", b"or")


def parse_name(wire: bytes) -> bytes:
    """The queue a verb other than get names.

    :raises BadKey: for an option too, since those belong to get
    """
    if b"/" not in wire:
        check(wire)
        return wire
    name, options = split(wire)
    if options:
        raise BadKey(f"option /{options[-1][0].decode()} does not go with this command")
    return name


def parse(wire: bytes) -> Key:
    """The key of a get.

    :raises BadKey: for a bad key, a bad option value or options that contradict each other
    """
    key = Key(wire)
    if b"/" not in wire:
        check(wire)
        return key
    name, options = split(wire)
    if not options:
        return key
    key.queue = name
    words = {word for word, _ in options}
    for word, value in options:
        if word in _LATER:
            raise BadKey(f"option {_LATER[word]} is not in this version")
        if word == b"t":
            key.wait = _number(word, value, MAX_WAIT_MS) / 1000
        elif word == b"peek":
            key.peek = 0 if value is None else _number(word, value, 2**31)
    if b"peek" in words and len(words) > 1:
        raise BadKey("option /peek goes with no other")
    if b"abort" in words and len(words) > 1:
        raise BadKey("option /abort goes with no other")
    key.closes = b"close" in words
    key.aborts = b"abort" in words
    key.opens = bool(words & {b"open", b"t"})
    return key


def _number(word: bytes, value: bytes | None, most: int) -> int:
    if value is None or not value.isdigit() or len(value) > 12 or int(value) > most:
        raise BadKey(f"option /{word.decode()}= takes a whole number from 0 to {most}")
    return int(value)
