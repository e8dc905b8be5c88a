"""Who may do what over HTTP."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Protocol

from tornado.httputil import HTTPServerRequest, split_host_and_port

from redqueue.server.connection import is_local


@dataclass(frozen=True)
class Visitor:
    """Whoever sends a request.

    :ivar name: for the log
    :ivar may_change: whether it may change anything: put items, pause, drop and the like
    """

    name: str
    may_change: bool

    def may_read(self, queue: bytes) -> bool:
        """Whether it may see the queue of this name."""
        return True


class Access(Protocol):
    """Tells who sends a request."""

    async def identify(self, request: HTTPServerRequest) -> Visitor:
        """Who sends ``request``, of which nothing but the head has been read.

        :raises redqueue.server.web.handler.Refusal: where nobody is let in unknown
        """


class OpenAccess:
    """Everybody may look; who is on the server's own machine may change things, as with the operators' verbs."""

    async def identify(self, request: HTTPServerRequest) -> Visitor:
        """Who sends ``request``."""
        address = request.remote_ip or ""
        return Visitor(address, is_local((address, 0)))


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
