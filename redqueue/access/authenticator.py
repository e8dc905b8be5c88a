"""Checks passwords without keeping the event loop waiting, and with a bound on what that costs.

One thread computes one hash after the other. A few attempts may wait, from one
peer fewer; those beyond are turned away at once. Attempts with the same name
and password share one computation, and what was found right is remembered by a
digest under a key that only this process has ever had: so a fleet of workers
that comes back after a restart costs one hash, and HTTP Basic none a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from os import urandom

from redqueue.access.passwords import MAX_PASSWORD
from redqueue.access.roles import User
from redqueue.access.users import MAX_NAME, Users

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 16
"""Computations that may wait or be under way."""
MOST_OF_ONE_PEER = 4
_REMEMBERED = 1024
"""Name and password pairs."""

Done = Callable[[User | None], None]


class TooManyAttempts(Exception):
    """So many attempts wait that this one was not made; later is better."""


class _Attempt:
    """A computation under way, and everybody who waits for it."""

    __slots__ = ("dones", "name", "password", "peer", "users")

    def __init__(self, users: Users, name: str, password: bytes, peer: str, done: Done) -> None:
        self.users = users
        self.name = name
        self.password = password
        self.peer = peer
        self.dones = [done]


class Authenticator:
    """Tells users by name and password.

    :param notify: called in another thread with a function that the owner is to call in its own, such as
        ``loop.call_soon_threadsafe``

    :ivar users: everybody who is known
    """

    def __init__(self, users: Users, notify: Callable[[Callable[[], None]], object]) -> None:
        self.users = users
        self._notify = notify
        self._executor = ThreadPoolExecutor(1, "passwords")
        self._key = urandom(32)
        self._right: dict[bytes, User] = {}
        self._attempts: dict[bytes, _Attempt] = {}
        self._peers: Counter[str] = Counter()

    def replace(self, users: Users) -> None:
        """These are the users from here on; nothing that was found right before counts any more."""
        self.users = users
        self._right.clear()

    def recall(self, name: str, password: bytes) -> User | None:
        """The user, where name and password were found right lately: at once; None for perhaps."""
        return self._right.get(self._digest(name, password))

    def submit(self, name: str, password: bytes, peer: str, done: Done) -> bool:
        """Find out who has that name and password.

        :param peer: whom the attempt comes from; the same for all that one machine makes
        :param done: called with the user, or None where name or password are wrong: perhaps at once
        :returns: False where too many attempts wait, and ``done`` is never called
        """
        if len(name.encode(errors="replace")) > MAX_NAME or len(password) > MAX_PASSWORD:
            done(None)
            return True
        digest = self._digest(name, password)
        user = self._right.get(digest)
        if user is not None:
            done(user)
            return True
        attempt = self._attempts.get(digest)
        if attempt is not None:
            attempt.dones.append(done)
            return True
        if len(self._attempts) >= MOST_ATTEMPTS or self._peers.get(peer, 0) >= MOST_OF_ONE_PEER:
            return False
        self._attempts[digest] = _Attempt(self.users, name, password, peer, done)
        self._peers[peer] += 1
        future = self._executor.submit(self.users.verify, name, password)
        future.add_done_callback(lambda future: self._tell(digest, future))
        return True

    async def authenticate(self, name: str, password: bytes, peer: str = "") -> User | None:
        """The user of that name and password, or None.

        :param peer: as for :meth:`submit`
        :raises TooManyAttempts: an HTTP server says 503 with ``Retry-After``
        """
        answer: asyncio.Future[User | None] = asyncio.get_running_loop().create_future()

        def done(user: User | None) -> None:
            if not answer.done():
                answer.set_result(user)

        if not self.submit(name, password, peer, done):
            raise TooManyAttempts(f"{len(self._attempts)} attempts to authenticate wait already")
        return await answer

    def close(self) -> None:
        """Wait for nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _digest(self, name: str, password: bytes) -> bytes:
        text = name.encode(errors="surrogatepass")
        return hmac.digest(self._key, b"%d %b%b" % (len(text), text, password), "sha256")

    def _tell(self, digest: bytes, future: Future[User | None]) -> None:
        """In the thread: a computation has ended."""
        if not future.cancelled():
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._notify(lambda: self._finish(digest, future))

    def _finish(self, digest: bytes, future: Future[User | None]) -> None:
        attempt = self._attempts.pop(digest)
        self._peers[attempt.peer] -= 1
        if not self._peers[attempt.peer]:
            del self._peers[attempt.peer]
        if attempt.users is not self.users:  # they have been replaced meanwhile
            for done in attempt.dones:
                if not self.submit(attempt.name, attempt.password, attempt.peer, done):
                    done(None)
            return
        user = None
        try:
            user = future.result()
        except Exception:  # above all for want of memory
            log.exception("a password could not be checked")
        if user is not None:
            if len(self._right) >= _REMEMBERED:
                del self._right[next(iter(self._right))]
            self._right[digest] = user
        for done in attempt.dones:
            done(user)
