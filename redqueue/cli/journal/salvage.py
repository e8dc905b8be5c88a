"""``redqueue journal salvage``: what can be saved, into a new journal, and a list of what cannot."""

from __future__ import annotations

import argparse
import json
import time
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redqueue.cli.command import DAMAGED, GOOD, CommandFailed, SubParsers, add_command
from redqueue.cli.journal.common import add_directory, add_json, finding_fields, queue_fields
from redqueue.cli.notation import show
from redqueue.cli.terminal import progress
from redqueue.journal.appender import Appender
from redqueue.journal.framing import Frame
from redqueue.journal.parse import Fanout, Item, SenselessRecord, records
from redqueue.journal.reader import HEADER, NAME_LOST, UNFINISHED, UNREADABLE, Finding, JournalFiles
from redqueue.journal.record import PUT
from redqueue.journal.replay import Replay

DESCRIPTION = """
Write what can be saved of the journal DIR into a new journal in OUT, which is made, or is empty. DIR is not changed.
A server may then be started with --logdir=OUT.

Every good frame counts, those behind damage and in a torn tail as well. Items keep their ids, times, order, flags and
expiry; those that have expired are left out. What could not be saved is listed: the segment and the offsets; the ids
that may be missing there, without those that are known to be saved or acknowledged; the queues whose name is lost,
and the name under which their items are saved. Where something is missing, an acknowledgement, a change or a flush may
be as well: an item that was acknowledged may come back, and a counter may have an earlier value.
"""

EPILOG = """
exit status:
  0  all of the journal is saved
  1  what can be saved is saved, and something could not, as listed
  2  nothing is saved, for the reason on standard error: no journal, OUT is not empty, no space
"""


@dataclass
class Gap:
    """A part of the journal that cannot be read.

    :ivar after: the highest id before it
    :ivar before: the first id behind it; 0 where nothing is
    """

    finding: Finding
    after: int
    before: int = 0


