"""One attempt to authenticate, whichever protocol it came by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from redqueue.access.roles import User
from redqueue.protocol.session import AUTHENTICATING, COMMIT, Session

MAX_CREDENTIALS = 512
"""Bytes of name and password, and what stands between them."""
MOST_REFUSALS = 8
"""Requests that a client may send in vain before it is told to go."""


class Checker(Protocol):
    """Who knows users (:class:`redqueue.access.authenticator.Authenticator`)."""

    def submit(self, name: str, password: bytes, peer: str, done: Callable[[User | None], None]) -> bool:
        """Call ``done`` with the user or None, perhaps at once; False where that is too much for now."""


def attempt(
    session: Session,
    checker: Checker,
    name: bytes,
    password: bytes,
    succeed: Callable[[User], None],
    fail: Callable[[bool], None],
) -> None:
    """Find out who a client is; it stalls meanwhile.

    :param succeed: answers, and lets the client in
    :param fail: answers; takes whether there was no time to look. The connection is closed then
    """

    def done(user: User | None) -> None:
        if session.closing:
            return
        session.stalled = COMMIT  # to be resumed in the next tick
        session.counters.auth_cmds += 1
        if user is not None:
            succeed(user)
        else:
            session.counters.auth_errors += 1
            fail(False)
            session.drop_input()
            session.close_after_reply("authentication failure")
        session.announce()

    session.stalled = AUTHENTICATING
    session.pause_input()
    if not checker.submit(name.decode(errors="replace"), password, session.peer, done):
        session.stalled = COMMIT
        session.counters.auth_errors += 1
        fail(True)
        session.drop_input()
        session.close_after_reply("too many attempts to authenticate at a time")
        session.announce()
