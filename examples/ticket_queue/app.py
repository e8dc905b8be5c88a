"""A waiting room: visitors take numbers, see live who is ahead, are called, and lose their turn if they do not come.

A ticket is an item of the queue ``tickets``, and a called visitor is a reserved one. That a turn is lost when its time
is over, and who is next then, is the server's doing: see redqueue.toml. This program only asks how things stand.

usage: python app.py [--port=8000] [--redqueue=127.0.0.1:12345] [--desks=2]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import memcache
import tornado.iostream
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

STATIC = Path(__file__).parent / "static"
LOOK_SECONDS = 0.3
CHUNK = 50


class Unavailable(tornado.web.HTTPError):
    """RedQueue is away or refuses; the visitor is to try again."""

    def __init__(self) -> None:
        super().__init__(503)


class Office:
    """The desks and what is known of the tickets; its memcache calls run in threads, one at a time.

    :ivar desks: what each desk does: None where it is closed, "calling" or "serving"
    :ivar tickets: the ticket that each desk calls or serves
    :ivar state: how things stand, for the pages
    """

    def __init__(self, redqueue: str, desks: int) -> None:
        self._queue = memcache.Client([redqueue], socket_timeout=10, dead_retry=1)
        self._threads = ThreadPoolExecutor(1)
        self.desks: list[str | None] = [None] * desks
        self.tickets: list[dict[str, Any] | None] = [None] * desks
        self._until = [0.0] * desks
        self.state: dict[str, Any] = {"online": False, "waiting": [], "missed": [], "desks": []}
        self.changed = asyncio.Condition()
        for desk in range(desks):
            self._queue.get(f"tickets/abort/as=desk{desk}")  # what an earlier life called keeps its place

    async def run(self, work: Any, *arguments: Any) -> Any:
        """Call ``work`` in the thread, and show how things stand afterwards."""
        loop = asyncio.get_running_loop()
        result, state = await loop.run_in_executor(self._threads, lambda: (work(*arguments), self._look()))
        if state != self.state:
            async with self.changed:
                self.state = state
                self.changed.notify_all()
        return result

    async def watch(self) -> None:
        """Look again and again, for ever."""
        while True:
            await self.run(lambda: None)
            await asyncio.sleep(LOOK_SECONDS)

    def take(self, name: str) -> dict[str, Any]:
        """A new ticket, at the end of the line."""
        self._queue.add("tickets.number", "0")
        number = self._queue.incr("tickets.number")
        ticket = {"number": number, "name": name, "secret": secrets.token_urlsafe(12)}
        if number is None or not self._queue.set("tickets", json.dumps(ticket)):
            raise Unavailable
        return ticket

    def come(self, secret: str) -> bool:
        """The visitor is here: acknowledged, unless the deadline was faster."""
        for desk, ticket in enumerate(self.tickets):
            if ticket and secrets.compare_digest(ticket["secret"].encode(), secret.encode()):
                if self.desks[desk] == "calling" and self._queue.delete(f"tickets/as=desk{desk}"):
                    self.desks[desk] = "serving"
                return self.desks[desk] == "serving"
        return False

    def call_next(self, desk: int) -> None:
        """The desk has time for the next visitor."""
        if self.desks[desk] != "calling":
            self.desks[desk], self.tickets[desk] = "calling", None

    def close(self, desk: int) -> None:
        """The desk takes no more visitors; whom it calls goes back to the head of the line."""
        self._queue.get(f"tickets/abort/as=desk{desk}")
        self.desks[desk], self.tickets[desk] = None, None

    def _peek(self, queue: str) -> list[dict[str, Any]]:
        """All ready items, in their order, reserving none."""
        found: list[dict[str, Any]] = []
        while True:
            keys = [f"{queue}/peek={place}" for place in range(len(found), len(found) + CHUNK)]
            answer = self._queue.get_multi(keys)
            found += [json.loads(answer[key]) for key in keys if key in answer]
            if len(answer) < CHUNK:
                return found

    def _settings(self) -> dict[str, str]:
        """The server's settings; empty where it is away."""
        with contextlib.suppress(OSError):
            for _, settings in self._queue.get_stats("settings"):
                return settings  # type: ignore[no-any-return]
        return {}

    def _look(self) -> dict[str, Any]:
        """How things stand; free desks reserve the next ticket, which misses while they hold one."""
        settings = self._settings()
        seconds = float(settings.get("queue.tickets.reserve_timeout", settings.get("reserve_timeout", 0)))
        for desk, doing in enumerate(self.desks):
            if doing == "calling" and (item := self._queue.get(f"tickets/as=desk{desk}")):
                self.tickets[desk] = json.loads(item)
                self._until[desk] = time.time() + seconds
        waiting = [self._public(ticket) for ticket in self._peek("tickets")]
        missed = [ticket["number"] for ticket in self._peek("tickets.missed")]
        if not settings or not self._settings():  # a dead server looks like empty queues: do not believe in them
            return {**self.state, "online": False}
        desks = []
        for desk, doing in enumerate(self.desks):
            ticket = self.tickets[desk]
            if ticket and doing == "calling" and ticket["number"] in missed:
                ticket = self.tickets[desk] = None
            until = self._until[desk] if doing == "calling" else 0
            desks.append({"doing": doing, "until": until, "ticket": self._public(ticket) if ticket else None})
        return {"online": True, "waiting": waiting, "missed": missed, "desks": desks}

    @staticmethod
    def _public(ticket: dict[str, Any]) -> dict[str, Any]:
        return {"number": ticket["number"], "name": ticket["name"]}


