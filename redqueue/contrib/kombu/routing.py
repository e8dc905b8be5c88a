"""How a channel publishes: exchanges and their bindings, queues, priorities."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.transport import virtual

from redqueue.contrib.kombu import messages
from redqueue.contrib.kombu.bindings import LEASE, Binding
from redqueue.contrib.kombu.messages import Message
from redqueue.contrib.kombu.wire import ServerLost, check_stored

if TYPE_CHECKING:
    from redqueue.contrib.kombu.transport import Transport

BATCH = 16
"""Messages asked for in one go."""
NO_LIMIT = b"/prefetch=1073741824"
"""On a get: the server leaves it to the client to count what it holds."""

_TRANSIENT = 1
"""The delivery mode of a message that may be lost."""

Row = tuple[str, "str | None", str]
"""A binding as kombu has it: routing key, pattern, queue."""


@dataclass(frozen=True)
class Traits:
    """What was declared of a queue.

    :ivar ttl: seconds that its messages live; 0 for ever
    :ivar temporary: whether it goes with its consumer
    """

    ttl: float = 0.0
    temporary: bool = False


def traits(auto_delete: bool = False, exclusive: bool = False, arguments: Any = None, **_: Any) -> Traits:
    """What the declaration of a queue says, in AMQP's words."""
    arguments = arguments or {}
    expires = float(arguments.get("x-expires") or 0) / 1000
    ttl = float(arguments.get("x-message-ttl") or 0) / 1000
    temporary = bool(auto_delete or exclusive or expires)
    if temporary:
        ttl = min(ttl or expires or LEASE, max(expires, LEASE))
    return Traits(ttl, temporary)


