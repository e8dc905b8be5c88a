"""``redqueue journal verify``: what a start of the server would say about a journal."""

from __future__ import annotations

import argparse
import json

from redqueue.cli.command import DAMAGED, GOOD, SubParsers, add_command
from redqueue.cli.journal.common import STATUSES, add_directory, add_json, finding_fields
from redqueue.cli.terminal import progress
from redqueue.journal.reader import Finding, JournalFiles, server_of
from redqueue.journal.replay import Replay

DESCRIPTION = """
Check every frame of a journal, and say what a start of the server would make of it:

  - a torn tail, as a crash leaves it at the end of the last segment, would be cut off, and logged; so would a last
    segment that was being made be removed
  - damage (bytes that are no good frame, a damaged header, a segment that is missing or too short, records that make
    no sense, a queue whose name is lost) would stop the start

All of it is listed, not only what comes first. While a server writes, what it is just writing is a torn tail at most.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the action."""
    parser = add_command(
        subparsers,
        "verify",
        run,
        summary="check every frame; the exit status tells whether the journal is good",
        description=DESCRIPTION,
        epilog=STATUSES,
    )
    add_directory(parser)
    add_json(parser, "one JSON object instead of text")


def run(options: argparse.Namespace) -> int:
    """Check, and print the result."""
    frames = records = 0
    server = server_of(options.directory)
    with JournalFiles(options.directory) as files, progress("checking") as show:
        replay = Replay(files, progress=show)
        for _, found in replay.steps():
            if not isinstance(found, Finding):
                frames += 1
                records += found.records
        size = files.total_bytes()
        segments = len(files.segments)
    queues: set[bytes] = set()
    items = 0
    for live in replay.contents.live():
        items += 1
        queues.add(replay.contents.name_of(live.queue))
    if options.json:
        print(
            json.dumps(
                {
                    "result": "damaged" if replay.is_damaged else "good",
                    "server": server,
                    "segments": segments,
                    "bytes": size,
                    "frames": frames,
                    "records": records,
                    "items": items,
                    "queues": len(queues),
                    "last_id": replay.contents.last_id,
                    "findings": [finding_fields(finding) for finding in replay.findings],
                }
            )
        )
        return DAMAGED if replay.is_damaged else GOOD
    for finding in replay.findings:
        print(f"{finding.kind if finding.is_damage else 'no damage'}: {finding.text}")
    if server is not None:
        print(f"in use by the server with process id {server}, as far as can be seen")
    print(f"{segments} segments, {size} bytes, {frames} good frames, {records} records")
    print(f"{items} items in {len(queues)} queues, the last id is {replay.contents.last_id}")
    if replay.is_damaged:
        print("damaged: the server does not start with it. See redqueue journal salvage --help")
        return DAMAGED
    print("good" if not replay.findings else "good: the next start of the server cuts off what is torn, and goes on")
    return GOOD
