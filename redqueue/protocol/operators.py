"""The operators' verbs: pause, resume, drop, redrive, readonly (CONTRACT section 6) and drain.

They are for clients on the same machine, since anybody else might be anybody; and, where clients authenticate, for
those who have the role of an admin (:mod:`redqueue.protocol.permissions`).
"""

from __future__ import annotations

import logging

from redqueue.engine.consumer import ANYBODY
from redqueue.engine.queue import Queue
from redqueue.protocol import replies
from redqueue.protocol.key import parse_name
from redqueue.protocol.replies import NOT_FOUND, OK
from redqueue.protocol.request import BadRequest, Parse, Request, Run, take_noreply, unsigned
from redqueue.protocol.session import COMMIT, Session

log = logging.getLogger(__name__)

ALL = 1 << 62
"""More letters than there will ever be."""

_ID = b"id="
_ONLY_LOCAL = replies.client_error("operators' verbs are only for clients on the server's own machine")


def parse_pause(words: list[bytes], run: Run) -> Request:
    """``pause <queue> [seconds] [noreply]``"""
    return _parse(words, run, with_number=True)


def parse_one_queue(words: list[bytes], run: Run) -> Request:
    """``resume|drop <queue> [noreply]``"""
    return _parse(words, run)


def parse_redrive(words: list[bytes], run: Run) -> Request:
    """``redrive <queue> [n|id=ID] [noreply]``"""
    if len(words) < 2 or not words[1].startswith(_ID):
        return _parse(words, run, with_number=True)
    item_id = unsigned(words.pop(1).removeprefix(_ID), 64)
    if not item_id:
        raise BadRequest(replies.BAD_FORMAT)
    request = _parse(words, run)
    request.run, request.token = run_redrive_one, item_id
    return request


def _parse(words: list[bytes], run: Run, with_number: bool = False) -> Request:
    request = Request(run)
    request.noreply = take_noreply(words)
    number = unsigned(words[1], 31) if len(words) == 2 and with_number else 0
    if not 1 <= len(words) <= 1 + with_number or number is None or (len(words) == 2 and not number):
        raise BadRequest(replies.BAD_FORMAT)
    request.queue = parse_name(words[0])
    request.delta = number
    return request


def parse_switch(words: list[bytes], run: Run) -> Request:
    """``readonly|drain on|off [noreply]``"""
    request = Request(run)
    request.noreply = take_noreply(words)
    if words not in ([b"on"], [b"off"]):
        raise BadRequest(replies.BAD_FORMAT)
    request.words = (words[0],)
    return request


def run_pause(session: Session, request: Request, body: bytes) -> None:
    """``pause``: gets of a queue miss, or wait, for so many seconds or until it is resumed."""
    queue = _queue(session, request)
    if queue is not None:
        session.broker.pause(queue, float(request.delta) or None)
        _done(session, request)


def run_resume(session: Session, request: Request, body: bytes) -> None:
    """``resume``: the end of a pause."""
    queue = _queue(session, request)
    if queue is not None:
        session.broker.resume(queue)
        _done(session, request)


def run_drop(session: Session, request: Request, body: bytes) -> None:
    """``drop``: a queue's items, reserved ones included, its subscription, its pause and its figures."""
    if not _may(session, request):
        return
    if session.broker.drop(request.queue, session.receipt(request)):
        _done(session, request)
        session.stall(COMMIT)
    else:
        session.answer(request, NOT_FOUND)


def run_redrive(session: Session, request: Request, body: bytes) -> None:
    """``redrive``: dead letters back to where they came from."""
    if not _may(session, request):
        return
    broker = session.broker
    queue = session.queues.get(request.queue)
    if queue is not None and not queue.is_settled():
        session.stall_and_retry()
        return
    if queue is not None and queue.cold_cost and queue.is_reading_back(ANYBODY):
        session.stall_until_read_back(queue)
        return
    if queue is not None and broker.redrive(queue, request.delta or ALL, session.receipt(request)):
        _done(session, request)
        session.stall(COMMIT)
    else:
        session.answer(request, NOT_FOUND)


def run_redrive_one(session: Session, request: Request, body: bytes) -> None:
    """``redrive`` of one dead letter."""
    if not _may(session, request):
        return
    queue = session.queues.get(request.queue)
    if queue is not None and not queue.is_settled():
        session.stall_and_retry()
        return
    if queue is not None and queue.is_bringing_in(request.token):
        session.stall_until_read_back(queue)
        return
    if queue is not None and session.broker.redrive_one(queue, request.token, session.receipt(request)):
        _done(session, request)
        session.stall(COMMIT)
    else:
        session.answer(request, NOT_FOUND)


def run_readonly(session: Session, request: Request, body: bytes) -> None:
    """``readonly``: take no items, or take them again."""
    if _may(session, request):
        session.broker.set_readonly(request.words[0] == b"on")
        _done(session, request)


def run_drain(session: Session, request: Request, body: bytes) -> None:
    """``drain``: take no items because the server is to end, or take them again; as SIGUSR1 does."""
    if _may(session, request):
        session.broker.drain(request.words[0] == b"on")
        _done(session, request)


def _may(session: Session, request: Request) -> bool:
    """Whether the client may use these verbs; it is told where it may not."""
    if session.is_local or session.user is not None:
        return True
    session.counters.noreply_errors += request.noreply
    session.answer(request, _ONLY_LOCAL)
    return False


def _queue(session: Session, request: Request) -> Queue | None:
    """The queue that the request names; where there is none, or the client may not, that has been answered."""
    if not _may(session, request):
        return None
    queue = session.queues.get(request.queue)
    if queue is None:
        session.answer(request, NOT_FOUND)
    return queue


def _done(session: Session, request: Request) -> None:
    words = (request.queue or request.words[0]).decode("utf-8", "backslashreplace")
    log.info("%s %s", request.run.__name__.removeprefix("run_"), words)
    session.answer(request, OK)


COMMANDS: dict[bytes, tuple[Parse, Run]] = {
    b"pause": (parse_pause, run_pause),
    b"resume": (parse_one_queue, run_resume),
    b"drop": (parse_one_queue, run_drop),
    b"redrive": (parse_redrive, run_redrive),
    b"readonly": (parse_switch, run_readonly),
    b"drain": (parse_switch, run_drain),
}
