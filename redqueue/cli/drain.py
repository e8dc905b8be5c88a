"""``redqueue drain``: have a server take no more items, and wait until those that it has are done."""

from __future__ import annotations

import argparse
import json
import math
import time

from redqueue.cli.command import GOOD, PARTLY, CommandFailed, SubParsers, add_command
from redqueue.cli.connection import Connection, Refused
from redqueue.cli.figures import texts
from redqueue.cli.notation import count
from redqueue.cli.server_options import ENVIRONMENT, STATUSES, Server, add_json, add_server_options, duration_or_forever
from redqueue.cli.terminal import progress

POLL_SECONDS = 0.25
_FIGURES = {"idle": "reserved_items", "empty": "curr_items"}

DESCRIPTION = """
`drain on` has the server take no more items, while gets and acknowledgements go on, so that it comes to rest before it
is stopped or moved. `drain off` ends that. With --wait=idle the command returns when no item is reserved any more, with
--wait=empty when no item is left; --within says how long it waits at most.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "drain",
        run,
        summary="have the server come to rest: no more items in, all others out",
        description=DESCRIPTION,
        epilog=STATUSES + ENVIRONMENT,
    )
    parser.add_argument("state", metavar="on|off", choices=("on", "off"), help="whether it drains")
    parser.add_argument(
        "--wait", metavar="idle|empty", choices=_FIGURES, help="until no item is reserved, or none left"
    )
    parser.add_argument(
        "--within",
        metavar="DURATION|forever",
        type=duration_or_forever,
        default=math.inf,
        help="with --wait, at most so long; then the exit status is 1 (default: forever)",
    )
    add_json(parser)
    add_server_options(parser)


def run(options: argparse.Namespace) -> int:
    """Begin or end it, and wait perhaps."""
    if options.wait and options.state == "off":
        raise CommandFailed("--wait goes with `drain on`")
    with Server(options).connect() as connection:
        try:
            connection.ask(b"drain " + options.state.encode())
        except Refused as error:
            if error.reply != b"ERROR":
                raise
            raise CommandFailed("this server knows no `drain`; `redqueue readonly` is near to it") from None
        is_done = options.wait is None or _wait(connection, _FIGURES[options.wait], options.within)
        figures = texts(connection, b"server")
    items, reserved = int(figures["curr_items"]), int(figures["reserved_items"])
    if options.json:
        print(json.dumps({"drain": options.state == "on", "done": is_done, "items": items, "reserved": reserved}))
    elif options.state == "on":
        print(f"the server drains: {count(items, 'item')} left, {reserved} reserved")
    else:
        print("the server takes items")
    return GOOD if is_done else PARTLY


def _wait(connection: Connection, figure: str, seconds: float) -> bool:
    """Wait until a figure of the server is 0; returns whether it is."""
    deadline = time.monotonic() + seconds
    most = 0
    with progress("draining") as report:
        while left := int(texts(connection, b"server")[figure]):
            most = max(most, left)
            report(most - left, most)
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
    return True
