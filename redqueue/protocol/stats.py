"""The answers to ``stats`` (CONTRACT section 6; names as memcached and Kestrel have them)."""

from __future__ import annotations

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
from redqueue.protocol.request import BadRequest, Request, Run
from redqueue.protocol.session import Session

_PRINTABLE = bytes(range(0x21, 0x7F)).replace(b"%", b"")


def parse_stats(words: list[bytes], run: Run) -> Request:
    """``stats [queues|settings|items|conns|reset|queue NAME]``"""
    request = Request(run)
    word = words[0] if words else b""
    if word == b"queue" and len(words) == 2:
        request.queue = parse_name(words[1])
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
    return _TOPICS[word](session)


def _lines(figures: Figures, prefix: bytes = b"") -> bytes:
    return b"".join(b"STAT %s%s %s\r\n" % (prefix, name.encode(), _text(value).encode()) for name, value in figures)


def _text(value: object) -> str:
    """A figure as text; seconds with a fraction have six places, as memcached's."""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _global(session: Session) -> bytes:
    figures = [*session.host.process_stats(), *server_figures(session.broker, session.counters)]
    return _lines(figures) + _queues(session)


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
    return b"".join(
        _lines(queue_figures(queue), b"queue_" + _shown(queue.name) + b"_")
        for queue in session.queues.values()
        if session.user is None or session.user.may(Role.READER, queue.name)
    )


def _queue(session: Session, queue: Queue) -> bytes:
    head = queue.ready.first()
    figures = [*queue_figures(queue)]
    if head is not None:
        figures += [(f"head_{name}", value) for name, value in item_figures(session.broker, head)]
    settings = dict(queue.settings.figures())
    settings["dead_letter"] = _shown(queue.settings.dead_letter_of(queue.name)).decode()
    figures += [(f"setting_{name}", value) for name, value in settings.items()]
    return _lines(figures)


def _shown(name: bytes) -> bytes:
    """A queue's name in ASCII, as in a URL: clients decode the names of figures as that.

    A base64 key may have put line ends into it, which must not end the line.
    """
    return name if name.isascii() and name.decode().isprintable() else quote_from_bytes(name, _PRINTABLE).encode()


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
    b"queues": _queues,
    b"settings": _settings,
    b"items": _items,
    b"conns": _connections,
    b"reset": _reset,
}
