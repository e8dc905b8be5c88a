"""``redqueue stats``: the figures of a server."""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict

from redqueue.cli.command import GOOD, PARTLY, CommandFailed, SubParsers, add_command
from redqueue.cli.figures import number_or_text, texts
from redqueue.cli.notation import show_duration, show_size
from redqueue.cli.queue_name import parse_queue, plain_word
from redqueue.cli.server_options import ENVIRONMENT, STATUSES, Server, add_json, add_server_options
from redqueue.cli.terminal import print_table

TOPICS = ("server", "queues", "settings", "conns", "items")

DESCRIPTION = """
Print the figures of a server, in groups. The other topics are those of the server's `stats`:

  server      the server (the default)
  queues      every figure of every queue; `redqueue queues` is nicer to read
  queue NAME  every figure of one queue, what is known of its head, and the settings in force
  settings    the options in force
  conns       what each connection holds, and whether it waits
  items       what memcached's tools ask for

With --json it is one object, with the names that `stats` gives them; for conns an object a line, one a connection.
"""

_GROUPS = (
    ("connections", re.compile(r".*connections|bytes_(read|written)|accepting_conns")),
    ("requests", re.compile(r"cmd_.*|.*_(hits|misses|errors|badval|requests)")),
    ("items", re.compile(r"curr_items|total_items|bytes|queues|reserved_items|limit_maxbytes")),
    ("journal", re.compile(r"journal_.*")),
    ("server", re.compile(r".*")),
)
_ORDER = ("server", "items", "connections", "requests", "journal")
_SIZES = re.compile(r"bytes.*|.*_bytes|limit_maxbytes")


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "stats",
        run,
        summary="print the figures of the server",
        description=DESCRIPTION,
        epilog=STATUSES + ENVIRONMENT,
    )
    parser.add_argument(
        "topic",
        metavar="TOPIC",
        nargs="?",
        default="server",
        choices=(*TOPICS, "queue"),
        help="of what: server, queues, settings, conns, items, or queue with a NAME",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="the queue, for the topic queue")
    add_json(parser)
    add_server_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print what is asked for."""
    if (options.topic == "queue") != (options.name is not None):
        raise CommandFailed("`stats queue` wants the NAME of a queue, and no other topic does")
    topic = options.topic.encode()
    if options.name is not None:
        topic += b" " + plain_word(parse_queue(options.name), "stats")
    with Server(options).connect() as connection:
        figures = texts(connection, topic)
    if options.topic == "conns":
        _print_connections(figures, options.json)
    elif options.json:
        print(json.dumps({name: number_or_text(text) for name, text in figures.items()}))
    elif options.topic == "server":
        _print_groups(figures)
    else:
        _print_lines(figures)
    return GOOD if figures else PARTLY


def _print_groups(figures: dict[str, str]) -> None:
    groups = defaultdict[str, dict[str, str]](dict)
    for name, text in figures.items():
        group = next(group for group, pattern in _GROUPS if pattern.fullmatch(name))
        groups[group][name] = _for_people(name, text)
    for group in _ORDER:
        if groups[group]:
            print(group)
            _print_lines(groups[group], "  ")


def _for_people(name: str, text: str) -> str:
    if name == "uptime" and text.isdecimal():
        return f"{text} ({show_duration(int(text))})"
    if _SIZES.fullmatch(name) and text.isdecimal() and int(text) >= 1024:
        return f"{text} ({show_size(int(text))})"
    return text


def _print_lines(figures: dict[str, str], indent: str = "") -> None:
    width = max(map(len, figures), default=0)
    for name, text in figures.items():
        print(f"{indent}{name:<{width}}  {text}".rstrip())


def _print_connections(figures: dict[str, str], as_json: bool) -> None:
    found = defaultdict[str, dict[str, str]](dict)
    for name, text in figures.items():
        number, _, figure = name.partition(":")
        found[number][figure] = text
    if as_json:
        for number, row in found.items():
            print(json.dumps({"connection": int(number)} | {k: number_or_text(text) for k, text in row.items()}))
        return
    columns = list(dict.fromkeys(figure for row in found.values() for figure in row))
    rows = [(number, *(row.get(column, "") for column in columns)) for number, row in found.items()]
    print_table(("connection", *columns), rows)
