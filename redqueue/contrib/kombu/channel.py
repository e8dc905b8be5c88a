"""A channel: the queues it consumes, what it holds of them, and how it publishes.

What it reserves belongs to a connection of its own, its line, on which it waits
for messages; all else goes over the command connection, which never waits. So
when the process dies, the server has everything back at once. Each reservation
has a deadline besides, for a process that hangs: the transport touches what is
held, as long as it lives.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any

from amqp.exceptions import ChannelError
from kombu.transport import virtual
from kombu.utils.scheduling import cycle_by_name
from kombu.utils.uuid import uuid

from redqueue.contrib.kombu import messages
from redqueue.contrib.kombu.bindings import LEASE, Binding
from redqueue.contrib.kombu.messages import Message
from redqueue.contrib.kombu.wire import Connection, Reply, ServerLost, Value, check_stored

if TYPE_CHECKING:
    from redqueue.contrib.kombu.transport import Transport

WAIT = 30.0
"""Seconds that a get waits at most before it is sent anew."""
LATE = 30.0
"""Seconds after which an answer to it is missing."""

_BATCH = 16
"""Messages asked for in one go."""
_LINE_MOST = 8000
"""Bytes of a request line, of which the server takes 8192."""
_PREFETCH = b"/prefetch=1073741824"
"""No limit: the channel counts what it holds by itself."""
_WAKE_SECONDS = 60
_TRANSIENT = 1

Row = tuple[str, "str | None", str]
"""A binding as kombu has it: routing key, pattern, queue."""

logger = logging.getLogger("redqueue.contrib.kombu")


@dataclass
class Held:
    """A reservation, and the message in it.

    :ivar queue: as kombu calls it
    """

    queue: str
    key: bytes
    token: int
    message: Message


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


class QoS(virtual.QoS):
    """How many messages the channel may hold."""

    def ack(self, delivery_tag: int) -> None:
        self.channel.acknowledge(delivery_tag)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: int, requeue: bool = False) -> None:
        self.channel.reject(delivery_tag, requeue)
        super().ack(delivery_tag)

    def restore_unacked(self) -> list[Any]:
        """Give everything back."""
        self._flush()
        self._delivered.clear()
        self.channel.give_back_all()
        return []


class Channel(virtual.Channel):
    """A channel. Made by the transport."""

    QoS = QoS
    supports_fanout = True
    do_restore = False
    connection: Transport

    priority_steps: Iterable[int] = (0, 3, 6, 9)
    """Each message goes to the highest step that is not above its priority."""
    queue_order_strategy = "round_robin"
    """Which of several queues comes first: ``round_robin``, ``sorted`` or ``priority``, as with kombu's Redis."""
    reserve_timeout = 60
    """Seconds after which the server takes back what a process holds that lives, but does nothing any more."""
    dead_letters = True
    """Whether a message that is rejected, not to be requeued, becomes a dead letter; else it is dropped."""
    transient_ttl = 86400.0
    """Seconds that a transient message lives in a queue that this process has not declared; 0 for ever."""

    from_transport_options = (
        *virtual.Channel.from_transport_options,
        "priority_steps",
        "queue_order_strategy",
        "reserve_timeout",
        "dead_letters",
        "transient_ttl",
    )

    def __init__(self, connection: Transport, **options: Any) -> None:
        super().__init__(connection, **options)
        self._check_options()
        self._steps = sorted(set(self.priority_steps) | {0}, reverse=True)
        self._order = cycle_by_name(self.queue_order_strategy)()
        self._wake_key = connection.names.wake(uuid())
        self._line: Connection | None = None
        self._keys: dict[bytes, str] = {}
        self._no_ack: set[str] = set()
        self._consumed: set[str] = set()
        self._asked = 0
        self._waits_until = 0.0
        self.touch_at = 0.0
        self._checking = 0
        self._inbox: deque[Held] = deque()
        self._held: dict[int, Held] = {}
        self._held_lock = threading.Lock()

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

    def _check_options(self) -> None:
        steps = list(self.priority_steps)
        if not all(isinstance(step, int) and self.min_priority <= step <= self.max_priority for step in steps):
            raise ValueError(f"transport option priority_steps takes numbers from 0 to 9, not {steps!r}")
        if not 3 <= self.reserve_timeout <= 86400:
            raise ValueError(f"transport option reserve_timeout takes 3 to 86400 seconds, not {self.reserve_timeout!r}")
        if self.queue_order_strategy not in ("round_robin", "sorted", "priority"):
            raise ValueError(
                "transport option queue_order_strategy takes 'round_robin', 'sorted' or 'priority', "
                f"not {self.queue_order_strategy!r}"
            )

    # -- consuming ------------------------------------------------------------

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> None:
        """Consume from ``queue``."""
        for step in self._steps:
            self._keys[self.broker.names.queue(queue, step)] = queue
        self._consumed.add(queue)
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        super().basic_consume(queue, no_ack, *args, **kwargs)
        self._order.update(self._active_queues)
        self._wake()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Consume no more, and give back what has come and was not delivered yet."""
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        self._order.update(self._active_queues)
        if queue is None:
            return
        if not self.closed:
            if self._held:
                self.broker.keep_touching(beyond_the_loop=True)
            self._end_waiting()
            for held in [held for held in self._inbox if held.queue == queue]:
                self._inbox.remove(held)
                self._give_back(held)

    def ask(self, seconds: float) -> None:
        """Ask the server for as many messages as the channel may have, unless it is asked already.

        :param seconds: how long to wait for the first one
        :raises ServerLost: where that is not possible
        """
        if self._asked or not self._active_queues:
            return
        room = self._room()
        if room <= 0:
            return
        if self._line is None:
            self._line = self.broker.connect()
        requests = self._gets(min(seconds, WAIT), room)
        self._asked = len(requests)
        self._waits_until = monotonic() + min(seconds, WAIT)
        self._line.send(b"".join(requests), *[self._got] * len(requests))

    @property
    def line(self) -> Connection | None:
        """The connection on which something may come, if there is one."""
        return self._line

    def is_answered_by(self, now: float) -> bool:
        """Whether an answer is on its way, since the waiting is over."""
        return self._checking > 0 or (self._asked > 0 and now >= self._waits_until)

    def check_answer(self) -> None:
        """See whether the answer to a get is missing.

        :raises ServerLost: where it is overdue
        """
        if self._asked and self._line is not None and monotonic() > self._waits_until + LATE:
            raise ServerLost(f"{self._line.address} has not answered a get for {WAIT + LATE:g} s")

    def deliver(self) -> bool:
        """Hand one message to its consumer; False where none is there."""
        with self._held_lock:
            if not self._inbox:
                return False
            held = self._inbox.popleft()
        self._order.rotate(held.queue)
        if held.queue not in self._no_ack:
            self._hold(held)
        try:
            self.broker._deliver(held.message, held.queue)
        except Exception:
            if held.token not in self.qos._delivered:  # it was not even seen by the consumer
                self.reject(held.token, requeue=False)
            raise
        return True

    def _hold(self, held: Held) -> None:
        with self._held_lock:
            self._held[held.token] = held
        self.broker.keep_touching()

    def _room(self) -> int:
        estimate = self.qos.can_consume_max_estimate()
        if estimate is None:
            return _BATCH - len(self._inbox)
        if not self.qos.can_consume():
            return 0
        return min(estimate - self._checking - len(self._inbox), _BATCH)

    def _gets(self, seconds: float, count: int) -> list[bytes]:
        """Requests for ``count`` messages, of which the first one waits."""
        queues = self._order.consume(len(self._active_queues))
        keys = [self.broker.names.queue(queue, step) for step in self._steps for queue in queues]
        head = b"gats %d " % self.reserve_timeout
        others = b"/or ".join(keys) + _PREFETCH
        if len(others) > _LINE_MOST:
            raise ChannelError(
                f"the names of the {len(queues)} queues of one channel take {len(others)} bytes, at most {_LINE_MOST} "
                "will do: consume from fewer queues, or set the transport option priority_steps to [0]"
            )
        first = head + self._wake_key + b"/or " + others + b"/t=%d\r\n" % (seconds * 1000)
        return [first, *[head + others + b"/t=0\r\n"] * (count - 1)]

    def _got(self, reply: Reply) -> None:
        """What has come is checked before it is delivered: it may have lain here for a while."""
        self._asked -= 1
        if not reply.values:
            if reply.line != b"END":
                raise ChannelError(f"the server refuses to give messages: {reply.line.decode('utf-8', 'replace')}")
            return
        (value,) = reply.values
        key = value.key.rpartition(_PREFETCH)[0] or value.key.removesuffix(b"/or")
        assert self._line is not None
        if key == self._wake_key or key == self._wake_key + b"/or":
            self._line.send(b"md %b C%d\r\n" % (self._wake_key, value.token), _nothing)
            return
        queue = self._keys[key]
        message = self._message(key, value)
        if message is None or queue not in self._active_queues:
            if message is not None:
                self._give_back(Held(queue, key, value.token, message))
            return
        self._checking += 1
        held = Held(queue, key, value.token, message)
        if queue in self._no_ack:
            self._line.send(b"md %b C%d\r\n" % (key, value.token), partial(self._checked, held))
        else:
            request = b"mg %b T%d h C%d\r\n" % (key, self.reserve_timeout, value.token)
            self._line.send(request, partial(self._checked, held))

    def _checked(self, held: Held, reply: Reply) -> None:
        self._checking -= 1
        if not reply.line.startswith(b"HD"):
            return  # lost to the deadline: somebody else has it
        if reply.line.endswith(b"h1"):
            held.message["properties"].setdefault("delivery_info", {})["redelivered"] = True
            held.message["redelivered"] = True
        with self._held_lock:
            self._inbox.append(held)

    def _message(self, key: bytes, value: Value) -> Message | None:
        """The message that an item is; an item that is none is set aside."""
        try:
            message = messages.read(value.payload)
        except (ValueError, TypeError) as error:
            logger.error("an item of the queue %s is set aside, it is no message: %s", key.decode(), error)
            self.broker.command.send(b"md %b x C%d\r\n" % (key, value.token), _nothing)
            return None
        message["properties"]["delivery_tag"] = value.token
        return message

    def _wake(self) -> bool:
        """End the waiting; False where it cannot be ended, or there is none."""
        if self._asked:
            (reply,) = self.broker.command.ask(b"set %b 0 %d 0\r\n\r\n" % (self._wake_key, _WAKE_SECONDS))
            return reply.line == b"STORED"
        return False

    def _end_waiting(self) -> None:
        """End the waiting and take what has come meanwhile, so that nothing lies in a socket that nobody reads."""
        line = self._line
        if line is None or line.is_closed:
            return
        with contextlib.suppress(OSError):
            if self._wake() or not self._asked:
                while self._asked or self._checking:
                    line.settle()

    def _get(self, queue: str, timeout: float | None = None) -> Message:
        keys = [self.broker.names.queue(queue, step) for step in self._steps]
        self._keys.update(dict.fromkeys(keys, queue))
        request = b"gats %d %b%b/t=0\r\n" % (self.reserve_timeout, b"/or ".join(keys), _PREFETCH)
        while True:
            (reply,) = self.broker.command.ask(request)
            if not reply.values:
                raise Empty
            (value,) = reply.values
            key = value.key.rpartition(_PREFETCH)[0] or value.key.removesuffix(b"/or")
            message = self._message(key, value)
            if message is None:
                continue
            (reply,) = self.broker.command.ask(b"mg %b h C%d\r\n" % (key, value.token))
            if reply.line.endswith(b"h1"):
                message["properties"].setdefault("delivery_info", {})["redelivered"] = True
            self._hold(Held(queue, key, value.token, message))
            return message

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """One message of ``queue`` at once, or None."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message is not None and no_ack:
            self.acknowledge(message.delivery_tag)
        return message

    # -- what is held ---------------------------------------------------------

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge a message; with ``multiple`` all that were delivered before it too."""
        if multiple:
            with self._held_lock:
                tags = list(self._held)
            if delivery_tag in tags:
                for tag in tags[: tags.index(delivery_tag)]:
                    self.qos.ack(tag)
        self.qos.ack(delivery_tag)

    def acknowledge(self, tag: int) -> None:
        """Have the server forget a message for ever. The answer is not waited for."""
        held = self._let_go(tag)
        if held is not None:
            request = b"md %b C%d\r\n" % (held.key, held.token)
            self.broker.command.send(request, partial(_acknowledged, held))

    def reject(self, tag: int, requeue: bool) -> None:
        """Give a message back, which counts as a loss (``max_deliveries``), or set it aside as a dead letter."""
        held = self._let_go(tag)
        if held is None:
            return
        drop = b"md %b x C%d\r\n" if self.dead_letters else b"md %b C%d\r\n"
        request = b"mg %b T-1 C%d\r\n" if requeue else drop
        self.broker.command.ask(request % (held.key, held.token))  # before the line asks for what comes next

    def give_back_all(self) -> None:
        """Give back all that is held, which is no loss."""
        with self._held_lock:
            everything, self._held = list(self._held.values()), {}
        for held in (*everything, *self._inbox):
            self._give_back(held)
        self._inbox.clear()

    def touch(self, now: float) -> None:
        """Give all that is held another deadline."""
        self.touch_at = now + self.reserve_timeout / 3
        with self._held_lock:
            everything = [*self._held.values(), *self._inbox]
        if everything:
            requests = [b"mg %b T%d C%d\r\n" % (held.key, self.reserve_timeout, held.token) for held in everything]
            self.broker.command.send(b"".join(requests), *[partial(self._touched, held) for held in everything])

    def _touched(self, held: Held, reply: Reply) -> None:
        if reply.line.startswith(b"EN") and held.token in self._held:
            logger.warning("a message of %s was lost to its deadline: others may work on it too", held.queue)

    def _let_go(self, tag: int) -> Held | None:
        with self._held_lock:
            return self._held.pop(tag, None)

    def _give_back(self, held: Held) -> None:
        self.broker.command.send(b"md %b I C%d\r\n" % (held.key, held.token), _nothing)

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
        request = b"gats 60 %b%b/t=0\r\n" % (key, _PREFETCH)
        while values := [
            value for reply in self.broker.command.ask(request * _BATCH, _BATCH) for value in reply.values
        ]:
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

    # -- the end ----------------------------------------------------------------

    def close(self) -> None:
        """Cancel all consumers, give back what is held, and drop the queues that go with their consumers."""
        if self.closed:
            return
        command = self.connection.command if self.connection is not None else None
        with contextlib.suppress(OSError):
            if command is not None and not command.is_closed:
                for consumer in list(self._consumers):
                    self.basic_cancel(consumer)
                self.give_back_all()
                for queue in self._consumed:
                    if self.connection.declared.get(queue, Traits()).temporary:
                        self.queue_delete(queue, if_unused=True)
                command.settle()  # before the line closes, which would give back what was acknowledged just now
        if self._line is not None:
            if self.connection is not None:
                self.connection.stop_watching(self._line)
            self._line.close()
            self._line = None
        super().close()


def _nothing(reply: Reply) -> None:
    """What comes of it is of no interest."""


def _acknowledged(held: Held, reply: Reply) -> None:
    if reply.line == b"NF":
        logger.warning("a message of %s was acknowledged too late: it is, or will be, delivered again", held.queue)
    elif reply.line != b"HD":
        logger.error("a message of %s was not acknowledged: %s", held.queue, reply.line.decode("utf-8", "replace"))
