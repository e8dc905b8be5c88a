"""``redqueue import``: what another queue server holds, into queues of this one."""

from __future__ import annotations

import argparse
import json
import math
import os
import ssl
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from redqueue.cli.command import GOOD, PARTLY, CommandFailed, SubParsers, add_command
from redqueue.cli.connection import Connection, ConnectionLost, Refused
from redqueue.cli.ending import Ending, ending
from redqueue.cli.notation import bytes_fields, count, show
from redqueue.cli.queue_name import complete_queue, meta_key, parse_queue
from redqueue.cli.server_options import ENVIRONMENT, Server, add_json, add_server_options
from redqueue.cli.terminal import Progress, progress
from redqueue.importers import kestrel, redqueue2010
from redqueue.importers.beanstalkd import Tube
from redqueue.importers.item import LiveSource, Queue, SourceFailed, SourceItem
from redqueue.importers.redis_list import RedisList
from redqueue.importers.stream import Stream

JOURNALS = {"redqueue2010": redqueue2010.read, "kestrel": kestrel.read, "starling": kestrel.read}
PORTS = {"beanstalkd": 11300, "redis": 6379, "rediss": 6379}
AT_ONCE = 100
"""Items of a journal put at a time."""

DESCRIPTION = """
Import what another queue server holds. SOURCE is one of

  beanstalkd://HOST:PORT/TUBE      ready and delayed jobs of a running beanstalkd; port 11300 where none is given
  redis://HOST:PORT/DB/LIST        a list of a running Redis, redis://USER@HOST/... where it has users; port 6379
  rediss://HOST:PORT/DB/LIST       the same by TLS
  redqueue2010:DIR                 the journal of the RedQueue of 2010
  kestrel:DIR, starling:DIR        the journal of a Kestrel or Starling

What is not a letter or digit in a TUBE or LIST may be written as %%NN. From a running server each item is removed only
once this one has confirmed that it is stored, so that none is lost whatever is killed; those of the moment may come
twice then. Journals are only read, and their servers should be stopped; a torn end is reported and left out.

The items of a journal go into queues of their own names; with QUEUE only the queue of that name is imported.
"""

EPILOG = (
    """
exit status:
  0  all is imported
  1  a part is not, or there was nothing, or a journal is damaged or doubtful, as reported
  2  nothing was tried, for the reason on standard error
"""
    + ENVIRONMENT.rstrip()
    + """
  REDQUEUE_SOURCE_PASSWORD  the password of the Redis where --source-password-file is not given
"""
)


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "import",
        run,
        summary="import from beanstalkd, Redis, Kestrel, Starling, and the RedQueue of 2010",
        description=DESCRIPTION.replace("%%", "%"),
        epilog=EPILOG,
    )
    parser.add_argument("source", metavar="SOURCE", help="what to read")
    queue = parser.add_argument("queue", metavar="QUEUE", nargs="?", help="the queue to put into")
    queue.completer = complete_queue  # type: ignore[attr-defined]
    parser.add_argument("--copy", action="store_true", help="leave the items at the source too")
    parser.add_argument("--dry-run", action="store_true", help="only say how many items there are")
    parser.add_argument(
        "--buried", metavar="QUEUE", help="beanstalkd: put buried jobs into QUEUE (default: leave them)"
    )
    parser.add_argument(
        "--from-left", action="store_true", help="Redis: the oldest is at the left, as with RPUSH and BLPOP"
    )
    parser.add_argument(
        "--source-password-file", metavar="FILE", type=Path, help="Redis: the password is the first line of FILE"
    )
    parser.add_argument(
        "--source-ca-file", metavar="FILE", type=Path, help="rediss: who may have signed its certificate"
    )
    add_json(parser)
    add_server_options(parser)


@dataclass
class _Import:
    """An import under way, and what came of it."""

    stored: int = 0
    bytes: int = 0
    expired: int = 0
    removed: int = 0
    reason: str | None = None


