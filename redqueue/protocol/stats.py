"""The answers to ``stats`` (CONTRACT section 6; names as memcached and Kestrel have them)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from urllib.parse import quote_from_bytes

from redqueue.access.roles import Role
from redqueue.engine.broker import Broker
from redqueue.engine.queue import Queue
from redqueue.engine.settings import written
from redqueue.journal import record as rec
from redqueue.protocol import replies
from redqueue.protocol.counters import COUNTERS, Counters
from redqueue.protocol.host import Figures
from redqueue.protocol.key import parse_name
from redqueue.protocol.request import BadRequest, Request, Run, unsigned
from redqueue.protocol.session import Session

_PRINTABLE = bytes(range(0x21, 0x7F)).replace(b"%", b"")
_PLAIN = re.compile(rb"[!-$&-~]+")
MOST_IN_BRIEF = 1000
"""Queues that one ``stats brief`` tells of, so that it holds nobody up; a longer list is read in pieces."""


def parse_stats(words: list[bytes], run: Run) -> Request:
    """``stats [server|queues|settings|items|conns|reset|queue NAME|brief FIRST COUNT]``"""
    request = Request(run)
    word = words[0] if words else b""
    if word == b"queue" and len(words) == 2:
        request.queue = parse_name(words[1])
    elif word == b"brief" and len(words) == 3:
        first, count = unsigned(words[1], 31), unsigned(words[2], 31)
        if first is None or count is None:
            raise BadRequest(replies.BAD_FORMAT)
        request.delta, request.flags = first, min(count, MOST_IN_BRIEF)
    elif len(words) > 1 or word not in _TOPICS:
        raise BadRequest(replies.BAD_FORMAT)
    request.words = (word,)
    return request


def run_stats(session: Session, request: Request, body: bytes) -> None:
    """``stats`` in all its forms: one reply, written at once."""
    reply = stat_lines(session, request)
    reply += replies.RESET if request.words[0] == b"reset" else replies.END
    session.out.append(reply)
    session.count_output(len(reply))


def stat_lines(session: Session, request: Request) -> bytes:
    """The ``STAT`` lines that a request asks for."""
    word = request.words[0]
    if word == b"queue":
        queue = session.queues.get(request.queue)
        return b"" if queue is None else _queue(session, queue)
    if word == b"brief":
        return _brief(session, request.delta, request.flags)
    return _TOPICS[word](session)


def _lines(figures: Figures, prefix: bytes = b"") -> bytes:
    return b"".join(b"STAT %s%s %s\r\n" % (prefix, name.encode(), _text(value).encode()) for name, value in figures)


def _text(value: object) -> str:
    """A figure as text; seconds with a fraction have six places, as memcached's."""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _global(session: Session) -> bytes:
    return _server(session) + _queues(session)


def _server(session: Session) -> bytes:
    return _lines([*session.host.process_stats(), *server_figures(session.broker, session.counters)])


def server_figures(broker: Broker, counters: Counters) -> list[tuple[str, object]]:
    """The requests by kind, and the sums of all queues."""
    figures: list[tuple[str, object]] = [
        ("cmd_get", counters.get_hits + counters.get_misses),
        ("cmd_set", counters.cmd_set),
        ("cmd_delete", counters.delete_hits + counters.delete_misses),
        ("cmd_flush", counters.cmd_flush),
        ("cmd_touch", counters.touch_hits + counters.touch_misses),
    ]
    figures += [(name, getattr(counters, name)) for name in COUNTERS if not name.startswith("cmd_")]
    figures += [
        ("curr_items", broker.sum_items()),
        ("total_items", broker.total_items),
        ("bytes", broker.sum_bytes()),
        ("queues", len(broker.queues)),
        ("reserved_items", sum(queue.reserved for queue in broker.queues.values())),
    ]
    return figures


def _queues(session: Session) -> bytes:
    return b"".join(_lines(queue_figures(queue), b"queue_" + _shown(queue.name) + b"_") for queue in _visible(session))


def _visible(session: Session) -> Iterable[Queue]:
    """The queues of which the client may read."""
    user = session.user
    queues = session.queues.values()
    return queues if user is None else (queue for queue in queues if user.may(Role.READER, queue.name))