class Handler(tornado.web.RequestHandler):
    """What all handlers share: the office, and headers that keep strangers out."""

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", "default-src 'self'; img-src data:; frame-ancestors 'none'")

    @property
    def office(self) -> Office:
        """The one of this application."""
        return self.settings["office"]  # type: ignore[no-any-return]

    def prepare(self) -> None:
        if self.request.method == "POST" and self.request.headers.get("X-Requested-With") != "tickets":
            raise tornado.web.HTTPError(403, "no form of another site may do this")


class Page(Handler):
    """A page."""

    def initialize(self, file: str) -> None:
        self._file = file

    def get(self) -> None:
        self.finish((STATIC / self._file).read_bytes())


class Tickets(Handler):
    """Take a number."""

    async def post(self) -> None:
        name = " ".join(self.get_body_argument("name", "").split())[:30]
        self.finish(await self.office.run(self.office.take, name))


class Come(Handler):
    """The visitor who was called is here."""

    async def post(self) -> None:
        self.finish({"in_time": await self.office.run(self.office.come, self.get_body_argument("secret"))})


class Desk(Handler):
    """A desk calls the next visitor, or closes."""

    async def post(self, desk: str, action: str) -> None:
        if int(desk) >= len(self.office.desks):
            raise tornado.web.HTTPError(404)
        await self.office.run(self.office.call_next if action == "next" else self.office.close, int(desk))
        self.finish({})


class Live(Handler):
    """Server-sent events: how things stand, now and at each change."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        sent: object = None
        with contextlib.suppress(tornado.iostream.StreamClosedError):
            while True:
                if self.office.state is not sent:
                    sent = self.office.state
                    self.write(f"data: {json.dumps({**self.office.state, 'now': time.time()})}\n\n")
                else:
                    self.write(": still here\n\n")
                await self.flush()
                async with self.office.changed:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(
                            self.office.changed.wait_for(lambda seen=sent: self.office.state is not seen), timeout=15
                        )


async def main() -> None:
    """Serve until the process ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    parser.add_argument("--desks", type=int, default=2)
    options = parser.parse_args()
    office = Office(options.redqueue, options.desks)
    pages = [("/", Page, {"file": "visitor.html"}), ("/desks", Page, {"file": "desks.html"})]
    actions = [("/tickets", Tickets), ("/come", Come), (r"/desks/(\d+)/(next|close)", Desk), ("/live", Live)]
    application = tornado.web.Application([*pages, *actions], static_path=str(STATIC), office=office)  # type: ignore[list-item]
    sockets = bind_sockets(options.port, "127.0.0.1")
    HTTPServer(application).add_sockets(sockets)
    print(f"waiting room on http://127.0.0.1:{sockets[0].getsockname()[1]}/", flush=True)
    await office.watch()


if __name__ == "__main__":
    asyncio.run(main())