class RoutingChannel(virtual.Channel):
    """The part of a channel that receives nothing."""

    supports_fanout = True
    connection: Transport

    priority_steps: Iterable[int] = (0, 3, 6, 9)
    """Each message goes to the highest step that is not above its priority."""
    transient_ttl = 86400.0
    """Seconds that a transient message lives in a queue that this process has not declared; 0 for ever."""

    from_transport_options = (*virtual.Channel.from_transport_options, "priority_steps", "transient_ttl")

    def __init__(self, connection: Transport, **options: Any) -> None:
        super().__init__(connection, **options)
        steps = list(self.priority_steps)
        if not all(isinstance(step, int) and self.min_priority <= step <= self.max_priority for step in steps):
            raise ValueError(f"transport option priority_steps takes numbers from 0 to 9, not {steps!r}")
        self._steps = sorted({0, *steps}, reverse=True)

    @property
    def broker(self) -> Transport:
        """The transport.

        :raises ServerLost: where the channel is closed, so that whoever retries makes a new one
        """
        if self.connection is None:
            raise ServerLost("the channel is closed")
        return self.connection

    @property
    def state(self) -> Any:
        """Exchanges and bindings that this connection has declared."""
        return self.broker.state

    # -- publishing -----------------------------------------------------------

    def _put(self, queue: str, message: Message, **options: Any) -> None:
        declared = self.broker.declared.get(queue)
        ttl = self.broker.bindings.ttl(queue) if declared is None else declared.ttl
        if ttl is None:
            ttl = self.transient_ttl if message["properties"].get("delivery_mode") == _TRANSIENT else 0.0
        self._put_all(message, {queue: ttl})

    def _put_fanout(self, exchange: str, message: Message, routing_key: str, **options: Any) -> None:
        self._put_all(message, {binding.queue: binding.ttl for binding in self._bindings(exchange)})

    def _put_all(self, message: Message, ttls: dict[str, float]) -> None:
        """Put a message on several queues.

        :param ttls: seconds that messages live in each of them
        :raises amqp.exceptions.ResourceError: where the server does not take it
        """
        payload = messages.payload(message)
        delay = messages.delay(message)
        option = b"/delay=%.3f" % delay if delay else b""
        priority = self._get_message_priority(message)
        step = next(step for step in self._steps if step <= priority)
        requests = []
        for queue, most in ttls.items():
            ttl = messages.seconds_to_live(message, most)
            exptime = messages.exptime(ttl + delay if ttl else 0)
            key = self.broker.names.queue(queue, step) + option
            requests.append(b"set %b 0 %d %d\r\n%b\r\n" % (key, exptime, len(payload), payload))
        for reply in self.broker.command.ask(b"".join(requests), len(requests)):
            check_stored(reply, len(payload))

    # -- queues and bindings --------------------------------------------------

    def _new_queue(self, queue: str, **declaration: Any) -> None:
        self.broker.names.queue(queue, self._steps[0])
        self.broker.declared[queue] = traits(**declaration)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        declared = self.broker.declared.get(queue, Traits())
        binding = Binding(exchange, routing_key, pattern, queue, declared.ttl, declared.temporary)
        self.broker.bindings.add(self.broker.command, binding)

    def queue_unbind(
        self, queue: str, exchange: str | None = None, routing_key: str = "", arguments: Any = None, **options: Any
    ) -> None:
        """Undo a binding."""
        exchange = exchange or "amq.direct"
        self.state.binding_delete(queue, exchange, routing_key)
        self._forget_rows(exchange, lambda row: (row[2], row[0]) == (queue, routing_key))
        self._remove_bindings(exchange, lambda each: (each.queue, each.routing_key) == (queue, routing_key))

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **options: Any) -> None:
        """Drop a queue's messages and its bindings."""
        if (if_empty and self._size(queue)) or (if_unused and self._figure(queue, b"consumers")):
            return
        self._purge(queue)
        for exchange in {exchange for exchange, *_ in self.state.queue_bindings(queue)}:
            self._forget_rows(exchange, lambda row: row[2] == queue)
            self._remove_bindings(exchange, lambda binding: binding.queue == queue)
        self.state.queue_bindings_delete(queue)
        self.broker.declared.pop(queue, None)

    def get_table(self, exchange: str) -> list[Row]:
        """The bindings of an exchange: routing key, pattern, queue."""
        table = [(binding.routing_key, binding.pattern, binding.queue) for binding in self._bindings(exchange)]
        known = self.state.exchanges.get(exchange, {}).get("table", [])
        return list(dict.fromkeys((*table, *map(tuple, known))))

    def _forget_rows(self, exchange: str, is_over: Callable[[Row], bool]) -> None:
        table = self.state.exchanges.get(exchange, {}).get("table", [])
        table[:] = [row for row in table if not is_over(row)]

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> Any:
        if exchange and self.typeof(exchange).type == "direct":
            found = self.typeof(exchange).lookup(self.get_table(exchange), exchange, routing_key, None)
            if not found:  # a reply queue may be a moment old; who listens to topics can do without a moment of them
                self.broker.bindings.of(self.broker.command, exchange, cached=False)
        return super()._lookup(exchange, routing_key, default)

    def _bindings(self, exchange: str) -> Iterable[Binding]:
        return self.broker.bindings.of(self.broker.command, exchange)

    def _remove_bindings(self, exchange: str, is_over: Callable[[Binding], bool]) -> None:
        self.broker.bindings.remove(self.broker.command, exchange, is_over)

    def _size(self, queue: str) -> int:
        return self._figure(queue, b"items") - self._figure(queue, b"reserved")

    def _purge(self, queue: str) -> int:
        size = self._size(queue)
        for step in self._steps:
            key = self.broker.names.queue(queue, step)
            (reply,) = self.broker.command.ask(b"flush %b\r\n" % key)
            if reply.line != b"OK":  # it takes an administrator
                self._empty(key)
        return size

    def _empty(self, key: bytes) -> None:
        """Take and acknowledge all that is ready."""
        request = b"gats 60 %b%b/t=0\r\n" % (key, NO_LIMIT)
        while values := [value for reply in self.broker.command.ask(request * BATCH, BATCH) for value in reply.values]:
            ends = b"".join(b"md %b C%d\r\n" % (key, value.token) for value in values)
            self.broker.command.ask(ends, len(values))

    def _has_queue(self, queue: str, **options: Any) -> bool:
        return queue in self.broker.declared or self._figure(queue, b"items") > 0

    def _figure(self, queue: str, name: bytes) -> int:
        """A figure of ``me``, of all the queue's priorities."""
        keys = [self.broker.names.queue(queue, step) for step in self._steps]
        replies = self.broker.command.ask(b"".join(b"me %b\r\n" % key for key in keys), len(keys))
        words = itertools.chain.from_iterable(reply.line.split()[2:] for reply in replies)
        return sum(int(value) for word, _, value in (word.partition(b"=") for word in words) if word == name)
