"""``redqueue peek``: look at what is ready in a queue, and leave it there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from redqueue.cli.command import GOOD, PARTLY, SubParsers, add_command
from redqueue.cli.connection import Connection
from redqueue.cli.item import FLAGS, Item
from redqueue.cli.notation import show_lines
from redqueue.cli.queue_name import add_queue, meta_key, parse_queue
from redqueue.cli.server_options import ENVIRONMENT, STATUSES, Server, add_json, add_server_options, whole

SHOWN_BYTES = 2000
_AT_ONCE = 20

DESCRIPTION = """
Show the head of a queue, or its first N ready items, and reserve none of them. Each has a line with what is known of
it, and then its payload, of which what is not printable is written as \\xNN. Items that are reserved or delayed are not
shown.

With --json each line is an object, with the whole payload: in `payload` where it is UTF-8, else in `payload_base64`.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "peek",
        run,
        summary="show what is ready in a queue, and leave it there",
        description=DESCRIPTION,
        epilog=STATUSES + ENVIRONMENT,
    )
    add_queue(parser)
    parser.add_argument("-n", "--count", metavar="N", type=whole(1), default=1, help="show so many items")
    parser.add_argument(
        "--from", dest="first", metavar="INDEX", type=whole(0), default=0, help="begin with this one; the head is 0"
    )
    parser.add_argument(
        "--hex", action="store_true", help="payloads as bytes in hexadecimal, with the text beside them"
    )
    parser.add_argument("--full", action="store_true", help=f"whole payloads, not the first {SHOWN_BYTES} bytes")
    add_json(parser, "JSON lines instead of text")
    add_server_options(parser)


def run(options: argparse.Namespace) -> int:
    """Show them."""
    queue = parse_queue(options.queue)
    shown = 0
    with Server(options).connect() as connection:
        for item in peek(connection, queue, options.first, options.count):
            shown += 1
            if options.json:
                print(json.dumps(item.fields()))
                continue
            payload = item.payload if options.full else item.payload[:SHOWN_BYTES]
            print(item.heading())
            print(hexadecimal(payload) if options.hex else show_lines(payload))
            if len(payload) < len(item.payload):
                print(f"... and {len(item.payload) - len(payload)} bytes more (--full)")
    return GOOD if shown else PARTLY


def peek(connection: Connection, queue: bytes, first: int, count: int) -> Iterator[Item]:
    """So many ready items from the one with the index ``first``, each once."""
    seen = set[int]()
    for start in range(first, first + count, _AT_ONCE):
        indexes = range(start, min(start + _AT_ONCE, first + count))
        for index in indexes:
            key, end = meta_key(queue, b"/peek=%d" % index)
            connection.send(b"mg %b v %b%b\r\n" % (key, FLAGS, end))
        answers = [connection.answer() for _ in indexes]
        for answer in answers:
            if answer.code == b"EN":
                return
            item = Item.of(queue, answer)
            if item.item_id not in seen:  # the head may have gone meanwhile
                seen.add(item.item_id)
                yield item


def hexadecimal(data: bytes) -> str:
    """Sixteen bytes a line: offset, bytes, and their text."""
    lines = []
    for offset in range(0, len(data), 16):
        piece = data[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{offset:08x}  {piece.hex(' '):<47}  {text}")
    return "\n".join(lines)
