"""A command line, parsed once.

The same few lines come again and again, so the parsed form is kept by the raw
line (:class:`Requests`): a look-up in a dict is all that a known line costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redqueue.protocol import replies
from redqueue.protocol.key import BadKey, Key

MAX_LINE = 8192
"""Bytes of a command line, without its end."""
MAX_BODY = 2**31 - 3
"""Bytes; a greater number is no length (memcached: INT_MAX - 2)."""
_CACHED_LINE = 300
_CACHED_LINES = 4096

Run = Callable[[Any, "Request", bytes], None]
"""Carries a request out: takes the session, the request and the body."""


class Request:
    """What a command line asks for.

    :ivar run: does it: takes the session, this request and the body
    :ivar size: length of the body that follows, bytes; -1 for none
    :ivar skip: length of a body that is to be swallowed; -1 for none
    :ivar reply: for a refused line, what to answer
    """

    __slots__ = (
        "delta",
        "exptime",
        "flags",
        "heads",
        "keys",
        "noreply",
        "queue",
        "reply",
        "run",
        "size",
        "skip",
        "token",
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


def _refuse(session: Any, request: Request, body: bytes) -> None:
    session.refuse(request)


class Requests:
    """The requests of all lines, remembered.

    :param commands: by verb, how its line is parsed and what it runs
    :param max_body: the longest body taken, bytes

    :ivar known: by the whole line, its LF included
    :ivar known_heads: the same by the line without its LF
    """

    def __init__(self, commands: dict[bytes, tuple[Parse, Run]], max_body: int) -> None:
        self._commands = commands
        self._max_body = max_body
        self.known: dict[bytes, Request] = {}
        self.known_heads: dict[bytes, Request] = {}

    def parse(self, line: bytes) -> Request:
        """The request of a whole line, its end included; a bad line gives one that refuses."""
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
        if request.size > self._max_body:
            return self._refusal(words, replies.TOO_LARGE, request.size)
        if len(line) <= _CACHED_LINE:
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
