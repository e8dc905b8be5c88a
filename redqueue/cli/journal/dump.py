"""``redqueue journal dump``: the records of a journal, for people or as JSON lines."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from typing import Any

from redqueue.cli.command import DAMAGED, GOOD, CommandFailed, SubParsers, add_command
from redqueue.cli.journal.common import STATUSES, add_directory, add_json, finding_fields, queue_fields
from redqueue.cli.notation import bytes_fields, moment_or_age, parse_shown, show, show_time
from redqueue.journal.framing import FRAME_SIZE, Frame
from redqueue.journal.parse import KIND_NAMES, Ack, Drop, Fanout, Item, Name, Record, SenselessRecord, Wipe, records
from redqueue.journal.reader import Finding, JournalFiles
from redqueue.journal.replay import Replay

SHOWN_BYTES = 64
SECOND = 10**9
_IDS = re.compile(r"(\d+)(-(\d*))?")

DESCRIPTION = """
Print the records of a journal in the order in which they were written. A line of text is

  SEGMENT:OFFSET TIME KIND FIELDS

TIME is when the record was written; `arrived` is there where the item is older than that by a second or more. The
kinds, as docs/journal-format.md has them:

  PUT      an item arrived
  REWRITE  an item was changed, moved, or copied to a younger segment
  FANOUT   an item arrived in several queues at once; id is that of the first of them
  ACK      an item is gone: acknowledged, or expired
  NAME     tells the name of a queue, once in each segment
  DROP     all items of a queue with ids below are gone (flush)
  WIPE     all items of all queues with ids below are gone (flush_all)

What is not as it should be has a line in its place, which begins with !. In payloads and names a backslash is
doubled, and what is not printable UTF-8 is written as \\xNN. Reservations are not written to a journal.

With --json each line is an object, with whole payloads: in `payload` where they are UTF-8, else in
`payload_base64`; names likewise, in `queue` or `queue_base64`. Moments are in UTC, exact to the nanosecond.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the action."""
    parser = add_command(
        subparsers,
        "dump",
        run,
        summary="print the records, all or those of a queue, a time, an item",
        description=DESCRIPTION,
        epilog=STATUSES,
    )
    add_directory(parser)
    add_json(parser, "JSON lines instead of text")
    parser.add_argument("--full", action="store_true", help=f"whole payloads, not the first {SHOWN_BYTES} bytes")
    parser.add_argument(
        "--queue", metavar="NAME", help="only what concerns this queue; write its name as dump and stat print it"
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="only what was written at TIME or later: 2026-01-31T09:30:00Z, without the Z for local time, "
        "@SECONDS since 1970, or a duration before now, such as 15m",
    )
    parser.add_argument("--until", metavar="TIME", help="only what was written before TIME")
    parser.add_argument(
        "--id",
        metavar="N[-[M]]",
        help="only what concerns the item N, the items N to M, or all from N on; DROPs and WIPEs that cost it included",
    )
    parser.add_argument(
        "--kind", metavar="KIND[,KIND]", help=f"only these kinds of records: {', '.join(KIND_NAMES.values())}"
    )


class _Choice:
    """Which records are asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.queue = None if options.queue is None else parse_shown(options.queue)
        self.since = 0 if options.since is None else moment_or_age(options.since)
        self.until = (1 << 64) if options.until is None else moment_or_age(options.until)
        self.low, self.high, self.by_id = 0, 1 << 64, options.id is not None
        if self.by_id:
            match = _IDS.fullmatch(options.id)
            if not match:
                raise CommandFailed(f"--id={options.id} wants an id such as 17, or a range such as 17-30 or 17-")
            self.low = int(match[1])
            self.high = self.low if match[2] is None else int(match[3] or self.high)
        self.kinds = set(KIND_NAMES.values())
        if options.kind is not None:
            self.kinds = {kind.strip().upper() for kind in options.kind.split(",")}
            unknown = self.kinds - set(KIND_NAMES.values())
            if unknown:
                raise CommandFailed(f"--kind={options.kind} wants some of {', '.join(KIND_NAMES.values())}")
        self._concerned: set[bytes | None] = set()  # the queues of the items that were asked for by id

    def has(self, record: Record, names: list[bytes | None]) -> bool:
        """Whether a record, which concerns the queues of these names, is asked for."""
        if kind_of(record) not in self.kinds:
            chosen = False
        elif self.queue is not None and self.queue not in names and not isinstance(record, Wipe):
            return False
        else:
            chosen = True
        if not self.by_id:
            return chosen
        if isinstance(record, Fanout):
            names = [name for k, name in enumerate(names, record.first.item_id) if self.low <= k <= self.high]
            concerned = bool(names)
        elif isinstance(record, (Item, Ack)):
            concerned = self.low <= record.item_id <= self.high
        elif isinstance(record, Wipe):
            return chosen and self.low < record.below
        elif isinstance(record, Drop):
            return chosen and self.low < record.below and not self._concerned.isdisjoint(names)
        else:
            return False
        if concerned:
            self._concerned.update(names)
        return chosen and concerned


