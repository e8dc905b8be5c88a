"""What a segment that has failed still has to give."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from redqueue.journal import framing
from redqueue.journal import record as rec
from redqueue.journal.framing import FRAME_SIZE
from redqueue.journal.record import FANOUT, PUT, REWRITE
from redqueue.journal.segment import Segment

log = logging.getLogger(__name__)


class DiskFull(OSError):
    """There was no room for a frame.

    :ivar acks_written: whether its acknowledgements were written all the same
    """

    def __init__(self, cause: OSError, acks_written: bool) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.acks_written = acks_written


def frames_after(segment: Segment, offset: int) -> list[framing.Frame]:
    """The good frames of a segment from ``offset`` on, read through its descriptor.

    :raises OSError: where that fails
    """
    data = os.pread(segment.fd, segment.end, 0)
    frames = [*framing.frames(memoryview(data), segment.number, offset)]
    end = frames[-1].end if frames else offset
    if end != segment.end:
        log.critical(
            "%s cannot be read back from offset %d to %d: what was confirmed there is in memory only",
            segment.path,
            end,
            segment.end,
        )
    return frames


def items_moved(frame: framing.Frame, start: int) -> Iterator[tuple[int, int, int]]:
    """(id, offset before, offset now) of each item of a frame whose payload now stands at ``start``."""
    payload, before = frame.payload, frame.offset + FRAME_SIZE
    for at, record in rec.split(payload):
        if record[0] in (PUT, REWRITE, FANOUT):
            first_id = int.from_bytes(record[8:16], "big")
            count = len(rec.fan_out_queues(record)) if record[0] == FANOUT else 1
            for item_id in range(first_id, first_id + count):
                yield item_id, before + at, start + at
