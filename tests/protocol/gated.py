"""Sessions that must authenticate, with passwords that are checked when a test says so."""

from __future__ import annotations

from collections.abc import Callable

from redqueue.access.roles import User, parse_grant
from redqueue.protocol.gate import Gate
from tests.protocol.conversation import Client, Server

Done = Callable[[User | None], None]


def user(*grants: str, name: str = "alice") -> User:
    """A user with the grants that are written as ``reader=orders.*``."""
    return User(name, [parse_grant(grant) for grant in grants])


class Doorkeeper:
    """Knows users by plain passwords; answers at once, or with ``hold`` only when it is released."""

    def __init__(self, *users: tuple[User, bytes]) -> None:
        self.users = {(each.name, password): each for each, password in users}
        self.hold = False
        self.is_busy = False
        self.waiting: list[tuple[tuple[str, bytes], Done]] = []
        self.attempts: list[tuple[str, bytes, str]] = []

    def submit(self, name: str, password: bytes, peer: str, done: Done) -> bool:
        """As :meth:`redqueue.access.authenticator.Authenticator.submit`."""
        if self.is_busy:
            return False
        self.attempts.append((name, password, peer))
        if self.hold:
            self.waiting.append(((name, password), done))
        else:
            done(self.users.get((name, password)))
        return True

    def release(self) -> None:
        """Answer all that wait."""
        waiting, self.waiting = self.waiting, []
        for pair, done in waiting:
            done(self.users.get(pair))


class GatedServer(Server):
    """A server whose clients must authenticate: ``alice`` with ``secret``, admin of everything."""

    def __init__(self, *users: tuple[User, bytes], max_item_size: int = 1 << 20) -> None:
        super().__init__(max_item_size=max_item_size)
        self.doorkeeper = Doorkeeper((user("admin=#"), b"secret"), *users)
        self.service.gate = lambda session: Gate(session, self.doorkeeper)

    def connect_as(self, who: User | None) -> Client:
        """A client who has been let in as somebody."""
        client = self.connect()
        client.session.become(who)
        return client
