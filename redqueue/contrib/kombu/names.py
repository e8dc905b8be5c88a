"""How the queues of kombu are called on the server.

A queue has the name that it has in kombu, behind the virtual host's if there is
one, as in ``shop.celery``. Bytes that a key cannot hold, and those that mean
something to the server, are written as in a URL (``/`` is ``%2F``). Items of a
higher priority are in a queue of their own, ``celery.~6``. No queue of kombu can
be called so, since its ``~`` would be ``%7E``.
"""

from __future__ import annotations

import re

from amqp.exceptions import PreconditionFailed

MOST = 200
"""Bytes: the longest key, 250, less the options that stand behind it."""

_KNOWN = 10_000
_UNSAFE = re.compile(rb"[^A-Za-z0-9._@:=,*#$!-]")


def quoted(name: str) -> bytes:
    """A name as it stands in keys."""
    return _UNSAFE.sub(lambda byte: b"%%%02X" % byte[0][0], name.encode())


class Names:
    """The keys of one virtual host.

    :param virtual_host: ``/`` or empty for none
    """

    def __init__(self, virtual_host: str) -> None:
        host = virtual_host.strip("/")
        self._prefix = quoted(host) + b"." if host else b""
        self._known: dict[tuple[str, int], bytes] = {}

    def queue(self, name: str, priority: int = 0) -> bytes:
        """The key of a queue's items of one priority step.

        :raises amqp.exceptions.PreconditionFailed: for a name that is too long
        """
        known = self._known.get((name, priority))
        if known is not None:
            return known
        key = self._prefix + quoted(name) + (b".~%d" % priority if priority else b"")
        if len(key) > MOST:
            raise PreconditionFailed(f"the name of the queue {name!r} takes {len(key)} bytes, at most {MOST} will do")
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[name, priority] = key
        return key

    def bindings(self, exchange: str) -> bytes:
        """The key under which the bindings of an exchange are."""
        return self._prefix + b"~bindings." + quoted(exchange)

    def wake(self, channel: str) -> bytes:
        """The key that ends a channel's waiting."""
        return self._prefix + b"~wake." + quoted(channel)
