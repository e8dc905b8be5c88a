"""``redqueue journal export`` and ``import``: the items of a queue as JSON lines."""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from redqueue.cli.command import DAMAGED, GOOD, CommandFailed, SubParsers, add_command
from redqueue.cli.journal.common import STATUSES, add_directory, say_findings
from redqueue.cli.notation import bytes_fields, bytes_of, parse_shown, parse_time, show, show_time
from redqueue.cli.terminal import progress
from redqueue.journal.appender import Appender
from redqueue.journal.contents import Live
from redqueue.journal.lock import JournalInUse
from redqueue.journal.parse import Item
from redqueue.journal.reader import JournalFiles, server_of
from redqueue.journal.record import PUT
from redqueue.journal.recovery import JournalDamaged
from redqueue.journal.replay import Replay

MAX_NAME = 250
"""Bytes (memcached's KEY_MAX_LENGTH)."""
U32 = 0xFFFFFFFF
_FIELDS = {
    "id",
    "time",
    "flags",
    "expires",
    "ready_at",
    "deliveries",
    "origin",
    "origin_base64",
    "payload",
    "payload_base64",
}

EXPORT = """
Write the items of a queue as JSON lines to FILE, or to standard output, in the order of their delivery. Items that are
reserved at that moment are among them; those that have expired are not.

An item is an object with these members:

  payload         the item, where it is UTF-8; else
  payload_base64  the item, in base64
  flags           the client's flags
  id              its id
  time            when it arrived, as in 2026-01-31T09:30:00.000000001Z
  expires         when its time to live passes; missing: never
  ready_at        when it becomes ready; missing: at once
  deliveries      how often it was delivered, as far as that was written down; missing: never
  origin          the queue from which it was moved as a dead letter (or origin_base64); missing: none

The queue stays as it is. Of a damaged journal what can be read is exported, with a warning and exit status 1.
"""

IMPORT = """
Append items to a queue, from JSON lines in FILE or on standard input, as export writes them. Payload, flags, expiry,
time and the rest are kept, and so is the order; the items get new ids, behind all that is in the journal. Only payload
or payload_base64 is needed: flags are then 0 and the time is now. Lines whose item has expired are left out.

DIR is made where it is missing. A server must not use it. All lines are checked before the first item is written.
"""

IMPORT_EPILOG = """
exit status:
  0  the items are in the journal, and on the disk
  1  nothing was imported: the journal is damaged
  2  nothing, or less than all, was imported, for the reason on standard error: a line that is no item, a server that
     uses the journal, no space
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add both actions."""
    parser = add_command(
        subparsers,
        "export",
        run_export,
        summary="write the items of a queue as JSON lines",
        description=EXPORT,
        epilog=STATUSES,
    )
    add_directory(parser)
    _add_queue(parser)
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="written whole or not at all; -: standard output"
    )
    parser = add_command(
        subparsers,
        "import",
        run_import,
        summary="append items to a queue, from JSON lines, while no server runs",
        description=IMPORT,
        epilog=IMPORT_EPILOG,
    )
    add_directory(parser)
    _add_queue(parser)
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="-: standard input")


def _add_queue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--queue", metavar="NAME", required=True, help="the queue; write its name as dump and stat print it"
    )


# -- export -----------------------------------------------------------------------


def run_export(options: argparse.Namespace) -> int:
    """Write the queue."""
    name = parse_shown(options.queue)
    with JournalFiles(options.directory) as files:
        with progress("reading") as show_progress:
            replay = Replay(files, progress=show_progress)
            replay.run()
        numbers = replay.contents.numbers_of(name)
        if not numbers:
            say_findings(replay)
            raise CommandFailed(f"no queue {options.queue} in {options.directory}; redqueue journal stat lists them")
        total = sum(1 for live in replay.contents.live() if live.queue in numbers)
        with _output(options.file) as file, progress("exporting") as show_progress:
            for done, live in enumerate(_in_order(replay, numbers), 1):
                item = replay.item(live)
                if not 0 < item.expires <= time.time_ns():
                    file.write(_line(item, replay) + "\n")
                show_progress(done, total)
    return say_findings(replay)


@contextlib.contextmanager
def _output(name: str) -> Iterator[IO[str]]:
    if name == "-":
        yield sys.stdout
        return
    path = Path(name)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="ascii") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _in_order(replay: Replay, numbers: set[int]) -> Iterator[Live]:
    """The queue's items in the order of their places; most have their id for a place."""
    contents = replay.contents
    placed: list[tuple[int, int, Live]] = []
    if contents.places:
        placed = sorted(
            (contents.places[live.item_id], live.item_id, live)
            for live in contents.live()
            if live.queue in numbers and live.item_id in contents.places
        )
    plain = (
        (live.item_id, live.item_id, live)
        for live in contents.live()
        if live.queue in numbers and live.item_id not in contents.places
    )
    for _, _, live in heapq.merge(placed, plain):
        yield live


