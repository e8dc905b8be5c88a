"""The bytes of frames: a header with a checksum, which covers the frame's place too, and records."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

FRAME_MAGIC: Final = 0x52_51_46_31  # "RQF1"
FRAME_MAGIC_BYTES: Final = b"RQF1"
_FRAME: Final = Struct(">IIIIQQ")
_COVERED: Final = Struct(">QQIIQQ")
_pack_frame: Final = _FRAME.pack
_pack_covered: Final = _COVERED.pack
_crc32: Final = crc32
FRAME_SIZE: Final = _FRAME.size


class Frame(NamedTuple):
    """A frame as read back: where it starts and ends, and the records it holds."""

    offset: int
    end: int
    records: int
    time: int
    durable: int
    payload: bytes


def encode_frame(number: int, offset: int, time: int, durable: int, count: int, payload: bytes) -> bytes:
    """The bytes of a frame that is to stand at ``offset`` of segment ``number``."""
    length = len(payload)
    crc = _crc32(payload, _crc32(_pack_covered(number, offset, length, count, time, durable)))
    return _pack_frame(FRAME_MAGIC, crc, length, count, time, durable) + payload


def decode_frame(data: memoryview, number: int, offset: int, base: int = 0) -> Frame | None:
    """The frame at ``offset`` of segment ``number``; None where there is no good one.

    :param data: the segment's content from offset ``base`` on
    """
    at = offset - base
    if at + FRAME_SIZE > len(data):
        return None
    magic, crc, length, count, time, durable = _FRAME.unpack_from(data, at)
    end = at + FRAME_SIZE + length
    if magic != FRAME_MAGIC or end > len(data):
        return None
    covered = crc32(_COVERED.pack(number, offset, length, count, time, durable))
    if crc != crc32(data[at + FRAME_SIZE : end], covered):
        return None
    return Frame(offset, base + end, count, time, durable, data[at + FRAME_SIZE : end].tobytes())


def payload_length(head: bytes) -> int | None:
    """The length of payload that the first ``FRAME_SIZE`` bytes of a frame announce; None where they are none."""
    if len(head) < FRAME_SIZE or not head.startswith(FRAME_MAGIC_BYTES):
        return None
    return int(_FRAME.unpack_from(head)[2])


def frames(data: memoryview, number: int, offset: int) -> Iterator[Frame]:
    """The good frames from ``offset`` on, up to the first that is not."""
    while frame := decode_frame(data, number, offset):
        yield frame
        offset = frame.end


def find_frame(content: mmap | bytes, data: memoryview, number: int, offset: int) -> Frame | None:
    """The first good frame at or after ``offset``, or None.

    :param content: the segment's whole content
    :param data: a view of the same
    """
    while True:
        offset = content.find(FRAME_MAGIC_BYTES, offset)
        if offset < 0:
            return None
        frame = decode_frame(data, number, offset)
        if frame:
            return frame
        offset += 1
