"""Clients inside the server's own process: a session without a socket.

The web page, the JSON API and whatever else lives in the server changes queues
through these, with the bytes a client would send. So there is one contract, and
what they ask for is in the same group commit as everybody's requests: a reply
is here once the frame that covers it is written (and synced, with ``reliable=sync``).
"""

from __future__ import annotations

import asyncio
from collections import deque

from redqueue.access.roles import User
from redqueue.engine.consumer import Reservation
from redqueue.protocol.service import Service
from redqueue.protocol.session import COMMIT, OUTPUT, Session
from redqueue.server.group_commit import GroupCommit


class ClientClosed(Exception):
    """The client was closed, or the server ends, before the request was answered."""


class LocalClients:
    """Everybody who is connected without a socket.

    :param service: what all sessions share
    :param commit: says when replies are true
    """

    def __init__(self, service: Service, commit: GroupCommit) -> None:
        self.service = service
        self.commit = commit
        self.is_ending = False
        self._clients: set[LocalClient] = set()

    def __len__(self) -> int:
        return len(self._clients)

    def open(self, *, is_local: bool = True, user: User | None = None) -> LocalClient:
        """A new client, to be closed by whoever opens it.

        :param is_local: whether it may use the operators' verbs
        :param user: who it is, and so what it may do; None for one who may do everything
        """
        client = LocalClient(self)
        client.session.is_local = is_local
        client.session.become(user)
        if self.is_ending:
            client.close()
        else:
            self._clients.add(client)
        return client

    def remove(self, client: LocalClient) -> None:
        """A client is closed."""
        self._clients.discard(client)

    def end(self) -> None:
        """The server ends: what has been asked is answered, a waiting get with a miss, and nothing more is taken."""
        self.is_ending = True
        for client in list(self._clients):
            client.end_input()


