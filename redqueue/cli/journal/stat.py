"""``redqueue journal stat``: what lives in a journal and what is dead, by segment and by queue."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass

from redqueue.cli.command import SubParsers, add_command
from redqueue.cli.journal.common import STATUSES, add_directory, add_json, queue_fields, say_findings
from redqueue.cli.notation import show, show_time
from redqueue.cli.terminal import print_table, progress
from redqueue.journal.contents import Live
from redqueue.journal.reader import Finding, JournalFiles
from redqueue.journal.replay import Replay

DESCRIPTION = """
Count what lives in a journal and what is dead, by segment and by queue.

An item lives until it is acknowledged, flushed or expired. Live and dead count records of items: those of items that
live, and those of items that are gone or have a younger record. The dead bytes of a segment are all that was written
into it and is no living item, acknowledgements and frames included. Free is what is allocated and not written yet. The
bytes of a record that stands for items in several queues are shared out among them.
"""


@dataclass
class SegmentFigures:
    """What a segment holds.

    :ivar records: records of any kind
    :ivar live_records: records of items that live; ``dead_records`` likewise
    """

    segment: int
    made: str | None
    bytes: int
    frames: int = 0
    records: int = 0
    live_records: int = 0
    live_bytes: int = 0
    dead_records: int = 0
    dead_bytes: int = 0
    free_bytes: int = 0


@dataclass
class QueueFigures:
    """What of a queue is in the journal.

    :ivar oldest: when the living item with the lowest id arrived
    """

    live_records: int = 0
    live_bytes: int = 0
    dead_records: int = 0
    dead_bytes: int = 0
    expired: int = 0
    oldest: str | None = None


def add_parser(subparsers: SubParsers) -> None:
    """Add the action."""
    parser = add_command(
        subparsers,
        "stat",
        run,
        summary="live and dead bytes and records, by segment and by queue",
        description=DESCRIPTION,
        epilog=STATUSES,
    )
    add_directory(parser)
    add_json(parser, "one JSON object instead of tables")


def run(options: argparse.Namespace) -> int:
    """Count, and print the figures."""
    segments: dict[int, SegmentFigures] = {}
    with JournalFiles(options.directory) as files, progress("reading") as show_progress:
        for segment in files.segments:
            header = segment.header()
            made = show_time(header.time) if header else None
            segments[segment.number] = SegmentFigures(segment.number, made, segment.size())
        replay = Replay(files, progress=show_progress)
        ends = dict.fromkeys(segments, 0)
        for of, found in replay.steps():
            if isinstance(found, Finding) or of is None:
                continue
            figures = segments[of.number]
            figures.frames += 1
            figures.records += found.records
            ends[of.number] = found.end
        queues = _count(replay, segments)
        for number, figures in segments.items():
            figures.bytes = max(figures.bytes, ends[number])
            figures.free_bytes = figures.bytes - ends[number]
            figures.dead_bytes = ends[number] - figures.live_bytes
            written = replay.contents.written_in.get(number)
            figures.dead_records = written.records - figures.live_records if written else 0
    if options.json:
        _print_json(segments, queues)
    else:
        _print_tables(segments, queues)
    return say_findings(replay)


def _count(replay: Replay, segments: dict[int, SegmentFigures]) -> dict[bytes, QueueFigures]:
    contents = replay.contents
    queues: dict[bytes, QueueFigures] = {}
    oldest: dict[bytes, Live] = {}
    for number, written in contents.written.items():
        queue = queues.setdefault(contents.name_of(number), QueueFigures())
        queue.dead_records += written.records
        queue.dead_bytes += written.bytes
    now = time.time()
    for live in contents.live():
        name = contents.name_of(live.queue)
        queue = queues[name]
        if 0 < live.expires <= now:
            queue.expired += 1
            continue
        queue.live_records += 1
        queue.live_bytes += live.length
        queue.dead_records -= 1
        queue.dead_bytes -= live.length
        oldest.setdefault(name, live)
        figures = segments[live.position >> 32]
        figures.live_bytes += live.length
        figures.live_records += 1
    for name, live in oldest.items():
        queues[name].oldest = show_time(replay.item(live).time)
    return dict(sorted(queues.items()))


def _print_json(segments: dict[int, SegmentFigures], queues: dict[bytes, QueueFigures]) -> None:
    found = {
        "segments": [asdict(figures) for figures in segments.values()],
        "queues": [{**queue_fields(name), **asdict(figures)} for name, figures in queues.items()],
    }
    print(json.dumps(found))


def _print_tables(segments: dict[int, SegmentFigures], queues: dict[bytes, QueueFigures]) -> None:
    print_table(
        ("segment", "made", "records", "live", "dead", "bytes", "live bytes", "dead bytes", "free bytes"),
        [
            (
                str(figures.segment),
                (figures.made or "?")[:19],
                str(figures.records),
                str(figures.live_records),
                str(figures.dead_records),
                str(figures.bytes),
                str(figures.live_bytes),
                str(figures.dead_bytes),
                str(figures.free_bytes),
            )
            for figures in segments.values()
        ],
    )
    print()
    print_table(
        ("queue", "live", "dead", "expired", "live bytes", "dead bytes", "oldest"),
        [
            (
                show(name),
                str(figures.live_records),
                str(figures.dead_records),
                str(figures.expired),
                str(figures.live_bytes),
                str(figures.dead_bytes),
                (figures.oldest or "")[:19],
            )
            for name, figures in queues.items()
        ],
    )
