"""pause, resume, readonly, drop, flush and redrive: the operators' verbs of the server."""

from __future__ import annotations

import argparse
import json
import sys
from textwrap import fill
from typing import Any

from redqueue.cli.command import GOOD, PARTLY, CommandFailed, SubParsers, add_command
from redqueue.cli.connection import Connection
from redqueue.cli.notation import bytes_fields, count, show
from redqueue.cli.queue_name import add_queue, parse_queue, plain_word
from redqueue.cli.server_options import ENVIRONMENT, STATUSES, Server, add_json, add_server_options, duration, whole

_EPILOG = STATUSES + ENVIRONMENT


def add_parser(subparsers: SubParsers) -> None:
    """Add the commands."""
    parser = _add(
        subparsers,
        "pause",
        run_pause,
        "have a queue hand out no items",
        "Hand out no items of a queue: gets miss, or wait; puts and acknowledgements go on. It ends after --for, by "
        "`redqueue resume`, or with the server.",
    )
    parser.add_argument(
        "--for", dest="seconds", metavar="DURATION", type=duration, help="resume by itself after so long"
    )
    _add(subparsers, "resume", run_resume, "end the pause of a queue", "Hand out the items of a queue again.")
    parser = _add(
        subparsers,
        "redrive",
        run_redrive,
        "put dead letters back to where they came from",
        "Put the dead letters in QUEUE back to the ends of the queues that they came from, the oldest first, as if "
        "they had never been lost. It ends early at a queue that is full.",
    )
    parser.add_argument("-n", "--count", metavar="N", type=whole(1), help="the oldest N only")
    for name, run, summary, description in (
        ("flush", run_flush, "drop all items of a queue", "Drop all items of a queue, reserved ones included."),
        (
            "drop",
            run_drop,
            "drop a queue and all that there is of it",
            "Drop all items of a queue, reserved ones included, its subscription where it is a child of another, its "
            "pause and its figures.",
        ),
    ):
        parser = _add(subparsers, name, run, summary, description + " On a terminal it asks first.")
        parser.add_argument("--yes", action="store_true", help="do not ask")
    parser = add_command(
        subparsers,
        "readonly",
        run_readonly,
        summary="have the server take no items",
        description="Take no new items from anybody, or take them again; gets and acknowledgements go on. It ends with "
        "the server.",
        epilog=_EPILOG,
    )
    parser.add_argument("state", metavar="on|off", choices=("on", "off"), help="whether it takes none")
    add_json(parser)
    add_server_options(parser)


def _add(subparsers: SubParsers, name: str, run: Any, summary: str, description: str) -> argparse.ArgumentParser:
    parser = add_command(subparsers, name, run, summary=summary, description=fill(description, 118), epilog=_EPILOG)
    add_queue(parser)
    add_json(parser)
    add_server_options(parser)
    return parser


def confirm(question: str, yes: bool) -> None:
    """Ask before what cannot be undone, where there is somebody to ask.

    :raises CommandFailed: where the answer is not yes
    """
    if yes or not sys.stdin.isatty():
        return
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandFailed("nothing was done", PARTLY)


def run_pause(options: argparse.Namespace) -> int:
    """``redqueue pause``"""
    if options.seconds is not None and options.seconds < 1:
        raise CommandFailed("--for wants at least a second")
    more = b"" if options.seconds is None else b" %d" % options.seconds
    return _one_queue(options, "pause", "is paused", more)


def run_resume(options: argparse.Namespace) -> int:
    """``redqueue resume``"""
    return _one_queue(options, "resume", "hands out items")


def run_redrive(options: argparse.Namespace) -> int:
    """``redqueue redrive``"""
    name = parse_queue(options.queue)
    word = plain_word(name, "redrive")
    with Server(options).connect() as connection:
        before = _items(connection, word)
        more = b"" if options.count is None else b" %d" % options.count
        found = connection.ask(b"redrive " + word + more) == b"OK"
        left = _items(connection, word)
    gone = max(0, before - left)
    _say(options, name, {"done": found, "left": left}, f"{count(gone, 'item')} of {show(name)} went back, {left} left")
    return GOOD if found else PARTLY


def run_flush(options: argparse.Namespace) -> int:
    """``redqueue flush``"""
    return _destroy(options, "flush", "is empty")


def run_drop(options: argparse.Namespace) -> int:
    """``redqueue drop``"""
    return _destroy(options, "drop", "is gone")


def run_readonly(options: argparse.Namespace) -> int:
    """``redqueue readonly``"""
    with Server(options).connect() as connection:
        connection.ask(b"readonly " + options.state.encode())
    if options.json:
        print(json.dumps({"readonly": options.state == "on"}))
    else:
        print("the server takes no items" if options.state == "on" else "the server takes items")
    return GOOD


def _destroy(options: argparse.Namespace, verb: str, result: str) -> int:
    name = parse_queue(options.queue)
    with Server(options).connect() as connection:
        items = _items(connection, plain_word(name, verb))
        connection.close()
    confirm(f"{verb} {show(name)} with {count(items, 'item')}?", options.yes)
    return _one_queue(options, verb, result)


def _one_queue(options: argparse.Namespace, verb: str, result: str, more: bytes = b"") -> int:
    name = parse_queue(options.queue)
    with Server(options).connect() as connection:
        found = connection.ask(verb.encode() + b" " + plain_word(name, verb) + more) == b"OK"
    _say(options, name, {"done": found}, f"{show(name)} {result if found else 'does not exist'}")
    return GOOD if found else PARTLY


def _items(connection: Connection, word: bytes) -> int:
    return next((int(value) for name, value in [*connection.stats(b"queue " + word)] if name == b"items"), 0)


def _say(options: argparse.Namespace, name: bytes, fields: dict[str, object], sentence: str) -> None:
    print(json.dumps(bytes_fields("queue", name) | fields) if options.json else sentence)
