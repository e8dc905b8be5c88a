"""``redqueue queues``: the queues of a server, with what is in them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from redqueue.cli.command import GOOD, PARTLY, SubParsers, add_command
from redqueue.cli.connection import Connection
from redqueue.cli.figures import QueueFigures, all_queues
from redqueue.cli.notation import show, show_duration, show_size
from redqueue.cli.server_options import ENVIRONMENT, STATUSES, Server, add_json, add_server_options, whole
from redqueue.cli.terminal import print_table

DESCRIPTION = """
List the queues of a server: items that are ready, reserved and delayed, bytes, the age of the head, consumers that
wait, and how many items went to the dead letters. A PATTERN is a name, or has * for any characters, ? for one and
[abc] for one of these; quote it, so that the shell leaves it alone. Without a pattern all queues are listed. Names are
written with a backslash doubled, and \\xNN for what is not printable.

With --json each line is an object. `age` is in seconds; `put`, `delivered`, `returned`, `expired`, `discarded` and
`dead` count since the queue came to be, or the server was started.
"""

SORT_KEYS: dict[str, Callable[[QueueFigures], Any]] = {
    "name": lambda queue: queue.name,
    "ready": lambda queue: queue.ready,
    "reserved": lambda queue: queue.reserved,
    "delayed": lambda queue: queue.delayed,
    "items": lambda queue: queue.items,
    "bytes": lambda queue: queue.bytes,
    "age": lambda queue: queue.age,
    "waiters": lambda queue: queue.waiters,
    "put": lambda queue: queue.put,
    "delivered": lambda queue: queue.delivered,
    "dead": lambda queue: queue.dead,
}
"""By what a list of queues can be sorted; numbers begin with the greatest."""


def sorted_queues(queues: list[QueueFigures], key: str, reverse: bool) -> list[QueueFigures]:
    """The queues in the order asked for, those that are equal by name."""
    queues = sorted(queues, key=SORT_KEYS["name"])
    return sorted(queues, key=SORT_KEYS[key], reverse=reverse == (key == "name"))


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "queues",
        run,
        summary="list the queues, with what is in them",
        description=DESCRIPTION,
        epilog=STATUSES + ENVIRONMENT,
    )
    parser.add_argument("patterns", metavar="PATTERN", nargs="*", help="only queues whose names match one of these")
    parser.add_argument(
        "--sort", choices=SORT_KEYS, default="name", help="by what to sort; numbers begin with the greatest"
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--limit", metavar="N", type=whole(1), help="the first N only")
    parser.add_argument("--names", action="store_true", help="the names only")
    add_json(parser, "JSON lines instead of a table")
    add_server_options(parser)


def run(options: argparse.Namespace) -> int:
    """List them."""
    with Server(options).connect() as connection:
        queues = queues_asked_for(connection, options.patterns)
    queues = sorted_queues(queues, options.sort, options.reverse)[: options.limit]
    if options.json:
        for queue in queues:
            print(json.dumps(queue.fields()))
    elif options.names:
        for queue in queues:
            print(show(queue.name))
    elif queues:
        print_table(COLUMNS, [row(queue) for queue in queues])
    return GOOD if queues else PARTLY


COLUMNS = ("queue", "ready", "reserved", "delayed", "bytes", "age", "waiters", "dead", "")


def row(queue: QueueFigures) -> tuple[str, ...]:
    """A line of the table."""
    return (
        show(queue.name),
        str(queue.ready),
        str(queue.reserved),
        str(queue.delayed),
        show_size(queue.bytes),
        show_duration(queue.age / 1000) if queue.items else "-",
        str(queue.waiters),
        str(queue.dead),
        "paused" if queue.paused else "",
    )


def queues_asked_for(connection: Connection, patterns: list[str]) -> list[QueueFigures]:
    """The queues of a server whose names match one of the patterns; all where there are none."""
    return [queue for queue in all_queues(connection) if _is_asked_for(show(queue.name), patterns)]


def _is_asked_for(shown: str, patterns: list[str]) -> bool:
    return not patterns or any(shown == pattern or fnmatchcase(shown, pattern) for pattern in patterns)
