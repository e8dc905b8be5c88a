"""Journals of other queue servers, written operation by operation as their formats say."""

from __future__ import annotations

import struct
from pathlib import Path


class Text2010:
    """A queue's file of the RedQueue of 2010."""

    def __init__(self) -> None:
        self.data = b""

    def put(self, payload: bytes, timeout: int = 0) -> Text2010:
        self.data += b"S %d %d\r\n" % (timeout, len(payload)) + payload + b"\r\n"
        return self

    def take(self, client: int) -> Text2010:
        self.data += b"B %d\r\n" % client
        return self

    def use(self, client: int) -> Text2010:
        self.data += b"U %d\r\n" % client
        return self

    def give_back(self, client: int) -> Text2010:
        self.data += b"R %d\r\n" % client
        return self

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.data)


ADDED = 1_300_000_000_000


def add(payload: bytes, expires: int = 0) -> bytes:
    return b"\x00" + struct.pack("<ii", len(payload) + 4, expires) + payload


def addx(payload: bytes, expires_ms: int = 0) -> bytes:
    return b"\x02" + struct.pack("<iqq", len(payload) + 16, ADDED, expires_ms) + payload


def add_xid(xid: int, payload: bytes) -> bytes:
    return b"\x07" + struct.pack("<iiqq", xid, len(payload) + 16, ADDED, 0) + payload


def continue_(xid: int, payload: bytes) -> bytes:
    return b"\x08" + add_xid(xid, payload)[1:]


def with_xid(code: int, xid: int) -> bytes:
    return bytes([code]) + struct.pack("<i", xid)


REMOVE, RESERVE = b"\x01", b"\x03"


def save_xid(xid: int) -> bytes:
    return with_xid(4, xid)


def unremove(xid: int) -> bytes:
    return with_xid(5, xid)


def confirm(xid: int) -> bytes:
    return with_xid(6, xid)


def state_dump(xid: int, number: int) -> bytes:
    return b"\x08" + struct.pack("<ii", xid, number)
