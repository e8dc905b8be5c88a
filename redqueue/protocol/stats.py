"""The answers to ``stats`` (CONTRACT section 6; names as memcached and Kestrel have them)."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

from redqueue.engine.queue import Queue
from redqueue.journal.record import PUT_SIZE
from redqueue.protocol import replies
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
        return b"" if queue is None else _lines(queue_figures(queue))
    return _TOPICS[word](session)


def _lines(figures: Figures, prefix: bytes = b"") -> bytes:
    return b"".join(b"STAT %s%s %s\r\n" % (prefix, name.encode(), str(value).encode()) for name, value in figures)


def _global(session: Session) -> bytes:
    broker, counters = session.broker, session.counters
    figures: list[tuple[str, object]] = [*session.host.process_stats()]
    figures += [
        ("cmd_get", counters.get_hits + counters.get_misses),
        ("cmd_set", counters.cmd_set),
        ("cmd_delete", counters.delete_hits + counters.delete_misses),
        ("cmd_flush", counters.cmd_flush),
        ("cmd_touch", counters.touch_hits + counters.touch_misses),
    ]
    figures += [(name, getattr(counters, name)) for name in counters.__slots__ if not name.startswith("cmd_")]
    figures += [
        ("curr_items", broker.sum_items()),
        ("total_items", broker.total_items),
        ("bytes", broker.sum_bytes()),
        ("queues", len(broker.queues)),
        ("reserved_items", sum(queue.reserved for queue in broker.queues.values())),
    ]
    return _lines(figures) + _queues(session)


def _queues(session: Session) -> bytes:
    return b"".join(
        _lines(queue_figures(queue), b"queue_" + _shown(queue.name) + b"_") for queue in session.queues.values()
    )


def _shown(name: bytes) -> bytes:
    """A queue's name in ASCII, as in a URL: clients decode the names of figures as that."""
    return name if name.isascii() else quote_from_bytes(name, _PRINTABLE).encode()


def queue_figures(queue: Queue) -> Figures:
    """The figures of one queue, by Kestrel's names where it has them.

    ``age`` is that of the head, in milliseconds; ``logsize`` what the items take in the journal, in bytes.
    """
    return (
        ("items", queue.items),
        ("bytes", queue.bytes),
        ("total_items", queue.total_items),
        ("logsize", queue.bytes + PUT_SIZE * queue.items),
        ("expired_items", queue.expired),
        ("mem_items", queue.items),
        ("mem_bytes", queue.bytes),
        ("age", int(queue.age() * 1000)),
        ("discarded", 0),
        ("waiters", len(queue.waiters)),
        ("open_transactions", queue.reserved),
        ("transactions", queue.total_reserved),
        ("canceled_transactions", queue.cancelled + queue.abandoned + queue.timed_out),
        ("timed_out_transactions", queue.timed_out),
        ("total_flushes", queue.flushes),
        ("create_time", queue.created // 1_000_000_000),
    )


def _settings(session: Session) -> bytes:
    return _lines(session.host.setting_stats())


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
