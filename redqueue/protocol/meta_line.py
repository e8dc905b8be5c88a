"""The lines of the meta commands, and the words of their answers (syntax, codes and errors as memcached has them)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable

from redqueue.protocol import replies
from redqueue.protocol.key import Key
from redqueue.protocol.request import BadRequest, Request, Run, unsigned

_MAX_FLAGS = 20
_MAX_OPAQUE = 32

BAD_FLAG = replies.client_error("invalid flag")
DUPLICATE_FLAG = replies.client_error("duplicate flag")
TOO_MANY_FLAGS = replies.client_error("options flags are too long")
BAD_TOKEN = replies.client_error("bad token in command line format")
BAD_KEY = replies.client_error("error decoding key")
OPAQUE_TOO_LONG = replies.client_error("opaque token too long")

_CODES = {
    replies.STORED: b"HD",
    replies.DELETED: b"HD",
    replies.TOUCHED: b"HD",
    replies.NOT_STORED: b"NS",
    replies.EXISTS: b"EX",
    replies.NOT_FOUND: b"NF",
}
Flags = dict[bytes, bytes]
"""The text behind each flag's letter, in the order of the line."""


# -- the line -------------------------------------------------------------------


def _parse_flags(words: list[bytes], known: bytes, meaningless: bytes = b"") -> Flags:
    """The flags of a line.

    :param known: the letters that mean something in this command
    :param meaningless: letters that memcached knows and a queue has no use for
    """
    if len(words) > _MAX_FLAGS:
        raise BadRequest(TOO_MANY_FLAGS)
    flags: Flags = {}
    for word in words:
        letter = word[:1]
        if letter in flags:
            raise BadRequest(DUPLICATE_FLAG)
        if letter not in known:
            if letter in meaningless:
                raise BadRequest(replies.client_error(f"flag {letter.decode()} means nothing on a queue"))
            raise BadRequest(BAD_FLAG)
        flags[letter] = word[1:]
    if len(flags.get(b"O", b"")) > _MAX_OPAQUE - 1:
        raise BadRequest(OPAQUE_TOO_LONG)
    return flags


def parse_key(wire: bytes, flags: Flags, parse: Callable[[bytes, bool], Key]) -> Key:
    """The key of a line, decoded where ``b`` says so.

    :param parse: takes the key and whether it may hold any bytes
    """
    if b"b" not in flags:
        return parse(wire, False)
    try:
        name = b64decode(wire, validate=True)
    except ValueError:
        raise BadRequest(BAD_KEY) from None
    return parse(name, True)


def begin(words: list[bytes], run: Run, known: bytes, meaningless: bytes = b"") -> tuple[Request, Flags]:
    """What all meta requests have: flags, quiet mode, and the words behind an answer's code."""
    if not words:
        raise BadRequest(replies.BAD_FORMAT)
    flags = _parse_flags(words[1:], known, meaningless)
    request = Request(run)
    request.say = say
    request.quiet = b"q" in flags
    request.suffix = b"".join(_echo(letter, text, words[0], flags) for letter, text in flags.items())
    request.volatile = b"O" in flags or b"C" in flags
    return request, flags


def _echo(letter: bytes, text: bytes, wire: bytes, flags: Flags) -> bytes:
    if letter == b"k":
        return b" k" + wire + (b" b" if b"b" in flags else b"")
    return b" O" + text if letter == b"O" else b""


def say(request: Request, reply: bytes) -> bytes:
    """An answer in the meta commands' words; errors are the classic ones."""
    code = _CODES.get(reply)
    if code is None:
        return reply
    if request.quiet and (code == b"HD" or (code == b"NF" and request.hides_misses)):
        return b""
    return b"%b%b\r\n" % (code, request.suffix)


def number(flags: Flags, letter: bytes, parse: Callable[[bytes], int | None], error: bytes = BAD_TOKEN) -> int:
    """The number behind a flag's letter."""
    value = parse(flags[letter])
    if value is None:
        raise BadRequest(error)
    return value


def u32(word: bytes) -> int | None:
    """A decimal number of 32 bits, or None."""
    return unsigned(word, 32)


def u64(word: bytes) -> int | None:
    """A decimal number of 64 bits, or None."""
    return unsigned(word, 64)


def take_token(request: Request, flags: Flags, words: list[bytes], verb: bytes) -> None:
    """The token of ``C``; where it is the line's last word, the line is known again by what comes before it."""
    if b"C" in flags:
        request.token = number(flags, b"C", u64)
        request.with_token = True
        if b"O" not in flags and next(reversed(flags)) == b"C":
            request.shape = b" ".join((verb, *words[:-1]))
