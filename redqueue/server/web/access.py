"""Who may do what over HTTP."""

from __future__ import annotations

import ipaddress
import socket
from base64 import b64decode
from dataclasses import dataclass

from tornado.httputil import HTTPServerRequest, split_host_and_port

from redqueue.access.authenticator import Authenticator
from redqueue.access.roles import Role, User
from redqueue.server.connection import is_local


class NotAuthenticated(Exception):
    """Whoever sends a request has to say who they are, or has said it wrongly."""


@dataclass(frozen=True)
class Visitor:
    """Whoever sends a request.

    :ivar name: for the log
    :ivar user: None where nobody is asked
    :ivar is_local: whether they are on the server's own machine
    """

    name: str
    user: User | None
    is_local: bool

    def may(self, role: Role, queue: bytes | None) -> bool:
        """Whether they have a role for a queue; for the whole server where that is None.

        Where nobody is asked who they are, everybody may look, and who is on the server's own machine may do
        everything, as with the operators' verbs.
        """
        if self.user is None:
            return self.is_local or role is Role.READER
        return self.user.rules_all if queue is None else self.user.may(role, queue)


async def identify(request: HTTPServerRequest, authenticator: Authenticator | None) -> Visitor:
    """Who sends ``request``, by HTTP Basic where there are users (RFC 7617).

    :raises NotAuthenticated: where that takes a name and a password
    :raises redqueue.access.authenticator.TooManyAttempts: where that cannot be found out now
    """
    address = request.remote_ip or ""
    here = is_local((address, 0))
    if authenticator is None:
        return Visitor(address, None, here)
    name, password = _credentials(request.headers.get("Authorization", ""))
    user = await authenticator.authenticate(name, password, address)
    if user is None:
        raise NotAuthenticated
    return Visitor(f"{user.name} at {address}", user, here)


def _credentials(header: str) -> tuple[str, bytes]:
    scheme, _, encoded = header.partition(" ")
    try:
        name, colon, password = b64decode(encoded.strip(), validate=True).partition(b":")
        if scheme.lower() == "basic" and colon:
            return name.decode(), password
    except ValueError:
        pass
    raise NotAuthenticated


class AllowedHosts:
    """The names that a ``Host`` header may say.

    A page on another site may have its own name point to this server's address,
    and is then of the same origin for the browser (DNS rebinding). Its name gives it
    away; an IP address cannot be made to point elsewhere.

    :param bound: the option ``http_host``
    :param more: the option ``http_allowed_hosts``
    """

    def __init__(self, bound: str, more: str) -> None:
        machine = socket.gethostname()
        names = [bound, "localhost", machine, machine.partition(".")[0], *more.split(",")]
        self._names = {name.strip().rstrip(".").lower() for name in names} - {""}

    def has(self, host: str) -> bool:
        """Whether the header ``host``, a name or an address with or without a port, is one of them."""
        name, _ = split_host_and_port(host.lower())
        if name.rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]").partition("%")[0])
        except ValueError:
            return False
        return True


def is_same_origin(request: HTTPServerRequest) -> bool:
    """Whether a browser, where the sender is one, sent ``request`` from a page of this server."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or origin.lower() == f"{request.protocol}://{request.host}".lower()
