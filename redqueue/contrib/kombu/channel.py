"""A channel: the queues it consumes, and what it holds of them.

What it reserves belongs to a connection of its own, its line, on which it waits
for messages; all else goes over the command connection, which never waits. So
when the process dies, the server has everything back at once. Each reservation
has a deadline besides, for a process that hangs: the transport touches what is
held, as long as it lives.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
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
from redqueue.contrib.kombu.messages import Message
from redqueue.contrib.kombu.routing import BATCH, NO_LIMIT, RoutingChannel, Traits
from redqueue.contrib.kombu.wire import Connection, Reply, ServerLost, Value

if TYPE_CHECKING:
    from redqueue.contrib.kombu.transport import Transport

WAIT = 30.0
"""Seconds that a get waits at most before it is sent anew."""
LATE = 30.0
"""Seconds after which an answer to it is missing."""

_LINE_MOST = 8000
"""Bytes of a request line, of which the server takes 8192."""
_LINES_KNOWN = 100
_WAKE_SECONDS = 60

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


class Channel(RoutingChannel):
    """A channel. Made by the transport."""

    QoS = QoS
    do_restore = False

    queue_order_strategy = "round_robin"
    """Which of several queues comes first: ``round_robin``, ``sorted`` or ``priority``, as with kombu's Redis."""
    reserve_timeout = 60
    """Seconds after which the server takes back what a process holds that lives, but does nothing any more."""
    dead_letters = True
    """Whether a message that is rejected, not to be requeued, becomes a dead letter; else it is dropped."""

    from_transport_options = (
        *RoutingChannel.from_transport_options,
        "queue_order_strategy",
        "reserve_timeout",
        "dead_letters",
    )

    def __init__(self, connection: Transport, **options: Any) -> None:
        super().__init__(connection, **options)
        self._check_options()
        self._order = cycle_by_name(self.queue_order_strategy)()
        self._wake_key = connection.names.wake(uuid())
        self._line: Connection | None = None
        self._keys: dict[bytes, str] = {}
        self._lines: dict[tuple[str, ...], bytes] = {}
        self._no_ack: set[str] = set()
        self._consumed: set[str] = set()
        self._asked = 0
        self._waits_until = 0.0
        self.touch_at = 0.0
        self._checking = 0
        self._inbox: deque[Held] = deque()
        self._held: dict[int, Held] = {}
        self._held_lock = threading.Lock()

    def _check_options(self) -> None:
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

    @property
    def is_checking(self) -> bool:
        """Whether a message has come and will be there in a moment."""
        return self._checking > 0

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
            return BATCH - len(self._inbox)
        if not self.qos.can_consume():
            return 0
        return min(estimate - self._checking - len(self._inbox), BATCH)

    def _gets(self, seconds: float, count: int) -> list[bytes]:
        """Requests for ``count`` messages, of which the first one waits."""
        queues = tuple(self._order.consume(len(self._active_queues)))
        others = self._lines.get(queues) or self._write_line(queues)
        waiting = b"gats %d %b/or %b/t=%d\r\n" % (self.reserve_timeout, self._wake_key, others, seconds * 1000)
        if count == 1:
            return [waiting]
        return [waiting, *[b"gats %d %b/t=0\r\n" % (self.reserve_timeout, others)] * (count - 1)]

    def _write_line(self, queues: tuple[str, ...]) -> bytes:
        """The keys of a get, for queues in this order."""
        keys = [self.broker.names.queue(queue, step) for step in self._steps for queue in queues]
        line = b"/or ".join(keys) + NO_LIMIT
        if len(line) > _LINE_MOST:
            raise ChannelError(
                f"the names of the {len(queues)} queues of one channel take {len(line)} bytes, at most {_LINE_MOST} "
                "will do: consume from fewer queues, or set the transport option priority_steps to [0]"
            )
        if len(self._lines) >= _LINES_KNOWN:
            self._lines.clear()
        self._lines[queues] = line
        return line

    def _got(self, reply: Reply) -> None:
        """What has come is checked before it is delivered: it may have lain here for a while."""
        self._asked -= 1
        if not reply.values:
            if reply.line != b"END":
                raise ChannelError(f"the server refuses to give messages: {reply.line.decode('utf-8', 'replace')}")
            return
        (value,) = reply.values
        key = _name(value)
        assert self._line is not None
        if key == self._wake_key:
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
            messages.mark_redelivered(held.message)
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
        request = b"gats %d %b%b/t=0\r\n" % (self.reserve_timeout, b"/or ".join(keys), NO_LIMIT)
        while True:
            (reply,) = self.broker.command.ask(request)
            if not reply.values:
                raise Empty
            (value,) = reply.values
            key = _name(value)
            message = self._message(key, value)
            if message is None:
                continue
            (reply,) = self.broker.command.ask(b"mg %b h C%d\r\n" % (key, value.token))
            if reply.line.endswith(b"h1"):
                messages.mark_redelivered(message)
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


def _name(value: Value) -> bytes:
    """The key of a value without its options."""
    return value.key.rpartition(NO_LIMIT)[0] or value.key.removesuffix(b"/or")


def _nothing(reply: Reply) -> None:
    """What comes of it is of no interest."""


def _acknowledged(held: Held, reply: Reply) -> None:
    if reply.line == b"NF":
        logger.warning("a message of %s was acknowledged too late: it is, or will be, delivered again", held.queue)
    elif reply.line != b"HD":
        logger.error("a message of %s was not acknowledged: %s", held.queue, reply.line.decode("utf-8", "replace"))
