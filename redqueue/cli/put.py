"""``redqueue put``: items from arguments, a file or standard input."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from redqueue.cli.command import GOOD, PARTLY, CommandFailed, SubParsers, add_command
from redqueue.cli.connection import Connection, ConnectionLost, Refused
from redqueue.cli.figures import texts
from redqueue.cli.notation import bytes_fields, count, show
from redqueue.cli.pipeline import Pipeline, ranges
from redqueue.cli.put_input import FileInput, Piece, TooLong, from_arguments
from redqueue.cli.queue_name import add_queue, meta_key, parse_queue
from redqueue.cli.server_options import (
    ENVIRONMENT,
    Server,
    add_json,
    add_server_options,
    duration,
    duration_or_forever,
    whole,
)
from redqueue.cli.terminal import progress

RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 2.0
UNKNOWN_LIMIT = 64 << 20
"""Bytes of an item that are read where the server does not tell how many it takes."""

DESCRIPTION = """
Put items into a queue: those on the command line, or the lines of FILE or of standard input, without their ends. An
empty line is an item of no bytes. The input may be longer than memory. Many items are under way at a time, in order;
what is reported as stored has been confirmed by the server, and survives what its option `reliable` promises.

Where the queue is full, or the server takes no items, the command stops, and says which items were not stored. With
--wait it tries again meanwhile, and the rest comes behind. An item that is longer than the server takes ends it too.

With --json the report is an object: items stored and their bytes, the numbers of the `refused` ones (the first item
is 1) with the `reason`, those that are `unknown` because the connection was lost before their answers came, and
`reliable`. What was not read is not counted.
"""

EPILOG = """
exit status:
  0  all items are stored
  1  some or all are not, as reported
  2  nothing was tried, for the reason on standard error: a bad option, no server, no such file
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "put",
        run,
        summary="put items into a queue: arguments, or the lines of a file or of standard input",
        description=DESCRIPTION,
        epilog=EPILOG + ENVIRONMENT,
    )
    add_queue(parser)
    parser.add_argument("items", metavar="ITEM", nargs="*", help="the items; none: the lines of standard input")
    parser.add_argument("--file", metavar="FILE", help="the lines of FILE; - for standard input")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--whole", action="store_true", help="the whole input is one item")
    form.add_argument("--null", action="store_true", help="items end with a NUL byte, not with the line")
    parser.add_argument(
        "--ttl", metavar="DURATION", type=duration, default=0.0, help="they expire after so long (default: never)"
    )
    parser.add_argument(
        "--delay",
        metavar="DURATION",
        type=duration,
        default=0.0,
        help="they are ready after so long (default: at once)",
    )
    parser.add_argument("--flags", metavar="N", type=whole(0), default=0, help="32 bits that clients get back")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--add", action="store_true", help="only where the queue holds nothing: an item that exists once"
    )
    where.add_argument("--head", action="store_true", help="to the head of the queue; the last one will be the first")
    parser.add_argument(
        "--wait",
        metavar="DURATION|forever",
        type=duration_or_forever,
        default=0.0,
        help="how long to wait for room in a full queue, each time (default: not at all)",
    )
    add_json(parser)
    add_server_options(parser)


def run(options: argparse.Namespace) -> int:
    """Put them, and say how far that went."""
    name = parse_queue(options.queue)
    if options.flags >= 1 << 32:
        raise CommandFailed("--flags wants 32 bits, a number under 4294967296")
    if options.items and (options.file is not None or options.null or options.whole):
        raise CommandFailed("items are either arguments or input: --file, --null and --whole go with no ITEM")
    with Server(options).connect() as connection:
        most, reliable = _limits(connection)
        pipeline = Pipeline(connection, _head(name, options, connection))
        if options.items:
            trouble = _put_all(pipeline, from_arguments(options.items, most), options.wait)
        else:
            source = FileInput(options.file, b"" if options.whole else b"\0" if options.null else b"\n", most)
            if source.is_typed:
                trouble = _put_all(pipeline, source.pieces(), options.wait)
            else:
                with progress(f"putting into {show(name)}") as report:
                    trouble = _put_all(pipeline, _reporting(source, pipeline, report), options.wait)
    _report(options, name, pipeline, trouble, reliable)
    return GOOD if trouble is None else PARTLY


