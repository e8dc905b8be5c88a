"""The JSON API: what can be changed. It is done with the bytes a client would send (redqueue.server.local_client)."""

from __future__ import annotations

import logging
import math
import time
from base64 import b64decode
from typing import Any

from redqueue.access.roles import Role
from redqueue.protocol import replies
from redqueue.protocol.key import BadKey, parse_name
from redqueue.protocol.session import MAX_RELATIVE
from redqueue.server.local_client import ClientClosed
from redqueue.server.web import queue_rows
from redqueue.server.web.handler import MAX_BODY, Handler, Refusal
from redqueue.server.web.names import shown
from redqueue.server.web.reads import ItemsReader, OneQueueHandler
from redqueue.server.web.site import Site

log = logging.getLogger(__name__)

MOST_SECONDS = 2**31 - 1
_CLIENT_ERROR, _SERVER_ERROR = b"CLIENT_ERROR ", b"SERVER_ERROR "


class Changing(Handler):
    """A handler that changes something."""

    async def ask(self, request: bytes) -> bytes:
        """The line that answers ``request``, without its CRLF.

        :raises Refusal: for one that says that nothing was done
        """
        try:
            async with self.engine.clients.open() as client:
                answer = await client.request(request)
        except ClientClosed as closed:
            raise Refusal(503, str(closed)) from None
        if answer in (replies.NOT_FOUND, b"NF\r\n"):
            raise Refusal(404, "there is no such queue, or nothing in it that this can be done to")
        if answer in (replies.NOT_STORED, b"NS\r\n"):
            raise Refusal(409, self._why_not_stored())
        if answer == replies.TOO_LARGE:
            raise Refusal(413, f"the item is longer than max_item_size, {self.site.options.max_item_size} bytes")
        if answer.startswith(_SERVER_ERROR):
            trouble = self.engine.figures.trouble()
            raise Refusal(503, trouble or answer.removeprefix(_SERVER_ERROR).decode().strip())
        if answer.startswith(_CLIENT_ERROR):
            raise Refusal(400, answer.removeprefix(_CLIENT_ERROR).decode().strip())
        return answer.removesuffix(b"\r\n")

    def _why_not_stored(self) -> str:
        broker = self.engine.figures.broker
        if broker.takes_items():
            return "the queue is full"
        return broker.over_limit or "the server takes no new items now"

    def name_on_the_wire(self, text: str) -> bytes:
        """The name of a queue in a path, as a command can say it.

        :raises Refusal: where none can
        """
        name = self.queue_name(text)
        try:
            if parse_name(name) == name:
                return name
        except BadKey as error:
            raise Refusal(400, str(error)) from None
        raise Refusal(400, "no command can name this queue")

    def noted(self, what: str) -> None:
        """An operator has done something: the log has it."""
        log.info("%s, by %s over HTTP", what, self.visitor.name)


class QueueHandler(OneQueueHandler, Changing):
    """``/api/queues/{queue}``"""

    async def get(self, text: str) -> None:
        """One queue, with its settings."""
        self.check_arguments()
        queue, may = self.find(text), self.visitor.may
        self.write(
            {
                **queue_rows.details(self.engine.history, queue),
                "may": {"put": may(Role.WRITER, queue.name), "change": may(Role.ADMIN, queue.name)},
            }
        )

    async def delete(self, text: str) -> None:
        """Drop it."""
        self.check_arguments()
        await self.ask(b"drop %b\r\n" % self.name_on_the_wire(text))
        self.write({"ok": True})


class ItemsHandler(ItemsReader, Changing):
    """``/api/queues/{queue}/items``"""

    def initialize(self, site: Site) -> None:
        """An item may be long, and longer in JSON."""
        super().initialize(site)
        self.max_body = 2 * self.site.options.max_item_size + MAX_BODY

    def required(self) -> tuple[Role, bytes | None]:
        """Readers look, writers put."""
        role, queue = super().required()
        return (Role.WRITER if role is Role.ADMIN else role), queue

    async def post(self, text: str) -> None:
        """Put an item."""
        self.check_arguments()
        name = self.name_on_the_wire(text)
        fields = self.fields("payload", "payload_base64", "flags", "ttl", "delay")
        payload = _payload(fields)
        key = name
        if delay := _seconds(fields, "delay"):
            key = b"%b/delay=%b" % (name, f"{delay:.9f}".rstrip("0").rstrip(".").encode())
        exptime = math.ceil(_seconds(fields, "ttl"))
        if exptime > MAX_RELATIVE:
            exptime += math.ceil(time.time())
        flags = _whole(fields, "flags", 0, 0, 2**32 - 1)
        answer = await self.ask(b"ms %b %d F%d T%d c\r\n%b\r\n" % (key, len(payload), flags, exptime, payload))
        self.set_status(201)
        self.write({"id": int(answer.rpartition(b" c")[2])})


