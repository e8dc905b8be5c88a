"""Roles, the queues they hold for, and the users who have them.

A grant is a role and a pattern of queue names, in the language of topics and of
the settings' tables (:mod:`redqueue.engine.topics`): words with dots between
them, ``*`` for one word, ``#`` for any number of words. A pattern without a
``+`` holds for the children of what it matches, too; one with a ``+``
(``orders+audit``, ``logs.#+pager``) for such children only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum

from redqueue.engine.topics import ANY, ONE, parts, words

EVERYTHING = "#"
"""The pattern of all queues."""
MAX_PATTERN = 250
"""Bytes, as of a queue's name."""
_CACHED_DECISIONS = 4096
_NO_NAME = re.compile(r"[\x00-\x20\x7f]")


class Role(Enum):
    """What somebody may do with a queue."""

    READER = "reader"
    """Take items, acknowledge them and give them back; look at them and at the queue's figures."""
    WRITER = "writer"
    """Put items."""
    ADMIN = "admin"
    """All of that, and the operators' verbs."""


class BadGrant(ValueError):
    """A grant that cannot be; the message says what to write instead."""


class Grant:
    """A role, for the queues that a pattern matches.

    :param pattern: a queue's name or a pattern
    :raises BadGrant: for what is no pattern
    """

    __slots__ = ("_child", "_parent", "pattern", "role")

    def __init__(self, role: Role, pattern: str) -> None:
        _check(pattern)
        self.role = role
        self.pattern = pattern
        parent, child = parts(pattern.encode())
        self._parent = words(parent)
        self._child = words(child) if child else ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grant) and (self.role, self.pattern) == (other.role, other.pattern)

    def __hash__(self) -> int:
        return hash((self.role, self.pattern))

    def __repr__(self) -> str:
        return f"{self.role.value}={self.pattern}"

    def covers(self, queue: bytes) -> bool:
        """Whether it holds for a queue.

        Reading a child whose parent is a pattern subscribes to all queues that match, which must all be covered then.
        """
        parent, child = parts(queue)
        if not _includes(self._parent, words(parent)):
            return False
        return not self._child or (child != b"" and _includes(self._child, words(child)))


def parse_grant(text: str) -> Grant:
    """The grant that is written as ``reader=orders.*``.

    :raises BadGrant: for what is none
    """
    role, equals, pattern = text.partition("=")
    try:
        return Grant(Role(role), pattern if equals else "")
    except BadGrant:
        raise
    except ValueError:
        known = ", ".join(f"{each.value}=PATTERN" for each in Role)
        raise BadGrant(f"a role is written as one of {known}, not {text!r}") from None


def _check(pattern: str) -> None:
    if not pattern:
        raise BadGrant(f"a role wants the name of a queue or a pattern, such as reader=mail.*, or {EVERYTHING} for all")
    if _NO_NAME.search(pattern) or len(pattern.encode()) > MAX_PATTERN:
        raise BadGrant(f"a pattern has up to {MAX_PATTERN} bytes, and no spaces or control characters, not {pattern!r}")
    for word in words(pattern.replace("+", ".").encode()):
        if word not in (ONE, ANY) and (ONE in word or ANY in word):
            raise BadGrant(
                f"* and # stand for whole words between dots, as in mail.* for mail.in, and not for a part of one, as "
                f"in {word.decode()!r}"
            )


def _includes(pattern: Sequence[bytes], name: Sequence[bytes]) -> bool:
    """Whether ``pattern`` matches all that ``name`` stands for, which may be a pattern itself.

    Where that can not be told word by word, the answer is no.
    """
    states = _with_skips(pattern, {0})
    for word in name:
        following = set()
        for state in states:
            if state == len(pattern):
                continue
            expected = pattern[state]
            if expected == ANY:
                following.add(state)
            elif expected == word or (expected == ONE and word != ANY):
                following.add(state + 1)
        states = _with_skips(pattern, following)
    return len(pattern) in states


def _with_skips(pattern: Sequence[bytes], states: set[int]) -> set[int]:
    """``states``, and those behind each ``#`` there, which may stand for no word."""
    for state in sorted(states):
        while state < len(pattern) and pattern[state] == ANY:
            state += 1
            states.add(state)
    return states


class User:
    """Somebody who is known, and what they may do.

    :ivar rules_all: whether they are admin of all queues, and so of the server
    """

    __slots__ = ("_decisions", "grants", "name", "rules_all")

    def __init__(self, name: str, grants: Iterable[Grant]) -> None:
        self.name = name
        self.grants = tuple(grants)
        self.rules_all = any(grant.role is Role.ADMIN and grant.pattern == EVERYTHING for grant in self.grants)
        self._decisions: dict[tuple[Role, bytes], bool] = {}

    def __repr__(self) -> str:
        return f"User({self.name!r}, {self.grants!r})"

    def may(self, role: Role, queue: bytes) -> bool:
        """Whether they have a role for a queue, which need not be there; an admin has the others too."""
        if self.rules_all:
            return True
        found = self._decisions.get((role, queue))
        if found is None:
            if len(self._decisions) >= _CACHED_DECISIONS:
                self._decisions.clear()
            found = self._decisions[role, queue] = self._decide(role, queue)
        return found

    def _decide(self, role: Role, queue: bytes) -> bool:
        return any(grant.role in (role, Role.ADMIN) and grant.covers(queue) for grant in self.grants)