def run(options: argparse.Namespace) -> int:
    """Import them."""
    scheme, _, rest = options.source.partition(":")
    if scheme in JOURNALS:
        if options.buried or options.from_left or options.source_password_file or options.source_ca_file:
            raise CommandFailed("--buried, --from-left and --source-… are for running servers, and this is a journal")
        return _from_journal(options, scheme, Path(rest))
    if scheme not in PORTS:
        raise CommandFailed(
            f"{options.source!r} is no source; write beanstalkd://HOST:PORT/TUBE, redis://HOST:PORT/DB/LIST, "
            "redqueue2010:DIR, kestrel:DIR or starling:DIR"
        )
    if options.queue is None:
        raise CommandFailed("the QUEUE to put into is missing")
    return _from_server(options, scheme)


# -- running servers ------------------------------------------------------------


def _open(options: argparse.Namespace, scheme: str) -> LiveSource:
    try:
        url = urlsplit(options.source)
        host, port = url.hostname or "", url.port or PORTS[scheme]
    except ValueError as error:
        raise CommandFailed(f"{options.source!r} is no address: {error}") from None
    if not host or url.query or url.fragment:
        raise CommandFailed(f"{options.source!r} wants a host, and %3F and %23 for the characters ? and #")
    if url.password:
        raise CommandFailed("a password on the command line is for all to see: --source-password-file names a file")
    path = url.path.removeprefix("/")
    if options.timeout <= 0:
        raise CommandFailed("--timeout wants more than 0")
    if scheme == "beanstalkd":
        if options.from_left or options.source_password_file or options.source_ca_file or url.username:
            raise CommandFailed("--from-left, --source-… and users are for Redis, and this is a beanstalkd")
        tube = unquote_to_bytes(path or "default")
        if any(byte <= 32 or byte > 126 for byte in tube) or len(tube) > 200:
            raise CommandFailed(f"{path!r} is no name of a tube")
        return Tube(Stream(host, port, options.timeout), tube, copies=options.copy, with_buried=bool(options.buried))
    if options.buried:
        raise CommandFailed("--buried is for beanstalkd, and this is a Redis")
    database, _, key = path.partition("/")
    if not database.isdecimal() or not key:
        raise CommandFailed(f"{options.source!r} names no list; write {scheme}://{host}:{port}/0/LIST")
    context = ssl.create_default_context(cafile=options.source_ca_file) if scheme == "rediss" else None
    return RedisList(
        Stream(host, port, options.timeout, context),
        int(database),
        unquote_to_bytes(key),
        user=unquote_to_bytes(url.username or ""),
        password=_password(options),
        from_left=options.from_left,
        copies=options.copy,
    )


def _password(options: argparse.Namespace) -> bytes:
    if options.source_password_file is not None:
        data: bytes = options.source_password_file.read_bytes()
        return data.partition(b"\n")[0].rstrip(b"\r")
    return os.environb.get(b"REDQUEUE_SOURCE_PASSWORD", b"")


def _from_server(options: argparse.Namespace, scheme: str) -> int:
    name = parse_queue(options.queue)
    buried = parse_queue(options.buried) if options.buried else name
    done = _Import()
    findings: list[str] = []
    try:
        source = _open(options, scheme)
        total = source.count()
        if options.dry_run:
            findings = source.findings()
            source.close()
            return _report(options, [(name, total)], done, findings)
        with Server(options).connect() as connection, progress(f"importing into {show(name)}") as report:
            with ending() as asked:
                while done.reason is None and (items := source.batch()):
                    stored = _put(connection, items, name, buried, done)
                    if not options.copy:
                        done.removed += source.remove(stored)
                    report(done.stored, total)
                    if asked.is_asked_for:
                        done.reason = "interrupted"
            findings = source.findings()
            source.close()
    except (SourceFailed, ConnectionLost) as error:
        if not done.stored:
            raise CommandFailed(str(error)) from None
        done.reason = str(error)
    if not options.copy and done.removed < done.stored and done.reason is None:
        gone = count(done.stored - done.removed, "item")
        findings.append(f"{gone} had gone from the source before they were removed: somebody else has them too")
    return _report(options, [(name, done.stored)], done, findings)


