"""``redqueue top``: what happens in the queues of a server, live."""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redqueue.cli.command import GOOD, CommandFailed, SubParsers, add_command
from redqueue.cli.connection import Connection, ConnectionLost
from redqueue.cli.figures import QueueFigures, number_or_text, texts
from redqueue.cli.notation import show, show_duration, show_size
from redqueue.cli.queues import queues_asked_for
from redqueue.cli.server_options import ENVIRONMENT, STATUSES, Server, add_json, add_server_options, duration, whole
from redqueue.cli.terminal import print_table

DESCRIPTION = """
Show the queues of a server and what goes in and out of them, again and again. `in/s` are items that were put, `out/s`
items that were delivered and not given back. Keys: n sorts by name, r ready, v reserved, d delayed, b bytes, a age,
w waiters, i in/s, o out/s, x dead letters; the same key once more turns the order round. The arrows, Page Up, Page
Down, g and G move through the list; q ends it.

With --once one table is printed, after an interval. With --json each interval is an object on a line, with `server` and
`queues`; with --once it is one.
"""


@dataclass(frozen=True)
class Row:
    """A queue, with what goes in and out a second."""

    queue: QueueFigures
    put_rate: float
    taken_rate: float


SORT_KEYS: dict[str, tuple[str, Callable[[Row], Any]]] = {
    "n": ("name", lambda row: row.queue.name),
    "r": ("ready", lambda row: row.queue.ready),
    "v": ("reserved", lambda row: row.queue.reserved),
    "d": ("delayed", lambda row: row.queue.delayed),
    "b": ("bytes", lambda row: row.queue.bytes),
    "a": ("age", lambda row: row.queue.age),
    "w": ("waiters", lambda row: row.queue.waiters),
    "i": ("in/s", lambda row: row.put_rate),
    "o": ("out/s", lambda row: row.taken_rate),
    "x": ("dead", lambda row: row.queue.dead),
}
"""What is sorted by, by the key for it."""
_KEY_OF = {name: key for key, (name, _) in SORT_KEYS.items()}
COLUMNS = ("queue", "ready", "reserved", "delayed", "bytes", "age", "waiters", "in/s", "out/s", "dead", "")


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers, "top", run, summary="watch the queues, live", description=DESCRIPTION, epilog=STATUSES + ENVIRONMENT
    )
    parser.add_argument("patterns", metavar="PATTERN", nargs="*", help="only these queues, as for `redqueue queues`")
    parser.add_argument("--interval", metavar="DURATION", type=duration, default=2.0, help="how often (default: 2s)")
    parser.add_argument(
        "--sort", choices=_KEY_OF, default="ready", help="by what to sort; numbers begin with the greatest"
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--limit", metavar="N", type=whole(1), help="with --once or --json, the first N queues only")
    parser.add_argument("--once", action="store_true", help="print one table, and end")
    add_json(parser, "JSON lines instead of a table")
    add_server_options(parser)


class Sampler:
    """Asks a server for its figures time and again, and makes rates of them."""

    def __init__(self, patterns: list[str]) -> None:
        self._patterns = patterns
        self._before: dict[bytes, QueueFigures] = {}
        self._time = 0.0

    def sample(self, connection: Connection) -> tuple[dict[str, str], list[Row]]:
        """The figures of the server, and of its queues."""
        server = texts(connection, b"server")
        queues = queues_asked_for(connection, self._patterns)
        now = time.monotonic()
        seconds = now - self._time if self._time else 0.0
        rows = [Row(queue, *self._rates(queue, seconds)) for queue in queues]
        self._before = {queue.name: queue for queue in queues}
        self._time = now
        return server, rows

    def _rates(self, queue: QueueFigures, seconds: float) -> tuple[float, float]:
        if not seconds:
            return 0.0, 0.0
        before = self._before.get(queue.name, QueueFigures(queue.name))
        if queue.put < before.put or queue.delivered < before.delivered:  # it is a new one of the same name
            before = QueueFigures(queue.name)
        taken = queue.delivered - queue.returned - (before.delivered - before.returned)
        return (queue.put - before.put) / seconds, max(0, taken) / seconds


def ordered(rows: list[Row], name: str, reverse: bool) -> list[Row]:
    """The rows in the order asked for."""
    rows = sorted(rows, key=lambda row: row.queue.name)
    return sorted(rows, key=SORT_KEYS[_KEY_OF[name]][1], reverse=reverse == (name == "name"))


def run(options: argparse.Namespace) -> int:
    """Watch."""
    if options.interval < 0.1:
        raise CommandFailed("--interval wants at least 100ms")
    server = Server(options)
    if options.once or options.json:
        return _print(options, server)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandFailed("top wants a terminal; --once prints one table, --json lines for programs")
    try:
        import rich  # noqa: F401
    except ImportError:
        raise CommandFailed("top needs the library rich: pip install 'redqueue[cli]'; --once does without") from None
    return _Screen(options, server).run()


def _print(options: argparse.Namespace, server: Server) -> int:
    sampler = Sampler(options.patterns)
    with server.connect() as connection:
        sampler.sample(connection)
        while True:
            time.sleep(options.interval)
            figures, rows = sampler.sample(connection)
            rows = ordered(rows, options.sort, options.reverse)[: options.limit]
            if options.json:
                print(json.dumps(_fields(figures, rows)), flush=True)
            else:
                print(summary(figures))
                print_table(COLUMNS, [cells(row) for row in rows])
            if options.once:
                return GOOD


def _fields(figures: dict[str, str], rows: list[Row]) -> dict[str, Any]:
    queues = [
        row.queue.fields() | {"put_per_second": round(row.put_rate, 3), "taken_per_second": round(row.taken_rate, 3)}
        for row in rows
    ]
    return {"server": {name: number_or_text(text) for name, text in figures.items()}, "queues": queues}


def summary(figures: dict[str, str]) -> str:
    """The server in a line."""
    words = [
        f"RedQueue {figures.get('version', '')}",
        f"up {show_duration(float(figures.get('uptime', 0)))}",
        f"{figures.get('curr_connections', '?')} connections",
        f"{figures.get('queues', '?')} queues",
        f"{figures.get('curr_items', '?')} items",
        f"{figures.get('reserved_items', '?')} reserved",
        show_size(int(figures.get("bytes", 0))),
    ]
    if figures.get("readonly") == "1":
        words.append("READ-ONLY")
    if figures.get("draining") == "1":
        words.append("DRAINING")
    if figures.get("health", "ok") != "ok":
        words.append(f"HEALTH: {figures['health']}")
    return ", ".join(words)


def cells(row: Row) -> tuple[str, ...]:
    """A line of the table."""
    queue = row.queue
    return (
        show(queue.name),
        str(queue.ready),
        str(queue.reserved),
        str(queue.delayed),
        show_size(queue.bytes),
        show_duration(queue.age / 1000) if queue.items else "-",
        str(queue.waiters),
        f"{row.put_rate:.1f}",
        f"{row.taken_rate:.1f}",
        str(queue.dead),
        "paused" if queue.paused else "",
    )


_MOVES = {b"\x1b[A": -1, b"\x1b[B": 1, b"k": -1, b"j": 1}
_PAGES = {b"\x1b[5~": -1, b"\x1b[6~": 1, b" ": 1}


class _Screen:
    """The table on the terminal, and the keys."""

    def __init__(self, options: argparse.Namespace, server: Server) -> None:
        self._options = options
        self._server = server
        self._sampler = Sampler(options.patterns)
        self._connection: Connection | None = None
        self._figures: dict[str, str] = {}
        self._rows: list[Row] = []
        self._trouble = ""
        self._sort: str = options.sort
        self._reverse: bool = options.reverse
        self._top = 0

    def run(self) -> int:
        from rich.console import Console
        from rich.live import Live

        self._connection = self._server.connect()  # which fails at once, and may ask for a password
        console = Console()
        with _keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
            due = 0.0
            while True:
                if time.monotonic() >= due:
                    self._sample()
                    due = time.monotonic() + self._options.interval
                live.update(self._table(*console.size), refresh=True)
                if select.select([keyboard], [], [], max(0.0, due - time.monotonic()))[0]:
                    keys = os.read(keyboard, 64)
                    if keys in (b"q", b"Q", b"\x03", b""):
                        return GOOD
                    self._press(keys, console.size.height)

    def _sample(self) -> None:
        try:
            if self._connection is None:
                self._connection = self._server.connect()
            self._figures, self._rows = self._sampler.sample(self._connection)
            self._trouble = ""
        except ConnectionLost as error:
            self._trouble = f"{error}; trying again"
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _press(self, keys: bytes, height: int) -> None:
        name = SORT_KEYS.get(keys.decode("ascii", "replace"), ("", None))[0]
        if name:
            self._reverse = not self._reverse if name == self._sort else False
            self._sort = name
        elif keys in _MOVES:
            self._top += _MOVES[keys]
        elif keys in _PAGES:
            self._top += _PAGES[keys] * self._visible(height)
        elif keys in (b"g", b"\x1b[H"):
            self._top = 0
        elif keys in (b"G", b"\x1b[F"):
            self._top = len(self._rows)

    @staticmethod
    def _visible(height: int) -> int:
        return max(1, height - 4)

    def _table(self, width: int, height: int) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        visible = self._visible(height)
        self._top = max(0, min(self._top, len(self._rows) - visible))
        rows = ordered(self._rows, self._sort, self._reverse)[self._top : self._top + visible]
        table = Table(box=None, header_style="bold", expand=True, padding=(0, 1, 0, 0))
        for column in COLUMNS:
            is_sorted = column == self._sort or (column == "queue" and self._sort == "name")
            header = Text(column, style="reverse") if is_sorted else Text(column)
            first = column == "queue"
            table.add_column(
                header,
                justify="left" if first else "right",
                no_wrap=True,
                overflow="ellipsis",
                ratio=1 if first else None,
            )
        for row in rows:
            table.add_row(*map(Text, cells(row)), style="" if row.queue.items else "dim")
        last = self._top + len(rows)
        shown = f"{self._top + 1 if rows else 0}-{last} of {len(self._rows)}"
        foot = Text(
            f"{shown}  sort: n r v d b a w i o x   move: arrows, Page Up/Down, g G   q quit", style="dim", no_wrap=True
        )
        lines = [
            Text(summary(self._figures), style="bold", no_wrap=True),
            Text(self._trouble, style="red", no_wrap=True),
        ]
        return Group(*lines, table, foot)


@contextmanager
def _keys() -> Iterator[int]:
    """The keyboard, key by key, and without an echo; as it was afterwards, whatever ends it."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    handlers = {number: signal.signal(number, _exit) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _exit(number: int, frame: object) -> None:
    sys.exit(128 + number)
