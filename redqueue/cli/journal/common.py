"""What the actions on a journal share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from redqueue.cli.command import DAMAGED, GOOD
from redqueue.cli.notation import bytes_fields
from redqueue.journal.reader import MISSING, NAME_LOST, Finding
from redqueue.journal.replay import Replay

STATUSES = """
exit status:
  0  the journal is good; a torn tail, as a crash leaves it, is good as well
  1  the journal is damaged
  2  that cannot be said, for the reason on standard error: no journal, a file that cannot be opened, a bad option
"""


def add_directory(parser: argparse.ArgumentParser) -> None:
    """The argument DIR."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="the journal's directory (--logdir of the server)")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """The option ``--json``."""
    parser.add_argument("--json", action="store_true", help=what)


def finding_fields(finding: Finding) -> dict[str, Any]:
    """A finding for JSON."""
    fields: dict[str, Any] = {"finding": finding.kind, "damage": finding.is_damage}
    if finding.kind == MISSING:
        fields |= {"segment": finding.segment, "last_segment": finding.last_segment}
    elif finding.kind != NAME_LOST:
        fields |= {"segment": finding.segment, "offset": finding.offset, "end": finding.end}
    return fields | {"text": finding.text}


def queue_fields(name: bytes | None) -> dict[str, Any]:
    """The name of a queue for JSON; null where it is not known."""
    return {"queue": None} if name is None else bytes_fields("queue", name)


def say_findings(replay: Replay) -> int:
    """Tell on standard error what is not as it should be; returns the exit status."""
    sys.stdout.flush()
    for finding in replay.findings:
        print(f"redqueue: {finding.text}", file=sys.stderr)
    return DAMAGED if replay.is_damaged else GOOD