def _line(item: Item, replay: Replay) -> str:
    fields: dict[str, Any] = {"id": item.item_id, "time": show_time(item.time), "flags": item.flags}
    if item.expires:
        fields["expires"] = show_time(item.expires)
    if item.ready_at:
        fields["ready_at"] = show_time(item.ready_at)
    if item.deliveries:
        fields["deliveries"] = item.deliveries
    if item.origin:
        fields |= bytes_fields("origin", replay.contents.name_of(item.origin))
    fields |= bytes_fields("payload", bytes(item.payload))
    return json.dumps(fields)


# -- import -----------------------------------------------------------------------


def run_import(options: argparse.Namespace) -> int:
    """Check all lines, then append them."""
    name = parse_shown(options.queue)
    if not 0 < len(name) <= MAX_NAME or any(byte <= 32 or byte == 127 for byte in name):
        raise CommandFailed(
            f"--queue={options.queue} wants a name of 1 to {MAX_NAME} bytes without spaces and control characters"
        )
    with _input(options.file) as file:
        size = _check(file, options.file)
        try:
            appender = Appender(options.directory)
        except JournalInUse:
            raise CommandFailed(
                f"{options.directory} is in use by a server (process id {server_of(options.directory)}): stop that, "
                f"or put the items with a client"
            ) from None
        except JournalDamaged as error:
            raise CommandFailed(str(error), DAMAGED) from None
        try:
            with appender, progress("importing") as show_progress:
                appended, expired = _append(file, name, appender, size, show_progress)
        except OSError as error:
            raise CommandFailed(
                f"{options.directory}: {error}; the first {appender.written} items are in the journal, the others not"
            ) from None
    left_out = f", {expired} that have expired are left out" if expired else ""
    print(f"imported {appended} items into {show(name)}{left_out}", file=sys.stderr)
    return GOOD


@contextlib.contextmanager
def _input(name: str) -> Iterator[IO[bytes]]:
    """A file that can be read twice."""
    if name != "-":
        with Path(name).open("rb") as file:
            if file.seekable():
                yield file
                return
            source: IO[bytes] = file
            with _copy(source) as copy:
                yield copy
    else:
        with _copy(sys.stdin.buffer) as copy:
            yield copy


@contextlib.contextmanager
def _copy(source: IO[bytes]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as copy:
        while data := source.read(1 << 20):
            copy.write(data)
        copy.seek(0)
        yield copy


def _check(file: IO[bytes], name: str) -> int:
    """Check every line; returns the length of the file, which is at its start again."""
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                _item(line, 0)
            except ValueError as error:
                raise CommandFailed(f"{name}, line {number}: {error}; nothing was imported") from None
    size = file.tell()
    file.seek(0)
    return size


def _append(file: IO[bytes], name: bytes, appender: Appender, size: int, show_progress: Any) -> tuple[int, int]:
    """Append the items of all lines; returns how many, and how many had expired."""
    appended = expired = done = 0
    now = time.time_ns()
    for line in file:
        done += len(line)
        if not line.strip():
            continue
        item, origin = _item(line, now)
        if 0 < item.expires <= now:
            expired += 1
            continue
        appender.put(name, item, origin)
        appended += 1
        show_progress(done, size)
    return appended, expired


def _item(line: bytes, now: int) -> tuple[Item, bytes]:
    """The item of a line, and the name of the queue from which it was moved.

    :raises ValueError: with what is wrong
    """
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError("wants an object")
    unknown = set(fields) - _FIELDS
    if unknown:
        raise ValueError(f"unknown members {', '.join(sorted(unknown))}")
    payload = bytes_of(fields, "payload")
    if len(payload) > U32 >> 1:
        raise ValueError(f"payload is {len(payload)} bytes long, at most {U32 >> 1} are possible")
    origin = b""
    if "origin" in fields or "origin_base64" in fields:
        origin = bytes_of(fields, "origin")
        if not 0 < len(origin) <= MAX_NAME:
            raise ValueError(f"origin wants to be a name of 1 to {MAX_NAME} bytes")
    item = Item(
        0,
        0,
        PUT,
        0,
        0,
        _moment(fields, "time") or now,
        _whole(fields, "flags", U32),
        _moment(fields, "expires"),
        0,
        _moment(fields, "ready_at"),
        _whole(fields, "deliveries", (1 << 64) - 1),
        0,
        memoryview(payload),
    )
    return item, origin


def _whole(fields: dict[str, Any], name: str, most: int) -> int:
    value = fields.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{name} wants a whole number up to {most}, not {value!r}")
    return value


def _moment(fields: dict[str, Any], name: str) -> int:
    if name not in fields:
        return 0
    value = fields[name]
    try:
        return parse_time(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} wants a moment such as 2026-01-31T09:30:00Z, not {value!r}") from None
