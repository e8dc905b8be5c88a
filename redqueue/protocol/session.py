"""One client's conversation: bytes in, replies out, in order, without any I/O.

The owner calls :meth:`Session.receive` with what the socket gave. A session that
has been served puts its owner into ``Service.served``, and the pieces of
:attr:`Session.out` are sent once the batch they belong to is committed. A
session stalls, and keeps further input for later, while

- a get waits for an item (``WAITING``): the session announces itself when it has one;
- what it asks for depends on changes that the journal does not have yet
  (``COMMIT``), for instance a get behind the same client's set: the owner calls
  :meth:`Session.resume` after every commit;
- the item it asks for is being read back from the journal (``READING``): the
  session announces itself when it is there;
- it is being found out who the client is (``AUTHENTICATING``,
  :mod:`redqueue.protocol.gate`): the session announces itself when that is known;
- too much output waits to be sent (``OUTPUT``): the owner resumes it once that
  is gone;
- it has asked for more than is done at once (``TURN``): it is in ``Service.turns``,
  and goes on with :meth:`Session.take_turn` once others have had theirs.

So the requests of one client are carried out, and answered, strictly in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from redqueue.access.roles import User
from redqueue.engine.consumer import Consumer, Waiter
from redqueue.engine.ledger import StorageFailed
from redqueue.engine.queue import Queue
from redqueue.engine.settings import QueueSettings
from redqueue.protocol import replies
from redqueue.protocol.request import MAX_LINE, Request
from redqueue.protocol.service import Owner, Service
from redqueue.protocol.unfinished import FirstByte, PartialBody, PartialLine, Progress, Swallow, Unfinished

WAITING: Final = 1
COMMIT: Final = 2
OUTPUT: Final = 3
READING: Final = 4
AUTHENTICATING: Final = 5
TURN: Final = 6

MAX_RELATIVE: Final = 60 * 60 * 24 * 30
"""Seconds; a greater exptime is a Unix time (memcached's protocol.txt, Expiration times)."""
_FIRST_BYTE: Final = FirstByte()
_SHORT: Final = 4096
"""Bytes up to which what has arrived is likely to be one request."""
TURN_BYTES: Final = 1 << 16
"""Bytes of one client's input that are carried out at the most before others have their turn. Where its requests are
short, ``Service.turn_lines`` says when that is."""
_BLOCK: Final = 1 << 14
"""Bytes in which the input of a stalled client is kept, so that going on with a piece does not copy all the rest."""
MAX_BACKLOG: Final = 1 << 16
"""Bytes kept of a stalled client's further input before it is no longer read."""
MAX_OUTPUT: Final = 1 << 20
"""Bytes of replies that a client has not taken above which it is no longer read (CONTRACT section 7)."""
TURN_OUTPUT: Final = 1 << 17
"""Bytes of replies that a client is given before others have their turn."""


Receipt: TypeAlias = "tuple[list[bytes], int] | tuple[list[bytes], int, bytes] | Session | None"
"""A list of replies, the index of the one to change, and to what if not to the classic words; or
a session whose replies have come too far for that; or nothing, where there is no reply."""


class Session:
    """The state of one conversation.

    :param service: what all sessions share
    :param owner: whoever moves the bytes

    :ivar out: replies not yet taken, each a complete one
    :ivar announced: whether the owner is among ``service.served``; None where it is not and has not been since
        somebody has put None here, to tell whether the client is idle at no cost for those who are not
    :ivar stalled: 0, or why no further request is carried out
    :ivar eof: whether the client has said that it sends no more
    :ivar is_local: whether the client is on this machine, so that it may use the operators' verbs
    :ivar is_admitted: whether what it sends are requests, and not what it takes to be let in
    :ivar user: who the client is, and what it may do; None where nobody is asked
    :ivar peer: where the client comes from, the same for all clients of one machine
    :ivar last_put: number of the last batch with an item of this client
    :ivar waiter: its place in the lines of the queues it waits for
    :ivar closing: whether the connection is to be closed once ``out`` is sent
    :ivar awaits_turn: whether it is in ``service.turns``
    :ivar complaint: for the log, why the session was closed; empty for no reason worth a line
    """

    __slots__ = (
        "_backlog",
        "_interrupted",
        "_owner",
        "_requests",
        "_service",
        "_unfinished",
        "announced",
        "awaits_turn",
        "backlog_size",
        "broker",
        "closing",
        "complaint",
        "consumer",
        "counters",
        "eof",
        "host",
        "is_admitted",
        "is_local",
        "known",
        "known_heads",
        "last_put",
        "out",
        "out_bytes",
        "peer",
        "queues",
        "retrying",
        "stalled",
        "user",
        "waiter",
    )

    def __init__(self, service: Service, owner: Owner) -> None:
        self._service = service
        self._owner: Owner | None = owner
        self.broker = service.broker
        self.queues = service.broker.queues
        self._requests = service.requests
        self.known = service.requests.known
        self.known_heads = service.requests.known_heads
        self.counters = service.counters
        self.host = service.host
        self.consumer = Consumer()
        self.out: list[bytes] = []
        self.out_bytes = 0
        self.announced: bool | None = False
        self.stalled = 0
        self.closing = False
        self.complaint = ""
        self.last_put = 0
        self.retrying = False
        self.backlog_size = 0
        self._backlog: list[bytes] | None = None
        self.awaits_turn = False
        self._interrupted = False
        self._unfinished: Unfinished | None = _FIRST_BYTE if service.gate is None else service.gate(self)
        self.is_admitted = service.gate is None
        self.user: User | None = None
        self.peer = ""
        self.eof = False
        self.is_local = False
        self.waiter: Waiter | None = None

    # -- input ----------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Carry out the requests in ``data``, as far as may be now."""
        service = self._service
        if not self.announced and self._owner is not None:  # as announce() does
            self.announced = True
            if not service.served:
                service.begin()
            service.served.append(self._owner)
        service.bytes_read = total = service.bytes_read + len(data)
        if total > service.read_limit and self._owner is not None:
            self._owner.pause_input_until_commit()
        if self.stalled or self.closing or self._unfinished is not None:
            self._go_on(data)
            return
        request = self.known.get(data)
        if request is None or request.size >= 0:
            self._run(data)
            return
        self._run_one(request, b"", data)  # nearly always so with get and delete

    def announce(self) -> None:
        """Tell the owner that there may be something to send or to go on with."""
        if not self.announced and self._owner is not None:
            self.announced = True
            service = self._service
            if not service.served:
                service.begin()
            service.served.append(self._owner)

    def _run_one(self, request: Request, body: bytes, data: bytes) -> None:
        """Carry out the one request that ``data`` is."""
        try:
            request.run(self, request, body)
        except StorageFailed:
            self.answer_failure(request)
        if self._interrupted:
            self._interrupted = False
            if self.retrying and data:
                self.retrying = False
                self.keep_first(data)

    def _go_on(self, data: bytes) -> None:
        """Take ``data`` while stalled, closing, or in the middle of something."""
        if self._unfinished is None or self.stalled or self.closing:
            self._keep(data)
            return
        if len(data) >= TURN_BYTES and self._owner is not None:
            self._join_turns()
        data = self._continue(data)
        if self.stalled or self.closing:
            self.keep_first(data)
        else:
            self._run(data)

    def _run(self, data: bytes) -> None:
        """Carry out the requests in ``data``, which begins with a line."""
        pos = 0
        end = len(data)
        if end < _SHORT:
            line, _, body = data.partition(b"\n")
            request = self.known_heads.get(line)
            if request is None:
                if not body:
                    request = self._requests.by_shape(data)
                    if request is not None:
                        self._run_one(request, b"", data)
                        return
            elif len(body) == request.size + 2 and body.endswith(b"\r\n"):
                self._run_one(request, body[:-2], data)  # nearly always so with set
                return
        limit = end if end < _SHORT >> 1 else _turn_of(data, self._service.turn_lines)
        known = self.known
        while pos < limit:
            after = data.find(b"\n", pos) + 1
            if not after:
                break
            line = data[pos:after]
            request = known.get(line)
            if request is None:
                if after - pos > MAX_LINE + 2:
                    break
                request = self._requests.parse(line)
            size = request.size
            start = pos
            try:
                if size < 0:
                    pos = after
                    request.run(self, request, b"")
                else:
                    pos = after + size + 2
                    if pos > end:
                        self._unfinished = PartialBody(request, line, data[after:])
                        return
                    if not data.startswith(b"\r\n", pos - 2):
                        pos = after + size
                        self._bad_chunk(request)
                    else:
                        request.run(self, request, data[after : pos - 2])
            except StorageFailed:
                self.answer_failure(request)
            if self._interrupted:
                self._interrupted = False
                if self.retrying:
                    self.retrying = False
                    pos = start
                if self.closing:
                    return
                if self.stalled:
                    self.keep_first(data[pos:])
                    return
                data = self._continue(data[pos:]) if self._unfinished is not None else data[pos:]
                limit -= end - len(data)
                pos = 0
                end = len(data)
        if pos < end:
            if pos < limit:
                self._keep_partial(data[pos:] if pos else data)
            else:
                self.wait_for_turn(data[pos:])

    def resume(self) -> None:
        """Go on after a stall for which the reason has gone."""
        self.stalled = 0
        backlog = self._backlog
        if backlog:
            data = backlog.pop(0)
            if len(data) < _BLOCK and backlog:
                pieces = [data]
                size = len(data)
                while size < _BLOCK and backlog:
                    pieces.append(backlog.pop(0))
                    size += len(pieces[-1])
                data = b"".join(pieces)
            self.backlog_size -= len(data)
            if self._unfinished is not None:
                self._go_on(data)
            else:
                self._run(data)
            if self._backlog and not self.stalled and not self.closing:
                self.wait_for_turn(b"")
        if self.eof and not self.stalled:
            self._end()

    def wait_for_turn(self, data: bytes) -> None:
        """Go on with ``data``, and what comes behind it, when others have had their turn."""
        self.stalled = TURN
        self.keep_first(data)
        self._join_turns()

    def _join_turns(self) -> None:
        """Read no more before others have had their turn."""
        if self._owner is not None:
            self._owner.pause_input()
        if not self.awaits_turn:
            self.awaits_turn = True
            self._service.turns.append(self)

    def take_turn(self) -> None:
        """Go on: others have had their turn."""
        self.awaits_turn = False
        if self.stalled == TURN:
            self.resume()
        if self._owner is not None:
            self._owner.resume_input()
            self.announce()

    def drop(self) -> None:
        """Something went wrong while the session went on."""
        if self._owner is not None:
            self._owner.abort()

    def finish(self) -> None:
        """The client sends no more. What it has asked is still answered; a waiting get leaves the line."""
        self.eof = True
        self.broker.clock.tick()
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter.cancel()
            waiter.deliver(None)
        elif not self.stalled:
            self._end()

    def _end(self) -> None:
        """All that the client has asked is done: what it still holds goes to the next, before the replies leave."""
        self.closing = True
        self.consumer.close()

    def close(self) -> None:
        """The connection is gone: everything reserved goes back."""
        self.closing = True
        self._owner = None
        self._backlog = None
        self._unfinished = None
        self.broker.clock.tick()
        if self.waiter is not None:
            self.waiter.cancel()
            self.waiter = None
        self.consumer.close()

    # -- for who looks now and then at what a client does -----------------------------

    def is_idle(self) -> bool:
        """Whether there is nothing for which the client may have reason to stay: it waits for nothing, holds nothing.

        What a named consumer holds outlives the connection anyhow.
        """
        return self.waiter is None and not self.stalled and not self.consumer.held

    def progress(self) -> Progress:
        """What has arrived in part (:mod:`redqueue.protocol.unfinished`); None also while nothing is taken."""
        if self.stalled or self.closing or self._unfinished is None:
            return None
        return self._unfinished.progress()

    def give_up(self, complaint: str) -> None:
        """What has arrived in part does not become whole: say so, where there are words for it, and close."""
        unfinished = self._unfinished
        is_silent = isinstance(unfinished, PartialBody) and unfinished.request.noreply
        if isinstance(unfinished, (PartialLine, PartialBody, Swallow)) and not is_silent:
            self.out.append(replies.TOO_SLOW)
        self.close_after_reply(complaint)
        self.announce()

    def _keep(self, data: bytes) -> None:
        if data and not self.closing:
            if self._backlog is None:
                self._backlog = []
            self._backlog.append(data)
            self.backlog_size += len(data)
            if self.backlog_size > MAX_BACKLOG and self._owner is not None:
                self._owner.pause_input()

    def keep_first(self, data: bytes) -> None:
        """Keep ``data``, which comes before all that is kept already."""
        if data and not self.closing:
            pieces = [data] if len(data) <= _BLOCK else [data[i : i + _BLOCK] for i in range(0, len(data), _BLOCK)]
            self._backlog = [*pieces, *(self._backlog or ())]
            self.backlog_size += len(data)

    def _keep_partial(self, data: bytes) -> None:
        """``data`` is the beginning of a line, or a line that is too long."""
        if data[0] == 0x16:  # before its length is looked at, which depends on how it was cut
            self.close_after_reply("it speaks TLS, and this port does not")
        elif len(data) > MAX_LINE + 1 and b"\n" not in data[: MAX_LINE + 2]:
            self.out.append(replies.LINE_TOO_LONG)
            self.counters.malformed_requests += 1
            self.close_after_reply(f"a line of over {MAX_LINE} bytes")
        else:
            self._unfinished = PartialLine(data)

    # -- who the client is ---------------------------------------------------------

    def become(self, user: User | None) -> None:
        """From here on the client is ``user``, who is not asked for a password; None for one who may do everything.

        What a user may do is decided once for each line, with the line's parsing: it costs known lines nothing.
        """
        self.user = user
        self._requests = requests = self._service.requests_of(user)
        self.known = requests.known
        self.known_heads = requests.known_heads
        if not self.is_admitted:
            self.is_admitted = True
            self._unfinished = _FIRST_BYTE

    # -- what arrives in pieces ----------------------------------------------------

    def _continue(self, data: bytes) -> bytes:
        """Give ``data`` to what is unfinished; returns what comes behind it, beginning with a line."""
        while data and (unfinished := self._unfinished) is not None:
            if unfinished is _FIRST_BYTE:
                opens = self._service.codecs.get(data[0])
                if opens is not None:
                    self._unfinished = unfinished = opens(self)
            rest = unfinished.feed(data)
            if rest is None:
                return b""
            self._unfinished = None
            data = self._finish_body(unfinished, rest) if isinstance(unfinished, PartialBody) else rest
        return data

    def _finish_body(self, body: PartialBody, rest: bytes) -> bytes:
        """Carry out a request whose body is complete; returns what comes behind it."""
        whole = body.whole()
        if not whole.endswith(b"\r\n"):
            self._bad_chunk(body.request)
            return whole[-2:] + rest
        self._run_one(body.request, whole[:-2], b"")
        if self.retrying:
            self.retrying = False
            return body.line + whole + rest
        return rest

    def _bad_chunk(self, request: Request) -> None:
        """The body is not ended by CRLF: swallow the rest of its line, to be in step again."""
        self._unfinished = Swallow(0)
        self._interrupted = True
        self.counters.malformed_requests += 1
        self._answer_error(replies.BAD_CHUNK, request.noreply)

    def is_amid_request(self) -> bool:
        """Whether what has arrived ends in the middle of a request."""
        return self._unfinished is not None and self._unfinished is not _FIRST_BYTE

    # -- for the codecs of other protocols -----------------------------------------

    def go_on_with(self, unfinished: Unfinished) -> None:
        """What comes next is for ``unfinished``."""
        self._unfinished = unfinished

    def pause_input(self) -> None:
        """Have nothing more read until the session is resumed."""
        if self._owner is not None:
            self._owner.pause_input()

    def drop_input(self) -> None:
        """Nothing of what is kept will be carried out."""
        self._backlog = None
        self.backlog_size = 0

    @property
    def max_body(self) -> int:
        """The longest body taken, bytes."""
        return self._requests.max_body

    def carry_out(self, request: Request, body: bytes) -> bool:
        """Carry out a request; returns whether it is done, and not to be carried out again once the session resumes."""
        try:
            request.run(self, request, body)
        except StorageFailed:
            self.answer_failure(request)
        self._interrupted = False
        done = not self.retrying
        self.retrying = False
        return done

    # -- for the commands ---------------------------------------------------------

    def answer(self, request: Request, reply: bytes) -> None:
        """Answer a request, unless it asked for silence.

        :param reply: one of those in :mod:`redqueue.protocol.replies`, or a number and CR LF
        """
        if request.say is not None:
            self.out.append(request.say(request, reply))
        elif not request.noreply:
            self.out.append(reply)

    def receipt(self, request: Request) -> Receipt:
        """Where the reply that comes next can be changed to an error, should the journal fail."""
        if request.denial:
            return self.out, len(self.out), request.denial
        return None if request.noreply else (self.out, len(self.out))

    def refuse(self, request: Request) -> None:
        """Answer a line that asks for nothing that can be done, and swallow its body."""
        self._swallow_body(request)
        if request.reply == replies.ERROR:
            complaint = foreign_protocol(request.words)
            if complaint:
                self.close_after_reply(complaint)
                return
        self.counters.malformed_requests += 1
        self._answer_error(request.reply, request.noreply)

    def refuse_denied(self, request: Request) -> None:
        """Answer a line that asks for what the client may not do, and swallow its body."""
        self._swallow_body(request)
        self.counters.denied_requests += 1
        self._answer_error(request.reply, request.noreply)

    def _swallow_body(self, request: Request) -> None:
        if request.skip >= 0:
            self._unfinished = Swallow(request.skip)
            self._interrupted = True

    def _answer_error(self, reply: bytes, noreply: bool) -> None:
        if noreply:
            self.counters.noreply_errors += 1
        else:
            self.out.append(reply)

    def answer_failure(self, request: Request) -> None:
        """The journal has failed."""
        self.counters.storage_errors += 1
        self.answer_refusal(request, replies.OUT_OF_MEMORY)

    def answer_not_stored(self, request: Request) -> None:
        """The queue is full or the server takes no items."""
        self.answer_refusal(request, replies.NOT_STORED)

    def answer_refusal(self, request: Request, reply: bytes) -> None:
        """What was asked for is not done, for the reason that ``reply`` gives."""
        if request.noreply:
            self.counters.noreply_errors += 1
        else:
            self.answer(request, reply)

    def close_after_reply(self, complaint: str = "") -> None:
        """Send what is in ``out``, then close the connection."""
        self.closing = True
        self.complaint = complaint
        self._interrupted = True

    def stall(self, reason: int) -> None:
        """Carry out no further request until resumed."""
        self.stalled = reason
        self._interrupted = True

    def stall_and_retry(self) -> None:
        """Carry this request out again after the next commit."""
        self.stall(COMMIT)
        self.retrying = True

    def settings_of(self, name: bytes) -> QueueSettings:
        """The settings in force for a queue, which need not be there."""
        queue = self.queues.get(name)
        return self.broker.book.of(name) if queue is None else queue.settings

    def stall_until_read_back(self, queue: Queue) -> None:
        """Carry this request out again once what is being read back of ``queue`` is in memory."""
        self.stall(READING)
        self.retrying = True
        queue.when_read_back(self.go_on_after_reading)

    def go_on_after_reading(self) -> None:
        """What was being read back is in memory: have the owner resume this session."""
        if self.stalled == READING:
            self.stalled = COMMIT
            self.announce()

    def count_output(self, size: int) -> None:
        """``size`` bytes were put out; stall where that makes too much."""
        self.out_bytes += size
        if self.out_bytes > TURN_OUTPUT and not self.stalled:
            self.stall(OUTPUT)

    def reservation_seconds(self, exptime: int) -> float | None:
        """Seconds until a reservation's deadline, by memcached's rule for exptime; None for the queue's default."""
        if exptime <= 0:
            return None if exptime == 0 else 0.0
        if exptime <= MAX_RELATIVE:
            return float(exptime)
        return max(0.0, exptime - self.broker.clock.wall / 1e9)

    def expiry(self, exptime: int) -> int | None:
        """When an item's TTL passes by memcached's rule for exptime: nanoseconds, 0 for never, None for already."""
        if exptime == 0:
            return 0
        if exptime < 0:
            return None
        now = self.broker.clock.wall
        if exptime <= MAX_RELATIVE:
            return now + exptime * 1_000_000_000
        moment = exptime * 1_000_000_000
        return min(moment, 2**63) if moment > now else None

    def take_output(self) -> list[bytes]:
        """The replies so far, which the owner will send."""
        out = self.out
        self.out = []
        self.out_bytes = 0
        return out


def _turn_of(data: bytes, most: int) -> int:
    """How many bytes of ``data``, which have about ``most`` lines, are carried out before others have their turn."""
    lines = data.count(b"\n", 0, _BLOCK)
    end = len(data)
    if lines <= most and end <= _BLOCK:
        return end
    return min(end, TURN_BYTES, min(end, _BLOCK) * most // (lines or 1))


def deny(receipt: Receipt) -> None:
    """The journal has failed: what was answered becomes an error."""
    if isinstance(receipt, Session):
        receipt.close_after_reply("the journal could not be written while it was being answered")
    elif receipt is not None:
        out, index, *denial = receipt
        out[index] = denial[0] if denial else replies.OUT_OF_MEMORY


def foreign_protocol(words: Sequence[bytes]) -> str:
    """What a client that does not speak memcache seems to speak, as a sentence for the log; empty if unknown."""
    if not words:
        return ""
    if words[-1].startswith(b"HTTP/"):
        return "it speaks HTTP, and this port does not"
    if words[0][:1] == b"\x16":
        return "it speaks TLS, and this port does not"
    return ""
