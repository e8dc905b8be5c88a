"""The plain client: a server, its queues, and reservations as context managers."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from time import sleep
from types import TracebackType

from redqueue.client import codec
from redqueue.client.codec import Delivery, Exchange, Result, ServerAddress
from redqueue.client.connection import Connection, ConnectionPool
from redqueue.client.errors import QueueEmpty, QueueError, ReservationLost, ServerUnavailable
from redqueue.client.heartbeat import Heartbeat
from redqueue.client.retry import DEADLINE_SECONDS, WAIT_SECONDS, Reconnecting, RetryDelay, delay_of


class Client:
    """A server. Any thread may use it; connections are made when they are needed.

    :param server: host and port, or the path of a Unix socket
    :param user: sent with ``password`` on each connection; empty for a server without users
    :param tls_context: for instance ``ssl.create_default_context(cafile="ca.pem")``; None for plain TCP
    :param timeout: seconds to connect, and for a reply beyond what its request waits for
    """

    def __init__(
        self,
        server: ServerAddress = ("127.0.0.1", 12345),
        *,
        user: str = "",
        password: str = "",
        tls_context: ssl.SSLContext | None = None,
        timeout: float = 10.0,
    ) -> None:
        self.pool = ConnectionPool(server, user, password, tls_context, timeout)
        self.heartbeat = Heartbeat(self.pool)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def queue(self, name: str | bytes) -> Queue:
        """The queue of that name; nothing is sent.

        :raises ValueError: where the name is no name of a queue
        """
        return Queue(self, name)

    def close(self) -> None:
        """Close what is not in use; a reservation that is held closes its connection when it ends."""
        self.heartbeat.close()
        self.pool.close()


class Queue:
    """A queue of a server.

    :ivar name: its name, in bytes
    """

    def __init__(self, client: Client, name: str | bytes) -> None:
        self._client = client
        self.name = codec.queue_name(name)

    def put(self, body: str | bytes, *, ttl: float = 0, delay: float = 0, flags: int = 0) -> int:
        """Append an item; returns its id. It is as durable then as the server's ``reliable`` says.

        :param ttl: seconds after which it is not delivered any more; 0 for no end
        :param delay: seconds before which it is not delivered
        :raises QueueFull: where nothing was stored
        :raises ServerUnavailable: where it may or may not have been stored
        """
        return self._client.pool.run(codec.put(self.name, body, flags=flags, ttl=ttl, delay=delay))

    def reserve(
        self, wait: float | None = None, *, deadline: int = DEADLINE_SECONDS, retry_delay: RetryDelay = 0
    ) -> Reservation:
        """Reserve the head, and wait for one where none is ready.

        :param wait: seconds; None for as long as it takes
        :param deadline: whole seconds after which the item is ready again, if nobody touches it
        :param retry_delay: seconds that an item is given back for after an exception, or a function of its deliveries
        :raises QueueEmpty: where none came
        :raises ServerUnavailable: where the server is away, or goes while this waits
        """
        exchange = codec.reserve(self.name, wait=WAIT_SECONDS if wait is None else wait, deadline=deadline)
        connection = self._client.pool.take()
        try:
            while True:
                try:
                    delivery = connection.run(exchange)
                except QueueEmpty:
                    if wait is not None:
                        raise
                else:
                    return Reservation(self._client, connection, delivery, deadline, retry_delay)
        except BaseException:
            self._client.pool.give(connection)
            raise

    def consume(self, *, deadline: int = DEADLINE_SECONDS, retry_delay: RetryDelay = 0) -> Iterator[Reservation]:
        """Reserve one item after another, until the client is closed.

        A server that is away is asked again, at growing intervals. The parameters are those of :meth:`reserve`.
        """
        reconnecting = Reconnecting()
        while not self._client.pool.is_closed:
            try:
                reservation = self.reserve(deadline=deadline, retry_delay=retry_delay)
            except ServerUnavailable:
                sleep(reconnecting.pause())
            else:
                reconnecting.reset()
                yield reservation


class Reservation:
    """An item that this client holds, on a connection of its own.

    As a context manager it is touched while the block runs, acknowledged at its end, and given back where the block
    raises an exception. A block may end the reservation itself, by one of the methods.

    :ivar body: the payload
    :ivar flags: as they were stored
    :ivar item_id: the number that the server gave the item
    :ivar deliveries: how often it was delivered, this time included
    :ivar queue: name of its queue, in bytes
    :ivar token: the server's number of this reservation
    :ivar deadline: seconds after each touch
    :ivar lost: whether a touch has found that the reservation is over
    """

    def __init__(
        self, client: Client, connection: Connection, delivery: Delivery, deadline: int, retry_delay: RetryDelay
    ) -> None:
        self._client = client
        self._connection: Connection | None = connection
        self.body, self.flags, self.item_id = delivery.body, delivery.flags, delivery.item_id
        self.queue, self.token, self.deliveries = delivery.queue, delivery.token, delivery.deliveries
        self.deadline = deadline
        self._retry_delay = retry_delay
        self.lost = False

    def __enter__(self) -> Reservation:
        self._client.heartbeat.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is None:
            return
        if value is None:
            self.acknowledge()
            return
        try:
            self.give_back(delay_of(self._retry_delay, self.deliveries))
        except QueueError:
            pass  # it goes back with its connection, and the exception of the work is the one to see
        finally:
            self._end(close=True)

    def acknowledge(self) -> None:
        """The work is done: the item is never delivered again.

        :raises ReservationLost: where it may be delivered again
        """
        self._settle(codec.acknowledge(self.queue, self.token))

    def give_back(self, delay: float = 0) -> None:
        """Let others have it, at its old place, or only after ``delay`` seconds, rounded up.

        :raises ReservationLost: where it was over already
        """
        self._settle(codec.give_back(self.queue, self.token, delay))

    def swap(
        self, queue: Queue | str | bytes, body: str | bytes, *, ttl: float = 0, delay: float = 0, flags: int = 0
    ) -> int:
        """Acknowledge, and put the item of the next stage on ``queue``, both or neither; returns its id.

        :raises QueueFull: where neither was done; the reservation stands
        :raises ReservationLost: where it was over already
        """
        name = queue.name if isinstance(queue, Queue) else codec.queue_name(queue)
        return self._settle(codec.put(name, body, flags=flags, ttl=ttl, delay=delay, token=self.token))

    def touch(self, seconds: int | None = None) -> None:
        """Give it a deadline so many seconds from now; the one it was reserved with where None.

        :raises ReservationLost: where it is over
        """
        self._run(codec.touch(self.queue, self.token, self.deadline if seconds is None else seconds))

    def _settle(self, exchange: Exchange[Result]) -> Result:
        result = self._run(exchange)
        self._end()
        return result

    def _run(self, exchange: Exchange[Result]) -> Result:
        if self._connection is None:
            raise ReservationLost("this reservation was ended before")
        try:
            return self._connection.run(exchange, connect=False)
        except ReservationLost:
            self.lost = True
            self._end()
            raise
        except ServerUnavailable as error:
            if self._connection.sock is not None:
                raise  # the server has answered, that it cannot do this now
            self.lost = True
            self._end()
            raise ReservationLost(f"the reservation has ended with its connection: {error}") from error

    def _end(self, close: bool = False) -> None:
        connection, self._connection = self._connection, None
        self._client.heartbeat.remove(self)
        if connection is not None:
            if close:
                connection.close()
            self._client.pool.give(connection)
