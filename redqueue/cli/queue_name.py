"""Names of queues: as people write them, and as a request sends them."""

from __future__ import annotations

import argparse
import re
from base64 import b64encode

from redqueue.cli.command import CommandFailed
from redqueue.cli.notation import parse_shown
from redqueue.protocol.key import MAX_KEY, BadKey, split

_NO_WORD = re.compile(rb"[\x00-\x20\x7f]")


def parse_queue(text: str) -> bytes:
    r"""The name of a queue, as ``redqueue queues`` prints it: a backslash doubled, ``\xNN`` for a byte.

    :raises CommandFailed: where no queue can have that name
    """
    name = parse_shown(text)
    try:
        options = split(name)[1]
    except BadKey:
        options = [(name.rpartition(b"/")[2], None)]
    if not name:
        raise CommandFailed("a queue has a name, and '' is none")
    if options:
        raise CommandFailed(f"{text!r} is no name of a queue: what ends in /{options[-1][0].decode()} is an option")
    if len(name) > MAX_KEY:
        raise CommandFailed(f"no name of a queue is longer than {MAX_KEY} bytes, and this has {len(name)}")
    return name


def add_queue(parser: argparse.ArgumentParser, help_text: str = "the queue", name: str = "queue") -> None:
    """The argument QUEUE, whose values the shell can complete."""
    action = parser.add_argument(name, metavar=name.upper(), help=help_text)
    action.completer = complete_queue  # type: ignore[attr-defined]


def complete_queue(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The names that begin so, of the first thousand queues of the server; for argcomplete."""
    from redqueue.cli.figures import brief_page
    from redqueue.cli.notation import show
    from redqueue.cli.server_options import Server

    parsed_args.timeout = 1.0
    try:
        server = Server(parsed_args)
        server.may_ask = False
        with server.connect() as connection:
            names = [show(queue.name) for queue in brief_page(connection, 0)]
    except (CommandFailed, OSError):
        return []
    return [name for name in names if name.startswith(prefix)]


def meta_key(name: bytes, options: bytes = b"") -> tuple[bytes, bytes]:
    """A key for a meta command, and what is behind it: the flag that says that it is base64, or nothing."""
    if _NO_WORD.search(name) or len(name + options) > MAX_KEY:
        return b64encode(name + options), b" b"
    return name + options, b""


def plain_word(name: bytes, verb: str) -> bytes:
    """A name as a word of a verb that knows no base64.

    :raises CommandFailed: where it is none
    """
    if _NO_WORD.search(name):
        raise CommandFailed(f"{verb} cannot name this queue, because there are spaces or control characters in it")
    return name
