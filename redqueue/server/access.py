"""Authentication as the server runs it: the file of the users, who checks passwords, and who is let in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from redqueue.access.authenticator import Authenticator
from redqueue.access.users import BadUsers, Users, read_users
from redqueue.config.kinds import BadOption
from redqueue.options import Options
from redqueue.protocol.gate import Gate
from redqueue.protocol.service import Service
from redqueue.server.connection import Connections
from redqueue.server.doorway import Doorway

log = logging.getLogger(__name__)

ACCESS_OPTIONS = ("users", "auth_timeout", "trust_unix_socket")
"""The options that can be put in force without a restart."""


def check_users(options: Options) -> Iterator[tuple[str, str]]:
    """The file of the users can be used, and names somebody."""
    try:
        read(options)
    except BadUsers as error:
        yield "users", f"wants a file of users: {error}"


def read(options: Options) -> Users | None:
    """The users in the file that the options name; None where they name none.

    :raises BadUsers: where it cannot be used, or names nobody
    """
    if not options.users:
        return None
    users = read_users(Path(options.users))
    if not len(users):
        raise BadUsers(f"{options.users} names nobody; redqueue passwd add {options.users} NAME --admin does")
    return users


class Access:
    """Who may connect: anybody, or those in the file of the users.

    :param options: those in force
    :param loop: the event loop
    :raises BadOption: where the file cannot be used

    :ivar authenticator: tells users by their passwords; None where anybody may connect, and do anything
    """

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self._options = options
        self._loop = loop
        self._connections: Connections | None = None
        try:
            users = read(options)
        except BadUsers as error:
            raise BadOption(f"users: {error}") from None
        self.authenticator = None if users is None else Authenticator(users, loop.call_soon_threadsafe)

    def guard(self, service: Service, connections: Connections) -> None:
        """Let nobody through who has not authenticated, where there are users. Call before anybody connects."""
        authenticator, options = self.authenticator, self._options
        self._connections = connections
        if authenticator is None:
            return
        service.gate = lambda session: Gate(session, authenticator)
        connections.doorway = doorway = Doorway(
            options.auth_timeout, options.trust_unix_socket, self._loop.call_later, time.monotonic
        )
        if options.tls_client_user:
            doorway.user_of_certificate = lambda name: authenticator.users.get(name)

    def prepare(self, options: Options) -> Callable[[], None]:
        """Read the users again (:meth:`redqueue.server.reload.Reload.add`).

        :raises BadOption: where the file cannot be used, or authentication would begin or end
        """
        try:
            users = read(options)
        except BadUsers as error:
            raise BadOption(f"users: {error}") from None
        if (users is None) != (self.authenticator is None):
            raise BadOption("users: authentication begins, or ends, with a restart only")
        return lambda: self._put_in_force(options, users)

    def close(self) -> None:
        """Check no more passwords."""
        if self.authenticator is not None:
            self.authenticator.close()

    def _put_in_force(self, options: Options, users: Users | None) -> None:
        """Who is gone or has another password is disconnected, with what they hold; other roles count from here on."""
        authenticator, connections = self.authenticator, self._connections
        if authenticator is None or users is None or connections is None or connections.doorway is None:
            return
        doorway = connections.doorway
        doorway.seconds, doorway.trusts_unix_socket = options.auth_timeout, options.trust_unix_socket
        before = authenticator.users
        authenticator.replace(users)
        closed = 0
        for connection in connections:
            session = connection.session
            if session.user is None:
                continue
            old, new = before.find(session.user.name), users.find(session.user.name)
            if old is None or new is None or old.password != new.password:
                connection.abort()
                closed += 1
            elif old.user.grants != new.user.grants:
                session.become(new.user)
                if session.waiter is not None:  # perhaps for an item of a queue that is no longer theirs
                    connection.abort()
                    closed += 1
        if closed:
            log.warning("%d connections of users that were removed or changed are closed", closed)
