"""Which queues are bound to an exchange, for all clients to see: items of a queue that are only looked at.

A binding of a durable queue stays until it is undone. One of a queue that goes
with its consumer is a lease: its consumer puts it anew before it expires, and
what a consumer that was killed has left behind goes by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import monotonic, sleep

from redqueue.contrib.kombu.names import Names
from redqueue.contrib.kombu.wire import Connection, check_stored

LEASE = 90
"""Seconds that the binding of a temporary queue lives without its consumer."""
RENEWAL = 60
"""Seconds after which the consumer puts it anew."""
CACHED = 1.0
"""Seconds that a publisher goes by what it has read of an exchange."""

_LOOK_MOST = 30
"""Items asked for in one line, which may have 8 KiB."""
_IN_HANDS_SECONDS = 2.0
"""How long to wait for those who have bindings in their hands, to undo some."""
_ATTEMPTS = 5
_KNOWN_QUEUES = 10_000


@dataclass(frozen=True)
class Binding:
    """A binding.

    :ivar pattern: the routing key as a regular expression, for an exchange of topics
    :ivar ttl: seconds that messages live in this queue, 0 for ever
    :ivar temporary: whether the queue goes with its consumer
    """

    exchange: str
    routing_key: str
    pattern: str | None
    queue: str
    ttl: float = 0.0
    temporary: bool = False

    def written(self) -> bytes:
        """As an item's payload."""
        return json.dumps(asdict(self)).encode()


def _read(payload: bytes) -> Binding | None:
    try:
        return Binding(**json.loads(payload))
    except (TypeError, ValueError):
        return None  # somebody else's item


class Bindings:
    """The bindings of all exchanges of one virtual host."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._cache: dict[str, tuple[float, frozenset[Binding]]] = {}
        self._leases: dict[Binding, float] = {}
        self._ttls: dict[str, float] = {}

    def of(self, connection: Connection, exchange: str, *, cached: bool = True) -> frozenset[Binding]:
        """The bindings of an exchange.

        :param cached: whether it will do as it was a moment ago
        """
        known = self._cache.get(exchange)
        now = monotonic()
        if cached and known is not None and now < known[0]:
            return known[1]
        found = frozenset(self._look(connection, self._names.bindings(exchange)))
        self._cache[exchange] = now + CACHED, found
        if len(self._ttls) > _KNOWN_QUEUES:
            self._ttls.clear()
        self._ttls.update({binding.queue: binding.ttl for binding in found})
        return found

    def ttl(self, queue: str) -> float | None:
        """Seconds that messages live in a queue, 0 for ever; None for one of which nothing has been read."""
        return self._ttls.get(queue)

    def add(self, connection: Connection, binding: Binding) -> None:
        """Bind a queue, for all to see."""
        if binding.temporary:
            self._leases[binding] = monotonic() + RENEWAL
        elif binding in self.of(connection, binding.exchange, cached=False):
            return
        self._put(connection, binding)
        self._cache.pop(binding.exchange, None)

    def remove(self, connection: Connection, exchange: str, is_over: Callable[[Binding], bool]) -> None:
        """Undo those bindings of an exchange for which ``is_over`` is true."""
        for binding in [lease for lease in self._leases if lease.exchange == exchange and is_over(lease)]:
            del self._leases[binding]
        self._cache.pop(exchange, None)
        key = self._names.bindings(exchange)
        for _ in range(_ATTEMPTS):
            if not any(map(is_over, self._look(connection, key))):
                return
            items, _ = _count(connection, key)
            taken = connection.ask(b"gats 30 %b/prefetch=1048576/t=0\r\n" % key * items, items)
            ends = []
            for value in (value for reply in taken for value in reply.values):
                taken_one = _read(value.payload)
                end = b"" if taken_one and is_over(taken_one) else b" I"
                ends.append(b"md %b%b C%d\r\n" % (key, end, value.token))
            connection.ask(b"".join(ends), len(ends))

    def renew(self, connection: Connection) -> None:
        """Put those leases anew that are about to run out."""
        now = monotonic()
        for binding, due in list(self._leases.items()):
            if now >= due:
                self._leases[binding] = now + RENEWAL
                self._put(connection, binding)

    def _put(self, connection: Connection, binding: Binding) -> None:
        payload = binding.written()
        seconds = LEASE if binding.temporary else 0
        key = self._names.bindings(binding.exchange)
        (reply,) = connection.ask(b"set %b 0 %d %d\r\n%b\r\n" % (key, seconds, len(payload), payload))
        check_stored(reply, len(payload))

    def _look(self, connection: Connection, key: bytes) -> Iterator[Binding]:
        """The bindings under a key, once nobody has one of them in its hands."""
        deadline = monotonic() + _IN_HANDS_SECONDS
        items, reserved = _count(connection, key)
        while reserved and monotonic() < deadline:
            sleep(0.01)
            items, reserved = _count(connection, key)
        lines = [
            b"get " + b" ".join(b"%b/peek=%d" % (key, n) for n in range(first, min(first + _LOOK_MOST, items)))
            for first in range(0, items, _LOOK_MOST)
        ]
        for reply in connection.ask(b"".join(line + b"\r\n" for line in lines), len(lines)):
            for value in reply.values:
                binding = _read(value.payload)
                if binding is not None:
                    yield binding


def _count(connection: Connection, key: bytes) -> tuple[int, int]:
    """How many items a queue has, and how many of them are reserved."""
    (reply,) = connection.ask(b"me %b\r\n" % key)
    figures = dict(word.split(b"=") for word in reply.line.split()[2:])
    return int(figures.get(b"items", 0)), int(figures.get(b"reserved", 0))