def add_parser(subparsers: SubParsers) -> None:
    """Add the action."""
    parser = add_command(
        subparsers,
        "salvage",
        run,
        summary="save what can be saved into a new journal, and list what cannot",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_directory(parser)
    parser.add_argument("out", metavar="OUT", type=Path, help="directory of the new journal: missing or empty")
    add_json(parser, "one JSON object instead of text")


def run(options: argparse.Namespace) -> int:
    """Save what can be saved, and print the list."""
    out: Path = options.out
    with JournalFiles(options.directory) as files:
        _check_out(options.directory, out)
        with progress("reading") as show_progress:
            replay = Replay(files, past_torn=True, progress=show_progress)
            gaps = _read(replay)
        missing = [_missing_ids(replay, gap) for gap in gaps]
        try:
            with Appender(out, last_id=replay.contents.last_id) as appender, progress("writing") as show_progress:
                saved, expired = _write(replay, appender, show_progress)
        except OSError as error:
            raise CommandFailed(f"{out} cannot be written and is to be removed: {error}") from None
    if options.json:
        _print_json(replay, gaps, missing, saved, expired)
    else:
        _print_text(options, replay, gaps, missing, saved, expired)
    return DAMAGED if gaps or replay.is_damaged else GOOD


def _check_out(directory: Path, out: Path) -> None:
    if directory.resolve() in (out.resolve(), *out.resolve().parents):
        raise CommandFailed(f"OUT wants to be outside of {directory}, which is not to be changed")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise CommandFailed(f"{out} wants to be an empty directory, or none yet")


def _read(replay: Replay) -> list[Gap]:
    """Read all, and note between which ids something is missing."""
    gaps: list[Gap] = []
    open_gaps: list[Gap] = []
    current = 0
    for segment, found in replay.steps():
        if segment is not None and segment.number != current:
            current = segment.number
            header = segment.header()
            if header is not None:
                _close(open_gaps, header.first_id)
        if isinstance(found, Frame):
            if open_gaps:
                _close(open_gaps, _first_id(found))
        elif found.kind not in (UNFINISHED, NAME_LOST):
            gap = Gap(found, replay.contents.last_id)
            gaps.append(gap)
            if found.kind in (HEADER, UNREADABLE):
                gap.before = gap.after + 1  # what it costs is listed as damage
            elif segment is not None and found.last_segment < segment.number and segment.header() is not None:
                gap.before = max(gap.after + 1, segment.header().first_id)  # type: ignore[union-attr]
            else:
                open_gaps.append(gap)
    return gaps


def _close(open_gaps: list[Gap], first_id: int) -> None:
    """An id that was given after the gaps is known, unless 0."""
    if first_id:
        for gap in open_gaps:
            gap.before = max(first_id, gap.after + 1)
        open_gaps.clear()


def _first_id(frame: Frame) -> int:
    """The id of the first new item in a frame; 0 where there is none."""
    try:
        for record in records(frame.payload):
            if isinstance(record, Fanout):
                return record.first.item_id
            if isinstance(record, Item) and record.kind == PUT:
                return record.item_id
    except SenselessRecord:
        pass
    return 0


def _missing_ids(replay: Replay, gap: Gap) -> list[tuple[int, int]]:
    """First and last id of each range that may have been lost; the last is 0 where the end is not known."""
    known = array("Q", sorted({*replay.contents.acked_unseen, *replay.contents.ids_between(gap.after, gap.before)}))
    ranges = []
    start = gap.after + 1
    end = gap.before or 1 << 64
    for item_id in known[bisect_left(known, start) : bisect_right(known, end)]:
        if start < item_id < end:
            ranges.append((start, item_id - 1))
        start = max(start, item_id + 1)
    if start < end:
        ranges.append((start, gap.before - 1 if gap.before else 0))
    return ranges


def _write(replay: Replay, appender: Appender, show_progress: Any) -> tuple[dict[bytes, int], int]:
    """Write what lives; returns how many items of each queue, and how many had expired."""
    contents = replay.contents
    saved: dict[bytes, int] = {}
    expired = done = 0
    total = sum(1 for _ in contents.live())
    now = time.time_ns()
    for live in contents.live():
        item = replay.item(live)
        done += 1
        if 0 < item.expires <= now:
            expired += 1
            continue
        name = contents.name_of(item.queue)
        origin = contents.name_of(item.origin) if item.origin else b""
        appender.restore(name, item, origin)
        saved[name] = saved.get(name, 0) + 1
        show_progress(done, total)
    return dict(sorted(saved.items())), expired


def _print_json(
    replay: Replay, gaps: list[Gap], missing: list[list[tuple[int, int]]], saved: dict[bytes, int], expired: int
) -> None:
    found = {
        "saved": [{**queue_fields(name), "items": count} for name, count in saved.items()],
        "expired": expired,
        "not_saved": [
            {
                **finding_fields(gap.finding),
                "missing_ids": [{"first": first, "last": last or None} for first, last in ranges],
            }
            for gap, ranges in zip(gaps, missing, strict=True)
        ],
        "lost_names": [
            {"number": number, **queue_fields(replay.contents.name_of(number)), "items": count}
            for number, count in replay.lost_names.items()
        ],
    }
    print(json.dumps(found))


def _print_text(
    options: argparse.Namespace,
    replay: Replay,
    gaps: list[Gap],
    missing: list[list[tuple[int, int]]],
    saved: dict[bytes, int],
    expired: int,
) -> None:
    print(f"saved {sum(saved.values())} items in {len(saved)} queues of {options.directory} to {options.out}")
    for name, count in saved.items():
        print(f"  {show(name)}: {count}")
    if expired:
        print(f"left out {expired} items that have expired")
    for gap, ranges in zip(gaps, missing, strict=True):
        print(f"not saved: {gap.finding.text}")
        if ranges:
            print(f"  items that may be missing: {_shown_ranges(ranges)}")
    for number, count in replay.lost_names.items():
        new_name = show(replay.contents.name_of(number))
        print(f"name lost: that of queue number {number}; its {count} items are in the queue {new_name}")
    if gaps:
        print("acknowledgements and changes may be missing there as well: items that were acknowledged may come back")


def _shown_ranges(ranges: list[tuple[int, int]]) -> str:
    return ", ".join(
        f"id {first}" if first == last else f"ids {first} to {last}" if last else f"ids from {first} on"
        for first, last in ranges
    )