class LocalClient:
    """One client. Its requests are carried out strictly in order; clients do not wait for each other.

    Made by :meth:`LocalClients.open`, closed by :meth:`close` or at the end of an ``async with``.

    :ivar session: its conversation
    """

    def __init__(self, clients: LocalClients) -> None:
        self.session = Session(clients.service, self)
        self._clients = clients
        self._commit = clients.commit
        self._waiting: deque[_Pending] = deque()
        self._current: _Pending | None = None
        self._held: list[bytes] | None = None

    async def __aenter__(self) -> LocalClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def request(self, data: bytes) -> bytes:
        """The answer to ``data``, one request or several of a text protocol; empty for those with ``noreply``.

        Where the caller is cancelled, a waiting get leaves the line, and what it has reserved meanwhile goes back
        to its place, unless it acts as a named consumer; anything else has happened or happens all the same.

        :raises ValueError: where ``data`` ends in the middle of a request
        :raises ClientClosed: where the client is closed or the server ends before the answer
        """
        if self.session.closing or self._clients.is_ending:
            raise ClientClosed("the server ends" if self._clients.is_ending else "the client is closed")
        pending = _Pending(data, asyncio.get_running_loop().create_future())
        self._waiting.append(pending)
        if self._current is None:
            self._begin_next()
        try:
            return await pending.answer
        except asyncio.CancelledError:
            self._abandon(pending)
            raise

    def close(self) -> None:
        """Leave, as a connection that closes does: a request that waits is not answered, what is held goes back.

        What is given back so has not lost its worker: that delivery does not count as a loss.
        """
        session = self.session
        self._clients.remove(self)
        self._give_back(self._held_reservations())
        session.close()
        pending, self._current = self._current, None
        waiting = [*([pending] if pending else ()), *self._waiting]
        self._waiting.clear()
        for each in waiting:
            each.fail(ClientClosed("the client is closed"))

    def end_input(self) -> None:
        """Take no more requests: what has been asked is answered, a waiting get with a miss."""
        while self._waiting:
            self._waiting.popleft().fail(ClientClosed("the server ends"))
        if self._current is None:
            self.close()
        else:
            self._stop_waiting()

    # -- from the session (redqueue.protocol.session.Owner) -------------------------

    def pause_input(self) -> None:
        """Nothing is sent before the answer to what was sent is here anyhow."""

    def pause_input_until_commit(self) -> None:
        """As for :meth:`pause_input`."""

    # -- from the group commit (redqueue.server.group_commit.Client) ---------------------

    def hold_output(self) -> None:
        """The replies so far belong to the frame that is being written."""
        self.session.announced = False
        self._held = self.session.take_output()

    def release_output(self) -> int:
        """The frame is written: the replies that were held are true."""
        held, self._held = self._held, None
        size = self._take(held or [])
        if self.session.stalled or self.session.closing:
            self.session.announce()
        self._finish_if_answered()
        return size

    def send_output(self) -> int:
        """All replies are true; go on with what was stalled."""
        session = self.session
        session.announced = False
        size = self._take(session.take_output())
        if session.stalled in (COMMIT, OUTPUT) and not session.closing:
            session.resume()
            if session.out or session.stalled or session.closing:
                session.announce()
            if self._clients.is_ending or (self._current is not None and self._current.is_abandoned):
                self._stop_waiting()
        self._finish_if_answered()
        return size

    def resume_input(self) -> None:
        """As for :meth:`pause_input`."""

    def abort(self) -> None:
        """Something went wrong while the replies were taken."""
        self.close()

    # -- inside ----------------------------------------------------------------------

    def _begin_next(self) -> None:
        while self._waiting and self._current is None:
            pending = self._waiting.popleft()
            if pending.answer.done():
                continue
            self._current = pending
            pending.held_before = self._held_reservations()
            try:
                self.session.receive(pending.data)
            except Exception as error:
                self._current = None
                pending.fail(error)
                self.close()

    def _take(self, replies: list[bytes]) -> int:
        if self._current is not None:
            self._current.replies += replies
        return sum(map(len, replies))

    def _finish_if_answered(self) -> None:
        session, pending = self.session, self._current
        if session.out or session.announced or self._held is not None or (session.stalled and not session.closing):
            return
        self._current = None
        if pending is not None:
            if session.is_amid_request():
                pending.fail(ValueError(f"not a whole request: {pending.data[:80]!r}"))
                self.close()
            else:
                pending.reserved = self._held_reservations() - pending.held_before
                if pending.is_abandoned:
                    self._give_back(pending.reserved)
                elif not pending.answer.done():
                    pending.answer.set_result(b"".join(pending.replies))
        if session.closing or self._clients.is_ending:
            self.close()
        else:
            self._begin_next()

    def _abandon(self, pending: _Pending) -> None:
        """Nobody wants the answer any more."""
        if pending is self._current:
            pending.is_abandoned = True
            self._stop_waiting()
        else:  # it was answered, and cancelled before its task could see that
            self._give_back(pending.reserved)

    def _stop_waiting(self) -> None:
        """Answer a waiting get with a miss."""
        session = self.session
        waiter, session.waiter = session.waiter, None
        if waiter is not None:
            session.broker.clock.tick()
            waiter.cancel()
            waiter.deliver(None)

    def _held_reservations(self) -> frozenset[Reservation]:
        return frozenset(reservation for held in self.session.consumer.held.values() for reservation in held)

    def _give_back(self, reservations: frozenset[Reservation]) -> None:
        """Give those back that are still held."""
        given = reservations & self._held_reservations()
        if given:
            self.session.broker.clock.tick()
        for reservation in given:
            reservation.queue.cancel(reservation)


class _Pending:
    """A request, and who waits for its answer.

    :ivar held_before: what the client had reserved when it was begun
    :ivar reserved: what it has reserved
    :ivar is_abandoned: whether nobody waits any more
    """

    __slots__ = ("answer", "data", "held_before", "is_abandoned", "replies", "reserved")

    def __init__(self, data: bytes, answer: asyncio.Future[bytes]) -> None:
        self.data = data
        self.answer = answer
        self.replies: list[bytes] = []
        self.held_before: frozenset[Reservation] = frozenset()
        self.reserved: frozenset[Reservation] = frozenset()
        self.is_abandoned = False

    def fail(self, error: Exception) -> None:
        """There will be no answer."""
        if not self.answer.done():
            self.answer.set_exception(error)
