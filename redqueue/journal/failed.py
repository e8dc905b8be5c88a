"""What a segment that has failed still has to give."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.record import FANOUT, ID_FIELD, PUT, REWRITE
from redqueue.journal.segment import FRAME_SIZE, Segment

log = logging.getLogger(__name__)


def frames_after(segment: Segment, offset: int) -> list[seg.Frame]:
    """The good frames of a segment from ``offset`` on, read through its descriptor.

    :raises OSError: where that fails
    """
    data = os.pread(segment.fd, segment.end, 0)
    frames = [*seg.frames(memoryview(data), segment.number, offset)]
    end = frames[-1].end if frames else offset
    if end != segment.end:
        log.critical(
            "%s cannot be read back from offset %d to %d: what was confirmed there is in memory only",
            segment.path,
            end,
            segment.end,
        )
    return frames


def items_moved(frame: seg.Frame, start: int) -> Iterator[tuple[int, int, int]]:
    """(id, offset before, offset now) of each item of a frame whose payload now stands at ``start``."""
    payload, before = frame.payload, frame.offset + FRAME_SIZE
    for at, record in rec.split(payload):
        if record[0] in (PUT, REWRITE, FANOUT):
            first_id = int.from_bytes(record[ID_FIELD], "big")
            count = len(rec.fan_out_queues(record)) if record[0] == FANOUT else 1
            for item_id in range(first_id, first_id + count):
                yield item_id, before + at, start + at
