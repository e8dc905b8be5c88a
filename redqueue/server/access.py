"""Authentication as the server runs it: the file of the users, who checks passwords, and who is let in."""

from __future__ import annotations

import asyncio
import logging
import time
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


def load_users(options: Options) -> Users | None:
    """The users in the file that the options name; None where they name none.

    :raises BadOption: where it cannot be used, or names nobody
    """
    if not options.users:
        return None
    try:
        users = read_users(Path(options.users))
    except BadUsers as error:
        raise BadOption(f"--users: {error}") from None
    if not len(users):
        raise BadOption(f"--users: {options.users} names nobody: redqueue passwd add {options.users} NAME --admin")
    return users


def open_gate(
    users: Users, options: Options, service: Service, connections: Connections, loop: asyncio.AbstractEventLoop
) -> Authenticator:
    """Have all who connect from here on authenticate; returns who checks their passwords."""
    authenticator = Authenticator(users, loop.call_soon_threadsafe)
    service.gate = lambda session: Gate(session, authenticator)
    connections.doorway = Doorway(options.auth_timeout, options.trust_unix_socket, loop.call_later, time.monotonic)
    return authenticator


def replace_users(authenticator: Authenticator, users: Users, connections: Connections) -> None:
    """These are the users from here on. Who is gone or has another password is disconnected, with what they hold."""
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
            if session.waiter is not None:  # perhaps at a queue that is no longer theirs
                connection.abort()
                closed += 1
    log.info("%d users now; %d connections of users that were removed or changed are closed", len(users), closed)