def _queue(session: Session, queue: Queue) -> bytes:
    head = queue.ready.first()
    figures = [*queue_figures(queue)]
    if head is not None:
        figures += [(f"head_{name}", value) for name, value in item_figures(session.broker, head)]
    settings = dict(queue.settings.figures())
    settings["dead_letter"] = _shown(queue.settings.dead_letter_of(queue.name)).decode()
    figures += [(f"setting_{name}", value) for name, value in settings.items()]
    return _lines(figures)


def _brief(session: Session, first: int, count: int) -> bytes:
    """A line for each of ``count`` queues, from the one with the index ``first``."""
    lines = []
    for queue in islice(_visible(session), first, first + count):
        name = _shown(queue.name)
        lines.append(b"STAT %b %b\r\n" % (name, b" ".join(b"%b=%d" % figure for figure in _brief_figures(queue))))
    return b"".join(lines)


def _brief_figures(queue: Queue) -> tuple[tuple[bytes, int], ...]:
    return (
        (b"items", queue.items),
        (b"reserved", queue.reserved),
        (b"delayed", 0 if queue.delayed is None else len(queue.delayed)),
        (b"bytes", queue.bytes),
        (b"age", int(queue.age() * 1000)),
        (b"waiters", len(queue.waiters)),
        (b"paused", int(queue.paused)),
        (b"put", queue.total_items),
        (b"delivered", queue.total_reserved),
        (b"returned", queue.cancelled + queue.abandoned + queue.timed_out),
        (b"expired", queue.expired),
        (b"discarded", queue.discarded),
        (b"dead", queue.dead_letters),
    )


def _shown(name: bytes) -> bytes:
    """A queue's name as a word in ASCII, as in a URL: clients decode the names of figures as that.

    A base64 key may have put spaces and line ends into it, which must not end the word or the line.
    """
    return name if _PLAIN.fullmatch(name) else quote_from_bytes(name, _PRINTABLE).encode()


def queue_figures(queue: Queue) -> Figures:
    """The figures of one queue, by Kestrel's names where it has them.

    ``age`` is that of the head, in milliseconds; ``logsize`` what the items take in the journal, in bytes.
    """
    return (
        ("items", queue.items),
        ("bytes", queue.bytes),
        ("total_items", queue.total_items),
        ("logsize", queue.stored),
        ("expired_items", queue.expired),
        ("mem_items", queue.items - queue.cold_items),
        ("mem_bytes", queue.bytes - queue.cold_bytes),
        ("age", int(queue.age() * 1000)),
        ("discarded", queue.discarded),
        ("dead_letters", queue.dead_letters),
        ("delayed", 0 if queue.delayed is None else len(queue.delayed)),
        ("children", len(queue.children)),
        ("paused", int(queue.paused)),
        ("waiters", len(queue.waiters)),
        ("open_transactions", queue.reserved),
        ("transactions", queue.total_reserved),
        ("canceled_transactions", queue.cancelled + queue.abandoned + queue.timed_out),
        ("timed_out_transactions", queue.timed_out),
        ("total_flushes", queue.flushes),
        ("create_time", queue.created // 1_000_000_000),
    )


def item_figures(broker: Broker, record: bytes) -> Figures:
    """What is known of an item: its id, when it arrived, its lost deliveries and, of a dead letter, its origin.

    ``time`` is a Unix time; ``origin`` is there for dead letters only.
    """
    figures: list[tuple[str, object]] = [
        ("id", rec.item_id(record)),
        ("time", rec.time(record) // 1_000_000_000),
        ("deliveries", rec.deliveries(record)),
    ]
    origin = broker.origins.name_of(record)
    if origin is not None:
        figures.append(("origin", _shown(origin).decode()))
    return figures


def _settings(session: Session) -> bytes:
    """The options in force, and what the tables of single queues say."""
    lines = _lines(session.host.setting_stats())
    for name, table in session.broker.book.tables.items():
        figures = [(setting, written(value)) for setting, value in table.items()]
        lines += _lines(figures, b"queue." + _shown(name) + b".")
    return lines


def _items(session: Session) -> bytes:
    """memcached speaks of slab classes here; all items are of one."""
    return _lines(
        [("items:1:number", session.broker.sum_items()), ("items:1:mem_requested", session.broker.sum_bytes())]
    )


def _connections(session: Session) -> bytes:
    return _lines(session.host.connection_stats())


def _reset(session: Session) -> bytes:
    session.host.reset_stats()
    return b""


_TOPICS = {
    b"": _global,
    b"server": _server,
    b"queues": _queues,
    b"settings": _settings,
    b"items": _items,
    b"conns": _connections,
    b"reset": _reset,
}