def kind_of(record: Record) -> str:
    """The kind of a record, as it is written."""
    if isinstance(record, Item):
        return KIND_NAMES[record.kind]
    return type(record).__name__.upper()


def run(options: argparse.Namespace) -> int:
    """Print what is asked for."""
    choice = _Choice(options)
    with JournalFiles(options.directory) as files:
        replay = Replay(files)
        for segment, found in replay.steps():
            if isinstance(found, Finding):
                print(json.dumps(finding_fields(found)) if options.json else f"! {found.text}")
                continue
            assert segment is not None
            if not choice.since <= found.time < choice.until:
                continue
            for record, names in _records(replay, found):
                if choice.has(record, names):
                    write = _json_line if options.json else _text_line
                    print(write(segment.number, found, record, names, options.full))
    return DAMAGED if replay.is_damaged else GOOD


def _records(replay: Replay, frame: Frame) -> Iterator[tuple[Record, list[bytes | None]]]:
    """The records of a frame that is not applied yet, each with the names of the queues that it concerns."""
    contents = replay.contents
    names = contents.names
    here: dict[int, int] = {}
    try:
        for record in records(frame.payload):
            if isinstance(record, Name):
                names[record.queue] = record.name
                yield record, [record.name]
            elif isinstance(record, Item):
                here[record.item_id] = record.queue
                yield record, [contents.name_of(record.queue)]
            elif isinstance(record, Fanout):
                here.update((item.item_id, item.queue) for item in record.items())
                yield record, [contents.name_of(number) for number in record.queues]
            elif isinstance(record, Ack):
                number = here.get(record.item_id, contents.queue_of(record.item_id))
                yield record, [None if number is None else contents.name_of(number)]
            elif isinstance(record, Drop):
                yield record, [contents.name_of(record.queue)]
            else:
                yield record, []
    except SenselessRecord:
        return  # which the replay reports


def _text_line(segment: int, frame: Frame, record: Record, names: list[bytes | None], full: bool) -> str:
    head = f"{segment}:{frame.offset + FRAME_SIZE + record.at} {show_time(frame.time)} {kind_of(record)}"
    if isinstance(record, (Item, Fanout)):
        item = record.first if isinstance(record, Fanout) else record
        words = [f"id={item.item_id}"]
        if isinstance(record, Fanout):
            words.append(f"queues={','.join(map(_shown, names))}")
        else:
            words.append(f"queue={_shown(names[0])}")
        words.append(f"flags={item.flags}")
        if abs(item.time - frame.time) >= SECOND:
            words.append(f"arrived={show_time(item.time)}")
        if item.expires:
            words.append(f"expires={show_time(item.expires)}")
        if item.place != item.item_id:
            words.append(f"place={item.place}")
        if item.ready_at:
            words.append(f"ready={show_time(item.ready_at)}")
        if item.deliveries:
            words.append(f"deliveries={item.deliveries}")
        if item.origin:
            words.append(f"origin={item.origin}")
        payload = item.payload if full else item.payload[:SHOWN_BYTES]
        more = "..." if len(payload) < len(item.payload) else ""
        words += [f"size={len(item.payload)}", f"payload={show(bytes(payload))}{more}"]
    elif isinstance(record, Ack):
        words = [f"id={record.item_id}", f"queue={_shown(names[0])}"]
    elif isinstance(record, Name):
        words = [f"number={record.queue}", f"queue={_shown(names[0])}"]
    elif isinstance(record, Drop):
        words = [f"below={record.below}", f"queue={_shown(names[0])}"]
    else:
        words = [f"below={record.below}"]
    return " ".join((head, *words))


def _shown(name: bytes | None) -> str:
    return "?" if name is None else show(name)


def _json_line(segment: int, frame: Frame, record: Record, names: list[bytes | None], full: bool) -> str:
    fields: dict[str, Any] = {
        "kind": kind_of(record),
        "segment": segment,
        "offset": frame.offset + FRAME_SIZE + record.at,
        "frame": frame.offset,
        "written": show_time(frame.time),
    }
    if isinstance(record, (Item, Fanout)):
        item = record.first if isinstance(record, Fanout) else record
        fields["id"] = item.item_id
        if isinstance(record, Fanout):
            fields["queues"] = [queue_fields(name) for name in names]
        else:
            fields |= queue_fields(names[0])
        fields |= {"time": show_time(item.time), "flags": item.flags}
        if item.expires:
            fields["expires"] = show_time(item.expires)
        if item.place != item.item_id:
            fields["place"] = item.place
        if item.ready_at:
            fields["ready_at"] = show_time(item.ready_at)
        if item.deliveries:
            fields["deliveries"] = item.deliveries
        if item.origin:
            fields["origin"] = item.origin
        fields["size"] = len(item.payload)
        fields |= bytes_fields("payload", bytes(item.payload))
    elif isinstance(record, Ack):
        fields |= {"id": record.item_id, **queue_fields(names[0])}
    elif isinstance(record, Name):
        fields |= {"number": record.queue, **queue_fields(names[0])}
    elif isinstance(record, Drop):
        fields |= {"below": record.below, **queue_fields(names[0])}
    else:
        fields["below"] = record.below
    return json.dumps(fields)
