"""What all handlers have in common: who may, what is taken, and how is answered."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, RequestHandler, stream_request_body

from redqueue.access.authenticator import TooManyAttempts
from redqueue.access.roles import Role
from redqueue.protocol.key import MAX_KEY
from redqueue.server.web.access import NotAuthenticated, Visitor, identify, is_same_origin
from redqueue.server.web.site import Engine, Site

log = logging.getLogger(__name__)

CHANGE_HEADER = "X-RedQueue-Request"
"""Every request that changes something has it: a page of another site cannot send it (CONTRACT: JSON API)."""
MAX_BODY = 64 << 10
"""Bytes of a body, unless the handler takes more."""
SAFE = ("GET", "HEAD", "OPTIONS")
_DENIED = {
    Role.READER: "you are no reader of this queue",
    Role.WRITER: "you are no writer of this queue",
    Role.ADMIN: "you are no admin of this",
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class Refusal(HTTPError):
    """A request is not carried out, for the reason that is given to whoever sent it."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.message = message
        self.headers = headers or {}

    def __str__(self) -> str:
        return f"{self.status_code}: {self.message}"


@stream_request_body  # so that who may not is told before a body is read
class Handler(RequestHandler):
    """A handler of the web application. Its answers are JSON, errors included: ``{"error": "why"}``.

    :ivar visitor: whoever asks, from :meth:`prepare` on
    """

    site: Site
    visitor: Visitor
    asks_who = True
    """Whether it answers only those who may."""
    needs_engine = True
    """Whether there is nothing to say while the journal is replayed."""
    checks_host = True
    """Whether the ``Host`` header must be one of this server."""
    max_body = MAX_BODY

    def initialize(self, site: Site) -> None:
        """Keep what all handlers work with."""
        self.site = site
        self._chunks: list[bytes] = []

    def set_default_headers(self) -> None:
        """What every answer has."""
        self.set_header("Server", "RedQueue")
        self.set_header("Content-Security-Policy", self.policy())
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    def policy(self) -> str:
        """The Content-Security-Policy: what a page may load."""
        return _POLICY

    # -- who may ------------------------------------------------------------------

    async def prepare(self) -> None:
        """Refuse what may not be; only the head of the request has been read."""
        request = self.request
        if self.checks_host and not self.site.hosts.has(request.host):
            raise Refusal(
                421,
                f"this server is not known as {request.host}; use its IP address, or name it with --http_allowed_hosts",
            )
        if request.method not in self.methods():
            raise HTTPError(405)
        if self.asks_who:
            await self._identify()
        if request.method not in SAFE:
            self._check_change()
        if self.needs_engine and self.site.engine is None:
            raise Refusal(503, self.site.health.phase, {"Retry-After": "1"})

    async def _identify(self) -> None:
        try:
            self.visitor = await identify(self.request, self.site.authenticator)
        except NotAuthenticated:
            raise Refusal(
                401, "name and password are needed", {"WWW-Authenticate": 'Basic realm="RedQueue", charset="UTF-8"'}
            ) from None
        except TooManyAttempts:
            raise Refusal(503, "too many are trying to authenticate now", {"Retry-After": "5"}) from None
        role, queue = self.required()
        if queue is None and role is Role.READER:
            return
        if not self.visitor.may(role, queue):
            raise Refusal(403, _DENIED[role] if self.visitor.user else "only somebody on the server's machine may that")

    def required(self) -> tuple[Role, bytes | None]:
        """The role that the request takes, and for which queue: None for the whole server.

        Everybody who is known is a reader of the server.
        """
        role = Role.READER if self.request.method in SAFE else Role.ADMIN
        return role, self.queue_name(self.path_args[0]) if self.path_args else None

    def _check_change(self) -> None:
        request = self.request
        if not is_same_origin(request):
            raise Refusal(403, "a page of another site cannot change anything here")
        if CHANGE_HEADER not in request.headers:
            raise Refusal(403, f"a request that changes something needs the header {CHANGE_HEADER}: 1")
        length = request.headers.get("Content-Length", "0")
        if length.isdigit() and int(length) > self.max_body:
            raise Refusal(413, f"the body is longer than {self.max_body} bytes")
        cast(HTTP1Connection, request.connection).set_max_body_size(self.max_body)  # for one in chunks

    @classmethod
    def methods(cls) -> tuple[str, ...]:
        """The methods that it has."""
        own = [name for name in _METHODS if getattr(cls, name.lower()) is not getattr(RequestHandler, name.lower())]
        return tuple(name for name in own if name != "HEAD" or "GET" in own)

    @property
    def engine(self) -> Engine:
        """The server behind it, which is up."""
        assert self.site.engine is not None
        return self.site.engine

    # -- what is asked ----------------------------------------------------------------

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Names of queues are any bytes: those that are no UTF-8 are kept as lone surrogates."""
        return value.decode("utf-8", "surrogateescape")

    def queue_name(self, text: str) -> bytes:
        """The name of a queue in a path, that is to be looked up.

        :raises Refusal: where there cannot be one
        """
        name = text.encode("utf-8", "surrogateescape")
        if len(name) > MAX_KEY:
            raise Refusal(400, f"a queue's name has at most {MAX_KEY} bytes")
        return name

    def check_arguments(self, *known: str) -> None:
        """Refuse arguments that are not ``known``, or given twice."""
        for name, values in self.request.query_arguments.items():
            if name not in known:
                wanted = f"known are {', '.join(known)}" if known else "none is known here"
                raise Refusal(400, f"unknown argument {name!r}; {wanted}")
            if len(values) > 1:
                raise Refusal(400, f"{name} is given {len(values)} times")

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number among the arguments.

        :raises Refusal: where it is none from ``least`` to ``most``
        """
        text = self.get_query_argument(name, None)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and least <= int(text) <= most):
            raise Refusal(400, f"{name} takes a whole number from {least} to {most}")
        return int(text)

    def choice(self, name: str, *words: str) -> str:
        """A word among the arguments; the first one where it is not given.

        :raises Refusal: where it is none of ``words``
        """
        text = self.get_query_argument(name, words[0])
        if text not in words:
            raise Refusal(400, f"{name} takes one of {', '.join(words)}")
        return text

    def data_received(self, chunk: bytes) -> None:
        """A piece of the body."""
        self._chunks.append(chunk)

    def fields(self, *known: str) -> dict[str, Any]:
        """The JSON object in the body; an empty one where there is no body.

        :param known: the names it may have
        :raises Refusal: where it is none, or has others
        """
        body = b"".join(self._chunks)
        if not body:
            return {}
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, "the body wants to be JSON, with the header Content-Type: application/json")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise Refusal(400, "the body is no JSON") from None
        if not isinstance(found, dict):
            raise Refusal(400, "the body wants to be a JSON object")
        for name in found:
            if name not in known:
                raise Refusal(400, f"unknown field {name!r}; {', '.join(known) or 'none'} can be given")
        return found

    # -- answers -----------------------------------------------------------------------

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        """Add to the answer; an object as JSON, on a line, for those who look at it in a terminal."""
        if isinstance(chunk, dict):
            self.set_header("Content-Type", "application/json; charset=UTF-8")
            chunk = json.dumps(chunk).encode() + b"\n"
        super().write(chunk)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong."""
        error = kwargs.get("exc_info", (None, None))[1]
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.methods()))
        if isinstance(error, Refusal):
            for name, value in error.headers.items():
                self.set_header(name, value)
            message = error.message
        elif status_code >= 500:
            message = "a defect in the server; its log says more"
        else:
            message = self._reason
        self.finish({"error": message})

    def head(self, *arguments: str) -> Any:
        """As GET: the body is left out by Tornado."""
        return self.get(*arguments)


class NotFound(Handler):
    """What nobody else takes."""

    needs_engine = False

    @classmethod
    def methods(cls) -> tuple[str, ...]:
        """Any: there is nothing either way."""
        return _METHODS

    async def prepare(self) -> None:
        """Nothing is here."""
        await super().prepare()
        raise Refusal(404, "nothing is here; the JSON API is described at /api/openapi.json")
