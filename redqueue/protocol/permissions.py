"""What each verb needs, where clients authenticate: one table for all protocols.

It stands beside the verbs in :mod:`redqueue.protocol.commands`. A verb that is
not in it needs what the most dangerous ones need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from redqueue.access.roles import EVERYTHING, Role, User
from redqueue.protocol import replies
from redqueue.protocol.request import Request


@dataclass(frozen=True)
class Need:
    """A role for each queue that a request names, or one for all queues.

    :ivar role: None for none
    """

    role: Role | None
    everywhere: bool = False


NOTHING = Need(None)
READ = Need(Role.READER)
WRITE = Need(Role.WRITER)
OPERATE = Need(Role.ADMIN)
RULE = Need(Role.ADMIN, everywhere=True)

NEEDS: dict[bytes, Need] = {
    b"get": READ,
    b"gets": READ,
    b"gat": READ,
    b"gats": READ,
    b"mg": READ,
    b"touch": READ,
    b"delete": READ,
    b"md": READ,
    b"me": READ,
    b"set": WRITE,
    b"append": WRITE,
    b"add": WRITE,
    b"replace": WRITE,
    b"prepend": WRITE,
    b"incr": WRITE,
    b"decr": WRITE,
    b"ms": WRITE,
    b"ma": WRITE,
    b"cas": WRITE,
    b"flush": OPERATE,
    b"pause": OPERATE,
    b"resume": OPERATE,
    b"drop": OPERATE,
    b"redrive": OPERATE,
    b"readonly": RULE,
    b"drain": RULE,
    b"flush_all": RULE,
    b"verbosity": RULE,
    b"shutdown": RULE,
    b"stats": NOTHING,
    b"stats settings": RULE,
    b"stats conns": RULE,
    b"stats reset": RULE,
    b"stats queue": READ,
    b"version": NOTHING,
    b"quit": NOTHING,
    b"mn": NOTHING,
}
"""By verb; those of ``stats`` with their first word, where that has a need of its own. A swap (``cas``, and what means
the same in the other protocols) needs the role of a reader besides, for the queue of its token: :func:`may_end`.
What ``stats`` says of queues is what their readers may see."""

VERBS: dict[int, bytes] = {
    0x00: b"get",
    0x01: b"set",
    0x02: b"add",
    0x03: b"replace",
    0x04: b"delete",
    0x05: b"incr",
    0x06: b"decr",
    0x07: b"quit",
    0x08: b"flush_all",
    0x09: b"get",
    0x0A: b"mn",
    0x0B: b"version",
    0x0C: b"get",
    0x0D: b"get",
    0x0E: b"append",
    0x0F: b"prepend",
    0x10: b"stats",
    0x11: b"set",
    0x12: b"add",
    0x13: b"replace",
    0x14: b"delete",
    0x15: b"incr",
    0x16: b"decr",
    0x17: b"quit",
    0x18: b"flush_all",
    0x19: b"append",
    0x1A: b"prepend",
    0x1B: b"verbosity",
    0x1C: b"touch",
    0x1D: b"gat",
    0x1E: b"gat",
    0x23: b"gat",
    0x24: b"gat",
}
"""The verbs that the operations of the binary protocol are."""


def denial(user: User, verb: bytes, request: Request) -> bytes:
    """What to answer where ``user`` may not do what a request asks for; empty where they may."""
    need = NEEDS.get(verb, RULE)
    if verb == b"stats":
        need = NEEDS.get(b"stats " + request.words[0], need)
    if need.role is None:
        return b""
    if need.everywhere:
        return b"" if user.rules_all else _missing(need.role, EVERYTHING)
    for queue in queues_of(request):
        if not user.may(need.role, queue):
            return _missing(need.role, shown(queue))
    return b""


def queues_of(request: Request) -> Iterator[bytes]:
    """The queues that a request names."""
    if request.keys:
        for key in request.keys:
            yield key.queue
    else:
        yield request.queue


def may_end(user: User, queue: bytes) -> bytes:
    """What to answer where ``user`` may not acknowledge a reservation on ``queue``; empty where they may."""
    return b"" if user.may(Role.READER, queue) else _missing(Role.READER, shown(queue))


def shown(queue: bytes) -> str:
    """A queue's name, with what is not printable escaped as in a URL."""
    return quote_from_bytes(queue, "".join(map(chr, range(0x21, 0x7F))).replace("%", ""))


def _missing(role: Role, pattern: str) -> bytes:
    return replies.client_error(f"not permitted, it needs {role.value}={pattern}")
