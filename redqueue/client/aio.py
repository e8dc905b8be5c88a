"""The client for asyncio, and so for Tornado, whose loop is asyncio's."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from types import TracebackType

from redqueue.client import codec
from redqueue.client.codec import Delivery, Exchange, ReplyReader, Result, ServerAddress
from redqueue.client.errors import QueueEmpty, QueueError, ReservationLost, ServerUnavailable
from redqueue.client.retry import DEADLINE_SECONDS, WAIT_SECONDS, Reconnecting, RetryDelay, delay_of


class AsyncConnection:
    """One connection, made with the first request, that one task uses at a time.

    :param server: host and port, or the path of a Unix socket
    :param timeout: seconds to connect, and for each reply beyond what the request waits for
    """

    def __init__(
        self, server: ServerAddress, user: str, password: str, tls_context: ssl.SSLContext | None, timeout: float
    ) -> None:
        self._server, self._user, self._password = server, user, password
        self._tls_context, self._timeout = tls_context, timeout
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._replies = ReplyReader()

    @property
    def is_open(self) -> bool:
        """Whether it is made, and the server has not closed it."""
        return self._streams is not None and not self._streams[0].at_eof() and not self._streams[1].is_closing()

    async def run(self, exchange: Exchange[Result], *, connect: bool = True) -> Result:
        """Send a request and wait for its reply; a cancelled one closes the connection.

        :param connect: make the connection where there is none
        :raises ServerUnavailable: where the server cannot be reached, or does not answer in time
        """
        try:
            if self._streams is None:
                if not connect:
                    raise ConnectionError("the connection is closed")
                await asyncio.wait_for(self._connect(), self._timeout)
            reply = await asyncio.wait_for(self._ask(exchange.request), self._timeout + exchange.wait)
        except (OSError, asyncio.TimeoutError) as error:
            self.close()
            raise ServerUnavailable(f"server {self._server}: {error or 'no answer in time'}") from error
        except BaseException:
            self.close()  # the reply may come later, and would be taken for the next one's
            raise
        return exchange.read(reply)

    async def _connect(self) -> None:
        if isinstance(self._server, str):
            self._streams = await asyncio.open_unix_connection(self._server)
        else:
            self._streams = await asyncio.open_connection(*self._server, ssl=self._tls_context)
        self._replies = ReplyReader()
        if self._user:
            exchange = codec.log_in(self._user, self._password)
            exchange.read(await self._ask(exchange.request))

    async def _ask(self, request: bytes) -> codec.Reply:
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        while (reply := self._replies.next()) is None:
            data = await reader.read(65536)
            if not data:
                raise ConnectionError("the connection has ended")
            self._replies.feed(data)
        return reply

    def close(self) -> None:
        """Close it, without waiting; the next request makes it again."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class AsyncClient:
    """A server, as :class:`redqueue.client.Client`, for the tasks of one event loop.

    :ivar is_closed: whether :meth:`close` was called
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
        self._arguments = server, user, password, tls_context, timeout
        self._idle: list[AsyncConnection] = []
        self.is_closed = False

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def queue(self, name: str | bytes) -> AsyncQueue:
        """The queue of that name; nothing is sent.

        :raises ValueError: where the name is no name of a queue
        """
        return AsyncQueue(self, name)

    def take(self) -> AsyncConnection:
        """A connection for one user at a time."""
        if self.is_closed:
            raise ServerUnavailable("this client is closed")
        while self._idle:
            if (connection := self._idle.pop()).is_open:
                return connection
            connection.close()
        return AsyncConnection(*self._arguments)

    def give(self, connection: AsyncConnection) -> None:
        """The connection is not in use any more."""
        if connection.is_open and not self.is_closed:
            self._idle.append(connection)
        else:
            connection.close()

    async def run(self, exchange: Exchange[Result]) -> Result:
        """Run one exchange on any connection."""
        connection = self.take()
        try:
            return await connection.run(exchange)
        finally:
            self.give(connection)

    def close(self) -> None:
        """Close what is not in use; a reservation that is held closes its connection when it ends."""
        self.is_closed = True
        while self._idle:
            self._idle.pop().close()


class AsyncQueue:
    """A queue of a server; its methods are those of :class:`redqueue.client.Queue`, to be awaited.

    :ivar name: its name, in bytes
    """

    def __init__(self, client: AsyncClient, name: str | bytes) -> None:
        self._client = client
        self.name = codec.queue_name(name)

    async def put(self, body: str | bytes, *, ttl: float = 0, delay: float = 0, flags: int = 0) -> int:
        """Append an item; returns its id."""
        return await self._client.run(codec.put(self.name, body, flags=flags, ttl=ttl, delay=delay))

    async def reserve(
        self, wait: float | None = None, *, deadline: int = DEADLINE_SECONDS, retry_delay: RetryDelay = 0
    ) -> AsyncReservation:
        """Reserve the head, and wait for one where none is ready, ``wait`` seconds or for as long as it takes."""
        exchange = codec.reserve(self.name, wait=WAIT_SECONDS if wait is None else wait, deadline=deadline)
        connection = self._client.take()
        try:
            while True:
                try:
                    delivery = await connection.run(exchange)
                except QueueEmpty:
                    if wait is not None:
                        raise
                else:
                    return AsyncReservation(self._client, connection, delivery, deadline, retry_delay)
        except BaseException:
            self._client.give(connection)
            raise

    async def consume(
        self, *, deadline: int = DEADLINE_SECONDS, retry_delay: RetryDelay = 0
    ) -> AsyncIterator[AsyncReservation]:
        """Reserve one item after another, until the client is closed.

        A server that is away is asked again, at growing intervals.
        """
        reconnecting = Reconnecting()
        while not self._client.is_closed:
            try:
                reservation = await self.reserve(deadline=deadline, retry_delay=retry_delay)
            except ServerUnavailable:
                await asyncio.sleep(reconnecting.pause())
            else:
                reconnecting.reset()
                yield reservation


class AsyncReservation:
    """An item that this client holds, as :class:`redqueue.client.Reservation`: ``async with``, and methods to await."""

    def __init__(
        self,
        client: AsyncClient,
        connection: AsyncConnection,
        delivery: Delivery,
        deadline: int,
        retry_delay: RetryDelay,
    ) -> None:
        self._client = client
        self._connection: AsyncConnection | None = connection
        self.body, self.flags, self.item_id = delivery.body, delivery.flags, delivery.item_id
        self.queue, self.token, self.deliveries = delivery.queue, delivery.token, delivery.deliveries
        self.deadline = deadline
        self._retry_delay = retry_delay
        self._heartbeat: asyncio.Task[None] | None = None
        self.lost = False

    async def __aenter__(self) -> AsyncReservation:
        self._heartbeat = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is None:
            return
        if value is None:
            await self.acknowledge()
            return
        try:
            await self.give_back(delay_of(self._retry_delay, self.deliveries))
        except QueueError:
            pass  # it goes back with its connection, and the exception of the work is the one to see
        finally:
            self._end(close=True)

    async def acknowledge(self) -> None:
        """The work is done: the item is never delivered again; raises ReservationLost where it may be."""
        await self._settle(codec.acknowledge(self.queue, self.token))

    async def give_back(self, delay: float = 0) -> None:
        """Let others have it, at its old place, or only after ``delay`` seconds, rounded up."""
        await self._settle(codec.give_back(self.queue, self.token, delay))

    async def swap(
        self, queue: AsyncQueue | str | bytes, body: str | bytes, *, ttl: float = 0, delay: float = 0, flags: int = 0
    ) -> int:
        """Acknowledge, and put the item of the next stage on ``queue``, both or neither; returns its id."""
        name = queue.name if isinstance(queue, AsyncQueue) else codec.queue_name(queue)
        return await self._settle(codec.put(name, body, flags=flags, ttl=ttl, delay=delay, token=self.token))

    async def touch(self, seconds: int | None = None) -> None:
        """Give it a deadline so many seconds from now; the one it was reserved with where None."""
        await self._run(codec.touch(self.queue, self.token, self.deadline if seconds is None else seconds))

    async def _beat(self) -> None:
        exchange = codec.touch(self.queue, self.token, self.deadline)
        while not self.lost:
            await asyncio.sleep(self.deadline / 3)
            try:
                await self._client.run(exchange)
            except ReservationLost:
                self.lost = True
            except QueueError:
                continue  # the server may come back before the deadline

    async def _settle(self, exchange: Exchange[Result]) -> Result:
        result = await self._run(exchange)
        self._end()
        return result

    async def _run(self, exchange: Exchange[Result]) -> Result:
        if self._connection is None:
            raise ReservationLost("this reservation was ended before")
        try:
            return await self._connection.run(exchange, connect=False)
        except ReservationLost:
            self.lost = True
            self._end()
            raise
        except ServerUnavailable as error:
            if self._connection.is_open:
                raise  # the server has answered, that it cannot do this now
            self.lost = True
            self._end()
            raise ReservationLost(f"the reservation has ended with its connection: {error}") from error

    def _end(self, close: bool = False) -> None:
        connection, self._connection = self._connection, None
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if connection is not None:
            if close:
                connection.close()
            self._client.give(connection)