def _reporting(source: FileInput, pipeline: Pipeline, report: Callable[[int, int], None]) -> Iterator[Piece]:
    for piece in source.pieces():
        yield piece
        if source.size:
            report(source.done, source.size)
        else:
            report(pipeline.stored, 0)


def _limits(connection: Connection) -> tuple[int, str]:
    """The length of the longest item that the server takes, and its `reliable`."""
    try:
        settings = texts(connection, b"settings")
    except Refused:
        return UNKNOWN_LIMIT, ""
    return int(settings.get("max_item_size", UNKNOWN_LIMIT)), settings.get("reliable", "")


def _head(name: bytes, options: argparse.Namespace, connection: Connection) -> Callable[[int], bytes]:
    key, end = meta_key(name, b"/delay=%b" % _seconds(options.delay) if options.delay else b"")
    if options.ttl:
        end += b" T%d" % connection.exptime(math.ceil(options.ttl))
    if options.flags:
        end += b" F%d" % options.flags
    if options.add:
        end += b" ME"
    elif options.head:
        end += b" MP"
    start, end = b"ms %b " % key, end + b"\r\n"
    return lambda size: b"%b%d%b" % (start, size, end)


def _seconds(value: float) -> bytes:
    return f"{value:.3f}".rstrip("0").rstrip(".").encode()


def _put_all(pipeline: Pipeline, pieces: Iterator[Piece], wait: float) -> str | None:
    """Put all items; returns what went wrong."""
    try:
        for piece in pieces:
            at = 0
            while at < len(piece):
                before = pipeline.sent
                pipeline.put(piece[at:])
                at += pipeline.sent - before
                if pipeline.refused and not _store_refused(pipeline, wait):
                    return _reason(pipeline)
            if not piece:  # nothing more has come yet
                pipeline.settle()
                if pipeline.refused and not _store_refused(pipeline, wait):
                    return _reason(pipeline)
        pipeline.settle()
        if pipeline.refused and not _store_refused(pipeline, wait):
            return _reason(pipeline)
    except TooLong as error:
        pipeline.settle()
        return f"item {pipeline.sent + 1} {error}"
    except ConnectionLost as error:
        return str(error)
    return None


def _store_refused(pipeline: Pipeline, wait: float) -> bool:
    """Try again what was refused, in order, as long as ``wait`` allows; returns whether it is stored."""
    pipeline.settle()
    deadline = time.monotonic() + wait
    pause = RETRY_SECONDS
    while pipeline.refused:
        if any(reply != b"NS" for reply in pipeline.refused.values()) or time.monotonic() >= deadline:
            return False
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, MOST_RETRY_SECONDS)
        if pipeline.retry_one():
            deadline, pause = time.monotonic() + wait, RETRY_SECONDS
            while pipeline.refused and pipeline.retry_one():
                pass
    return True


def _reason(pipeline: Pipeline) -> str:
    reply = next(iter(pipeline.refused.values()))
    if reply != b"NS":
        return f"the server says: {show(reply)}"
    return "the queue is full, or the server takes no items"


def _report(options: argparse.Namespace, name: bytes, pipeline: Pipeline, trouble: str | None, reliable: str) -> None:
    if options.add and trouble is not None and b"NS" in pipeline.refused.values():
        trouble = "the queue holds something, or the server takes no items"
    if options.json:
        fields: dict[str, Any] = {**bytes_fields("queue", name), "stored": pipeline.stored, "bytes": pipeline.bytes}
        fields |= {"refused": sorted(pipeline.refused), "unknown": pipeline.unknown, "reason": trouble}
        print(json.dumps(fields | {"reliable": reliable or None}))
        return
    print(f"{count(pipeline.stored, 'item')} stored in {show(name)}" + (f" (reliable={reliable})" if reliable else ""))
    if trouble is None:
        return
    sys.stdout.flush()
    if pipeline.refused:
        trouble += f"; not stored: items {ranges(sorted(pipeline.refused))}; stopped behind item {pipeline.sent}"
    if pipeline.unknown:
        trouble += f"; unknown, since no answer came: items {ranges(pipeline.unknown)}"
    print(f"redqueue: {trouble}", file=sys.stderr)
