"""``redqueue move``: items from one queue to another, each in one of the two at any moment."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from redqueue.cli.command import GOOD, PARTLY, CommandFailed, SubParsers, add_command
from redqueue.cli.connection import Connection
from redqueue.cli.ending import ending
from redqueue.cli.figures import texts
from redqueue.cli.item import Item
from redqueue.cli.notation import bytes_fields, count, show
from redqueue.cli.queue_name import add_queue, parse_queue, plain_word
from redqueue.cli.reservations import Reservations
from redqueue.cli.server_options import ENVIRONMENT, Server, add_json, add_server_options, whole
from redqueue.cli.terminal import progress

MOST_HELD = 50
"""Items reserved at a time."""
MOST_BYTES = 16 << 20
"""Bytes of them, as far as the items before are any guide."""

DESCRIPTION = """
Move what is ready in the queue FROM to the end of the queue TO, the oldest first, with flags and what is left of the
time to live. Each item is acknowledged here and put there in one step, so that none is lost and none is doubled, when
this command or the server is killed. Ids are new. Items that are reserved or delayed stay. As many items are moved at
most as FROM holds at the start. It ends early where TO is full.
"""

EPILOG = """
exit status:
  0  all that was ready is moved, or as many as asked for
  1  there was nothing, or less than asked for, or a part stays, as reported
  2  not done, for the reason on standard error
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "move",
        run,
        summary="move items from one queue to another",
        description=DESCRIPTION,
        epilog=EPILOG + ENVIRONMENT,
    )
    add_queue(parser, "the queue to move from", "from")
    add_queue(parser, "the queue to move to", "to")
    parser.add_argument("-n", "--count", metavar="N", type=whole(1), help="so many items at most (default: all)")
    add_json(parser)
    add_server_options(parser)


def run(options: argparse.Namespace) -> int:
    """Move them."""
    source, target = parse_queue(getattr(options, "from")), parse_queue(options.to)
    if source == target:
        raise CommandFailed("FROM and TO are the same queue")
    with Server(options).connect() as connection:
        figures = texts(connection, b"queue " + plain_word(source, "move"))
        most = int(figures.get("items", 0))
        if options.count is not None:
            most = min(most, options.count)
        move = _Move(connection, source, target)
        with progress(f"moving to {show(target)}") as report, ending() as asked:
            reason = None
            while reason is None and move.goes_on(most):
                reason = move.step(most)
                report(move.moved, most)
                if asked.is_asked_for:
                    reason = "interrupted"
            move.give_back()
        left = int(texts(connection, b"queue " + plain_word(source, "move")).get("items", 0))
    if move.lost:
        reason = f"the reservations of {count(move.lost, 'item')} were lost, and stay in {show(source)}"
    if options.json:
        fields: dict[str, Any] = {**bytes_fields("from", source), **bytes_fields("to", target)}
        print(json.dumps(fields | {"moved": move.moved, "left": left, "reason": reason}))
    else:
        print(f"{count(move.moved, 'item')} moved from {show(source)} to {show(target)}, {left} left")
        if reason is not None:
            sys.stdout.flush()
            print(f"redqueue: {reason}", file=sys.stderr)
    wanted = 1 if options.count is None else options.count
    return GOOD if reason is None and move.moved >= wanted else PARTLY


class _Move:
    """A move under way.

    :ivar moved: items that are in the other queue now
    :ivar lost: items whose reservation ended before
    """

    def __init__(self, connection: Connection, source: bytes, target: bytes) -> None:
        self._connection = connection
        self._reservations = Reservations(connection, source, held=MOST_HELD)
        self._target = target
        self._items: list[Item] = []
        self._has_begun = False
        self._largest = 0
        self.moved = 0
        self.lost = 0

    def goes_on(self, most: int) -> bool:
        """Whether there is something to do still."""
        return bool(self._items) or (not self._has_begun and most > 0)

    def step(self, most: int) -> str | None:
        """Move what is held, and reserve the next; returns what was wrong."""
        self._has_begun = True
        items = self._items
        self._largest = max(self._largest, *(len(item.payload) for item in items), 1)
        at_once = max(1, min(MOST_HELD, MOST_BYTES // self._largest))
        wanted = max(0, min(at_once, most - self.moved - self.lost - len(items)))
        swaps = b"".join(self._reservations.swap(item, self._target) for item in items)
        self._connection.send(swaps + self._reservations.request() * wanted)
        refused = []
        for item in items:
            code = self._connection.answer().code
            if code == b"HD":
                self.moved += 1
            elif code == b"NS":
                refused.append(item)
            else:
                self.lost += 1
        reserved = [self._reservations.item(self._connection.answer()) for _ in range(wanted)]
        self._items = refused + [item for item in reserved if item is not None]
        return f"{show(self._target)} is full, or the server takes no items" if refused else None

    def give_back(self) -> None:
        """Leave what is held where it was."""
        for item in self._items:
            self._reservations.give_back(item)