# -- journals -------------------------------------------------------------------


def _from_journal(options: argparse.Namespace, scheme: str, directory: Path) -> int:
    if not directory.is_dir():
        raise CommandFailed(f"{str(directory)!r} is no directory; write {scheme}:DIR")
    queues = [queue for queue in JOURNALS[scheme](directory) if queue.items or queue.findings]
    if options.queue is not None:
        wanted = parse_queue(options.queue)
        queues = [queue for queue in queues if queue.name == wanted]
    findings = [f"{show(queue.name)}: {text}" for queue in queues for text in queue.findings]
    done = _Import()
    now = time.time()
    alive = {queue.name: [item for item in queue.items if not 0 < item.expires <= now] for queue in queues}
    done.expired = sum(len(queue.items) for queue in queues) - sum(map(len, alive.values()))
    total = sum(map(len, alive.values()))
    shares: list[tuple[bytes, int]] = []
    if options.dry_run:
        return _report(options, [(name, len(items)) for name, items in alive.items()], done, findings)
    with Server(options).connect() as connection, progress("importing") as report, ending() as asked:
        for queue in queues:
            before = done.stored
            _put_all(connection, queue, alive[queue.name], done, total, report, asked)
            shares.append((queue.name, done.stored - before))
            if done.reason is not None:
                break
    return _report(options, shares, done, findings)


def _put_all(
    connection: Connection,
    queue: Queue,
    items: list[SourceItem],
    done: _Import,
    total: int,
    report: Progress,
    asked: Ending,
) -> None:
    for at in range(0, len(items), AT_ONCE):
        try:
            _put(connection, items[at : at + AT_ONCE], queue.name, queue.name, done)
        except ConnectionLost as error:
            if not done.stored:
                raise
            done.reason = str(error)
        report(done.stored, total)
        if asked.is_asked_for:
            done.reason = "interrupted"
        if done.reason is not None:
            return


# -- both -----------------------------------------------------------------------


def _put(
    connection: Connection, items: Sequence[SourceItem], name: bytes, buried: bytes, done: _Import
) -> list[SourceItem]:
    """Put items; returns those that the server has confirmed."""
    parts = []
    for item in items:
        delay = b"/delay=%.3f" % item.delay if item.delay > 0 else b""
        key, end = meta_key(buried if item.is_buried else name, delay)
        if item.expires > 0:
            end += b" T%d" % connection.exptime(max(1, math.ceil(item.expires - time.time())))
        parts.append(b"ms %b %d%b\r\n%b\r\n" % (key, len(item.payload), end, item.payload))
    connection.send(b"".join(parts))
    stored = []
    for item in items:
        try:
            code = connection.answer().code
            reason = "" if code == b"HD" else "the queue is full, or the server takes no items"
        except Refused as error:
            reason = str(error)
        if reason:
            done.reason = reason
        else:
            stored.append(item)
    done.stored += len(stored)
    done.bytes += sum(len(item.payload) for item in stored)
    return stored


def _report(options: argparse.Namespace, shares: list[tuple[bytes, int]], done: _Import, findings: list[str]) -> int:
    if options.json:
        fields: dict[str, Any] = {
            "queues": [{**bytes_fields("queue", name), "items": number} for name, number in shares],
            "imported": done.stored,
            "bytes": done.bytes,
            "expired": done.expired,
            "removed": done.removed,
            "dry_run": options.dry_run,
            "findings": findings,
            "reason": done.reason,
        }
        print(json.dumps(fields))
    else:
        verb = "to import" if options.dry_run else "imported"
        for name, number in shares:
            print(f"{count(number, 'item')} {verb} into {show(name)}")
        if done.expired:
            print(f"{count(done.expired, 'item')} left out, whose time to live has passed")
        sys.stdout.flush()
        for text in [*findings, *([done.reason] if done.reason else [])]:
            print(f"redqueue: {text}", file=sys.stderr)
    is_journal = options.source.partition(":")[0] in JOURNALS
    if done.reason is not None or (is_journal and findings) or not sum(number for _, number in shares):
        return PARTLY
    return GOOD
