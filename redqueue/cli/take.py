"""``redqueue take``: take items out of a queue, print them or have a command run for each, and acknowledge them."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator

from redqueue.cli import worker
from redqueue.cli.command import GOOD, PARTLY, CommandFailed, SubParsers, add_command
from redqueue.cli.connection import Connection
from redqueue.cli.item import Item
from redqueue.cli.notation import show_lines
from redqueue.cli.peek import peek
from redqueue.cli.queue_name import add_queue, parse_queue
from redqueue.cli.reservations import SLICE_SECONDS, Reservations
from redqueue.cli.server_options import (
    ENVIRONMENT,
    Server,
    add_json,
    add_server_options,
    duration,
    duration_or_forever,
    whole,
)

DESCRIPTION = """
Take the oldest item of a queue, print its payload and a line's end, and acknowledge it once the output was written. If
it cannot be written the item goes back to its old place.

With --exec a command is run by the shell for each item, with the payload on its standard input. An item is acknowledged
when its command exits with 0. Else it goes back, and is ready again after --backoff, then after twice as long, and so
on, up to an hour. While the command runs its reservation is kept alive; if the worker or its machine dies, the item is
ready for another one, at the latest after --reserve. The command has in its environment:

  REDQUEUE_QUEUE       the name of the queue
  REDQUEUE_ID          the item's id, which stays the same when it is delivered again
  REDQUEUE_TOKEN       the token of this reservation
  REDQUEUE_DELIVERIES  1 for the first delivery, 2 for the second, and so on
  REDQUEUE_FLAGS       the item's flags

A worker takes items until it gets SIGTERM or SIGINT; then it finishes those that it has begun, and ends. A second
signal ends the commands too, and gives their items back. If the server goes away the worker waits for it to return. An
item is delivered at least once: again, where a worker was lost before its acknowledgement came through.
"""

EPILOG = """
exit status:
  0  as many items were taken as asked for, and with --exec all commands exited with 0; also after SIGTERM or SIGINT
  1  there were fewer items, or some command failed
  2  not done, for the reason on standard error
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "take",
        run,
        summary="take items out of a queue and print them, or run a command for each",
        description=DESCRIPTION,
        epilog=EPILOG + ENVIRONMENT,
    )
    add_queue(parser)
    count = parser.add_mutually_exclusive_group()
    count.add_argument(
        "-n", "--count", metavar="N", type=whole(1), help="so many items (default: 1; with --exec: without end)"
    )
    count.add_argument("--all", action="store_true", help="until the queue is empty")
    parser.add_argument(
        "--wait",
        metavar="DURATION|forever",
        type=duration_or_forever,
        help="how long to wait for each item (default: not at all; with --exec and without --all: forever)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--null", action="store_true", help="a NUL byte behind each payload, not a line's end")
    form.add_argument("--raw", action="store_true", help="nothing behind each payload")
    add_json(form, "JSON lines, as `redqueue peek --json` prints them")
    parser.add_argument("--peek", action="store_true", help="print the items, and leave them in the queue")
    parser.add_argument("--exec", metavar="COMMAND", dest="command", help="run COMMAND for each item")
    parser.add_argument(
        "-j", "--jobs", metavar="N", type=whole(1), default=1, help="with --exec, run so many commands at a time"
    )
    parser.add_argument(
        "--reserve",
        metavar="DURATION",
        type=duration,
        default=60.0,
        help="with --exec, how long an item stays reserved after the last sign of life (default: 60s)",
    )
    parser.add_argument(
        "--backoff",
        metavar="DURATION",
        type=duration,
        default=1.0,
        help="with --exec, how long an item waits after the first failure (default: 1s)",
    )
    parser.add_argument(
        "--tries",
        metavar="N",
        type=whole(1),
        help="with --exec, an item that has failed N times goes to the dead letters",
    )
    add_server_options(parser)


def run(options: argparse.Namespace) -> int:
    """Take them."""
    queue = parse_queue(options.queue)
    if options.command is not None:
        if options.peek or options.null or options.raw or options.json:
            raise CommandFailed("--exec goes with none of --peek, --null, --raw and --json")
        return worker.run(options, queue)
    if options.tries or options.jobs != 1:
        raise CommandFailed("--jobs and --tries go with --exec")
    count = math.inf if options.all else options.count or 1
    with Server(options).connect() as connection:
        if options.peek:
            return _peek(options, connection, queue, count)
        return _take(options, Reservations(connection, queue), connection, count)


def _peek(options: argparse.Namespace, connection: Connection, queue: bytes, count: float) -> int:
    printed = 0
    for item in peek(connection, queue, 0, 1 << 31 if count == math.inf else int(count)):
        _print(options, item)
        printed += 1
    return GOOD if printed >= (1 if count == math.inf else count) else PARTLY


def _take(options: argparse.Namespace, reservations: Reservations, connection: Connection, count: float) -> int:
    wait = options.wait or 0.0
    taken = lost = 0
    item = _wait(reservations, wait)
    while item is not None:
        with _given_back(reservations, item):
            _print(options, item)
        taken += 1
        more = taken < count
        connection.wait_longer(0)
        connection.send(reservations.acknowledgement(item) + (reservations.request() if more else b""))
        if connection.answer().code != b"HD":
            print(f"redqueue: item {item.item_id} was printed too late, and will be delivered again", file=sys.stderr)
            lost += 1
        if not more:
            break
        item = reservations.item(connection.answer()) or _wait(reservations, wait)
    return GOOD if taken >= (1 if count == math.inf else count) and not lost else PARTLY


def _wait(reservations: Reservations, seconds: float) -> Item | None:
    """The next item, as soon as there is one."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        item = reservations.take(min(left, SLICE_SECONDS))
        if item is not None or left <= SLICE_SECONDS:
            return item


@contextlib.contextmanager
def _given_back(reservations: Reservations, item: Item) -> Iterator[None]:
    """Give the item back where it could not be printed."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(CommandFailed):
            reservations.give_back(item)
        raise


def _print(options: argparse.Namespace, item: Item) -> None:
    if options.json:
        print(json.dumps(item.fields()), flush=True)
        return
    if sys.stdout.isatty() and not options.raw:
        print(show_lines(item.payload), flush=True)
        return
    sys.stdout.buffer.write(item.payload + (b"" if options.raw else b"\0" if options.null else b"\n"))
    sys.stdout.buffer.flush()
