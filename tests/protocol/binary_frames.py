"""Requests and responses of the binary protocol, for tests: written and read without the server's code."""

from __future__ import annotations

import struct
from typing import NamedTuple

NAMES = """
get set add replace delete increment decrement quit flush getq noop version getk getkq append prepend stat
setq addq replaceq deleteq incrementq decrementq quitq flushq appendq prependq verbosity touch gat gatq
"""
OPCODES = {name: number for number, name in enumerate(NAMES.split())} | {"gatk": 0x23, "gatkq": 0x24}
OPCODES |= {"sasl_list": 0x20, "sasl_auth": 0x21, "sasl_step": 0x22}

OK, NOT_FOUND, EXISTS, TOO_LARGE, INVALID, NOT_STORED, NOT_A_NUMBER = range(7)
UNKNOWN, OUT_OF_MEMORY = 0x81, 0x82


class Response(NamedTuple):
    """A response, taken apart."""

    opcode: int
    status: int
    value: bytes = b""
    cas: int = 0
    key: bytes = b""
    extras: bytes = b""
    opaque: int = 0


def request(
    name: str | int, key: bytes = b"", value: bytes = b"", extras: bytes = b"", *, cas: int = 0, opaque: int = 0
) -> bytes:
    """A request."""
    opcode = OPCODES[name] if isinstance(name, str) else name
    size = len(key) + len(value) + len(extras)
    head = struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, size, opaque, cas)
    return head + extras + key + value


def storage(name: str, key: bytes, value: bytes, flags: int = 0, exptime: int = 0, **fields: int) -> bytes:
    """A set, add or replace."""
    return request(name, key, value, struct.pack(">Ii", flags, exptime), **fields)


def count(name: str, key: bytes, delta: int, initial: int = 0, exptime: int = 0xFFFFFFFF, **fields: int) -> bytes:
    """An increment or decrement."""
    return request(name, key, b"", struct.pack(">QQI", delta, initial, exptime), **fields)


def timed(name: str, key: bytes, seconds: int, **fields: int) -> bytes:
    """A touch or gat."""
    return request(name, key, b"", struct.pack(">i", seconds), **fields)


def responses(data: bytes) -> list[Response]:
    """All responses in ``data``, which must end with the last of them."""
    found = []
    while data:
        magic, opcode, key, extras, data_type, status, size, opaque, cas = struct.unpack(">BBHBBHIIQ", data[:24])
        assert (magic, data_type) == (0x81, 0), data[:24]
        assert len(data) >= 24 + size >= 24 + key + extras
        body, data = data[24 : 24 + size], data[24 + size :]
        found.append(
            Response(opcode, status, body[extras + key :], cas, body[extras : extras + key], body[:extras], opaque)
        )
    return found
