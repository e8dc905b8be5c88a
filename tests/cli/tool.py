"""The command ``redqueue``, run as an operator runs it, and journals made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from redqueue.journal import framing
from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from tests.server_process import ROOT

NOW = 1_800_000_000 * 10**9
FOREVER = 1 << 62

COMMAND = [sys.executable, "-m", "redqueue.cli"]


def environment() -> dict[str, str]:
    """In which the command is found, and does not colour its help."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1", "COLUMNS": "100"}


def redqueue(*arguments: object, data: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run ``redqueue`` with these arguments, and ``data`` on standard input."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], input=data, capture_output=True, env=environment(), timeout=60, check=False
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@dataclass(frozen=True)
class WrittenFrame:
    """A frame of a journal made by hand."""

    segment: int
    offset: int
    end: int
    records: tuple[bytes, ...]


class Handmade:
    """A journal written record by record, as the format says, and nothing else.

    :ivar frames: what it holds
    """

    def __init__(self, directory: Path, number: int = 1, first_id: int = 1) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.frames: list[WrittenFrame] = []
        self.number = number - 1
        self._last_id = first_id - 1
        self._data = b""
        self.next_segment()

    def next_segment(self, previous_end: int | None = None, previous_failed: bool = False) -> None:
        """Begin a segment; ``previous_end`` in its header is the length of the one before, if not given."""
        end = len(self._data) if previous_end is None else previous_end
        self.number += 1
        self._data = seg.encode_header(self.number, NOW, self._last_id + 1, end, previous_failed)
        self._write()

    def frame(self, *records: bytes, durable: int = 0, time: int = NOW) -> WrittenFrame:
        """Append a frame."""
        offset = len(self._data)
        self._data += framing.encode_frame(self.number, offset, time, durable, len(records), b"".join(records))
        for record in records:
            if record[0] == rec.PUT:
                self._last_id = max(self._last_id, rec.item_id(record))
            if record[0] == 7:
                count_at = 32 + 8 * bin(record[1]).count("1")
                count = int.from_bytes(record[count_at : count_at + 4], "big")
                self._last_id = max(self._last_id, rec.item_id(record) + count - 1)
        written = WrittenFrame(self.number, offset, len(self._data), records)
        self.frames.append(written)
        self._write()
        return written

    def raw(self, data: bytes) -> None:
        """Append bytes that are no frame."""
        self._data += data
        self._write()

    def path(self, number: int | None = None) -> Path:
        """The path of a segment, the last if none is given."""
        return seg.path_of(self.directory, number or self.number)

    def _write(self) -> None:
        self.path().write_bytes(self._data)


def put(queue: int, item_id: int, payload: bytes = b"", **more: int) -> bytes:
    """A PUT record; ``flags``, ``expires`` and ``place`` may be given."""
    return rec.put(queue, item_id, NOW, more.pop("flags", 0), payload, **more)  # type: ignore[arg-type]


def rewrite(queue: int, item_id: int, payload: bytes = b"", **more: int) -> bytes:
    """A REWRITE record."""
    return bytes([rec.REWRITE]) + put(queue, item_id, payload, **more)[1:]


def ack(item_id: int) -> bytes:
    """An ACK record."""
    return rec.ack(item_id.to_bytes(8, "big"))


def fanout(parent: int, first_id: int, queues: tuple[int, ...], payload: bytes, fields: tuple[int, ...] = ()) -> bytes:
    """A FANOUT record; ``fields`` are an expiry, and a place."""
    attributes = (0, 1, 3)[len(fields)]
    head = rec.PUT_HEAD.pack(7, attributes, parent >> 32, parent & 0xFFFFFFFF, first_id, NOW, 5, len(payload))
    numbers = b"".join(queue.to_bytes(6, "big") for queue in queues)
    return head + b"".join(f.to_bytes(8, "big") for f in fields) + len(queues).to_bytes(4, "big") + numbers + payload


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Put other bytes into a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int) -> None:
    """Turn one bit of a file over."""
    overwrite(path, offset, bytes([path.read_bytes()[offset] ^ 1]))
