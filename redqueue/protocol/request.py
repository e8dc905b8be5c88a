"""A command line, parsed once.

The same few lines come again and again, so the parsed form is kept by the raw
line (:class:`Requests`): a look-up in a dict is all that a known line costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from redqueue.protocol import replies
from redqueue.protocol.key import BadKey, Key

MAX_LINE: Final = 8192
"""Bytes of a command line, without its end."""
MAX_BODY: Final = 2**31 - 3
"""Bytes; a greater number is no length (memcached: INT_MAX - 2)."""
_TOKEN: Final = b" C"
"""Begins the token in the line of a meta command."""
_TOKEN_SIZE: Final = 21
"""Digits of a number under 2**63, and CR LF."""
_CACHED_LINE: Final = 300
_CACHED_LINES: Final = 4096

Run = Callable[[Any, "Request", bytes], None]
"""Carries a request out: takes the session, the request and the body."""
Say = Callable[["Request", bytes], bytes]
"""Puts an answer, one of those in :mod:`redqueue.protocol.replies`, in the words of another protocol."""


class Request:
    """What a command line asks for.

    :ivar run: does it: takes the session, this request and the body
    :ivar size: length of the body that follows, bytes; -1 for none
    :ivar skip: length of a body that is to be swallowed; -1 for none
    :ivar reply: what to answer: for a refused line, and for plain sets and deletes that succeed
    :ivar say: puts an answer in other words than those of the classic verbs; None where they do
    :ivar denial: what to answer should the journal fail; empty for the classic words
    :ivar unmet: what to answer where an ``add`` finds something, or a ``replace`` nothing
    :ivar suffix: what is behind an answer's first word
    :ivar quiet: whether success is not answered
    :ivar hides_misses: whether quiet mode hides ``NOT_FOUND`` too
    :ivar ttl: the TTL that a counter gets, by the rule for exptime; None for the one it has
    :ivar volatile: whether the same line is not likely to come again
    :ivar shape: the line up to a token that is its last word; empty for none
    :ivar initial: what a counter that is missing begins with; None for no such thing
    """

    __slots__ = (
        "consumer",
        "delay",
        "delta",
        "denial",
        "exptime",
        "flags",
        "heads",
        "hides_misses",
        "initial",
        "keys",
        "noreply",
        "opaque",
        "opcode",
        "queue",
        "quiet",
        "reply",
        "run",
        "say",
        "shape",
        "size",
        "skip",
        "suffix",
        "token",
        "ttl",
        "unmet",
        "verb",
        "volatile",
        "with_token",
        "words",
    )

    def __init__(self, run: Run) -> None:
        self.run = run
        self.noreply = False
        self.size = -1
        self.skip = -1
        self.queue = b""
        self.heads: dict[bytes, bytes] = {}
        self.flags = 0
        self.exptime = 0
        self.delta = 0
        self.token = 0
        self.with_token = False
        self.keys: Sequence[Key] = ()
        self.words: Sequence[bytes] = ()
        self.reply = b""
        self.denial = b""
        self.unmet = replies.NOT_STORED
        self.suffix = b""
        self.shape = b""
        self.say: Say | None = None
        self.verb = run
        self.quiet = False
        self.hides_misses = False
        self.ttl: int | None = None
        self.volatile = False
        self.delay = 0.0
        self.consumer: bytes | None = None
        self.initial: int | None = None
        self.opcode = 0
        self.opaque = b""


class BadRequest(Exception):
    """A line that asks for nothing that can be done.

    :param reply: what to answer
    :param skip: length of the body that follows, to be swallowed; -1 for none
    """

    def __init__(self, reply: bytes, skip: int = -1) -> None:
        super().__init__(reply)
        self.reply = reply
        self.skip = skip


Parse = Callable[[list[bytes], Run], Request]
"""Makes a request of the words after the verb; may raise BadRequest and BadKey."""


Guard = Callable[[bytes, Request], bytes]
"""Takes a verb and a request; returns what to answer where it must not be carried out, or nothing."""


def _refuse(session: Any, request: Request, body: bytes) -> None:
    session.refuse(request)


def _refuse_denied(session: Any, request: Request, body: bytes) -> None:
    session.refuse_denied(request)


class Requests:
    """The requests of all lines, remembered.

    :param commands: by verb, how its line is parsed and what it runs
    :param max_body: the longest body taken, bytes
    :param guard: looks at each request before it is remembered; None where all may be made

    :ivar max_body: the longest body taken, bytes
    :ivar known: by the whole line, its LF included
    :ivar known_heads: the same by the line without its LF
    """

    def __init__(self, commands: dict[bytes, tuple[Parse, Run]], max_body: int, guard: Guard | None = None) -> None:
        self._commands = commands
        self._guard = guard
        self.max_body = max_body
        self.known: dict[bytes, Request] = {}
        self.known_heads: dict[bytes, Request] = {}
        self._shapes: dict[bytes, Request] = {}

    def by_shape(self, line: bytes) -> Request | None:
        """The request of a line that ends in a token, where what comes before the token is known.

        Its request has no body, and is valid until the next call. None for any other line, or what is not a whole one.
        """
        shape, _, token = line.rpartition(_TOKEN)
        known = self._shapes.get(shape)
        if known is None or not (token[:-2].isdigit() and token.endswith(b"\r\n") and len(token) <= _TOKEN_SIZE):
            return None
        known.token = int(token)
        return known

    def guarded(self, guard: Guard) -> Requests:
        """The same, of which only those may be made that ``guard`` has nothing against."""
        return Requests(self._commands, self.max_body, guard)

    def parse(self, line: bytes) -> Request:
        """The request of a whole line, its end included; a bad line gives one that refuses."""
        known = self.by_shape(line)
        if known is not None:
            return known
        words = [word for word in line.rstrip(b"\n").removesuffix(b"\r").split(b" ") if word]
        command = self._commands.get(words[0]) if words else None
        if command is None:
            return self._refusal(words, replies.ERROR, -1)
        parse, run = command
        try:
            request = parse(words[1:], run)
        except BadRequest as error:
            return self._refusal(words, error.reply, error.skip)
        except BadKey as bad_key:
            return self._refusal(words, bad_key.reply, -1)
        if self._guard is not None:
            denial = self._guard(words[0], request)
            if denial:
                refusal = self._refusal(words, denial, request.size)
                refusal.run = _refuse_denied
                return refusal
        if request.size > self.max_body:
            return self._refusal(words, replies.TOO_LARGE, request.size)
        if request.volatile:
            if request.shape and len(request.shape) <= _CACHED_LINE:
                if len(self._shapes) >= _CACHED_LINES:
                    self._shapes.clear()
                self._shapes[request.shape] = request
        elif len(line) <= _CACHED_LINE:
            if len(self.known) >= _CACHED_LINES:
                self.known.clear()
                self.known_heads.clear()
            self.known[line] = request
            self.known_heads[line[:-1]] = request
        return request

    def _refusal(self, words: list[bytes], reply: bytes, skip: int) -> Request:
        request = Request(_refuse)
        request.reply = reply
        request.skip = skip
        request.words = words
        request.noreply = len(words) > 1 and words[-1] == b"noreply"
        return request


def take_noreply(words: list[bytes]) -> bool:
    """Take a trailing ``noreply`` off ``words``; whether there was one."""
    if words and words[-1] == b"noreply":
        words.pop()
        return True
    return False


def unsigned(word: bytes, bits: int) -> int | None:
    """A decimal number of at most ``bits`` bits, or None."""
    if not word.isdigit() or len(word) > 20:
        return None
    number = int(word)
    return number if number < 1 << bits else None


def signed(word: bytes) -> int | None:
    """A decimal number with an optional minus that fits 63 bits, or None."""
    if word.startswith(b"-"):
        number = unsigned(word[1:], 63)
        return None if number is None else -number
    return unsigned(word, 63)