class PauseHandler(Changing):
    """``/api/queues/{queue}/pause``"""

    async def post(self, text: str) -> None:
        """Hand out no items, for some seconds or until it is resumed."""
        self.check_arguments()
        seconds = _whole(self.fields("seconds"), "seconds", 0, 1, MOST_SECONDS)
        await self.ask(b"pause %b%b\r\n" % (self.name_on_the_wire(text), b" %d" % seconds if seconds else b""))
        self.write({"ok": True})


class ResumeHandler(Changing):
    """``/api/queues/{queue}/resume``"""

    async def post(self, text: str) -> None:
        """Hand out items again."""
        self.check_arguments()
        self.fields()
        await self.ask(b"resume %b\r\n" % self.name_on_the_wire(text))
        self.write({"ok": True})


class FlushHandler(OneQueueHandler, Changing):
    """``/api/queues/{queue}/flush``"""

    async def post(self, text: str) -> None:
        """Drop the items that are there now."""
        self.check_arguments()
        self.fields()
        name = self.name_on_the_wire(text)
        self.find(text)
        await self.ask(b"flush %b\r\n" % name)
        self.noted(f"flush {shown(name)}")
        self.write({"ok": True})


class RedriveHandler(Changing):
    """``/api/queues/{queue}/redrive``, of a queue of dead letters"""

    async def post(self, text: str) -> None:
        """Put dead letters back to where they came from: one, some, or all."""
        self.check_arguments()
        fields = self.fields("count", "id")
        if len(fields) > 1:
            raise Refusal(400, "either count or id can be given")
        which = b""
        if "id" in fields:
            which = b" id=%d" % _whole(fields, "id", 0, 1, 2**64 - 1)
        elif fields:
            which = b" %d" % _whole(fields, "count", 0, 1, MOST_SECONDS)
        await self.ask(b"redrive %b%b\r\n" % (self.name_on_the_wire(text), which))
        self.write({"ok": True})


class ReadonlyHandler(Changing):
    """``/api/server/readonly``"""

    async def post(self) -> None:
        """Take no new items, or take them again."""
        self.check_arguments()
        await self.ask(b"readonly %b\r\n" % (b"on" if _on(self.fields("on")) else b"off"))
        self.write({"ok": True})


class DrainHandler(Changing):
    """``/api/server/drain``"""

    async def post(self) -> None:
        """Take no new items because the server is to end, or take them again."""
        self.check_arguments()
        await self.ask(b"drain %b\r\n" % (b"on" if _on(self.fields("on")) else b"off"))
        self.write({"ok": True})


def _on(fields: dict[str, Any]) -> bool:
    on = fields.get("on")
    if not isinstance(on, bool):
        raise Refusal(400, "on takes true or false")
    return on


def _whole(fields: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    if name not in fields:
        return default
    value = fields[name]
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON knows no difference
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Refusal(400, f"{name} takes a whole number from {least} to {most}")
    return int(value)


def _seconds(fields: dict[str, Any], name: str) -> float:
    value = fields.get(name, 0)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= MOST_SECONDS:
        raise Refusal(400, f"{name} takes seconds from 0 to {MOST_SECONDS}, with a fraction or without")
    return float(value)


def _payload(fields: dict[str, Any]) -> bytes:
    if ("payload" in fields) == ("payload_base64" in fields):
        raise Refusal(400, "an item has either payload, a text, or payload_base64")
    text = fields.get("payload", fields.get("payload_base64"))
    if not isinstance(text, str):
        raise Refusal(400, "a payload is a JSON string")
    try:
        return text.encode() if "payload" in fields else b64decode(text, validate=True)
    except UnicodeEncodeError:
        raise Refusal(400, "payload has half a surrogate pair, which is no text") from None
    except ValueError:
        raise Refusal(400, "payload_base64 is no base64") from None
